"""The one pass as a dask graph: decode and reduce each span, merge in a fixed tree, assemble the table of moments."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import dask.array as da
import numpy as np
from dask.base import tokenize
from dask.highlevelgraph import HighLevelGraph

from analyzer.blocks import BlockSums, Layout, stretches_from_blocks, sum_blocks
from analyzer.cache import keep, load
from analyzer.errors import NonFiniteWarning
from analyzer.moments import MOMENTS, SQUARES, Partial, is_finite, merge, reduce_frames, reduce_sums, stack
from analyzer.plan import FAN_IN, Bundle, Piece, Plan, Span, bundle_groups, piece_groups
from analyzer.reading import read

Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True)
class Moments:
    """A lazy answer of the engine.

    Attributes
    ----------
    table
        (MOMENTS, groups, windows) float64, one chunk: mass-weighted sums, see `analyzer.moments`; NaN in the groups
        where a weight was NaN or infinite, with a `NonFiniteWarning` when computed.
    nonfinite
        () object: by parameter, the first frame with a NaN or infinite weight.
    """

    table: da.Array
    nonfinite: da.Array


def moments(plan: Plan, masses: Mapping[str, float], blocks: Sequence[Any] | None = None) -> Moments:
    """The table of moments of a plan, lazy.

    Parameters
    ----------
    plan
        The tasks.
    masses
        Mass of the weights of each parameter, by name.
    blocks
        For a plan over arrays in memory or in a tree: one dask array (..., frames) for each bundle, cut only at the
        plan's spans. None reads the store.
    """
    drawn = plan.sampling
    stretches = (drawn.first, drawn.spacing, drawn.count, drawn.window)
    bounds = [(span.start, span.stop) for span in plan.spans]
    token = tokenize(plan.bundles, bounds, stretches, dict(masses), [block.name for block in blocks or ()])
    graph: dict[Any, Any] = {}
    roots = []
    for number, bundle in enumerate(plan.bundles):
        level: list[Any] = []
        for first in range(0, len(plan.spans), FAN_IN):
            places = range(first, min(first + FAN_IN, len(plan.spans)))
            merged: Any = (f"merge-{token}", number, 1, first // FAN_IN)
            if plan.kept[number, places].all():
                # Reading kept sums takes less time than scheduling its task.
                graph[merged] = (reduce_spans, bundle, [plan.spans[place] for place in places])
            else:
                decoded = [(f"decode-{token}", number, place) for place in places]
                for key, place in zip(decoded, places, strict=True):
                    span = plan.spans[place]
                    if blocks is None:
                        graph[key] = (reduce_span, bundle, span)
                    else:
                        block: Any = (blocks[number].name, *[0] * (blocks[number].ndim - 1), place)
                        graph[key] = (reduce_block, bundle, span, block)
                graph[merged] = (merge_partials, bundle, decoded)
            level.append(merged)
        depth = 1
        while len(level) > 1:
            depth += 1
            above: list[Any] = [(f"merge-{token}", number, depth, place) for place in range(-(-len(level) // FAN_IN))]
            for place, key in enumerate(above):
                graph[key] = (merge_partials, bundle, level[place * FAN_IN : (place + 1) * FAN_IN])
            level = above
        roots += level
    name, whole, found = f"moments-{token}", f"assemble-{token}", f"nonfinite-{token}"
    assembly = Assembly(plan.bundles, dict(masses), (plan.grouping.weights.size, plan.sampling.windows.velocities.size))
    graph[whole] = (assemble, assembly, roots)
    # Two small layers over a shared one, so that dask computes the pass once for both.
    layers = HighLevelGraph.from_collections(whole, graph, dependencies=list(blocks or ()))
    table: Any = {(name, 0, 0, 0): (table_of, whole)}
    reported: Any = {(found,): (nonfinite_of, whole)}
    layers = HighLevelGraph(
        {**layers.layers, name: table, found: reported},
        {**layers.dependencies, name: {whole}, found: {whole}},
    )
    chunks = tuple((length,) for length in (MOMENTS, *assembly.shape))
    return Moments(
        table=da.Array(layers, name, chunks=chunks, dtype=np.float64),  # type: ignore[no-untyped-call]
        nonfinite=da.Array(layers, found, (), dtype=object),  # type: ignore[no-untyped-call]
    )


def reduce_span(bundle: Bundle, span: Span) -> Partial:
    """The partial of a bundle over a span: from its blocks where the query is aligned, else from its frames."""
    if span.blocks is None:
        return stack([_reduced(piece, span, _frames(piece, span.start, span.stop)) for piece in bundle.chosen])
    sums = _block_sums(bundle, span, span.blocks)
    squares, opening, closing = stretches_from_blocks(sums, span.blocks, span.part)
    labels, numbers = bundle_groups(bundle)
    dtype = bundle.pieces[0].original_dtype
    partial = reduce_sums(
        lambda some: (squares[some], opening[some], closing[some]), span.part, labels, numbers.size, dtype
    )
    if is_finite(partial):
        return partial
    names = {piece.parameter for piece in bundle.chosen}
    found = tuple((name, span.start + frame) for name, frame in sums.nonfinite.items() if name in names)
    return replace(partial, nonfinite=found)


def reduce_spans(bundle: Bundle, spans: Sequence[Span]) -> Partial:
    """The partial of a bundle over consecutive spans."""
    return merge_partials(bundle, [reduce_span(bundle, span) for span in spans])


def reduce_block(bundle: Bundle, span: Span, block: Array) -> Partial:
    """The partial of a bundle of one piece, from frames that a tree holds."""
    return _reduced(bundle.pieces[0], span, block)


def merge_partials(bundle: Bundle, partials: Sequence[Partial]) -> Partial:
    """The partial of consecutive spans."""
    labels, numbers = bundle_groups(bundle)
    return merge(partials, labels, numbers.size)


def _block_sums(bundle: Bundle, span: Span, blocks: Layout) -> BlockSums:
    """The block sums of a bundle's chosen pieces, from the shelf or from the frames."""
    place = bundle.shelf if span.full else None
    held = load(place, span.start, blocks, sum(p.weights for p in bundle.pieces)) if place else None
    if held is not None:
        return _chosen(bundle, held)
    fills = place is not None and bundle.fills
    squares, frames = [], []
    nonfinite: dict[str, int] = {}
    for piece in bundle.pieces if fills else bundle.chosen:
        one, edges, bad = _piece_sums(piece, span, blocks)
        squares.append(one)
        frames.append(edges)
        if bad is not None:
            nonfinite[piece.parameter] = min(bad, nonfinite.get(piece.parameter, bad))
    sums = BlockSums(np.concatenate(squares, axis=1), np.concatenate(frames, axis=1), nonfinite)
    if not fills:
        return sums
    assert place is not None
    keep(place, span.start, blocks, sums)
    return _chosen(bundle, sums)


def _piece_sums(piece: Piece, span: Span, blocks: Layout) -> tuple[Array, Array, int | None]:
    """The block sums of a piece and its first frame that is not finite."""

    def unit(low: int, high: int) -> Array:
        return _frames(piece, span.start + low, span.start + high)

    return sum_blocks(unit, span.stop - span.start, blocks)


def _chosen(bundle: Bundle, sums: BlockSums) -> BlockSums:
    """The sums of the pieces that the query asks for, of those of all."""
    if len(bundle.chosen) == len(bundle.pieces):
        return sums
    columns, start = [], 0
    for piece in bundle.pieces:
        if piece.rule is not None:
            columns.append(slice(start, start + piece.weights))
        start += piece.weights
    return BlockSums(
        np.concatenate([sums.squares[:, some] for some in columns], axis=1),
        np.concatenate([sums.frames[:, some] for some in columns], axis=1),
        sums.nonfinite,
    )


@dataclass(frozen=True)
class Assembly:
    """The last task's share of a plan: what is needed to number the groups, without the spans."""

    bundles: tuple[Bundle, ...]
    masses: Mapping[str, float]
    shape: tuple[int, int]


def assemble(assembly: Assembly, partials: Sequence[Partial]) -> tuple[Array, dict[str, int]]:
    """The table of moments of all groups and windows, and the first frame that is not finite of each parameter."""
    table = np.zeros((MOMENTS, *assembly.shape))
    found: dict[str, int] = {}
    for bundle, partial in zip(assembly.bundles, partials, strict=True):
        assert not partial.open, "every window is closed when all frames are seen"
        _, numbers = bundle_groups(bundle)
        mass = np.concatenate(
            [np.full(piece_groups(piece)[1].size, assembly.masses[piece.parameter]) for piece in bundle.chosen]
        )
        for windows, sums in partial.closed:
            for row in range(MOMENTS):
                np.add.at(table[row], (numbers[:, np.newaxis], windows), sums[row] * mass[:, np.newaxis])
        for parameter, frame in partial.nonfinite:
            found[parameter] = min(frame, found.get(parameter, frame))
    table[:, ~np.isfinite(table[SQUARES])] = np.nan
    return table, found


def table_of(assembled: tuple[Array, dict[str, int]]) -> Array:
    """The table, with a warning for each parameter that was not finite."""
    table, found = assembled
    for parameter, frame in found.items():
        warnings.warn(
            f"{parameter}: NaN or infinite weights from frame {frame} on; the temperatures of its groups are NaN.",
            NonFiniteWarning,
            stacklevel=1,
        )
    return table


def nonfinite_of(assembled: tuple[Array, dict[str, int]]) -> Array:
    """The first frame that is not finite of each parameter that has one, as an array without axes."""
    return np.array(assembled[1], dtype=object)


def _frames(piece: Piece, start: int, stop: int) -> Array:
    """The frames of a piece (weights, frames), decoded."""
    assert piece.source is not None
    return _real(read(piece.source, (*piece.region, (start, stop))).reshape(piece.weights, stop - start))


def _reduced(piece: Piece, span: Span, values: Array) -> Partial:
    labels, numbers = piece_groups(piece)
    frames = _real(values.reshape(piece.weights, values.shape[-1]))
    part = span.part
    partial = reduce_frames(frames, part, labels, numbers.size, piece.original_dtype)
    if is_finite(partial):
        return partial
    low, high = int(part.first[0]), int(part.first[-1] + (part.count[-1] - 1) * part.spacing[-1])
    bad = np.flatnonzero(~np.isfinite(frames[:, low : high + 1]).all(axis=0))
    return replace(partial, nonfinite=((piece.parameter, span.start + low + int(bad[0])),) if bad.size else ())


def _real(values: Array) -> Array:
    """Contiguous float32 or float64, exactly; wide integers as float64."""
    kind = values.dtype
    if kind not in (np.float32, np.float64):
        kind = np.dtype(np.float32 if kind == np.float16 or kind.itemsize < 3 else np.float64)
    return np.ascontiguousarray(values, dtype=kind)
