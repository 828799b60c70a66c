"""Figures of temperatures and velocities by group and window, and of temperature against lag."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.gridspec import GridSpec
from matplotlib.ticker import MaxNLocator, NullLocator

from analyzer.errors import OptionError
from analyzer.plots import heat
from analyzer.plots.style import (
    COLOURS,
    as_text,
    canvas,
    colour_of,
    legend,
    line_of,
    plain,
    resumptions,
    scale,
    unit_text,
)
from analyzer.query.kinds import MOST_LINES, PLACES, WHOLE
from analyzer.query.recorded import distinct_rates
from analyzer.query.timeline import Timeline

SERIES = WHOLE
"""Kinds of groups that are drawn as one line each."""
_MOST_PANELS = 12
_MOST_RATES = 2000
"""Most points of the curve of a learning rate."""


def series_window(answer: xr.Dataset, points: int = 150) -> int:
    """Return a window in steps that divides the range of an answer into about `points` points of a curve."""
    begin, end = int(answer["start_step"].min()), int(answer["stop_step"].max())
    unit = int(answer.attrs["steps_per_lag"])
    return max(round((end - begin) / points / unit), 1) * unit


def temperature(answer: xr.Dataset, resumed: Sequence[int] = (), line: Timeline | None = None) -> Figure:
    """Plot temperatures: lines against step if groups are few; stems or a map by row, column, head or element.

    `resumed` are steps at which the training was resumed; they are marked. `line`, the timeline of the run, adds a
    panel with the learning rate below lines against step. Remarks on a single window are put above the figure.
    """
    column = "temperature_per_eta2" if "temperature_per_eta2" in answer else "temperature"
    figure = _figure(answer, column, "temperature / η²" if column != "temperature" else "temperature", resumed, line)
    said = [str(text) for text in np.unique(answer["remark"].values.astype(str)) if text] if "remark" in answer else []
    if said and answer.sizes["window"] == 1:
        figure.suptitle(as_text("; ".join(said)), fontsize=9)
    return figure


def by_lag(answer: xr.Dataset) -> Figure:
    """Plot temperature over lag, T(L)/L, against lag. It is flat for independent steps and rises if velocities persist.

    Open symbols are displacements over one epoch that start at the middle of an epoch.
    """
    if answer.sizes["window"] > 1:
        raise OptionError(
            f"--plot: expected one window where there are several lags, got {answer.sizes['window']}. T against lag is "
            "drawn for one range of steps. Leave --window out, and choose the range with --start and --stop."
        )
    steps = answer["steps_per_lag"].values
    values = (answer["temperature"].isel(window=0) / answer["steps_per_lag"]).transpose("group", "lag").compute()
    error = (
        (1.96 * answer["standard_error"].isel(window=0) / answer["steps_per_lag"])
        if "standard_error" in answer
        else None
    )
    order = np.argsort(steps)
    label = "temperature / L (weight² step⁻¹)"
    shown = list(values["group"].values)
    if len(shown) > MOST_LINES:
        figure, axes = heat.figure_of(len(shown))
        table = values.values[:, order]
        picture = heat.against_lag(axes[0], heat.labels_of(steps[order]), table, heat.norm_of(table))
        heat.named(axes[0], shown)
        figure.colorbar(picture, ax=axes, label=label, aspect=30)
        return figure
    figure, axes = canvas(1, 7.2, 4.2)
    drawn = []
    for n, name in enumerate(shown):
        bars = None if error is None else np.nan_to_num(error.sel(group=name).values[order])
        aside = 1.1 ** ((n + 0.5) / len(shown) - 0.5)  # so that bars at one lag do not hide each other
        marks = axes[0].errorbar(
            steps[order] * aside, values.sel(group=name).values[order], yerr=bars, marker="o", markersize=3.5,
            elinewidth=1, **line_of(n),
        )  # fmt: skip
        drawn.append(marks)
        if "temperature_half_phase" in answer:
            half = (answer["temperature_half_phase"].isel(window=0) / answer["steps_per_lag"]).sel(group=name)
            axes[0].plot(steps * aside, half.values, "o", markersize=4.5, markerfacecolor="none", color=colour_of(n))
    axes[0].set_xscale("log")
    axes[0].set_xticks(sorted(set(steps.tolist())), [f"{step:,}" for step in sorted(set(steps.tolist()))])
    axes[0].xaxis.set_minor_locator(NullLocator())
    axes[0].set(xlabel="lag L (steps)", ylabel=label)
    scale(axes[0], values)
    legend(axes[0], drawn, shown)
    return figure


def velocity(answer: xr.Dataset, resumed: Sequence[int] = ()) -> Figure:
    """Plot root mean squared velocities in the same way as `temperature`."""
    return _figure(answer, "rms_velocity", "rms velocity", resumed)


def _figure(
    answer: xr.Dataset, column: str, title: str, resumed: Sequence[int], line: Timeline | None = None
) -> Figure:
    values = answer[column].compute()
    unit = unit_text(values.attrs.get("units", ""))
    label = f"{title} ({unit})"
    place = next((name for name in PLACES if name in answer.coords), None)
    if place is None and answer.sizes["window"] > 1:
        return _lines(values, answer, label, resumed, line)
    if place is None:
        return _bars_of_groups(values, label)
    return _by_place(values, answer, place, label, resumed)


def _lines(
    values: xr.DataArray, answer: xr.Dataset, label: str, resumed: Sequence[int], line: Timeline | None
) -> Figure:
    """Draw a line for each group, or a heat map of many, with the learning rate below."""
    width = int((answer["stop_step"] - answer["start_step"]).max())
    names = list(values["group"].values)
    many = len(names) > MOST_LINES
    figure, axes = heat.figure_of(len(names)) if many else canvas(1, 7.2, 4.2)
    if many:
        mark = _draw_map(figure, axes[0], values, answer, label, resumed)
        if mark:
            axes[0].legend([mark], ["resumed"], loc="lower right", bbox_to_anchor=(1, 1), frameon=False, fontsize=8)
    else:
        drawn = _draw_lines(axes[0], values, answer)
        axes[0].set_ylabel(label)
        mark = resumptions(axes[0], resumed)
        legend(axes[0], [*drawn, *([mark] if mark else [])], [*names, *(["resumed"] if mark else [])])
    axes[0].set_xlabel(f"step (middle of windows of {width:,})" if width > 1 and not many else "step")
    if line is not None:
        _draw_rates(figure, axes[0], line, answer)
    return figure


def _draw_lines(axes: Axes, values: xr.DataArray, answer: xr.Dataset) -> list[Any]:
    """Draw temperatures against the middles of windows; with points if they are few, or if one lies between gaps."""
    middle = 0.5 * (answer["start_step"] + answer["stop_step"])
    drawn = []
    for n, name in enumerate(values["group"].values):
        own = values.sel(group=name)
        there = np.isfinite(own.values)
        alone = there & ~np.append(there[1:], False) & ~np.append(False, there[:-1])
        marker = "o" if middle.size <= 20 or alone.any() else None
        drawn += axes.plot(middle, own, marker=marker, markersize=3.5, **line_of(n))
    scale(axes, values)
    return drawn


def _draw_map(
    figure: Figure, axes: Axes, values: xr.DataArray, answer: xr.Dataset, label: str, resumed: Sequence[int]
) -> Any:
    """Draw a line of cells for each group, a cell for each window; return a mark of resumptions for a legend."""
    table = values.transpose("group", "window").values
    edges, cells = heat.cells_of(answer["start_step"].values, answer["stop_step"].values, table)
    picture = heat.draw(axes, edges, cells, heat.norm_of(table))
    heat.named(axes, list(values["group"].values))
    heat.against_step(axes)
    figure.colorbar(picture, ax=axes, label=label, aspect=30)
    return resumptions(axes, resumed)


def _draw_rates(figure: Figure, above: Axes, line: Timeline, answer: xr.Dataset) -> None:
    """Draw the recorded learning rates, if any, in a panel below the temperatures, over the same steps."""
    inside = (line.steps > int(answer["start_step"].min())) & (line.steps <= int(answer["stop_step"].max()))
    rates = distinct_rates(line.settings.recorded, inside)
    if not rates:
        return
    every = max(int(inside.sum()) // _MOST_RATES, 1)
    below = figure.add_subplot(sharex=above)
    grid = GridSpec(2, 1, figure=figure, height_ratios=(3, 1))
    above.set_subplotspec(grid[0])
    below.set_subplotspec(grid[1])
    plain(below)
    for n, (name, rate) in enumerate(rates):
        style = line_of(n) | {"color": colour_of(-1 - n)}
        below.plot(
            line.steps[inside][::every], rate[::every], label=name, linewidth=1.1, drawstyle="steps-pre", **style
        )
    if 1 < len(rates) <= MOST_LINES:
        below.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False, fontsize=8)
    scale(below, xr.DataArray(np.array([rate for _, rate in rates])))
    label = "learning rate η" if len(rates) <= MOST_LINES else f"{len(rates)} learning rates η"
    below.set(xlabel=above.get_xlabel(), ylabel=label)
    above.set_xlabel("")
    above.tick_params(labelbottom=False)


def _bars_of_groups(values: xr.DataArray, label: str) -> Figure:
    figure, axes = canvas(1, 6.4, max(2.2, 0.3 * values.sizes["group"] + 1))
    names = [as_text(str(name) or "model") for name in values["group"].values]
    axes[0].plot(values[:, 0], np.arange(len(names)), "o", color=COLOURS[0])
    axes[0].set_yticks(np.arange(len(names)), names)
    axes[0].invert_yaxis()
    axes[0].margins(y=0.1)
    scale(axes[0], values, axis="x")
    axes[0].set_xlabel(label)
    return figure


def _by_place(values: xr.DataArray, answer: xr.Dataset, place: str, label: str, resumed: Sequence[int]) -> Figure:
    owners = list(dict.fromkeys(answer["parameter"].values))
    shown = owners[:_MOST_PANELS]
    against_time = values.sizes["window"] > 1
    figure, axes = canvas(len(shown), 7.2 if len(shown) == 1 else 9.6, 4.2 if len(shown) == 1 else 2.5)
    norm = heat.norm_of(values.values)
    picture: Any = None
    mark: Any = None
    for axis, owner in zip(axes, shown, strict=False):
        panel = values.values[answer["parameter"].values == owner]
        if against_time:
            edges, cells = heat.cells_of(answer["start_step"].values, answer["stop_step"].values, panel)
            picture = heat.draw(axis, edges, cells, norm)
            mark = resumptions(axis, resumed) or mark
            axis.yaxis.set_major_locator(MaxNLocator(5, integer=True))
        else:
            _stems(axis, panel[:, 0], values)
        axis.set_title(as_text(owner), fontsize=9)
        axis.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    what = "element (flat index)" if place == "index" else place
    figure.supxlabel("step" if against_time else what, fontsize=10)
    figure.supylabel(what if against_time else label, fontsize=10)
    if against_time and picture is not None:
        figure.colorbar(picture, ax=axes[: len(shown)], label=label, aspect=30)
    if mark is not None:
        figure.legend([mark], ["resumed"], loc="outside upper right", frameon=False, fontsize=8)
    if len(shown) < len(owners):
        figure.suptitle(f"first {len(shown)} of {len(owners)} parameters", fontsize=9)
    return figure


def _stems(axis: Axes, heights: np.ndarray[Any, Any], values: xr.DataArray) -> None:
    """Draw a point for each row, column, head or element, with a stem if there are at most 256."""
    places = np.arange(heights.size)
    axis.plot(places, heights, "o", markersize=3 if heights.size <= 256 else 1.2, color=COLOURS[0])
    scale(axis, values)
    if heights.size <= 256:
        axis.vlines(places, axis.get_ylim()[0], heights, color=COLOURS[0], linewidth=0.8, alpha=0.6)
    axis.set_xlim(-0.7, heights.size - 0.3)
    axis.grid(visible=False, axis="x")
