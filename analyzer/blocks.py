"""Blocks: the canonical cut of a trajectory, whose sums answer many queries and can be kept.

A block is a stretch of consecutive frames that a span of the plan holds whole: cut at every 256th frame, at the ends of
recorded epochs, at gaps and at segment starts. A query all of whose stretches begin and end on block edges is
*aligned*: it is answered from the blocks' sums, whether they were just computed or kept from before, so both give
the same bits.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from analyzer.kernels import reduce_stretches
from analyzer.moments import Clip, seam_squares, squares_by_step
from analyzer.windows import Timeline

Array = np.ndarray[Any, np.dtype[Any]]

BLOCK_FRAMES = 256
"""12 bytes a weight and block (Σv² and an edge frame) are 1.2 % of its 1,024 bytes of frames."""


@dataclass(frozen=True)
class Layout:
    """The blocks of a span, frame numbers relative to its start; all (blocks,) or (edges,) int64.

    Attributes
    ----------
    first, last
        First and last frame of each block; neighbours share an edge, except across a break.
    edges
        Every first and last frame once, in order.
    unit
        Frames that are decoded at once; a block lies in one unit, or is the one velocity between two.
    """

    first: Array
    last: Array
    edges: Array
    unit: int


@dataclass(frozen=True)
class SpanSums:
    """What a span says about a bundle of weights as a whole: all that is needed where no window begins or ends in it.

    Attributes
    ----------
    squares
        (weights,) float64: Σv² over all blocks, in their order.
    ends
        (2, weights) float32 or float64: first and last frame.
    series
        (pieces, frames - 1) float64: Σ_weights v² of every pair of neighbouring frames, over each piece.
    nonfinite
        First frame of the span with a NaN or infinite weight, by parameter.
    """

    squares: Array
    ends: Array
    series: Array
    nonfinite: dict[str, int]


@dataclass(frozen=True)
class BlockSums:
    """What the blocks of a span say about a bundle of weights.

    Attributes
    ----------
    squares
        (blocks, weights) float64: Σv².
    frames
        (edges, weights) float32 or float64: the frames at the edges.
    """

    squares: Array
    frames: Array


def layout(line: Timeline, epoch_ends: Array, start: int, stop: int, unit: int) -> Layout:
    """The blocks of frames start to stop - 1, decoded `unit` frames at once from `start` on."""
    regular = np.arange(-(-start // BLOCK_FRAMES) * BLOCK_FRAMES, stop, BLOCK_FRAMES)
    seams = np.arange(start + unit, stop, unit)
    cuts = np.concatenate([regular, seams, seams - 1, epoch_ends[(epoch_ends >= start) & (epoch_ends < stop)]])
    opens = np.concatenate([[start], start + 1 + np.flatnonzero(line.breaks[start + 1 : stop])])
    closes = np.concatenate([opens[1:] - 1, [stop - 1]])
    first, last = [], []
    for low, high in zip(opens, closes, strict=True):
        edges = np.unique(np.concatenate([[low, high], cuts[(cuts > low) & (cuts < high)]]))
        first.append(edges[:-1] if edges.size > 1 else edges)
        last.append(edges[1:] if edges.size > 1 else edges)
    begin, end = np.concatenate(first) - start, np.concatenate(last) - start
    return Layout(begin, end, np.unique(np.concatenate([begin, end])), unit)


def is_aligned(part: Clip, blocks: Layout) -> bool:
    """Whether every stretch of a span can be answered from its blocks."""
    ends = np.concatenate([part.first, part.first + (part.count - 1) * part.spacing])
    if not np.isin(ends, blocks.edges).all():
        return False
    apart = (part.spacing > 1) & (part.count > 2)
    return all(
        np.isin(first + spacing * np.arange(count), blocks.edges).all()
        for first, spacing, count in zip(part.first[apart], part.spacing[apart], part.count[apart], strict=True)
    )


def sum_blocks(
    read: Callable[[int, int], Array], frames: int, blocks: Layout
) -> tuple[Array, Array, Array, int | None]:
    """The sums of a span of one piece, decoded unit by unit.

    Parameters
    ----------
    read
        From first and last + 1 frame of a unit, relative to the span, to its frames (weights, frames).
    frames
        Length of the span.

    Returns
    -------
    Σv² of every block (blocks, weights), the frames at the edges (edges, weights), Σ_weights v² of every step
    (1, frames - 1), and the first frame that is not finite.
    """
    squares: list[Array] = []
    edges: list[Array] = []
    series: list[Array] = []
    bad = None
    for low in range(0, frames, blocks.unit):
        high = min(low + blocks.unit, frames)
        inside = slice(np.searchsorted(blocks.first, low), np.searchsorted(blocks.last, high))
        here = blocks.edges[np.searchsorted(blocks.edges, low) : np.searchsorted(blocks.edges, high)]
        values = read(low, high)
        sums = _sum_unit(values, blocks.first[inside] - low, blocks.last[inside] - low)
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
    return _with_seams(squares, kept, blocks), kept, np.concatenate(series)[np.newaxis], bad


def _sum_unit(frames: Array, first: Array, last: Array) -> Array:
    """Σv² of every block that a unit holds whole (blocks, weights)."""
    shape = (frames.shape[0], first.size)
    squares, opening, closing = np.empty(shape), np.empty(shape, frames.dtype), np.empty(shape, frames.dtype)
    reduce_stretches(frames, first, np.ones(first.size, dtype=np.int64), last - first + 1, squares, opening, closing)
    return np.ascontiguousarray(squares.T)


def _with_seams(units: list[Array], edges: Array, blocks: Layout) -> Array:
    """Σv² of all blocks in order: those of the units, and between them the one velocity over each seam."""
    crossing = blocks.first // blocks.unit != blocks.last // blocks.unit
    squares = np.empty((blocks.first.size, edges.shape[1]))
    squares[~crossing] = np.concatenate(units)
    before = edges[np.searchsorted(blocks.edges, blocks.first[crossing])].astype(np.float64)
    velocity = edges[np.searchsorted(blocks.edges, blocks.last[crossing])] - before
    squares[crossing] = velocity * velocity
    return squares


def whole_span(squares: Array) -> Array:
    """Σv² over all blocks of a span (weights,), in the order in which `stretches_from_blocks` adds them."""
    total = np.zeros(squares.shape[1])
    for block in squares:
        total += block
    return total


def covers(part: Clip, blocks: Layout) -> bool:
    """Whether a span is one stretch from its first to its last frame: then its sums as a whole answer."""
    return bool(
        part.first.size == 1
        and part.spacing[0] == 1
        and part.first[0] == 0
        and part.count[0] - 1 == blocks.edges[-1]
        and (blocks.first[1:] == blocks.last[:-1]).all()
    )


def stretches_from_blocks(held: BlockSums, blocks: Layout, part: Clip) -> tuple[Array, Array, Array]:
    """Σv², first and last frame of every weight and stretch of an aligned query, each (weights, stretches)."""
    last = part.first + (part.count - 1) * part.spacing
    opening = held.frames[np.searchsorted(blocks.edges, part.first)]
    closing = held.frames[np.searchsorted(blocks.edges, last)]
    squares = np.zeros((part.first.size, held.squares.shape[1]))
    for n, (first, spacing, count) in enumerate(zip(part.first, part.spacing, part.count, strict=True)):
        if spacing == 1:
            low, high = np.searchsorted(blocks.first, first), np.searchsorted(blocks.last, last[n], side="right")
            for block in range(low, high):
                squares[n] += held.squares[block]
        else:
            sampled = held.frames[np.searchsorted(blocks.edges, first + spacing * np.arange(count))]
            for velocity in np.diff(sampled.astype(np.float64), axis=0):
                squares[n] += velocity * velocity
    return tuple(np.ascontiguousarray(values.T) for values in (squares, opening, closing))  # type: ignore[return-value]
