"""Figures of rows, like the paper's figure 4. For each parameter: a map of elements, a line of them, rows ranked."""

from __future__ import annotations

import glob
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm, Normalize
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import FixedLocator, LogLocator, MaxNLocator, NullFormatter

from analyzer.engine.measure import Measurement
from analyzer.plots.style import COLOURS, as_text, new_figure, plain, unit_text
from analyzer.quantities.answers import Tables, whole_of
from analyzer.quantities.velocity import velocity_summary_of
from analyzer.query.groups import group, local_groups
from analyzer.query.query import Query
from analyzer.statistics.density import NORMAL
from analyzer.statistics.heterogeneity import UNDECIDED
from analyzer.store.schema import Parameter

Array = np.ndarray[Any, np.dtype[Any]]

MOST_PARAMETERS = 8
_DECADES = 5.0
"""A scale is logarithmic if the largest value exceeds the smallest by this factor, as in `analyzer.plots.style`."""


def shown(answer: xr.Dataset) -> list[str]:
    """Return the names of the parameters that are drawn, the first eight."""
    return [str(name) for name in answer["tested"].values[:MOST_PARAMETERS]]


def elements(run: xr.DataTree, query: Query, answer: xr.Dataset) -> tuple[xr.Dataset, list[Measurement]]:
    """Return the mean squared velocity of every element that is drawn, lazy, over the window of `answer`."""
    names = [glob.escape(name) for name in shown(answer)]
    begin, end = int(answer["start_step"].values[0]), int(answer["stop_step"].values[-1])
    asked = replace(query, by="element", window=None, parameter=names, layer=None, exclude=None, batches=False)
    return velocity_summary_of(run, replace(asked, start=begin, stop=end))


def rows(answer: xr.Dataset | Tables, elements: xr.Dataset, parameters: Sequence[Parameter]) -> Figure:
    """Plot three panels for each parameter: a map of its elements, the elements row by row, and the rows ranked.

    Parameters
    ----------
    answer
        What `analyzer.rows` returned.
    elements
        The dataset of the function `elements`, computed.
    parameters
        The parameters of the run.
    """
    answer = whole_of(answer)
    names, kind = shown(answer), str(answer.attrs["by"])
    units = unit_text(answer["mean_squared_velocity"].attrs["units"])
    rules = group(parameters, kind).rules
    by_name = {p.name: p for p in parameters}
    layout = ConstrainedLayoutEngine(wspace=0.05, hspace=0.03)
    figure = new_figure(12.8, max(2.75 * len(names) + 0.6, 3.6), layout)
    grid = figure.subplots(len(names), 3, squeeze=False, width_ratios=[1.25, 1.5, 1.35])
    for line, name in zip(grid, names, strict=True):
        p = by_name[name]
        labels, numbers = local_groups(rules[name], p.shape, tuple((0, length) for length in p.shape))
        flat = elements["mean_squared_velocity"].values[elements["parameter"].values == name, 0]
        own = answer.isel(group=answer["parameter"].values == name, window=0)
        power = _power(flat)
        # One line for each row. A row's elements keep their order, with all axes but the row's flattened.
        table = flat[np.argsort(labels, kind="stable")].reshape(numbers.size, -1) / 10.0**power
        label = f"⟨v²⟩ ({f'10{_raised(power)} ' if power else ''}{units})"
        _map(figure, line[0], table, label)
        _flattened(line[1], table, own["mean_squared_velocity"].values / 10.0**power)
        _ranked(line[2], own, power)
        line[0].set_title(as_text(name), fontsize=9)
        line[0].set_ylabel(kind, fontsize=9)
        heat = own["mean_squared_velocity"].values
        hidden = int((heat == 0).sum()) if _spread(heat)[1] else 0
        at_zero = f"; {hidden} at zero" if hidden else ""
        line[2].set_title(_verdict(answer.sel(tested=name)) + at_zero, fontsize=8)
        for axis in line[1:]:
            plain(axis)
            axis.set_ylabel(label, fontsize=8)
        for axis in line:
            axis.tick_params(labelsize=8)
    grid[0][1].set_title(f"line: mean of the {kind}", fontsize=9, color=COLOURS[1])
    for axis, text in zip(grid[-1], (f"element of the {kind}", f"element, {kind} by {kind}", "rank"), strict=True):
        axis.set_xlabel(text, fontsize=9)
    figure.suptitle(_headline(answer, elements, len(names)), fontsize=10)
    return figure


def _headline(answer: xr.Dataset, elements: xr.Dataset, drawn: int) -> str:
    begin, end = int(answer["start_step"].values[0]), int(answer["stop_step"].values[-1])
    text = f"mean squared velocity, steps {begin:,} to {end:,}, lag {answer.attrs['lag']}"
    if drawn < answer.sizes["tested"]:
        text += f"; first {drawn} of {answer.sizes['tested']} parameters"
    bars = "bars: 95 % intervals"
    if answer["unreliable"].values.any():
        bars += "; hollow: too short a window for a bar to be relied on"
    if (elements["mean_squared_velocity"].values == 0).any():
        bars += "; grey: never moved"
    return f"{text}\n{bars}"


def _power(values: Array) -> int:
    """Power of ten that brings the largest value to between 1 and 10; 0 where that is no gain."""
    positive, _ = _spread(values)
    power = int(np.floor(np.log10(positive.max()))) if positive.size else 0
    return power if abs(power) > 2 else 0


def _raised(power: int) -> str:
    return str(power).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))


def _spread(values: Array) -> tuple[Array, bool]:
    """Return the finite positive values, and whether their scale should be logarithmic."""
    positive = values[np.isfinite(values) & (values > 0)]
    return positive, bool(positive.size and positive.max() > _DECADES * positive.min())


def _map(figure: Figure, axis: Axes, table: Array, label: str) -> None:
    positive, wide = _spread(table)
    norm: Any = None
    if positive.size:
        norm = LogNorm(positive.min(), positive.max()) if wide else Normalize(0, positive.max())
    masked = np.ma.masked_where(~(table > 0) if wide else ~np.isfinite(table), table)
    picture = axis.imshow(masked, norm=norm, cmap="cividis", aspect="auto", interpolation="nearest")
    axis.set_facecolor("0.85")  # elements that never moved, and those that are not finite
    for ruler, length in ((axis.xaxis, table.shape[1]), (axis.yaxis, table.shape[0])):
        ruler.set_major_locator(MaxNLocator(5, integer=True) if length > 1 else FixedLocator([0]))
    bar = figure.colorbar(picture, ax=axis, aspect=22, pad=0.02)
    if wide:
        _logarithmic(bar.ax.yaxis, positive)
    bar.ax.tick_params(labelsize=8)
    bar.set_label(label, fontsize=8)


def _flattened(axis: Axes, table: Array, means: Array) -> None:
    """Draw every element as a point and the mean of each row as a horizontal line."""
    size = 2.2 if table.size <= 1024 else 1.1
    axis.plot(table.reshape(-1), ".", markersize=size, color=COLOURS[5], rasterized=table.size > 20_000)
    edges = np.arange(table.shape[0] + 1) * table.shape[1] - 0.5
    axis.stairs(means, edges, baseline=None, color=COLOURS[1], linewidth=1.3)
    _limits(axis, table)
    axis.set_xlim(edges[0], edges[-1])
    axis.xaxis.set_major_locator(MaxNLocator(5, integer=True))


def _ranked(axis: Axes, own: xr.Dataset, power: int) -> None:
    """Draw rows by rank with 95 % intervals: hollow if the error is unreliable, without a bar if it is unknown."""
    heat = own["mean_squared_velocity"].values / 10.0**power
    error = 2 * NORMAL * own["standard_error"].values / 10.0**power  # T = ½⟨v²⟩
    rank, loose = own["rank"].values, own["unreliable"].values
    style: dict[str, Any] = {"fmt": "o", "markersize": 3.5 if rank.size <= 128 else 2.0, "color": COLOURS[0]}
    for some, face in ((~loose, COLOURS[0]), (loose, axis.get_facecolor())):
        if some.any():
            bars = np.where(np.isfinite(error[some]), error[some], 0)
            axis.errorbar(rank[some], heat[some], yerr=bars, elinewidth=0.9, markerfacecolor=face, **style)
    _limits(axis, heat, heat + np.nan_to_num(error))
    axis.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    axis.set_xlim(0.3, rank.size + 0.7)


def _verdict(tests: xr.Dataset) -> str:
    p, ratio = float(tests["p_value"]), float(tests["hottest_over_coldest"])
    words = [str(tests["verdict"].item())]
    if words[0] != UNDECIDED:
        words[0] += ", p < 1e-99" if p < 1e-99 else f", p = {p:.2g}"
    if np.isfinite(ratio):
        words.append(f"hottest {ratio:.3g} × coldest")
    return "; ".join(words)


def _limits(axis: Axes, values: Array, tops: Array | None = None) -> None:
    """Make the vertical scale logarithmic if positive values span more than a factor of five, else start it at zero."""
    positive, wide = _spread(values)
    highest, _ = _spread(values if tops is None else tops)
    if wide:
        axis.set_yscale("log")
        axis.set_ylim(positive.min() / 1.5, highest.max() * 1.5)
        _logarithmic(axis.yaxis, positive)
    else:
        axis.set_ylim(0, 1.08 * highest.max() if highest.size else 1)


def _logarithmic(ruler: Any, values: Array) -> None:
    """Label a logarithmic scale with plain numbers: 1, 2, 5 within two decades, else powers of ten."""
    steps = (1.0, 2.0, 5.0) if values.max() < 100 * values.min() else (1.0,)
    ruler.set_major_locator(LogLocator(subs=steps))
    ruler.set_major_formatter("{x:g}")
    ruler.set_minor_formatter(NullFormatter())
