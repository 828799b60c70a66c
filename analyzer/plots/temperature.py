"""Figures of temperatures and velocities by group and window, and of temperature against lag."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.gridspec import GridSpec
from matplotlib.ticker import MaxNLocator, NullLocator

from analyzer.errors import OptionError
from analyzer.plots.style import COLOURS, DASHES, as_text, canvas, legend, plain, resumptions, scale, unit_text
from analyzer.query.kinds import PLACES, WHOLE
from analyzer.query.timeline import Timeline

SERIES = WHOLE
"""Kinds of groups that are few enough for one line each."""
_MOST_LINES = 28
_MOST_PANELS = 12
_MOST_RATES = 2000
"""Points of the curve of a learning rate."""


def series_window(run: xr.DataTree, answer: xr.Dataset, points: int = 150) -> int:
    """Return a window in steps that divides the range of an answer into about `points` points of a curve."""
    begin, end = int(answer["start_step"].min()), int(answer["stop_step"].max())
    unit = int(answer.attrs["steps_per_lag"])
    return max(round((end - begin) / points / unit), 1) * unit


def temperature(answer: xr.Dataset, resumed: Sequence[int] = (), line: Timeline | None = None) -> Figure:
    """Plot temperatures: lines against step if groups are few; stems or a map by row, column, head or element.

    `resumed` are steps at which the training was resumed; they are marked. With the frames of the run, the learning
    rate is drawn below lines against step, and remarks on one window stand above it.
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
    figure, axes = canvas(1, 7.2, 4.2)
    steps = answer["steps_per_lag"].values
    values = (answer["temperature"].isel(window=0) / answer["steps_per_lag"]).transpose("group", "lag").compute()
    error = (
        (1.96 * answer["standard_error"].isel(window=0) / answer["steps_per_lag"])
        if "standard_error" in answer
        else None
    )
    order = np.argsort(steps)
    shown = list(values["group"].values)[:_MOST_LINES]
    drawn = []
    for n, name in enumerate(shown):
        colour, dash = COLOURS[n % len(COLOURS)], DASHES[n // len(COLOURS) % len(DASHES)]
        bars = None if error is None else np.nan_to_num(error.sel(group=name).values[order])
        aside = 1.1 ** ((n + 0.5) / len(shown) - 0.5)  # so that bars at one lag do not hide each other
        marks = axes[0].errorbar(
            steps[order] * aside, values.sel(group=name).values[order], yerr=bars, color=colour, linestyle=dash,
            marker="o", markersize=3.5, elinewidth=1,
        )  # fmt: skip
        drawn.append(marks)
        if "temperature_half_phase" in answer:
            half = (answer["temperature_half_phase"].isel(window=0) / answer["steps_per_lag"]).sel(group=name)
            axes[0].plot(steps * aside, half.values, "o", markersize=4.5, markerfacecolor="none", color=colour)
    axes[0].set_xscale("log")
    axes[0].set_xticks(sorted(set(steps.tolist())), [f"{step:,}" for step in sorted(set(steps.tolist()))])
    axes[0].xaxis.set_minor_locator(NullLocator())
    axes[0].set(xlabel="lag L (steps)", ylabel="temperature / L (weight² step⁻¹)")
    scale(axes[0], values)
    legend(axes[0], drawn, shown)
    if len(shown) < values.sizes["group"]:
        axes[0].set_title(f"first {len(shown)} of {values.sizes['group']} groups", fontsize=9)
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
    figure, axes = canvas(1, 7.2, 4.2)
    rates = None if line is None else _rates(line, answer)
    shown = list(values["group"].values)[:_MOST_LINES]
    middle = 0.5 * (answer["start_step"] + answer["stop_step"])
    drawn = []
    for n, name in enumerate(shown):
        style: dict[str, Any] = {
            "color": COLOURS[n % len(COLOURS)],
            "linestyle": DASHES[n // len(COLOURS) % len(DASHES)],
        }
        marker = "o" if middle.size <= 20 else None
        drawn += axes[0].plot(middle, values.sel(group=name), marker=marker, markersize=3.5, **style)
    scale(axes[0], values)
    width = int((answer["stop_step"] - answer["start_step"]).max())
    axes[0].set(xlabel=f"step (middle of windows of {width:,})" if width > 1 else "step", ylabel=label)
    mark = resumptions(axes[0], resumed)
    legend(axes[0], [*drawn, *([mark] if mark else [])], [*shown, *(["resumed"] if mark else [])])
    if len(shown) < values.sizes["group"]:
        axes[0].set_title(f"first {len(shown)} of {values.sizes['group']} groups", fontsize=9)
    if rates is not None:
        _draw_rates(figure, axes[0], *rates)
    return figure


def _rates(line: Timeline, answer: xr.Dataset) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]] | None:
    """Steps and learning rates (steps, parameter groups) in the range of an answer; None where none is recorded."""
    inside = (line.steps > int(answer["start_step"].min())) & (line.steps <= int(answer["stop_step"].max()))
    rates = line.settings.recorded.of_rate()
    if not rates.size or np.isnan(rates[inside]).all():
        return None
    rates = np.unique(rates[inside], axis=1)  # groups of one rate are one line
    every = max(len(rates) // _MOST_RATES, 1)
    return line.steps[inside][::every], rates[::every]


def _draw_rates(figure: Figure, above: Axes, steps: np.ndarray[Any, Any], rates: np.ndarray[Any, Any]) -> None:
    """Draw the learning rate in a panel below the temperatures, over the same steps."""
    below = figure.add_subplot(sharex=above)
    grid = GridSpec(2, 1, figure=figure, height_ratios=(3, 1))
    above.set_subplotspec(grid[0])
    below.set_subplotspec(grid[1])
    plain(below)
    for n, rate in enumerate(rates.T):
        colour, dash = COLOURS[-1 - n % len(COLOURS)], DASHES[n // len(COLOURS) % len(DASHES)]
        below.plot(steps, rate, color=colour, linestyle=dash, linewidth=1.1, drawstyle="steps-pre")
    scale(below, xr.DataArray(rates))
    below.set(xlabel=above.get_xlabel(), ylabel="learning rate η")
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
    heat = values.sizes["window"] > 1
    figure, axes = canvas(len(shown), 7.2 if len(shown) == 1 else 9.6, 4.2 if len(shown) == 1 else 2.5)
    positive = values.values[np.isfinite(values.values) & (values.values > 0)]
    norm = LogNorm(positive.min(), positive.max()) if positive.size and positive.max() > positive.min() else None
    picture: Any = None
    mark: Any = None
    for axis, owner in zip(axes, shown, strict=False):
        panel = values.values[answer["parameter"].values == owner]
        if heat:
            edges = np.append(answer["start_step"].values, answer["stop_step"].values[-1])
            masked = np.ma.masked_where(~(panel > 0), panel)
            picture = axis.pcolormesh(edges, np.arange(len(panel) + 1) - 0.5, masked, norm=norm, cmap="cividis")
            axis.set_facecolor("0.85")
            mark = resumptions(axis, resumed) or mark
            axis.invert_yaxis()
            axis.yaxis.set_major_locator(MaxNLocator(5, integer=True))
        else:
            _stems(axis, panel[:, 0], values)
        axis.set_title(as_text(owner), fontsize=9)
        axis.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    what = "element (flat index)" if place == "index" else place
    figure.supxlabel("step" if heat else what, fontsize=10)
    figure.supylabel(what if heat else label, fontsize=10)
    if heat and picture is not None:
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
