"""Values of groups along one axis: a line for each group, or a map where a legend would hold more than eight."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from analyzer.query.kinds import MOST_LINES
from analyzer.report.content import Chart, Line, Map
from analyzer.report.text import number
from analyzer.text import differing

Array = np.ndarray[Any, np.dtype[Any]]

_MOST_EMPTY = 100
"""Most empty columns in place of a gap of a run."""


@dataclass(frozen=True)
class Axis:
    """A horizontal axis that groups share.

    Attributes
    ----------
    title
        With units in parentheses.
    places
        (values,) ascending.
    edges
        (values + 1,) where the cells of a map begin and end; by default halfway between places.
    logarithmic
        Whether places are evenly spaced on a logarithmic axis rather than on a linear one.
    whole
        Whether places are whole numbers.
    """

    title: str
    places: Array
    edges: Array | None = None
    logarithmic: bool = False
    whole: bool = True


@dataclass(frozen=True)
class Scale:
    """What is shown of each group, and how: `power_law` and `from_zero` are those of `Chart`."""

    title: str
    units: str
    power_law: bool = False
    from_zero: bool = True


def drawn(
    title: str,
    axis: Axis,
    scale: Scale,
    names: Iterable[Any],
    values: Array,
    *,
    ends: tuple[Array, Array] | None = None,
    marks: Sequence[tuple[float, str]] = (),
) -> Chart | Map:
    """Return a chart with a line for each group, or a map with a row for each of more than eight groups.

    Parameters
    ----------
    values
        (groups, places).
    ends
        Ends of the intervals, of the shape of `values`; a map shows none.
    """
    shown = [str(name) or "model" for name in names]
    if len(shown) > MOST_LINES:
        return _map(title, axis, scale, shown, values, marks)
    lines = []
    for n, name in enumerate(shown):
        low, high = (None, None) if ends is None else (ends[0][n], ends[1][n])
        lines.append(Line(name, values[n], low=low, high=high))
    return Chart(
        title, axis.title, axis.places, scale.title, scale.units, lines, marks, integer_x=axis.whole,
        power_law=scale.power_law, from_zero=scale.from_zero,
    )  # fmt: skip


def _map(title: str, axis: Axis, scale: Scale, names: Sequence[str], values: Array, marks: Any) -> Map:
    word = axis.title.partition(" (")[0]
    if axis.edges is not None:
        texts = [
            f"{word}s {number(int(a))} to {number(int(b))}" for a, b in zip(axis.edges, axis.edges[1:], strict=False)
        ]
    else:
        texts = [f"{word} {number(int(place) if axis.whole else float(place))}" for place in axis.places]
    edges = halfway(axis.places, axis.logarithmic) if axis.edges is None else axis.edges
    ruler = axis.title if axis.edges is None else word
    shared, own = differing(names)
    return Map(
        title + (f" ({shared}*)" if shared else ""), "", ruler, values, scale.title, scale.units,
        row_names=own, column_names=texts, edges=edges.tolist(), log_edges=axis.logarithmic,
        marks=[(place, label) for place, label in marks if edges[0] <= place <= edges[-1]],
    )  # fmt: skip


def halfway(places: Array, logarithmic: bool) -> Array:
    """Return edges (places + 1,) halfway between places, the first and the last as far out as the next one is in."""
    if places.size < 2:
        return np.array([places[0] - 0.5, places[0] + 0.5])
    scale, back = (np.log, np.exp) if logarithmic else (np.asarray, np.asarray)
    at = scale(places.astype(np.float64))
    middles = 0.5 * (at[1:] + at[:-1])
    return np.asarray(back(np.concatenate([[2 * at[0] - middles[0]], middles, [2 * at[-1] - middles[-1]]])))


def windows(starts: Array, stops: Array, values: Array, title: str = "step") -> tuple[Axis, Array]:
    """Return the axis of windows of steps, and their values (groups, windows) with empty columns in place of gaps."""
    width = max(float(np.median(stops - starts)), 1.0)
    edges, columns = [float(starts[0])], []
    for n, (start, stop) in enumerate(zip(starts.tolist(), stops.tolist(), strict=True)):
        if start > edges[-1]:
            empty = min(max(round((start - edges[-1]) / width), 1), _MOST_EMPTY)
            edges += np.linspace(edges[-1], start, empty + 1)[1:].tolist()
            columns += [-1] * empty
        edges.append(float(stop))
        columns.append(n)
    chosen = np.array(columns)
    table = np.where(chosen >= 0, values[:, chosen], np.nan)
    whole = np.array(edges)
    return Axis(title, 0.5 * (whole[1:] + whole[:-1]), whole), table
