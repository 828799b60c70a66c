"""Figures of dynamics: correlation, displacement and exponent against lag."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr
from matplotlib import colormaps
from matplotlib.figure import Figure

from analyzer.plots.style import as_text, canvas, legend, line_of, logarithmic, unit_text

_MOST_LINES = 14
_MOST_WINDOWS = 6
_MOST_PANELS = 12
_PANELS = (
    ("normalised_autocorrelation", "autocorrelation C(τ)/C(0)"),
    ("mean_squared_displacement", "mean squared displacement"),
    ("exponent", "exponent d ln MSD/d ln τ"),
)


def dynamics(answer: xr.Dataset) -> Figure:
    """Plot correlation, displacement and exponent against lag: a line for each group, or each window of one group.

    Bands are 95 % intervals; where a line has none, one run gives no interval. Dotted: independent steps. Hollow marks:
    lags that are estimated from decimated frames.
    """
    figure, axes = canvas(len(_PANELS), 11, 3.6)
    lines = lines_of(answer)
    lags = answer["lag"].values
    positive = lags > 0
    far = answer["averaged_over"].values > int(answer.attrs["lag"])
    drawn: list[Any] = []
    for axis, (column, title) in zip(axes, _PANELS, strict=True):
        for n, (_, one) in enumerate(lines):
            values, error = one[column].values[positive], 1.96 * one[f"{column}_error"].values[positive]
            style, hollow = line_of(n), far[positive]
            marks = axis.plot(lags[positive], values, **style, marker="o", markersize=2.5)
            ends = {"color": style["color"], "markerfacecolor": "white", "markersize": 4}
            axis.plot(lags[positive][hollow], values[hollow], "o", **ends)
            axis.fill_between(
                lags[positive], values - error, values + error, color=style["color"], alpha=0.18, linewidth=0
            )
            if axis is axes[-1]:
                drawn += marks
        logarithmic(axis, lags[positive], "x")
        units = unit_text(answer[column].attrs["units"])
        axis.set(xlabel="lag τ (steps)", ylabel=title if units == "1" else f"{title} ({units})")
    axes[0].axhline(0, color="0.5", linestyle=":", linewidth=1)
    axes[2].axhline(1, color="0.5", linestyle=":", linewidth=1)
    if far.any():
        axes[1].set_title("hollow: from decimated frames", fontsize=9)
    logarithmic(axes[1], answer["mean_squared_displacement"].values, "y")
    legend(axes[-1], drawn, [name for name, _ in lines])
    left = answer.sizes["group"] * answer.sizes["window"] - len(lines)
    if left > 0:
        axes[0].set_title(as_text(f"first {len(lines)} of {len(lines) + left} groups and windows"), fontsize=9)
    return figure


def lines_of(answer: xr.Dataset) -> list[tuple[str, xr.Dataset]]:
    """What is drawn, with its name: groups of one window, or windows of the first groups."""
    several = answer.sizes["window"] > 1
    windows = range(min(answer.sizes["window"], _MOST_WINDOWS))
    most = max(_MOST_LINES // len(windows), 1)
    lines = []
    for group in range(min(answer.sizes["group"], most)):
        for window in windows:
            one = answer.isel(group=group, window=window)
            name = str(one["group"].values) or "model"
            where = f", steps {int(one['start_step']):,} to {int(one['stop_step']):,}" if several else ""
            lines.append((name + where, one))
    return lines


def ageing(answer: xr.Dataset) -> Figure:
    """Plot the two-time displacement against lag, a panel for each group and a line for each waiting time.

    Lines that lie on each other: the run does not age.
    """
    groups = min(answer.sizes["group"], _MOST_PANELS)
    figure, axes = canvas(groups, 9.6 if groups > 1 else 6.4, 3.2)
    waiting = answer["waiting"].values
    colours = colormaps["viridis"](np.linspace(0, 0.9, waiting.size))
    for axis, group in zip(axes, range(groups), strict=True):
        one = answer.isel(group=group)
        for n, colour in enumerate(colours):
            axis.plot(answer["lag"], one["two_time_displacement"].values[n], "o-", color=colour, markersize=2)
        axis.set_title(as_text(str(one["group"].values) or "model"), fontsize=9)
        axis.set(xlabel="lag τ (steps)", ylabel="Δ(t_w, t_w + τ) (weight²)")
        logarithmic(axis, answer["lag"].values, "x")
        logarithmic(axis, one["two_time_displacement"].values, "y")
    told = f"dark to bright: waiting times t_w from {waiting.min():,} to {waiting.max():,} steps"
    left = answer.sizes["group"] - groups
    figure.suptitle(told + (f"; first {groups} of {left + groups} groups" if left else ""), fontsize=9)
    return figure
