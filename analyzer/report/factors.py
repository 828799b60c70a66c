"""The section on rows × columns: the share of ln⟨v²⟩ of a matrix that they explain, their factors, and the rest."""

from __future__ import annotations

import glob
from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr

from analyzer.errors import GroupError
from analyzer.quantities.factors import factors as measured_factors
from analyzer.quantities.factors import matrices_of
from analyzer.query.query import Query
from analyzer.report.content import Chart, Content, Gallery, Line, Map, Note, Table
from analyzer.report.rows import averaged, cell_size
from analyzer.report.subject import MOST_PARAMETERS, Asked, Subject
from analyzer.report.text import NONE, number, plural
from analyzer.tree import trajectory

Array = np.ndarray[Any, np.dtype[Any]]

_MOST_FACTORS = 200
"""Most points of a ranking. Of more rows or columns, evenly spaced ranks are drawn, with the first and the last."""
_SMALLER = 4
"""The maps of elements have this many times as many cells as the maps of their ratio to the fit."""
_COLUMNS = ("parameter", "rows × columns", "explained (%)", "by chance (%)", "beyond chance (%)", "left (factor, rms)",
            "sampling error (%)", "at rest", "near the floor")  # fmt: skip


def factors(subject: Subject, asked: Asked) -> list[Content]:
    """Return a table of shares, and for each matrix its factors by rank and a map of its ratio to the fit."""
    chosen = subject.range_from_bin
    try:
        every = [p.name for p in matrices_of(trajectory(subject.run).parameters, Query())]
    except GroupError:
        return [Note("No recorded parameter has rows and columns.")]
    names = every[:MOST_PARAMETERS]
    parameter = [glob.escape(name) for name in names]
    answer = measured_factors(subject.run, parameter=parameter, **chosen, **asked.options)
    contents: list[Content] = [_table(answer, names)]
    if len(names) < len(every):
        contents.append(Note(f"The section shows the first {len(names)} of {len(every):,} matrices."))
    reasons: dict[str, list[str]] = {}
    for name in names:
        own = answer.sel(tested=name)
        if reason := str(own["separable_reason"].item()):
            reasons.setdefault(reason, []).append(name)
        elif bool(own["separable_share_unreliable"]):
            why = "the window changes slowly, or its weights are known too roughly"
            contents.append(Note(f"The interval of {name} cannot be relied on: {why}."))
    contents += [Note(f"No share of {', '.join(some)}: {reason}.") for reason, some in reasons.items()]
    drawn = [name for name in names if not str(answer.sel(tested=name)["separable_reason"].item())]
    cells = max(asked.cells // _SMALLER, 64)
    return contents + [
        Gallery([*(_ranking(answer, name, kind) for kind in ("row", "column")), _map(answer, name, cells)])
        for name in drawn
    ]


def _table(answer: xr.Dataset, names: Sequence[str]) -> Table:
    begin, end = answer.attrs.get("start_step", 0), answer.attrs.get("stop_step", 0)
    caption = (
        f"Steps {begin:,} to {end:,}. ⟨v²⟩ ≈ row factor × column factor: the share of the variance of ln⟨v²⟩ that this "
        "explains, without sampling errors, with its 95 % interval. By chance: the mean share in matrices of this size "
        "without structure."
    )
    lines = [_line(answer.sel(tested=name), name) for name in names]
    return Table(_COLUMNS, lines, numeric=frozenset(_COLUMNS[1:]), caption=caption)


def _line(own: xr.Dataset, name: str) -> tuple[str, ...]:
    share, low, high = (100 * float(own[f"separable_share{end}"]) for end in ("", "_low", "_high"))
    still = {kind: float(own[f"{kind}s_at_rest"]) for kind in ("weight", "row", "column")}
    whole = ", ".join(plural(int(count), kind) for kind, count in still.items() if count > 0)
    near = float(own["weights_near_floor"])
    return (
        name,
        f"{int(own['matrix_rows']):,} × {int(own['matrix_columns']):,}",
        f"{number(share)} ({number(low)} to {number(high)})" if np.isfinite(share) else NONE,
        number(100 * float(own["chance_share"]), 2),
        number(100 * float(own["separable_share_adjusted"])),
        number(float(np.exp(own["left_rms"])), 3),
        number(100 * float(own["sampling_error"]), 2),
        whole or NONE,
        number(int(near)) if near > 0 else NONE,
    )


def _ranking(answer: xr.Dataset, name: str, kind: str) -> Chart:
    """Return a chart of the factors of rows or of columns by rank, with 95 % intervals; those at rest are left out."""
    some = answer[f"{kind}_of"].values == name
    values = np.stack([answer[f"{kind}_factor{end}"].values[some] for end in ("", "_low", "_high")])
    order = np.argsort(-values[0], kind="stable")
    order = order[values[0][order] > 0]
    drawn = np.unique(np.round(np.linspace(0, order.size - 1, min(order.size, _MOST_FACTORS))).astype(np.int64))
    y, low, high = values[:, order[drawn]]
    title = f"{name}: {kind}s by factor" + (f" ({drawn.size} of {some.sum()})" if drawn.size < some.sum() else "")
    tips = [f"{kind} {number}" for number in order[drawn].tolist()]
    points = Line(kind, y, "points", low, high, None, tips)
    ranks = (drawn + 1).astype(np.float64)
    return Chart(title, "rank (1: the largest)", ranks, f"factor of the {kind}", "", [points])


def _map(answer: xr.Dataset, name: str, most: int) -> Map:
    """Return a map of ⟨v²⟩ over the fit; cells of more than one element show geometric means."""
    shape = int(answer.sel(tested=name)["matrix_rows"]), int(answer.sel(tested=name)["matrix_columns"])
    ratio = answer["element_ratio"].values[answer["element_of"].values == name].reshape(shape)
    down, across = cell_size(shape, most)
    with np.errstate(divide="ignore"):
        means = np.exp(averaged(np.log(np.where(ratio > 0, ratio, np.nan)), down, across))
    title = f"{name}: ratio to the fit" + (f", {down} × {across} elements a cell" if down * across > 1 else "")
    return Map(title, "row", "column", means, "⟨v²⟩ ÷ (row × column)", "", down, across)
