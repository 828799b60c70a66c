"""Blocks: the canonical cut of a trajectory, whose sums answer many queries and can be kept.

A block is a stretch of consecutive frames that a span of the plan holds whole: cut at every 256th frame, at the middles
and ends of recorded epochs, at gaps and at segment starts. *Coarse* blocks lack the first two: whole runs and epochs
need no more, and they take a fifth of the room, so they are kept, and read, apart. A query all of whose stretches begin
and end on block edges is *aligned*: it is answered from the blocks' sums, the coarse ones if they will do, whether they
were just computed or kept from before, so both give the same bits.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from analyzer.clips import Clip
from analyzer.kernels import gather_stretches, reduce_stretches
from analyzer.moments import seam_squares, squares_by_step
from analyzer.windows import BLOCK_FRAMES, Timeline

Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True)
class Layout:
    """The blocks of a span, frame numbers relative to its start; all (blocks,) or (edges,) int64.

    Attributes
    ----------
    first, last
        First and last frame of each block; neighbours share an edge, except across a break.
    edges
        Every first and last frame once, in order.
    """

    first: Array
    last: Array
    edges: Array


@dataclass(frozen=True)
class Cut:
    """The coarse and the fine blocks of a span, and those in which it is decoded.

    Attributes
    ----------
    coarse, fine
        See above.
    decoded
        The fine blocks, cut at decoding units as well: each lies in one unit, or is the one velocity between two.
    unit
        Frames that are decoded at once.
    """

    coarse: Layout
    fine: Layout
    decoded: Layout
    unit: int


@dataclass(frozen=True)
class BlockSums:
    """What blocks say about a bundle of weights.

    Attributes
    ----------
    squares
        (blocks, weights) float64: Σv².
    frames
        (edges, weights) float32 or float64: the frames at the edges.
    displaced
        (blocks, weights) float64: (Σv)² of every fine block, summed over those in each coarse one; of fine blocks None,
        since their frames say it.
    """

    squares: Array
    frames: Array
    displaced: Array | None = None


@dataclass(frozen=True)
class SpanSums:
    """What a span says about a bundle of weights, the part of it that a query needs.

    Attributes
    ----------
    coarse, fine
        Sums of the blocks; `fine` is None where the coarse ones do.
    series
        (pieces, frames - 1) float64: Σ_weights v² of every pair of neighbouring frames, over each piece; or None.
    nonfinite
        First frame of the span with a NaN or infinite weight, by parameter.
    """

    coarse: BlockSums
    fine: BlockSums | None
    series: Array | None
    nonfinite: dict[str, int]


def cut(line: Timeline, epoch_ends: Array, middles: Array, start: int, stop: int, unit: int) -> Cut:
    """The blocks of frames start to stop - 1, decoded `unit` frames at once from `start` on."""
    epochs, halves = (frames[(frames >= start) & (frames < stop)] for frames in (epoch_ends, middles))
    regular = np.arange(-(-start // BLOCK_FRAMES) * BLOCK_FRAMES, stop, BLOCK_FRAMES)
    seams = np.arange(start + unit, stop, unit)
    opens = np.concatenate([[start], start + 1 + np.flatnonzero(line.breaks[start + 1 : stop])])
    closes = np.concatenate([opens[1:] - 1, [stop - 1]])
    cuts = (epochs, np.concatenate([regular, halves]), np.concatenate([seams, seams - 1]))
    coarse, fine, decoded = (_layout(opens, closes, np.concatenate(cuts[: n + 1]), start) for n in range(3))
    return Cut(coarse, fine, decoded, unit)


def _layout(opens: Array, closes: Array, cuts: Array, start: int) -> Layout:
    """Blocks from every opening frame to its closing one, cut at `cuts`; all of them frames of the run."""
    first, last = [], []
    for low, high in zip(opens, closes, strict=True):
        edges = np.unique(np.concatenate([[low, high], cuts[(cuts > low) & (cuts < high)]]))
        first.append(edges[:-1] if edges.size > 1 else edges)
        last.append(edges[1:] if edges.size > 1 else edges)
    begin, end = np.concatenate(first) - start, np.concatenate(last) - start
    return Layout(begin, end, np.unique(np.concatenate([begin, end])))


def is_aligned(part: Clip, blocks: Layout) -> bool:
    """Whether every stretch of a span can be answered from its blocks."""
    ends = np.concatenate([part.first, part.first + (part.count - 1) * part.spacing])
    if not _are_edges(ends, blocks):
        return False
    apart = (part.spacing > 1) & (part.count > 2)
    return all(
        _are_edges(first + spacing * np.arange(count), blocks)
        for first, spacing, count in zip(part.first[apart], part.spacing[apart], part.count[apart], strict=True)
    )


def _are_edges(frames: Array, blocks: Layout) -> bool:
    """Whether frames are edges of blocks, which are in order: four times as fast as `numpy.isin`."""
    places = np.minimum(np.searchsorted(blocks.edges, frames), blocks.edges.size - 1)
    return bool((blocks.edges[places] == frames).all())


def sum_blocks(read: Callable[[int, int], Array], frames: int, blocks: Cut) -> tuple[BlockSums, Array, int | None]:
    """The sums of a span of one piece, decoded unit by unit.

    Parameters
    ----------
    read
        From first and last + 1 frame of a unit, relative to the span, to its frames (weights, frames).
    frames
        Length of the span.

    Returns
    -------
    The sums of the fine blocks, Σ_weights v² of every step (1, frames - 1), and the first frame that is not finite.
    """
    work, unit = blocks.decoded, blocks.unit
    squares: list[Array] = []
    edges: list[Array] = []
    series: list[Array] = []
    bad = None
    for low in range(0, frames, unit):
        high = min(low + unit, frames)
        inside = slice(np.searchsorted(work.first, low), np.searchsorted(work.last, high))
        here = work.edges[np.searchsorted(work.edges, low) : np.searchsorted(work.edges, high)]
        values = read(low, high)
        sums = _sum_unit(values, work.first[inside] - low, work.last[inside] - low)
        ends = np.ascontiguousarray(values[:, here - low].T)
        if edges:
            one = np.zeros(values.shape[0], dtype=np.int64)
            series.append(seam_squares(edges[-1][-1], ends[0], one, 1)[0])
        series.append(squares_by_step(values))
        if bad is None and not (np.isfinite(sums).all() and np.isfinite(ends).all()):
            bad = low + int(np.argmin(np.isfinite(values).all(axis=0)))
        del values  # before the next unit is decoded
        squares.append(sums)
        edges.append(ends)
    kept = np.concatenate(edges)
    made = BlockSums(_with_seams(squares, kept, work, unit), kept)
    return coarser(made, work, blocks.fine), np.concatenate(series)[np.newaxis], bad


def _sum_unit(frames: Array, first: Array, last: Array) -> Array:
    """Σv² of every block that a unit holds whole (blocks, weights)."""
    shape = (frames.shape[0], first.size)
    squares, displaced = np.empty((2, *shape))
    opening, closing = np.empty((2, *shape), frames.dtype)
    one, count = np.ones(first.size, dtype=np.int64), last - first + 1
    reduce_stretches(frames, first, one, count, count, squares, displaced, opening, closing)
    return np.ascontiguousarray(squares.T)


def _with_seams(units: list[Array], edges: Array, blocks: Layout, unit: int) -> Array:
    """Σv² of all blocks in order: those of the units, and between them the one velocity over each seam."""
    crossing = blocks.first // unit != blocks.last // unit
    squares = np.empty((blocks.first.size, edges.shape[1]))
    squares[~crossing] = np.concatenate(units)
    before = edges[np.searchsorted(blocks.edges, blocks.first[crossing])].astype(np.float64)
    velocity = edges[np.searchsorted(blocks.edges, blocks.last[crossing])] - before
    squares[crossing] = velocity * velocity
    return squares


def coarser(sums: BlockSums, fine: Layout, coarse: Layout) -> BlockSums:
    """The sums of blocks, from those of finer ones in them, added in order."""
    squares = np.zeros((coarse.first.size, sums.squares.shape[1]))
    for n, (first, last) in enumerate(zip(coarse.first, coarse.last, strict=True)):
        for block in _blocks_between(fine, first, last):
            squares[n] += sums.squares[block]
    return BlockSums(squares, sums.frames[np.searchsorted(fine.edges, coarse.edges)])


def with_displaced(sums: BlockSums, held: BlockSums, fine: Layout, coarse: Layout) -> BlockSums:
    """The sums of coarse blocks with (Σv)² of the fine ones in them, added in order."""
    squared = _displaced(held, fine)
    displaced = np.zeros(sums.squares.shape)
    for n, (first, last) in enumerate(zip(coarse.first, coarse.last, strict=True)):
        for block in _blocks_between(fine, first, last):
            displaced[n] += squared[block]
    return replace(sums, displaced=displaced)


def _displaced(held: BlockSums, blocks: Layout) -> Array:
    """Σ over fine blocks of (Σv)² of every block (blocks, weights)."""
    if held.displaced is not None:
        return held.displaced
    before = held.frames[np.searchsorted(blocks.edges, blocks.first)].astype(np.float64)
    displacement = held.frames[np.searchsorted(blocks.edges, blocks.last)] - before
    return np.asarray(displacement * displacement)


def squared_lengths(blocks: Layout, part: Clip) -> Array:
    """Σ over fine blocks of (velocities in the block)² of every stretch of an aligned query (stretches,).

    Where frames are apart, every velocity is a block of its own.
    """
    length = blocks.last - blocks.first
    before = np.concatenate([[0], np.cumsum(length * length)])
    last = part.first + (part.count - 1) * part.spacing
    first, end = np.searchsorted(blocks.first, part.first), np.searchsorted(blocks.last, last, side="right")
    return np.where(part.spacing == 1, before[np.maximum(first, end)] - before[first], part.count - 1)


def _blocks_between(blocks: Layout, first: int, last: int) -> range:
    """Numbers of the blocks between two edges."""
    return range(int(np.searchsorted(blocks.first, first)), int(np.searchsorted(blocks.last, last, side="right")))


def stretches_from_blocks(held: BlockSums, blocks: Layout, part: Clip) -> tuple[Array, Array, Array, Array]:
    """Σv², Σ_blocks (Σv)², first and last frame of every weight and stretch of an aligned query.

    Each (weights, stretches). The blocks are the fine ones; where frames are apart, every velocity is one.
    """
    last = part.first + (part.count - 1) * part.spacing
    neighbours = part.spacing == 1
    low, high = np.searchsorted(blocks.first, part.first), np.searchsorted(blocks.last, last, side="right")
    shape = (held.squares.shape[1], part.first.size)
    squares, displaced = np.empty((2, *shape))
    opening, closing = np.empty((2, *shape), held.frames.dtype)
    gather_stretches(
        held.squares,
        _displaced(held, blocks) if neighbours.any() else held.squares,
        held.frames,
        np.where(neighbours, low, 0),
        np.where(neighbours, high, 0),
        np.searchsorted(blocks.edges, part.first),
        np.searchsorted(blocks.edges, last),
        squares,
        displaced,
        opening,
        closing,
    )
    for n in np.flatnonzero(~neighbours):
        places = part.first[n] + part.spacing[n] * np.arange(part.count[n])
        for velocity in np.diff(held.frames[np.searchsorted(blocks.edges, places)].astype(np.float64), axis=0):
            squares[:, n] += velocity * velocity
        displaced[:, n] = squares[:, n]
    return squares, displaced, opening, closing
