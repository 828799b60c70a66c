"""Figures of fits, like the paper's figures 2, 3, 6 and 7: one panel for each group, with error bars and the curve."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.figure import Figure

from analyzer.fitting.fit import Fit, predict
from analyzer.plots.style import COLOURS, DASHES, as_text, canvas, legend, unit_text
from analyzer.quantities.fit import HALF_PHASE, SweepFit

_MOST_PANELS = 12
_MOST_LINES = 28


def fits(found: SweepFit) -> Figure:
    """Plot temperature against the (first) hyperparameter for each group, with the fitted curve and its band.

    Error bars are 1.96 standard errors within the run. With two hyperparameters, each value of the second has its own
    curve and colour.
    """
    groups = [str(name) or "model" for name in found.answer["group"].values]
    shown = range(min(len(groups), _MOST_PANELS))
    figure, panels = canvas(len(shown), 5.2 if len(shown) == 1 else 9.6, 3.6 if len(shown) == 1 else 2.9)
    for n, axes in zip(shown, panels, strict=True):
        one = found.fits.fits[n]
        values, within = found.answer["temperature"].values[n], found.answer["within"].values[n]
        _panel(axes, one, found.x, values, within)
        axes.set_title(as_text(groups[n]), fontsize=9)
        if one is not None:
            # The equation goes into the corner that the curve leaves free.
            order = np.argsort(one.points.x[:, 0])
            rises = one.fitted[order[-1]] >= one.fitted[order[0]]
            where, side = (0.03, "left") if rises else (0.97, "right")
            text = as_text(found.answer["equation"].values[n])
            axes.text(where, 0.97, text, transform=axes.transAxes, va="top", ha=side, fontsize=8)
        axes.ticklabel_format(axis="both", style="sci", scilimits=(-2, 3), useMathText=True)
        axes.set_ylim(bottom=0)
        axes.margins(y=0.12)
    figure.supxlabel(as_text(json.loads(found.answer.attrs["against"])[0].replace("_", " ")), fontsize=10)
    figure.supylabel(f"temperature ({unit_text(found.answer.attrs['units'])})", fontsize=10)
    if len(shown) < len(groups):
        figure.suptitle(f"first {len(shown)} of {len(groups)} groups", fontsize=9)
    return figure


def by_lag(answer: xr.Dataset) -> Figure:
    """Plot each coefficient of a fit except the scale `a` against lag, with intervals: b(L), q(L). One line a group."""
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
                color=COLOURS[n % len(COLOURS)], linestyle=DASHES[n // len(COLOURS) % len(DASHES)],
            )  # fmt: skip
            drawn.append(bars)
        axes.set_xscale("log")
        axes.set_xlabel("lag L (steps)")
        axes.set_ylabel(f"{name}(L), {answer.attrs['level']:.0%} interval")
    legend(panels[-1], drawn, groups)
    return figure


def _panel(axes: Any, one: Fit | None, x: np.ndarray[Any, Any], values: Any, within: Any) -> None:
    several = x.shape[1] > 1
    second = x[:, 1] if several else np.zeros(len(x))
    for n, level in enumerate(np.unique(second)):
        some = second == level
        colour = COLOURS[n % len(COLOURS)]
        error = 1.96 * np.nan_to_num(within[some])
        label = f"{level:g}" if several else None
        axes.errorbar(
            x[some, 0], values[some], yerr=error, fmt="o", markersize=3.5, color=colour, elinewidth=1, label=label
        )
        if one is None:
            continue
        grid = np.linspace(0.97 * x[some, 0].min(), 1.02 * x[some, 0].max(), 200)
        curve = predict(one, np.column_stack([grid, np.full(grid.size, level)]) if several else grid)
        axes.plot(grid, curve.temperature, color=colour, linewidth=1.2)
        axes.fill_between(grid, curve.low, curve.high, color=colour, alpha=0.18, linewidth=0)
    if several:
        axes.legend(frameon=False, fontsize=7, loc="lower right")
