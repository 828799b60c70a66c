"""Figure of spectra: density against frequency, with the lines of the epoch."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr
from matplotlib.figure import Figure

from analyzer.plots.dynamics import lines_of
from analyzer.plots.style import as_text, canvas, legend, line_of, logarithmic, unit_text

_HARMONICS = 6


def spectrum(answer: xr.Dataset) -> Figure:
    """Plot spectral densities on logarithmic axes: a line for each group, or each window of a few groups.

    Bands are 95 % intervals. Vertical lines: the first harmonics of the epoch, where sections can show them.
    """
    figure, axes = canvas(1, 8.2, 4.6)
    axis = axes[0]
    frequency = answer["frequency"].values
    lines = lines_of(answer)
    drawn: list[Any] = []
    for n, (_, one) in enumerate(lines):
        values, error = one["spectral_density"].values, 1.96 * one["spectral_density_error"].values
        style = line_of(n)
        there = (frequency > 0) & (values > 0)
        drawn += axis.plot(frequency[there], values[there], **style, linewidth=1)
        low = np.maximum(values - error, values / 10)[there]  # an interval down to 0 has no place on this scale
        axis.fill_between(frequency[there], low, (values + error)[there], color=style["color"], alpha=0.18, linewidth=0)
    if "harmonic" in answer.coords:
        epoch = answer.attrs["steps_per_epoch"]
        for number in range(1, _HARMONICS + 1):
            axis.axvline(number / epoch, color="0.6", linestyle=":", linewidth=1)
        axis.set_title(f"dotted: harmonics of an epoch of {epoch:,} steps", fontsize=9)
    elif "steps_per_epoch" in answer.attrs:
        axis.set_title(as_text(f"lines of the epoch {answer.attrs['epoch_lines'].split(';')[0]}"), fontsize=9)
    logarithmic(axis, frequency, "x")
    logarithmic(axis, answer["spectral_density"].values, "y")
    units = unit_text(answer["spectral_density"].attrs["units"])
    axis.set(xlabel="frequency (step⁻¹)", ylabel=f"spectral density of velocities ({units})")
    legend(axis, drawn, [name for name, _ in lines])
    return figure
