"""Pictures of equilibration: every series of a run, the step from which on it is stationary, and its drift."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import xarray as xr
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from analyzer.equilibria import Track
from analyzer.plots import COLOURS, canvas, unit_text

_MOST_PANELS = 18
_POINTS = 400


def starts(series: Sequence[Track], answer: xr.Dataset) -> Figure:
    """A panel a series: means of bins, t0 as a line, the range that it is known to shaded, and the fit from t0 on.

    Parameters
    ----------
    series
        As `tracks` gives them.
    answer
        What `found` says of them, in their order.
    """
    shown = series[:_MOST_PANELS]
    figure, panels = canvas(len(shown), 7.2 if len(shown) == 1 else 10.5, 4.2 if len(shown) == 1 else 2.5)
    for n, (track, axes) in enumerate(zip(shown, panels, strict=True)):
        one = answer.isel(group=n, window=0)
        steps, values = _binned(track)
        axes.plot(steps, values, color=COLOURS[0], linewidth=0.9)
        start, low, high = (one[f"equilibrium_{name}"].item() for name in ("step", "low", "high"))
        axes.axvspan(low, high, color=COLOURS[4], alpha=0.25, linewidth=0)
        axes.axvline(start, color=COLOURS[1], linewidth=1.2)
        slope, mean = one["drift"].item(), one["mean"].item()
        if np.isfinite(slope):
            ends = np.array([start, track.steps[-1]])
            axes.plot(ends, mean + slope * (ends - ends.mean()), color=COLOURS[6], linewidth=1.2, linestyle="--")
        if values.min() > 0 and values.max() > 5 * values.min():
            axes.set_yscale("log")
        title = f"{one['group'].item()}: {one['verdict'].item()}\nt0 = {start:,} ({low:,} to {high:,})"
        axes.set_title(title, fontsize=7.5)
        axes.tick_params(which="both", labelsize=7.5)
        axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        axes.set_ylabel(unit_text(track.units), fontsize=7.5)
    figure.supxlabel("step", fontsize=10)
    if len(shown) < len(series):
        figure.suptitle(f"first {len(shown)} of {len(series)} series", fontsize=9)
    return figure


def _binned(track: Track) -> tuple[np.ndarray, np.ndarray]:
    """Middles and means of at most 400 bins."""
    width = -(-track.values.size // _POINTS)
    whole = track.values.size // width * width
    steps = track.steps[:whole].reshape(-1, width).mean(axis=1)
    return steps, track.values[:whole].reshape(-1, width).mean(axis=1)
