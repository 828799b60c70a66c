"""Pictures of fits, like the paper's figures 2, 3, 6 and 7: a panel a group, points with error bars and the curve."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.figure import Figure

from analyzer.fitting.fit import Fit, predict
from analyzer.plots import COLOURS, DASHES, canvas, unit_text
from analyzer.sweep_fits import HALF_PHASE, SweepFit

_MOST_PANELS = 12
_MOST_LINES = 28


def fits(found: SweepFit) -> Figure:
    """Temperature against the (first) hyperparameter of every group, with the fitted curve and its 95 % band.

    Error bars are 1.96 standard errors within the run. For two hyperparameters every value of the second has its own
    curve and colour.
    """
    groups = [str(name) or "model" for name in found.answer["group"].values]
    shown = range(min(len(groups), _MOST_PANELS))
    figure, panels = canvas(len(shown), 5.2 if len(shown) == 1 else 9.6, 3.6 if len(shown) == 1 else 2.9)
    for n, axes in zip(shown, panels, strict=True):
        one = found.fits.fits[n]
        values, within = found.answer["temperature"].values[n], found.answer["within"].values[n]
        _panel(axes, one, found.x, values, within)
        axes.set_title(groups[n], fontsize=9)
        if one is not None:
            # In the corner that the curve leaves free.
            order = np.argsort(one.points.x[:, 0])
            rises = one.fitted[order[-1]] >= one.fitted[order[0]]
            where, side = (0.03, "left") if rises else (0.97, "right")
            text = str(found.answer["equation"].values[n])
            axes.text(where, 0.97, text, transform=axes.transAxes, va="top", ha=side, fontsize=8)
        axes.ticklabel_format(axis="both", style="sci", scilimits=(-2, 3), useMathText=True)
        axes.set_ylim(bottom=0)
        axes.margins(y=0.12)
    figure.supxlabel(json.loads(found.answer.attrs["against"])[0].replace("_", " "), fontsize=10)
    figure.supylabel(f"temperature ({unit_text(found.answer.attrs['units'])})", fontsize=10)
    if len(shown) < len(groups):
        figure.suptitle(f"first {len(shown)} of {len(groups)} groups", fontsize=9)
    return figure


def by_lag(answer: xr.Dataset) -> Figure:
    """Every coefficient of a fit but the scale `a` against lag, a line a group, with its intervals: b(L), q(L)."""
    names = [str(name) for name in answer["coefficient"].values if name != "a"] or ["a"]
    figure, panels = canvas(len(names), 7.2 if len(names) == 1 else 9.6, 3.9)
    answer = answer.isel(lag=answer["lag"].values != HALF_PHASE)  # it would stand above the epoch itself
    steps = answer["steps_per_lag"].mean("run").values
    order = np.argsort(steps)
    groups = list(answer["group"].values)[:_MOST_LINES]
    for axes, name in zip(panels, names, strict=True):
        one = answer.sel(coefficient=name).transpose("group", "lag", ...)
        for n, group in enumerate(groups):
            value, low, high = (one[key].values[n][order] for key in ("value", "low", "high"))
            # Beside one another, lest their intervals hide each other.
            places = steps[order] * 1.05 ** (n - len(groups) / 2)
            axes.errorbar(
                places, value, yerr=np.abs([value - low, high - value]), marker="o", markersize=3.5, linewidth=1,
                color=COLOURS[n % len(COLOURS)], linestyle=DASHES[n // len(COLOURS) % len(DASHES)],
                label=str(group) or "model",
            )  # fmt: skip
        axes.set_xscale("log")
        axes.set_xlabel("lag L (steps)")
        axes.set_ylabel(f"{name}(L), {answer.attrs['level']:.0%} interval")
    panels[-1].legend(loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False, fontsize=9)
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
