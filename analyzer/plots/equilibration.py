"""Figures of equilibration: every series of a run, the step at which it becomes stationary, and its drift."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import xarray as xr
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from analyzer.plots.style import COLOURS, as_text, canvas, resumptions, unit_text
from analyzer.quantities.equilibration import Track

_MOST_PANELS = 18
_POINTS = 400


def starts(series: Sequence[Track], answer: xr.Dataset, resumed: Sequence[int] = ()) -> Figure:
    """Plot one panel for each series: the series, a line at t0, its uncertainty as a shaded range, a fit from t0 on.

    Parameters
    ----------
    series
        The series, as `analyzer.quantities.equilibration.tracks` returns them. Drawn as means of at most 400 bins.
    answer
        The results of `analyzer.quantities.equilibration.found` for the series, in the same order.
    resumed
        Steps at which the training was resumed; they are marked.
    """
    shown = series[:_MOST_PANELS]
    figure, panels = canvas(len(shown), 7.2 if len(shown) == 1 else 10.5, 4.2 if len(shown) == 1 else 2.5)
    mark = None
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
        title = f"{as_text(one['group'].item())}: {one['verdict'].item()}\nt0 = {start:,} ({low:,} to {high:,})"
        axes.set_title(title, fontsize=7.5)
        axes.tick_params(which="both", labelsize=7.5)
        axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        axes.set_ylabel(unit_text(track.units), fontsize=7.5)
        mark = resumptions(axes, resumed) or mark
    figure.supxlabel("step", fontsize=10)
    if mark is not None:
        figure.legend([mark], ["resumed"], loc="outside upper right", frameon=False, fontsize=8)
    if len(shown) < len(series):
        figure.suptitle(f"first {len(shown)} of {len(series)} series", fontsize=9)
    return figure


def _binned(track: Track) -> tuple[np.ndarray, np.ndarray]:
    """Return the middle step and the mean of at most 400 bins, both (bins,)."""
    width = -(-track.values.size // _POINTS)
    whole = track.values.size // width * width
    steps = track.steps[:whole].reshape(-1, width).mean(axis=1)
    return steps, track.values[:whole].reshape(-1, width).mean(axis=1)
