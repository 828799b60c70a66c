"""The one pass as a dask graph: decode and reduce each span, merge in a fixed tree, assemble the table of moments."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import dask.array as da
import numpy as np
from dask.base import tokenize
from dask.highlevelgraph import HighLevelGraph

from analyzer.errors import NonFiniteWarning
from analyzer.moments import MOMENTS, SQUARES, Clip, Partial, is_finite, merge, reduce_frames, stack
from analyzer.plan import FAN_IN, Bundle, Piece, Plan, bundle_groups
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
    token = tokenize(plan.bundles, plan.spans, stretches, dict(masses), [block.name for block in blocks or ()])
    graph: dict[Any, Any] = {}
    roots = []
    for number, bundle in enumerate(plan.bundles):
        level = []
        for place, ((start, stop), part) in enumerate(zip(plan.spans, plan.clips, strict=True)):
            key: Any = (f"decode-{token}", number, place)
            if blocks is None:
                graph[key] = (reduce_span, bundle, part, start, stop)
            else:
                block = blocks[number]
                graph[key] = (reduce_block, bundle, part, start, (block.name, *[0] * (block.ndim - 1), place))
            level.append(key)
        depth = 0
        while len(level) > 1 or not depth:
            depth += 1
            merged = []
            for place in range(0, len(level), FAN_IN):
                key = (f"merge-{token}", number, depth, place // FAN_IN)
                graph[key] = (merge_partials, bundle, level[place : place + FAN_IN])
                merged.append(key)
            level = merged
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


def reduce_span(bundle: Bundle, part: Clip, start: int, stop: int) -> Partial:
    """The partial of a bundle over frames start to stop - 1, decoded piece by piece."""

    def frames(piece: Piece) -> Array:
        assert piece.source is not None
        return read(piece.source, (*piece.region, (start, stop)))

    return stack([_reduced(piece, part, start, frames(piece)) for piece in bundle.pieces])


def reduce_block(bundle: Bundle, part: Clip, start: int, block: Array) -> Partial:
    """The partial of a bundle of one piece, from frames that a tree holds."""
    return _reduced(bundle.pieces[0], part, start, block)


def merge_partials(bundle: Bundle, partials: Sequence[Partial]) -> Partial:
    """The partial of consecutive spans."""
    labels, numbers = bundle_groups(bundle)
    return merge(partials, labels, numbers.size)


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
            [np.full(bundle_groups(Bundle((p,)))[1].size, assembly.masses[p.parameter]) for p in bundle.pieces]
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


def _reduced(piece: Piece, part: Clip, start: int, values: Array) -> Partial:
    labels, numbers = bundle_groups(Bundle((piece,)))
    frames = _real(values.reshape(piece.weights, values.shape[-1]))
    partial = reduce_frames(frames, part, labels, numbers.size, piece.original_dtype)
    if is_finite(partial):
        return partial
    low, high = int(part.first[0]), int(part.first[-1] + (part.count[-1] - 1) * part.spacing[-1])
    bad = np.flatnonzero(~np.isfinite(frames[:, low : high + 1]).all(axis=0))
    found = ((piece.parameter, start + low + int(bad[0])),) if bad.size else ()
    return Partial(**{**vars(partial), "nonfinite": found})


def _real(values: Array) -> Array:
    """Contiguous float32 or float64, exactly; wide integers as float64."""
    kind = values.dtype
    if kind not in (np.float32, np.float64):
        kind = np.dtype(np.float32 if kind == np.float16 or kind.itemsize < 3 else np.float64)
    return np.ascontiguousarray(values, dtype=kind)
