"""Figures of dynamics: correlation, displacement and exponent against lag."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr
from matplotlib import colormaps
from matplotlib.figure import Figure

from analyzer.plots import heat
from analyzer.plots.style import as_text, canvas, ink, lag_axis, legend, line_of, logarithmic, unit_text
from analyzer.query.kinds import MOST_LINES

_MOST_PANELS = 12
_MSD = "mean_squared_displacement"
_INDEPENDENT = {"normalised_autocorrelation": 0.0, "exponent": 1.0}
"""Values of independent steps."""
_LAG = "lag τ (steps)"
_PANELS = (
    ("normalised_autocorrelation", "autocorrelation C(τ)/C(0)"),
    ("mean_squared_displacement", "mean squared displacement"),
    ("exponent", "exponent d ln MSD/d ln τ"),
)


def dynamics(answer: xr.Dataset) -> Figure:
    """Plot correlation, displacement and exponent against lag: a line for each group and window, or maps of many.

    Bands are 95 % intervals; a line without a band is at lags at which one run gives no interval. Dotted lines:
    independent steps. Hollow marks: lags that are estimated from decimated frames; in maps, lags right of the line.
    """
    lines = lines_of(answer)
    return _maps(answer, [name for name, _ in lines]) if len(lines) > MOST_LINES else _curves(answer, lines)


def _curves(answer: xr.Dataset, lines: list[tuple[str, xr.Dataset]]) -> Figure:
    shown = _known(answer)
    figure, axes = canvas(len(shown), 11, 3.6)
    lags = answer["lag"].values
    positive = lags > 0
    far = answer["averaged_over"].values > int(answer.attrs["lag"])
    drawn: list[Any] = []
    for axis, (column, title) in zip(axes, shown, strict=True):
        for n, (_, one) in enumerate(lines):
            values, error = one[column].values[positive], 1.96 * one[f"{column}_error"].values[positive]
            style, hollow = line_of(n), far[positive]
            marks = axis.plot(lags[positive], values, **style, marker="o", markersize=2.5)
            ends = {"color": style["color"], "markerfacecolor": axis.get_facecolor(), "markersize": 4}
            axis.plot(lags[positive][hollow], values[hollow], "o", **ends)
            low = values - error
            if column == _MSD:  # an interval down to 0 has no place on its logarithmic scale
                low = np.maximum(low, values / 10)
            axis.fill_between(lags[positive], low, values + error, color=style["color"], alpha=0.18, linewidth=0)
            if axis is axes[-1]:
                drawn += marks
        lag_axis(axis, lags[positive])
        axis.set(xlabel=_LAG, ylabel=_label(answer, column, title))
        if column == _MSD:
            logarithmic(axis, answer[column].values, "y")
            axis.set_title("hollow: from decimated frames" if far.any() else "", fontsize=9)
        else:
            axis.axhline(_INDEPENDENT[column], color="0.5", linestyle=":", linewidth=1)
    legend(axes[-1], drawn, [name for name, _ in lines])
    return figure


def _maps(answer: xr.Dataset, names: list[str]) -> Figure:
    """Draw a map of each quantity side by side, with the names of groups and windows beside the first."""
    lags = answer["lag"].values
    positive = lags > 0
    far = np.flatnonzero(answer["averaged_over"].values[positive] > int(answer.attrs["lag"]))
    shown = _known(answer)
    figure, axes = heat.figure_of(len(names), len(shown))
    for axis, (column, title) in zip(axes, shown, strict=True):
        table = answer[column].transpose("group", "window", "lag").values.reshape(len(names), -1)[:, positive]
        picture = heat.against_lag(axis, heat.labels_of(lags[positive]), table, heat.norm_of(table), _LAG)
        heat.bar_above(figure, axis, picture, _label(answer, column, title))
        heat.unnamed(axis)
        if far.size:
            axis.axvline(far[0] - 0.5, color=ink(), linewidth=1)
    heat.named(axes[0], names)
    if far.size:
        figure.suptitle("right of the line: from decimated frames", fontsize=9)
    return figure


def _known(answer: xr.Dataset) -> list[tuple[str, str]]:
    """The panels that have something to show: an exponent takes several lags."""
    beyond = answer.isel(lag=answer["lag"].values > 0)
    return [one for one in _PANELS if bool(beyond[one[0]].notnull().any())] or [_PANELS[1]]


def _label(answer: xr.Dataset, column: str, title: str) -> str:
    units = unit_text(answer[column].attrs["units"])
    return title if units == "1" else f"{title} ({units})"


def lines_of(answer: xr.Dataset) -> list[tuple[str, xr.Dataset]]:
    """The lines to draw, each with its name: every group, in every window if there are several."""
    several = answer.sizes["window"] > 1
    lines = []
    for group in range(answer.sizes["group"]):
        for window in range(answer.sizes["window"]):
            one = answer.isel(group=group, window=window)
            name = str(one["group"].values) or "model"
            where = f", steps {int(one['start_step']):,} to {int(one['stop_step']):,}" if several else ""
            lines.append((name + where, one))
    return lines


def ageing(answer: xr.Dataset) -> Figure:
    """Plot the two-time displacement against lag, a panel for each group and a line for each waiting time.

    If the run does not age, the lines coincide.
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
        axis.set(xlabel=_LAG, ylabel="Δ(t_w, t_w + τ) (weight²)")
        lag_axis(axis, answer["lag"].values)
        logarithmic(axis, one["two_time_displacement"].values, "y")
    told = f"dark to bright: waiting times t_w from {waiting.min():,} to {waiting.max():,} steps"
    left = answer.sizes["group"] - groups
    figure.suptitle(told + (f"; first {groups} of {left + groups} groups" if left else ""), fontsize=9)
    return figure
