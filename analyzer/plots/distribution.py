"""Figures of velocity distributions: one panel for each group, with the Maxwell-Boltzmann curve."""

from __future__ import annotations

import numpy as np
import xarray as xr
from matplotlib.figure import Figure

from analyzer.plots.style import COLOURS, as_text, canvas, ink
from analyzer.statistics.density import NORMAL

_MOST_PANELS = 12


def densities(answer: xr.Dataset) -> Figure:
    """Plot density against velocity over rms, once with the rms of the group and once with that of each weight.

    Parameters
    ----------
    answer
        The dataset that `analyzer.distribution` returns.
    """
    count = answer.sizes["group"]
    shown = min(count, _MOST_PANELS)
    figure, panels = canvas(shown, 7.2 if shown == 1 else 10.5, 4.2 if shown == 1 else 2.8)
    fine = np.linspace(-6, 6, 481)
    curve = np.exp(-(fine**2) / 2) / np.sqrt(2 * np.pi)
    lowest = answer[["density", "density_by_weight"]].to_array().where(lambda d: d > 0).min().item()
    x = answer["velocity"].values
    for n, axes in enumerate(panels):
        one = answer.isel(group=n)
        axes.plot(fine, curve, color=ink(), linewidth=1.2, label="Maxwell–Boltzmann")
        for name, colour, marker, label in (
            ("density", COLOURS[1], "s", "velocity / rms of the group"),
            ("density_by_weight", COLOURS[0], "o", "each weight / its own rms"),
        ):
            height = one[name].values
            there = height > 0
            low = np.maximum(height - NORMAL * np.nan_to_num(one[f"{name}_error"].values), 1e-3 * height)
            bars = np.stack([height - low, NORMAL * np.nan_to_num(one[f"{name}_error"].values)])
            axes.errorbar(
                x[there], height[there], yerr=bars[:, there], fmt=marker, color=colour, markersize=3, elinewidth=0.8,
                markerfacecolor="none" if marker == "s" else colour, markeredgewidth=0.8, label=label,
            )  # fmt: skip
        axes.set_yscale("log")
        if np.isfinite(lowest):
            axes.set_ylim(lowest / 3, 1)
        axes.set_xlim(-6, 6)
        axes.set_title(f"{as_text(one['group'].item() or 'model')}: rms {one['rms_velocity'].item():.3g}", fontsize=9)
        axes.tick_params(labelsize=8)
    figure.supxlabel("velocity / rms velocity", fontsize=10)
    figure.supylabel("density", fontsize=10)
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=3, frameon=False, fontsize=9)
    if shown < count:
        figure.suptitle(f"first {shown} of {count} groups", fontsize=9)
    return figure
