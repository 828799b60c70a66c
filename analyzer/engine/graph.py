"""The one pass as a dask graph: decode and reduce each span, merge in a fixed tree, assemble the table of moments."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import dask.array as da
import numpy as np
from dask.base import tokenize

from analyzer.engine.assembly import (
    Assembly,
    arrays_over,
    assemble,
    assemble_series,
    batches_in,
    nonfinite_of,
    series_in,
    table_of,
)
from analyzer.engine.frames import Chunks, Frames
from analyzer.engine.kept.remains import Remains
from analyzer.engine.moments import Partial, merge
from analyzer.engine.pieces import Bundle, bundle_groups, bundle_pieces
from analyzer.engine.plan import FAN_IN, Plan, Span
from analyzer.engine.spans import Cell, Series, join_series, reduce_cell, reduce_span, series_of
from analyzer.engine.sums import MOMENTS

Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True)
class Moments:
    """A lazy answer of the engine.

    Attributes
    ----------
    table
        (MOMENTS, groups, windows) float64, one chunk: mass-weighted sums, see `analyzer.engine.sums`. NaN in the groups
        where a weight was NaN or infinite, with a `NonFiniteWarning` when computed.
    squares
        The same moments, in which only Σv² may be filled in and the others NaN, since kept sums may hold no more.
        Enough for a temperature without drift and floor.
    nonfinite
        () object: by parameter, the first frame with a NaN or infinite weight.
    series
        (groups, frames - 1) float64, one chunk: mass-weighted Σv² of every pair of neighbouring frames of the plan's
        range, for groups of whole parameters; for others (parameters, frames - 1). None where the plan has none.
    batches
        (groups, batches) float64, one chunk: mass-weighted Σv² of every batch of the sampling, or None.
    origin
        First frame of the series.
    """

    table: da.Array
    squares: da.Array
    nonfinite: da.Array
    series: da.Array | None
    batches: da.Array | None
    origin: int


def moments(plan: Plan, masses: Mapping[str, float], remains: Remains | None = None) -> Moments:
    """The table of moments of a plan, lazy.

    Parameters
    ----------
    plan
        The tasks.
    masses
        Mass of the weights of each parameter, by name.
    remains
        What to keep of the run beside the sums, after these are kept.
    """
    token = _token(plan, masses)
    return _answer(plan, masses, token, _decoded(plan, token), remains)


def moments_together(
    plans: Sequence[Plan], masses: Mapping[str, float], remains: Sequence[Remains | None]
) -> list[Moments]:
    """The tables of several plans of one store and grouping, lazy, that share one pass over its frames.

    Each is bit for bit what `moments` gives: only the tasks that decode differ.
    """
    token = tokenize([_token(plan, masses) for plan in plans])
    members = [_by_cell(plan) for plan in plans]
    cells: dict[Any, Any] = {}
    for start in sorted({start for member in members for start in member}):
        spans = tuple(tuple(member.get(start, ())) for member in members)
        stop = max(span.stop for some in spans for span in some)
        cell = Cell(start, stop, spans, tuple(plan.with_series for plan in plans), plans[0].unit)
        for number, bundle in enumerate(plans[0].bundles):
            cells[f"cell-{token}", number, start] = (reduce_cell, bundle, _of_task(plans[0], number, 0), cell)
    return [
        _answer(plan, masses, f"{token}-{question}", _picked(plan, question, cells), remains[question])
        for question, plan in enumerate(plans)
    ]


def _by_cell(plan: Plan) -> dict[int, list[Span]]:
    """The spans of a plan by the first frame of the cell that they lie in, in order."""
    found: dict[int, list[Span]] = {}
    for span in plan.spans:
        found.setdefault(span.start // plan.length * plan.length, []).append(span)
    return found


def _of_task(plan: Plan, number: int, place: int) -> list[Any]:
    """The arguments of a task on a bundle and a span that stand for the frames of each piece."""
    return [frames.of_task(place) for frames in plan.frames[number]]


def _token(plan: Plan, masses: Mapping[str, float]) -> str:
    drawn = plan.sampling
    stretches = (drawn.first, drawn.spacing, drawn.count, drawn.window, drawn.batch)
    bounds = [(span.start, span.stop) for span in plan.spans]
    return str(tokenize(plan.bundles, plan.frames, bounds, stretches, dict(masses)))


def _answer(plan: Plan, masses: Mapping[str, float], token: str, leaf: Leaf, remains: Remains | None) -> Moments:
    """The lazy moments of a plan: from the partials that `leaf` makes of spans, and from shelves that hold Σv²."""
    sources = [some.source for of_bundle in plan.frames for some in of_bundle if isinstance(some, Chunks)]
    assembly = Assembly(
        bundles=plan.bundles,
        masses=dict(masses),
        groups=plan.grouping.weights.size,
        sampling=plan.sampling,
        is_whole=plan.grouping.is_whole,
        source=sources[0] if sources else None,
    )
    quick = None
    if plan.shelved:
        quick = _arrays(f"squares-{token}", *_from_shelves(plan, assembly, token), assembly, plan.shelved)
        if not plan.spans:
            return quick
    graph, whole = _from_frames(plan, assembly, token, leaf, remains)
    arrays = [array for bundle in plan.frames for frames in bundle for array in frames.arrays]
    answer = _arrays(token, graph, whole, assembly, plan.spans if plan.with_series else (), arrays)
    if quick is None:
        return answer
    return replace(answer, squares=quick.table, series=quick.series, origin=quick.origin)


Leaf = Callable[[dict[Any, Any], int, Bundle, range], Any]
"""Takes a graph, the number of a bundle, the bundle, and places of neighbouring spans. Returns the task that makes
their partial; further tasks that it needs are put into the graph."""


def _decoded(plan: Plan, token: str) -> Leaf:
    """A leaf that decodes each span in a task of its own."""

    def leaf(graph: dict[Any, Any], number: int, bundle: Bundle, places: range) -> Any:
        if plan.kept[number, places].all():
            # Reading kept sums takes less time than scheduling a task for it.
            spans = [plan.spans[place] for place in places]
            return (reduce_spans, bundle, _of_task(plan, number, places[0]), spans, plan.with_series)
        keys = [(f"decode-{token}", number, place) for place in places]
        for key, place in zip(keys, places, strict=True):
            graph[key] = (reduce_span, bundle, _of_task(plan, number, place), plan.spans[place], plan.with_series)
        return (merge_partials, bundle, keys)

    return leaf


def _picked(plan: Plan, question: int, cells: Mapping[Any, Any]) -> Leaf:
    """A leaf that takes each span's partial out of the cell that the span lies in."""
    name = next(iter(cells))[0]
    members: list[tuple[int, int]] = []  # for every span: the start of its cell, and its number within the cell
    for start, spans in _by_cell(plan).items():
        members += [(start, n) for n in range(len(spans))]

    def leaf(graph: dict[Any, Any], number: int, bundle: Bundle, places: range) -> Any:
        picks = [members[place] for place in places]
        starts = sorted({start for start, _ in picks})
        keys = [(name, number, start) for start in starts]
        graph.update({key: cells[key] for key in keys})
        return (merge_picked, bundle, keys, question, [(starts.index(start), n) for start, n in picks])

    return leaf


def merge_picked(
    bundle: Bundle, cells: Sequence[Sequence[Sequence[Partial]]], question: int, picks: Sequence[tuple[int, int]]
) -> Partial:
    """The partial of consecutive spans of one question, out of their cells."""
    return merge_partials(bundle, [cells[cell][question][n] for cell, n in picks])


def _from_frames(
    plan: Plan, assembly: Assembly, token: str, leaf: Leaf, remains: Remains | None
) -> tuple[dict[Any, Any], str]:
    """The graph that reads kept sums and decodes the rest, and its last key."""
    graph: dict[Any, Any] = {}
    roots = []
    for number, bundle in enumerate(plan.bundles):
        level: list[Any] = []
        for first in range(0, len(plan.spans), FAN_IN):
            merged: Any = (f"merge-{token}", number, 1, first // FAN_IN)
            graph[merged] = leaf(graph, number, bundle, range(first, min(first + FAN_IN, len(plan.spans))))
            level.append(merged)
        roots.append(_tree(graph, f"merge-{token}", number, level, merge_partials, bundle))
    whole = f"assemble-{token}"
    origin = plan.spans[0].start if plan.with_series else None
    graph[whole] = (assemble, assembly, roots, origin, remains)
    return graph, whole


def _from_shelves(plan: Plan, assembly: Assembly, token: str) -> tuple[dict[Any, Any], str]:
    """The graph that takes Σv² of every step from the shelves, and its last key."""
    graph: dict[Any, Any] = {}
    roots = []
    for number, bundle in enumerate(plan.bundles):
        level: list[Any] = []
        for first in range(0, len(plan.shelved), FAN_IN):
            key: Any = (f"series-{token}", number, 1, first // FAN_IN)
            spans = plan.shelved[first : first + FAN_IN]
            graph[key] = (read_series, bundle, _of_task(plan, number, first), spans)
            level.append(key)
        roots.append(_tree(graph, f"series-{token}", number, level, join_series, bundle))
    whole = f"steps-{token}"
    graph[whole] = (assemble_series, assembly, roots, plan.shelved[0].start)
    return graph, whole


def _tree(graph: dict[Any, Any], name: str, number: int, level: list[Any], join: Any, bundle: Bundle) -> Any:
    """Join the results of consecutive spans in a fixed tree; return the key of its root."""
    depth = 1
    while len(level) > 1:
        depth += 1
        above: list[Any] = [(name, number, depth, place) for place in range(-(-len(level) // FAN_IN))]
        for place, key in enumerate(above):
            graph[key] = (join, bundle, level[place * FAN_IN : (place + 1) * FAN_IN])
        level = above
    return level[0]


def _arrays(
    name: str,
    graph: dict[Any, Any],
    whole: str,
    assembly: Assembly,
    spans: Sequence[Span],
    dependencies: Sequence[Any] = (),
) -> Moments:
    """The result of the last key as arrays: small layers over a shared one, so that dask computes the pass once."""
    windows = assembly.sampling.windows.velocities.size
    shapes = {"table": (MOMENTS, assembly.groups, windows), "nonfinite": ()}
    if spans:
        shapes["series"] = (assembly.series, spans[-1].stop - spans[0].start - 1)
    if assembly.sampling.batches:
        shapes["batches"] = (assembly.groups, assembly.sampling.batches)
    takes = {"table": table_of, "nonfinite": nonfinite_of, "series": series_in, "batches": batches_in}
    parts = {
        title: ((takes[title], whole), shape, object if title == "nonfinite" else np.float64)
        for title, shape in shapes.items()
    }
    made: dict[str, Any] = arrays_over(graph, whole, name, parts, dependencies)
    return Moments(
        table=made["table"],
        squares=made["table"],
        nonfinite=made["nonfinite"],
        series=made.get("series"),
        batches=made.get("batches"),
        origin=spans[0].start if spans else 0,
    )


def reduce_spans(bundle: Bundle, frames: Sequence[Frames], spans: Sequence[Span], with_series: bool) -> Partial:
    """The partial of a bundle over consecutive spans."""
    return merge_partials(bundle, [reduce_span(bundle, frames, span, with_series) for span in spans])


def read_series(bundle: Bundle, frames: Sequence[Frames], spans: Sequence[Span]) -> Series:
    """The series of a bundle over consecutive spans."""
    return join_series(bundle, [series_of(bundle, frames, span) for span in spans])


def merge_partials(bundle: Bundle, partials: Sequence[Partial]) -> Partial:
    """The partial of consecutive spans."""
    labels, numbers = bundle_groups(bundle)
    return merge(partials, labels, numbers.size, bundle_pieces(bundle))
