"""Strips: where the later ends of pairs lie, and how many pairs a strip has.

A *pair* is two velocities a lag τ apart (for a correlation), or two frames (for a displacement). It lies in one
gap-free stretch of frames. A *strip* is the part of such a stretch in one place of a regular grid along the frames:
place j has the velocities that end at frames jB + 1 to (j + 1)B. The sums of a strip are over the pairs whose later
velocity lies in it. Their earlier velocity lies q = ⌊τ/B⌋ places further back (class 0), or q + 1 places (class 1), and
each class has a sum of its own. So the sums of a window of whole places add up from its strips: a pair belongs to the
window if the place of its earlier velocity does. A displacement over τ counts as velocities τ − 1 apart.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from analyzer.query.timeline import Timeline
from analyzer.query.windows import BIN_FRAMES, Sampling

Array = np.ndarray[Any, np.dtype[Any]]

GRID = BIN_FRAMES
"""Frames in one place of the grid of kept sums."""
MOST_BATCHES = 64
"""Most batches of a window, for its error bars. A window that is long enough has at least half as many."""
PRODUCTS, SQUARES = 0, 1


@dataclass(frozen=True)
class Strips:
    """Strips in step order; all arrays (strips,) int64, in frames of the run.

    Attributes
    ----------
    low, high
        The later velocities end at frames low to high - 1.
    base
        Frame at which the first velocity of the strip's place ends.
    first
        First frame of the stretch: no pair reaches back before it.
    number
        The record that a strip's sums are added to.
    """

    low: Array
    high: Array
    base: Array
    first: Array
    number: Array

    def within(self, start: int, stop: int) -> Array:
        """Return the parts of strips in frames start to stop - 1, (strips, 5) as the kernel takes them."""
        low, high = np.maximum(self.low, start), np.minimum(self.high, stop)
        table = np.stack([low, high, self.base, self.first, self.number], axis=1)
        return np.ascontiguousarray(table[low < high])


def strips_of(first: Array, last: Array, length: Array) -> tuple[Strips, Array]:
    """Return the strips of stretches of frames first to last, and the stretch of each.

    Parameters
    ----------
    length
        (stretches,) frames of a place of the grid.
    """
    begin, end = first // length, (last - 1) // length
    places = np.where(last > first, end - begin + 1, 0)
    index = np.repeat(np.arange(first.size), places)
    place = begin[index] + np.arange(index.size) - np.repeat(np.cumsum(places) - places, places)
    base = place * length[index] + 1
    strips = Strips(
        low=np.maximum(base, first[index] + 1),
        high=np.minimum(base + length[index], last[index] + 1),
        base=base,
        first=first[index],
        number=np.arange(index.size),
    )
    return strips, index


def splits_of(lags: Array, grid: int = GRID) -> Array:
    """Offset in a place of the grid where pairs change from class 1 to class 0: (2, lags), products and squares."""
    return np.stack([lags % grid, np.maximum(lags - 1, 0) % grid])


def order_of(splits: Array) -> Array:
    """The lags sorted by their splits: (2, lags)."""
    return np.argsort(splits, axis=1, kind="stable")


def counts(strips: Array, lags: Array, splits: Array) -> Array:
    """Pairs of each weight in strips: (strips, lags, 2, 2), the axes of `add_pairs`."""
    low, high, base, first, _ = (column[:, np.newaxis] for column in strips.T)
    found = np.empty((len(strips), lags.size, 2, 2), dtype=np.int64)
    for kind in (PRODUCTS, SQUARES):
        begin, cut = np.maximum(low, first + 1 - kind + lags), base + splits[kind]
        found[:, :, kind, 0] = np.maximum(high - np.maximum(begin, cut), 0)
        found[:, :, kind, 1] = np.maximum(np.minimum(high, cut) - begin, 0)
    return found


def stretches_of(line: Timeline) -> tuple[Array, Array]:
    """First and last frame of each stretch of a run without a gap or the start of a segment."""
    first = np.flatnonzero(line.breaks)
    return first, np.append(first[1:], line.steps.size) - 1


def is_on_grid(line: Timeline, sampling: Sampling) -> bool:
    """Whether all stretches of a sampling begin and end on the grid, at gaps or at the run's ends."""
    first, last = sampling.first, sampling.first + sampling.count - 1
    opens = (first % GRID == 0) | line.breaks[first]
    closes = (last % GRID == 0) | np.append(line.breaks, True)[last + 1]
    return bool((opens & closes).all())


@dataclass(frozen=True)
class Batches:
    """The batches of a sampling, in order.

    Attributes
    ----------
    length
        (windows,) frames of a batch.
    window
        (batches,) the window of each.
    of_strip
        (strips,) the batch that each strip of the sampling belongs to.
    """

    length: Array
    window: Array
    of_strip: Array


def sampled_strips(sampling: Sampling, grid: int | None = None) -> tuple[Strips, Batches]:
    """Return the strips of a sampling of neighbouring frames, and the batches that they form.

    Parameters
    ----------
    grid
        Length of a strip. By default a strip is as long as a batch, and strips are numbered by batch.
    """
    window = sampling.window
    velocities = np.maximum(sampling.windows.velocities, 1)
    power = np.floor(np.log2(np.maximum(velocities * 2 / MOST_BATCHES, GRID)))
    length = 2 ** power.astype(np.int64)
    own = length[window] if grid is None else np.full(window.size, grid)
    strips, index = strips_of(sampling.first, sampling.first + sampling.count - 1, own)
    place = (strips.base - 1) // length[window[index]]
    owner = window[index]
    fresh = np.ones(index.size, dtype=bool)
    fresh[1:] = (owner[1:] != owner[:-1]) | (place[1:] != place[:-1])
    batch = np.cumsum(fresh) - 1
    if grid is None:
        strips = Strips(strips.low, strips.high, strips.base, strips.first, batch)
    return strips, Batches(length, owner[fresh], batch)
