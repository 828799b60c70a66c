"""Figures of fits, like the paper's figures 2, 3, 6 and 7: one panel for each group, with error bars and the curve."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from analyzer.fitting.fit import Fit, predict
from analyzer.plots.style import as_text, canvas, colour_of, legend, line_of, unit_text
from analyzer.quantities.answers import Tables, whole_of
from analyzer.quantities.fit import HALF_PHASE, SweepFit

_MOST_PANELS = 12
_LABEL = 0.17
"""Share of an axis that the label of a learning rate takes."""
_MOST_LINES = 28
_MOST_TICKS = 9


def fits(found: Sequence[SweepFit]) -> Figure:
    """Plot temperature against the (first) hyperparameter for each group, with the fitted curve and its band.

    Error bars are 1.96 standard errors within the run. With two hyperparameters, each value of the second has its own
    curve and colour; so has each value that was held fixed. Power laws are straight lines on logarithmic axes.
    """
    first = found[0].answer
    groups = [str(name) or "model" for name in first["group"].values]
    shown = range(min(len(groups), _MOST_PANELS))
    figure, panels = canvas(len(shown), 5.2 if len(shown) == 1 else 9.6, 3.6 if len(shown) == 1 else 2.9)
    for n, axes in zip(shown, panels, strict=True):
        drawn = 0
        for one in found:
            values, within = one.answer["temperature"].values[n], one.answer["within"].values[n]
            drawn += _panel(axes, one.fits.fits[n], one.x, values, within, drawn, one.held if len(found) > 1 else "")
        axes.set_title(as_text(groups[n]), fontsize=9)
        fit = found[0].fits.fits[n]
        if fit is not None and len(found) == 1:
            # The equation goes into the corner that the curve leaves free.
            order = np.argsort(fit.points.x[:, 0])
            rises = fit.fitted[order[-1]] >= fit.fitted[order[0]]
            where, side = (0.03, "left") if rises else (0.97, "right")
            text = as_text(first["equation"].values[n])
            axes.text(where, 0.97, text, transform=axes.transAxes, va="top", ha=side, fontsize=8)
        if _is_power_law(first.attrs["model"]) and _is_positive([one.x for one in found], axes):
            axes.set_xscale("log")
            axes.set_yscale("log")
            axes.margins(y=0.2)
            places = np.unique(np.concatenate([one.x[:, 0] for one in found]))
            if places.size <= _MOST_TICKS:  # the runs' own values: decades would be one or none
                axes.set_xticks(places, _apart([f"{place:.3g}" for place in places], np.log(places)), fontsize=8)
                axes.xaxis.set_minor_locator(NullLocator())
        else:
            axes.ticklabel_format(axis="both", style="sci", scilimits=(-2, 3), useMathText=True)
            axes.set_ylim(bottom=0)
            axes.margins(y=0.12)
        if drawn > 1:
            axes.legend(frameon=False, fontsize=7, loc="lower right")
    figure.supxlabel(as_text(json.loads(first.attrs["against"])[0].replace("_", " ")), fontsize=10)
    figure.supylabel(f"temperature ({unit_text(first.attrs['units'])})", fontsize=10)
    held = found[0].held if len(found) == 1 else ""
    some = f"first {len(shown)} of {len(groups)} groups" if len(shown) < len(groups) else ""
    if held or some:
        figure.suptitle(as_text("; ".join(text for text in (held, some) if text)), fontsize=9)
    return figure


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
    figure, panels = canvas(len(names), 7.2 if len(names) == 1 else 9.6, 3.9)
    answer = answer.isel(lag=answer["lag"].values != HALF_PHASE)  # it has the same length as the lag "epoch"
    steps = answer["steps_per_lag"].mean("run").values
    order = np.argsort(steps)
    groups = list(answer["group"].values)[:_MOST_LINES]
    for axes, name in zip(panels, names, strict=True):
        one = answer.sel(coefficient=name).transpose("group", "lag", ...)
        drawn = []
        for n in range(len(groups)):
            value, low, high = (one[key].values[n][order] for key in ("value", "low", "high"))
            # Side by side, so that intervals do not hide each other.
            places = steps[order] * 1.05 ** (n - len(groups) / 2)
            bars = axes.errorbar(
                places, value, yerr=np.abs([value - low, high - value]), marker="o", markersize=3.5, linewidth=1,
                **line_of(n),
            )  # fmt: skip
            drawn.append(bars)
        axes.set_xscale("log")
        axes.set_xlabel("lag L (steps)")
        axes.set_ylabel(f"{name}(L), {answer.attrs['level']:.0%} interval")
    legend(panels[-1], drawn, groups)
    return figure


def _panel(
    axes: Any, one: Fit | None, x: np.ndarray[Any, Any], values: Any, within: Any, colours: int, held: str
) -> int:
    """Draw the runs and the curve of a fit, from colour number `colours` on; return how many colours it took."""
    several = x.shape[1] > 1
    second = x[:, 1] if several else np.zeros(len(x))
    levels = np.unique(second)
    for n, level in enumerate(levels):
        some = second == level
        colour = colour_of(colours + n)
        error = np.minimum(1.96 * np.nan_to_num(within[some]), 0.95 * np.abs(values[some]))  # a logarithm has no 0
        label = as_text(held) if held else f"{level:g}" if several else None
        axes.errorbar(
            x[some, 0], values[some], yerr=[error, 1.96 * np.nan_to_num(within[some])], fmt="o", markersize=3.5,
            color=colour, elinewidth=1, label=label,
        )  # fmt: skip
        if one is None:
            continue
        low, high = x[some, 0].min(), x[some, 0].max()
        grid = np.geomspace(0.97 * low, 1.03 * high, 200) if low > 0 else np.linspace(low, 1.02 * high, 200)
        curve = predict(one, np.column_stack([grid, np.full(grid.size, level)]) if several else grid)
        axes.plot(grid, curve.temperature, color=colour, linewidth=1.2)
        axes.fill_between(grid, curve.low, curve.high, color=colour, alpha=0.18, linewidth=0)
    return len(levels)
