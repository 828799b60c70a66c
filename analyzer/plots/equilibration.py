"""Figures of equilibration: every series of a run, the step at which it becomes stationary, and its drift."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from analyzer.plots.style import COLOURS, as_text, canvas, ink, resumptions, unit_text
from analyzer.quantities.tracks import Track
from analyzer.text import shortened

_MOST_PANELS = 18
_MOST_TITLES = 3
_POINTS = 400
_LONGEST_NAME = 48
"""Characters of a title; longer ones would end outside the picture."""


def starts(series: Sequence[Track], answer: xr.Dataset, resumed: Sequence[int] = ()) -> Figure:
    """Plot one panel for each series: the series, a line at t0, its uncertainty as a shaded range, a fit from t0 on.

    Parameters
    ----------
    series
        The series of each window, as `analyzer.quantities.equilibration.equilibration_of` returns them. Drawn as means
        of at most 400 bins.
    answer
        The results for them, from the same function.
    resumed
        Steps at which the training was resumed; they are marked.
    """
    names = list(answer["group"].values)
    shown = names[:_MOST_PANELS]
    figure, panels = canvas(len(shown), 7.2 if len(shown) == 1 else 10.5, 4.2 if len(shown) == 1 else 2.5)
    mark = None
    own = shortened([str(name) for name in shown], _LONGEST_NAME)
    stops = answer["stop_step"].values
    for n, (name, axes) in enumerate(zip(shown, panels, strict=True)):
        tracks = [track for track in series if f"{track.quantity} {track.group}".strip() == name]
        titles, values = [], []
        for track in tracks:
            window = min(int(np.searchsorted(stops, track.steps[-1])), len(stops) - 1)
            values.append(_draw(axes, track, answer.isel(group=n, window=window)))
            titles.append(_title(answer.isel(group=n, window=window)))
        heights = np.concatenate(values)
        if heights.min() > 0 and heights.max() > 5 * heights.min():
            axes.set_yscale("log")
        else:
            axes.yaxis.set_major_formatter("{x:.3g}")  # a common factor would stand in the title
        verdicts = titles if len(titles) <= _MOST_TITLES else [f"{len(titles)} stretches of constant settings"]
        axes.set_title("\n".join([as_text(own[n]), *verdicts]), fontsize=7.5)
        axes.tick_params(which="both", labelsize=7.5)
        axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        axes.set_ylabel(unit_text(tracks[0].units), fontsize=7.5)
        mark = resumptions(axes, resumed) or mark
    figure.supxlabel("step", fontsize=10)
    if mark is not None:
        figure.legend([mark], ["resumed"], loc="outside upper right", frameon=False, fontsize=8)
    said = [f"first {len(shown)} of {len(names)} series"] if len(shown) < len(names) else []
    if not np.isfinite(answer["equilibrium_step"].values.astype(float)).any():
        said.append(as_text(answer["reason"].values[0, 0]))  # the settings change, for all series alike
    if said:
        figure.suptitle("\n".join(said), fontsize=9)
    return figure


def _draw(axes: Axes, track: Track, one: xr.Dataset) -> np.ndarray:
    """Draw a series of one window with its t0 and its drift; return the heights of its curve."""
    steps, values = _binned(track)
    axes.plot(steps, values, color=COLOURS[0], linewidth=0.9)
    start, low, high = (float(one[f"equilibrium_{name}"]) for name in ("step", "low", "high"))
    if np.isfinite(start):
        axes.axvspan(low, high, color=COLOURS[4], alpha=0.25, linewidth=0)
        axes.axvline(start, color=COLOURS[1], linewidth=1.2)
    slope, mean = one["drift"].item(), one["mean"].item()
    if np.isfinite(slope):
        ends = np.array([start, track.steps[-1]])
        axes.plot(ends, mean + slope * (ends - ends.mean()), color=ink(), linewidth=1.2, linestyle="--")
    return values


def _title(one: xr.Dataset) -> str:
    """The verdict of one window, the size of its drift, and t0."""
    verdict, start, size = str(one["verdict"].item()), float(one["equilibrium_step"]), float(one["drift_percent"])
    if not np.isfinite(start):
        return verdict
    low, high = int(one["equilibrium_low"]), int(one["equilibrium_high"])
    change = f", {size:+.2g} %" if np.isfinite(size) else ""
    return f"{verdict}{change}; t0 = {int(start):,} ({low:,} to {high:,})"


def _binned(track: Track) -> tuple[np.ndarray, np.ndarray]:
    """Return the middle step and the mean of at most 400 bins, both (bins,)."""
    width = -(-track.values.size // _POINTS)
    whole = track.values.size // width * width
    steps = track.steps[:whole].reshape(-1, width).mean(axis=1)
    return steps, track.values[:whole].reshape(-1, width).mean(axis=1)
