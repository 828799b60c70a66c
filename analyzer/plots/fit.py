"""Figures of fits, like the paper's figures 2, 3, 6 and 7: one panel for each group, with error bars and the curve.

More groups than there is room for are maps of temperatures by group and setting, with the exponents beside them.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from analyzer.fitting.fit import Fit, predict
from analyzer.plots import heat
from analyzer.plots.style import as_text, canvas, colour_of, legend, line_of, new_figure, plain, unit_text
from analyzer.quantities.answers import Tables, whole_of
from analyzer.quantities.fits.fit import HALF_PHASE, SweepFit
from analyzer.query.kinds import MOST_LINES

_MOST_PANELS = 12
_LABEL = 0.17
"""Share of an axis that the label of a learning rate takes."""
_MOST_TICKS = 9


def fits(found: Sequence[SweepFit]) -> Figure:
    """Plot temperature against the (first) hyperparameter for each group, with the fitted curve and its band.

    Error bars are 1.96 standard errors within the run. With two hyperparameters, each value of the second has its own
    curve and colour; so has each value that was held fixed. Power laws are straight lines on logarithmic axes. More
    than twelve groups are a map of temperatures, with the last coefficient of each group beside it.
    """
    first = found[0].answer
    groups = [str(name) or "model" for name in first["group"].values]
    if len(groups) > _MOST_PANELS:
        return _map(found, groups)
    shown = range(len(groups))
    figure, panels = canvas(len(shown), 5.2 if len(shown) == 1 else 9.6, 3.6 if len(shown) == 1 else 2.9)
    for n, axes in zip(shown, panels, strict=True):
        drawn = 0
        for one in found:
            values, within = one.answer["temperature"].values[n], one.answer["within"].values[n]
            drawn += _panel(axes, one.fits.fits[n], one.x, values, within, drawn, _names_of(one, len(found) > 1))
        axes.set_title(as_text(groups[n]), fontsize=9)
        fit = found[0].fits.fits[n]
        logarithmic = _is_power_law(first.attrs["model"]) and _is_positive([one.x for one in found], axes)
        if logarithmic:
            axes.set_xscale("log")
            axes.set_yscale("log")
            axes.margins(y=0.2)
            places = np.unique(np.concatenate([one.x[:, 0] for one in found]))
            if places.size <= _MOST_TICKS:  # the runs' own values: decades would be one or none
                axes.set_xticks(places, _apart([f"{place:.3g}" for place in places], np.log(places)), fontsize=8)
                axes.xaxis.set_minor_locator(NullLocator())
        else:
            axes.ticklabel_format(axis="both", style="sci", scilimits=(-2, 3), useMathText=True)
            axes.margins(y=0.12)
            axes.set_ylim(bottom=0)
        if fit is not None and len(found) == 1:
            # The equation goes into a corner that the curve leaves free: above its low end, or below if it is flat.
            order = np.argsort(fit.points.x[:, 0])
            rises = fit.fitted[order[-1]] >= fit.fitted[order[0]]
            across, side = (0.03, "left") if rises else (0.97, "right")
            flat = not logarithmic and fit.fitted.min() > 0.5 * fit.fitted.max()
            up, edge = (0.04, "bottom") if flat else (0.97, "top")
            text = as_text(first["equation"].values[n])
            axes.text(across, up, text, transform=axes.transAxes, va=edge, ha=side, fontsize=8)
    handles, names = panels[0].get_legend_handles_labels()
    if len(names) > 1:
        shown_names = names[:MOST_LINES] if len(names) <= MOST_LINES else [*names[: MOST_LINES - 1], "…"]
        figure.legend(handles, shown_names, loc="outside upper center", ncols=4, frameon=False, fontsize=8)
    figure.supxlabel(_title(first), fontsize=10)
    figure.supylabel(f"temperature ({unit_text(first.attrs['units'])})", fontsize=10)
    if len(found) == 1 and found[0].held:
        figure.suptitle(as_text(found[0].held), fontsize=9)
    return figure


def _title(answer: xr.Dataset, number: int = 0) -> str:
    return as_text(json.loads(answer.attrs["against"])[number].replace("_", " "))


def _names_of(one: SweepFit, several: bool) -> list[str]:
    """What tells the curves of a fit apart, one name for each: name = value."""
    if several:
        return [as_text(one.held.replace("=", " = "))]
    if one.x.shape[1] < 2:
        return [""]
    return [f"{_title(one.answer, 1)} = {level:g}" for level in np.unique(one.x[:, 1])]


def _map(found: Sequence[SweepFit], groups: Sequence[str]) -> Figure:
    """Draw temperatures by group and setting as a map, and beside it a coefficient of each group with its interval."""
    first = found[0].answer
    figure = new_figure(11, max(heat.height_of(len(groups)), 3.6))
    axes, beside = figure.subplots(1, 2, sharey=True, width_ratios=[2, 1])
    columns, labels = [], []
    for one in found:
        for setting in np.unique(one.x, axis=0):
            runs = (one.x == setting).all(axis=1)
            columns.append(one.answer["temperature"].values[:, runs].mean(axis=1))
            labels.append(", ".join([*(f"{value:.3g}" for value in setting), *([one.held] if len(found) > 1 else [])]))
    table = np.stack(columns, axis=1)
    picture = heat.draw(axes, np.arange(len(labels) + 1) - 0.5, table, heat.norm_of(table))
    heat.named(axes, groups)
    every = -(-len(labels) // _MOST_TICKS)
    axes.set_xticks(np.arange(0, len(labels), every), [as_text(label) for label in labels[::every]], fontsize=8)
    axes.tick_params(axis="x", rotation=30 if max(map(len, labels)) > 8 else 0)
    axes.set_xlabel(", ".join(_title(first, n) for n in range(found[0].x.shape[1])))
    figure.colorbar(picture, ax=axes, location="left", label=f"temperature ({unit_text(first.attrs['units'])})")
    _coefficients(beside, found)
    return figure


def _coefficients(axis: Any, found: Sequence[SweepFit]) -> None:
    """Draw the exponent of each group, or the last coefficient of another model, with its interval."""
    name = str(found[0].answer["coefficient"].values[-1])
    for n, one in enumerate(found):
        own = one.answer.sel(coefficient=name)
        value, low, high = (own[key].values for key in ("value", "low", "high"))
        aside = 0.12 * (n - (len(found) - 1) / 2)
        bars = np.abs([value - low, high - value])
        axis.errorbar(
            value, np.arange(value.size) + aside, xerr=bars, fmt="o", markersize=3.5, elinewidth=1, color=colour_of(n),
            label=as_text(one.held.replace("=", " = ")),
        )  # fmt: skip
    plain(axis)
    axis.tick_params(axis="y", labelleft=False)
    axis.set_xlabel(f"{name}, {found[0].answer.attrs['level']:.0%} interval")
    if 1 < len(found) <= MOST_LINES:
        axis.legend(frameon=False, fontsize=8, loc="upper left", bbox_to_anchor=(1, 1))


def _apart(labels: list[str], places: np.ndarray[Any, np.dtype[Any]]) -> list[str]:
    """The labels of places along an axis, empty where one would touch the label before it; both ends are kept."""
    width = _LABEL * max(places[-1] - places[0], 1e-9)
    shown = {0, len(labels) - 1}
    last = 0
    for n in range(1, len(labels) - 1):
        if places[n] - places[last] >= width and places[-1] - places[n] >= width:
            shown.add(n)
            last = n
    return [label if n in shown else "" for n, label in enumerate(labels)]


def _is_power_law(model: str) -> bool:
    return model in ("power", "inverse_power", "joint")


def _is_positive(places: Sequence[np.ndarray[Any, Any]], axes: Any) -> bool:
    """Whether logarithmic axes can show all runs and all curves."""
    heights = [y for line in axes.get_lines() for y in np.asarray(line.get_ydata(), dtype=float) if np.isfinite(y)]
    return all((x[:, 0] > 0).all() for x in places) and bool(heights) and min(heights) > 0


def by_lag(answer: xr.Dataset | Tables) -> Figure:
    """Plot each coefficient of a fit except the scale `a` against lag, with intervals: b(L), q(L). One line a group."""
    answer = whole_of(answer)
    names = [str(name) for name in answer["coefficient"].values if name != "a"] or ["a"]
    answer = answer.isel(lag=answer["lag"].values != HALF_PHASE)  # it has the same length as the lag "epoch"
    steps = answer["steps_per_lag"].mean("run").values
    order = np.argsort(steps)
    answer, steps = answer.isel(lag=order), steps[order]
    groups, labels = list(answer["group"].values), _labels_of_lags(answer)
    if len(groups) > MOST_LINES:
        return _maps_by_lag(answer, names, labels, groups)
    figure, panels = canvas(len(names), 7.2 if len(names) == 1 else 9.6, 3.9)
    for axes, name in zip(panels, names, strict=True):
        one = answer.sel(coefficient=name).transpose("group", "lag", ...)
        drawn = []
        for n in range(len(groups)):
            value, low, high = (one[key].values[n] for key in ("value", "low", "high"))
            # Side by side, so that intervals do not hide each other.
            places = steps * 1.05 ** (n - len(groups) / 2)
            bars = axes.errorbar(
                places, value, yerr=np.abs([value - low, high - value]), marker="o", markersize=3.5, linewidth=1,
                **line_of(n),
            )  # fmt: skip
            drawn.append(bars)
        axes.set_xscale("log")
        axes.set_xticks(steps, _apart(labels, np.log(steps)))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.set_xlabel("lag L (steps)")
        axes.set_ylabel(f"{name}(L), {answer.attrs['level']:.0%} interval")
    legend(panels[-1], drawn, groups)
    return figure


def _labels_of_lags(answer: xr.Dataset) -> list[str]:
    """Steps of each lag, or its name where runs differ in them, as epochs do in a sweep of batch sizes."""
    steps = answer["steps_per_lag"].transpose("lag", "run").values
    names = answer["lag"].values
    numbers = heat.labels_of(steps[:, 0])
    return [n if (one == one[0]).all() else str(name) for n, one, name in zip(numbers, steps, names, strict=True)]


def _maps_by_lag(answer: xr.Dataset, names: Sequence[str], labels: Sequence[str], groups: list[Any]) -> Figure:
    """Draw a map of each coefficient by group and lag; intervals are in the table alone."""
    figure, axes = heat.figure_of(len(groups), len(names))
    for axis, name in zip(axes, names, strict=True):
        table = answer.sel(coefficient=name)["value"].transpose("group", "lag").values
        picture = heat.against_lag(axis, labels, table, heat.norm_of(table))
        heat.bar_above(figure, axis, picture, f"{name}(L)")
        heat.unnamed(axis)
    heat.named(axes[0], groups)
    return figure


def _panel(
    axes: Any, one: Fit | None, x: np.ndarray[Any, Any], values: Any, within: Any, colours: int, names: Sequence[str]
) -> int:
    """Draw the runs and the curve of a fit, from colour number `colours` on; return how many colours it took."""
    several = x.shape[1] > 1
    second = x[:, 1] if several else np.zeros(len(x))
    levels = np.unique(second)
    for n, level in enumerate(levels):
        some = second == level
        colour = colour_of(colours + n)
        error = np.minimum(1.96 * np.nan_to_num(within[some]), 0.95 * np.abs(values[some]))  # a logarithm has no 0
        axes.errorbar(
            x[some, 0], values[some], yerr=[error, 1.96 * np.nan_to_num(within[some])], fmt="o", markersize=3.5,
            color=colour, elinewidth=1, label=names[n] or None,
        )  # fmt: skip
        if one is None:
            continue
        low, high = x[some, 0].min(), x[some, 0].max()
        grid = np.geomspace(0.97 * low, 1.03 * high, 200) if low > 0 else np.linspace(low, 1.02 * high, 200)
        curve = predict(one, np.column_stack([grid, np.full(grid.size, level)]) if several else grid)
        axes.plot(grid, curve.temperature, color=colour, linewidth=1.2)
        axes.fill_between(grid, curve.low, curve.high, color=colour, alpha=0.18, linewidth=0)
    return len(levels)
