"""Blocks: the canonical cut of a trajectory, whose sums answer many queries and can be kept.

A block is a stretch of consecutive frames that a span of the plan holds whole: cut at every 256th frame, at the ends of
recorded epochs, at gaps and at segment starts. A query all of whose stretches begin and end on block edges is
*aligned*: it is answered from the blocks' sums, whether they were just computed or kept from before, so both give
the same bits.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from analyzer.kernels import reduce_stretches
from analyzer.moments import Clip
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
    """

    first: Array
    last: Array
    edges: Array


@dataclass(frozen=True)
class BlockSums:
    """What the blocks of a span say about a bundle of weights.

    Attributes
    ----------
    squares
        (blocks, weights) float64: Σv².
    frames
        (edges, weights) float32 or float64: the frames at the edges.
    nonfinite
        First frame of the span with a NaN or infinite weight, by parameter.
    """

    squares: Array
    frames: Array
    nonfinite: dict[str, int]


def layout(line: Timeline, epoch_ends: Array, start: int, stop: int) -> Layout:
    """The blocks of frames start to stop - 1."""
    regular = np.arange(-(-start // BLOCK_FRAMES) * BLOCK_FRAMES, stop, BLOCK_FRAMES)
    cuts = np.concatenate([regular, epoch_ends[(epoch_ends >= start) & (epoch_ends < stop)]])
    opens = np.concatenate([[start], start + 1 + np.flatnonzero(line.breaks[start + 1 : stop])])
    closes = np.concatenate([opens[1:] - 1, [stop - 1]])
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
    if not np.isin(ends, blocks.edges).all():
        return False
    apart = (part.spacing > 1) & (part.count > 2)
    return all(
        np.isin(first + spacing * np.arange(count), blocks.edges).all()
        for first, spacing, count in zip(part.first[apart], part.spacing[apart], part.count[apart], strict=True)
    )


def sum_blocks(frames: Array, blocks: Layout) -> tuple[Array, Array]:
    """Σv² of every block (blocks, weights) and the frames at the edges (edges, weights), from (weights, frames)."""
    shape = (frames.shape[0], blocks.first.size)
    squares, opening, closing = np.empty(shape), np.empty(shape, frames.dtype), np.empty(shape, frames.dtype)
    ones = np.ones(blocks.first.size, dtype=np.int64)
    reduce_stretches(frames, blocks.first, ones, blocks.last - blocks.first + 1, squares, opening, closing)
    edges = np.empty((blocks.edges.size, frames.shape[0]), frames.dtype)
    edges[np.searchsorted(blocks.edges, blocks.first)] = opening.T
    edges[np.searchsorted(blocks.edges, blocks.last)] = closing.T
    return np.ascontiguousarray(squares.T), edges


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
