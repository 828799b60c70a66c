"""Stretches of frames: windows cut at the breaks inside them, and the displacements of epochs."""

from __future__ import annotations

from typing import Any

import numpy as np

from analyzer.errors import EpochError
from analyzer.query.epochs import Epochs
from analyzer.query.timeline import Timeline

Array = np.ndarray[Any, np.dtype[Any]]


def cut_at_breaks(line: Timeline, edges: Array, apart: int) -> tuple[Array, Array, Array, Array]:
    """Every window cut at the breaks inside it, sampled from the first frame of each piece."""
    breaks = np.flatnonzero(line.breaks)
    begin, end = edges[:, 0], edges[:, 1]
    # A break at frame i with begin < i <= end opens a new piece there and closes the one before at i - 1.
    low, high = np.searchsorted(breaks, begin, side="right"), np.searchsorted(breaks, end, side="right")
    cuts = np.maximum(high - low, 0)
    index = np.repeat(np.arange(len(edges)), cuts + 1)
    offset = np.arange(index.size) - np.repeat(np.cumsum(cuts + 1) - (cuts + 1), cuts + 1)
    padded = np.concatenate([breaks, [0]])
    at = low[index] + offset
    first = np.where(offset == 0, begin[index], padded[np.minimum(at - 1, padded.size - 1)])
    last = np.where(offset == cuts[index], end[index], padded[np.minimum(at, padded.size - 1)] - 1)
    count = (last - first) // apart + 1
    keep = count >= 2
    return first[keep], np.full(int(keep.sum()), apart), count[keep], index[keep]


def between_epochs(
    line: Timeline, edges: Array, epochs: Epochs, unequal: bool, half_phase: bool
) -> tuple[tuple[Array, Array, Array, Array], Array, int]:
    """One stretch of two frames for each pair of consecutive complete epochs inside a window."""
    pairs = np.flatnonzero(epochs.complete[1:] & epochs.complete[:-1])
    first, last = epochs.last[pairs], epochs.last[pairs + 1]
    if half_phase:
        first, last = _half_phase(line, epochs, pairs, unequal)
    index = np.searchsorted(edges[:, 1], last)
    inside = (index < len(edges)) & (edges[np.minimum(index, len(edges) - 1), 0] <= first)
    first, last, index = first[inside], last[inside], index[inside]
    expected = np.bincount(index, minlength=len(edges))
    if not first.size:
        raise EpochError(
            "--lag epoch: expected two complete epochs in a row inside a window, got "
            f"{int(epochs.complete.sum())} complete epochs in the run. A displacement is taken between the ends of "
            "two. Record longer, or choose a lag in steps.",
            complete=int(epochs.complete.sum()),
        )
    lengths = line.steps[last] - line.steps[first]
    if lengths.min() != lengths.max() and not unequal:
        raise EpochError(
            f"--lag epoch: expected epochs of equal length, got {lengths.min()} to {lengths.max()} steps. "
            "Displacements over different times do not average to one temperature. Allow it with --unequal-epochs, or "
            "choose a lag in steps.",
            shortest=int(lengths.min()),
            longest=int(lengths.max()),
        )
    crossed = np.cumsum(line.breaks)
    whole = crossed[first] == crossed[last]
    if not whole.any():
        raise EpochError(
            "--lag epoch: expected an epoch without a gap or a resumption inside it, got none. No displacement "
            "may cross one. Choose a lag in steps.",
        )
    first, last, index = first[whole], last[whole], index[whole]
    stretches = (first, last - first, np.full(first.size, 2), index)
    return stretches, expected, int(np.median(lengths))


def _half_phase(line: Timeline, epochs: Epochs, pairs: Array, unequal: bool) -> tuple[Array, Array]:
    """The middles of consecutive complete epochs, as far apart as their ends unless epochs may differ in length."""
    middle = epochs.middle(line.steps, line.stride)
    first, last = middle[pairs], middle[pairs + 1]
    keep = (first >= 0) & (last >= 0)
    if not unequal:
        aligned = line.steps[epochs.last[pairs + 1]] - line.steps[epochs.last[pairs]]
        keep &= line.steps[last] - line.steps[first] == aligned
    return first[keep], last[keep]
