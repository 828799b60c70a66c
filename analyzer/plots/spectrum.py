"""Figure of spectra: density against frequency, with the lines of the epoch."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analyzer.plots import heat
from analyzer.plots.dynamics import lines_of
from analyzer.plots.style import as_text, canvas, legend, line_of, logarithmic, unit_text
from analyzer.query.kinds import MOST_LINES
from analyzer.statistics.spectral import thinned

_HARMONICS = 6


def spectrum(answer: xr.Dataset) -> Figure:
    """Plot spectral densities on logarithmic axes: a line for each group and window, or a map of many.

    Bands are 95 % intervals. Vertical lines: the first harmonics of the epoch, where sections can show them.
    """
    lines = lines_of(answer)
    label = f"spectral density of velocities ({unit_text(answer['spectral_density'].attrs['units'])})"
    many = len(lines) > MOST_LINES
    figure, axes = heat.figure_of(len(lines)) if many else canvas(1, 8.2, 4.6)
    axis = axes[0]
    if many:
        _draw_map(figure, axis, answer, [name for name, _ in lines], label)
    else:
        _draw_lines(axis, answer["frequency"].values, lines)
        logarithmic(axis, answer["frequency"].values, "x")
        logarithmic(axis, answer["spectral_density"].values, "y")
        axis.set_ylabel(label)
    axis.set_xlabel("frequency (step⁻¹)")
    if "harmonic" in answer.coords:
        epoch = answer.attrs["steps_per_epoch"]
        for number in range(1, _HARMONICS + 1):
            axis.axvline(number / epoch, color="white" if many else "0.6", linestyle=":", linewidth=1)
        axis.set_title(f"dotted: harmonics of an epoch of {epoch:,} steps", fontsize=9)
    elif "steps_per_epoch" in answer.attrs:
        axis.set_title(as_text(f"lines of the epoch {answer.attrs['epoch_lines'].split(';')[0]}"), fontsize=9)
    return figure


def _draw_lines(axis: Axes, frequency: np.ndarray[Any, Any], lines: list[tuple[str, xr.Dataset]]) -> None:
    drawn: list[Any] = []
    for n, (_, one) in enumerate(lines):
        values, error = one["spectral_density"].values, 1.96 * one["spectral_density_error"].values
        style = line_of(n)
        there = (frequency > 0) & (values > 0)
        drawn += axis.plot(frequency[there], values[there], **style, linewidth=1)
        low = np.maximum(values - error, values / 10)[there]  # an interval down to 0 has no place on this scale
        axis.fill_between(frequency[there], low, (values + error)[there], color=style["color"], alpha=0.18, linewidth=0)
    legend(axis, drawn, [name for name, _ in lines])


def _draw_map(figure: Figure, axis: Axes, answer: xr.Dataset, names: list[str], label: str) -> None:
    """Draw a line of cells for each group and window; a cell is the mean of the frequencies in it."""
    density = answer["spectral_density"].transpose("group", "window", "frequency").values.reshape(len(names), -1)
    frequency, table = thinned(answer["frequency"].values[1:], density[:, 1:])
    picture = heat.against_frequency(axis, frequency, table, heat.norm_of(table))
    heat.named(axis, names)
    figure.colorbar(picture, ax=axis, label=label, aspect=30)
