"""The section on rows: whether the rows of a parameter differ, rows ranked with intervals, a map of elements."""

from __future__ import annotations

import glob
from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr

from analyzer.errors import GroupError
from analyzer.quantities.rows import rows as measured_rows
from analyzer.quantities.velocity import velocity_summary_of
from analyzer.query.query import Query
from analyzer.report.content import Chart, Content, Gallery, Line, Map, Note, Table
from analyzer.report.subject import MOST_PARAMETERS, Asked, Subject
from analyzer.report.text import NONE, number, p_value, plural
from analyzer.statistics.density import NORMAL
from analyzer.statistics.heterogeneity import UNDECIDED
from analyzer.store.schema import Parameter
from analyzer.tree import trajectory

Array = np.ndarray[Any, np.dtype[Any]]

_MOST_ROWS = 200
"""Most points of a ranking. Of more rows, evenly spaced ranks are drawn, with the hottest and the coldest."""
_MOST_ELEMENTS = 2_000_000
"""Largest parameter whose elements are drawn. Beyond it, the sums take minutes and gigabytes."""
_ENDS = 3
_MOST_REASONS = 2
_COLUMNS = ("parameter", "rows", "do they differ", "p of equal rows", "F", "batches", "hottest ÷ coldest",
            "halves agree", "hottest rows", "coldest rows")  # fmt: skip


def rows(subject: Subject, asked: Asked) -> list[Content]:
    """Return tests and rankings of the rows of each parameter, and maps of the elements of the first few."""
    chosen = subject.range_from_bin
    try:
        answer = measured_rows(subject.run, **chosen, **asked.options).whole
    except GroupError:
        return [Note("No recorded parameter has rows to compare.")]
    names = [str(name) for name in answer["tested"].values]
    contents: list[Content] = [_tests(answer, names)]
    reasons = {n: str(answer.sel(tested=n)["reason"].item()) for n in names}
    told = dict.fromkeys(reason for reason in reasons.values() if reason)
    for reason in [*told][:_MOST_REASONS]:
        which = ", ".join(name for name, own in reasons.items() if own == reason)
        contents.append(Note(f"Undecided, {which}: {reason}."))
    if len(told) > _MOST_REASONS:
        contents.append(Note(f"{len(told) - _MOST_REASONS:,} more are undecided for such reasons: analyzer rows"))
    shown = names[:MOST_PARAMETERS]
    squares = _elements(subject, asked, answer, shown)
    known = {p.name: p for p in trajectory(subject.run).parameters}
    for name in shown:
        figures: list[Chart | Map] = [_ranking(answer, name)]
        if name in squares:
            figures.append(_map(known[name], squares[name], answer.attrs["units"], asked.cells))
        contents.append(Gallery(figures))
    if len(shown) < len(names):
        contents.append(Note(f"The figures show the first {len(shown)} of {plural(len(names), 'parameter')}."))
    left = [name for name in shown if name not in squares]
    if left:
        contents.append(Note(f"No map, because of more than {_MOST_ELEMENTS:,} elements: {', '.join(left)}."))
    return contents


def _tests(answer: xr.Dataset, names: Sequence[str]) -> Table:
    begin, end = int(answer["start_step"].values[0]), int(answer["stop_step"].values[0])
    caption = (
        f"Steps {begin:,} to {end:,}. Halves agree: rank correlation between the two halves of the window. "
        "p-values are not corrected for the number of parameters."
    )
    lines = [_test(answer, name) for name in names]
    text = frozenset({"parameter", "do they differ", "hottest rows", "coldest rows"})
    return Table(_COLUMNS, lines, numeric=frozenset(_COLUMNS) - text, caption=caption)


def _test(answer: xr.Dataset, name: str) -> tuple[str, ...]:
    test, own = answer.sel(tested=name), _rows_of(answer, name)
    order = own["row"].values[np.argsort(own["rank"].values, kind="stable")]
    decided = str(test["verdict"].item()) != UNDECIDED
    batches = int(test["blocks"]) if np.isfinite(float(test["blocks"])) else 0
    length = float(test["block_steps"])
    return (
        name,
        number(int(test["rows"])),
        str(test["verdict"].item()),
        p_value(float(test["p_value"])) if decided else NONE,
        number(float(test["f"]), 3) if decided else NONE,
        f"{batches:,} of {length:,.0f} steps" if batches and np.isfinite(length) else NONE,
        number(float(test["hottest_over_coldest"]), 3),
        number(float(test["rank_stability"]), 2),
        ", ".join(map(str, order[:_ENDS])),
        ", ".join(map(str, order[::-1][: min(_ENDS, max(order.size - _ENDS, 0))])) or NONE,
    )


def _rows_of(answer: xr.Dataset, name: str) -> xr.Dataset:
    return answer.isel(group=answer["parameter"].values == name, window=0)


def _ranking(answer: xr.Dataset, name: str) -> Chart:
    """Return a chart of each row's temperature by rank, with 95 % intervals."""
    own = _rows_of(answer, name)
    order = np.argsort(own["rank"].values, kind="stable")
    if order.size > _MOST_ROWS:
        order = order[np.unique(np.round(np.linspace(0, order.size - 1, _MOST_ROWS)).astype(int))]
    heat, error = own["temperature"].values[order], NORMAL * own["standard_error"].values[order]
    tips = [f"row {row}" for row in own["row"].values[order].tolist()]
    loose = own["unreliable"].values[order].astype(bool)
    points = Line("row", heat, "points", heat - error, heat + error, loose, tips)
    some = f" ({order.size} of {own.sizes['group']} rows)" if order.size < own.sizes["group"] else ""
    title = f"{name}: rows by temperature{some}"
    ranks = own["rank"].values[order].astype(np.float64)
    return Chart(title, "rank (1: the hottest)", ranks, "temperature", answer.attrs["units"], [points])


def _elements(subject: Subject, asked: Asked, answer: xr.Dataset, names: Sequence[str]) -> dict[str, Array]:
    """Return the mean squared velocity of every element over the window of `answer`, flat, by parameter.

    Parameters of more than `_MOST_ELEMENTS` elements are left out.
    """
    known = {p.name: p for p in trajectory(subject.run).parameters}
    small = [name for name in names if known[name].weights <= _MOST_ELEMENTS]
    if not small:
        return {}
    query = Query(
        by="element",
        start=int(answer["start_step"].values[0]),
        stop=int(answer["stop_step"].values[-1]),
        parameter=[glob.escape(name) for name in small],
        memory_limit=asked.memory_limit,
        cache=asked.cache,
    )
    found = velocity_summary_of(subject.run, query)[0].compute()
    owners, squares = found["parameter"].values, found["mean_squared_velocity"].values[:, 0]
    return {name: squares[owners == name] for name in small}


def _map(p: Parameter, flat: Array, units: str, most: int) -> Map:
    """Return a map of a parameter's rows and their elements. Neighbours are averaged if there are more than `most`."""
    table = flat.reshape(p.shape[0], -1)
    down, across = cell_size(table.shape, most)
    title = f"{p.name}: elements"
    if down * across > 1:
        title = f"{p.name}: {down} × {across} elements a cell"
    column = "input" if p.axes[1:2] == ("input",) and len(p.shape) == 2 else "element of the row"
    return Map(title, "row", column, averaged(table, down, across), "⟨v²⟩", units, down, across)


def cell_size(shape: tuple[int, ...], most: int) -> tuple[int, int]:
    """Return rows and columns of a cell such that there are at most `most` cells. Longer axes get longer cells."""
    down = across = 1
    while -(-shape[0] // down) * -(-shape[1] // across) > most:
        if shape[0] / down >= shape[1] / across:
            down += 1
        else:
            across += 1
    return down, across


def averaged(table: Array, down: int, across: int) -> Array:
    """Return means over cells of `down` rows and `across` columns. Cells at the far edges may be smaller."""
    for axis, width in ((0, down), (1, across)):
        edges = np.arange(0, table.shape[axis], width)
        lengths = np.diff(np.append(edges, table.shape[axis]))
        sums = np.add.reduceat(table, edges, axis=axis)
        table = sums / (lengths[:, np.newaxis] if axis == 0 else lengths)
    return table
