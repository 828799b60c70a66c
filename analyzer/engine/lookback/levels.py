"""Correlations and displacements at lags beyond those over which all pairs are summed: from decimated frames.

At a lag τ the later ends of pairs are the frames whose numbers are multiples of m, the greatest power of two up to
τ/64. A displacement is that of two frames τ apart. Only origins are left out, so that its mean is that of all origins,
and its spread within 1.06 times theirs. Single velocities so far apart say too little (1.3 to 8 times the spread). So
a correlation is that of two mean velocities, each over M = 4m frames: C under a triangle 2M wide, which differs from
C(τ) by C″(τ)(M² − 1)/12. For an exponential that falls by e within τ this is 0.03 %. Averages of positions would bias
the displacement by 2 to 4 % (a prototype, 300 systems).

So few frames are needed that they are picked, and held for a bundle of weights at a time: a 64th of all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from analyzer.engine.lookback.picks import Picked, joined
from analyzer.engine.lookback.strips import PRODUCTS, SQUARES, Strips
from analyzer.engine.pieces import Bundle, bundle_groups

Array = np.ndarray[Any, np.dtype[Any]]

_PER_LAG, _PER_MEAN = 64, 4
_TILE = 128
"""Weights that are widened to float64 at once."""


@dataclass(frozen=True)
class Levels:
    """The pairs of far lags.

    Attributes
    ----------
    lags
        (lags,) in frames.
    apart
        (lags,) frames between two later ends.
    mean
        (lags,) frames over which the velocities of a correlation are averaged.
    frames
        Numbers of the frames that are needed, in order.
    later, batch, window
        By lag: (pairs,) the frame at the later end, its batch and its window.
    whole
        By lag: (pairs,) whether both velocities of a correlation lie within the stretch, too.
    counts
        (batches, lags, 2) pairs of each weight.
    """

    lags: Array
    apart: Array
    mean: Array
    frames: Array
    later: tuple[Array, ...]
    batch: tuple[Array, ...]
    window: tuple[Array, ...]
    whole: tuple[Array, ...]
    counts: Array


def spacing_of(lags: Array) -> tuple[Array, Array]:
    """Frames between two later ends of pairs at far lags, and those that a velocity is averaged over."""
    apart = 2 ** np.floor(np.log2(np.maximum(lags // _PER_LAG, 1))).astype(np.int64)
    return apart, _PER_MEAN * apart


def plan_levels(lags: Array, strips: Strips, window: Array) -> Levels:
    """Plan the pairs of far lags.

    Parameters
    ----------
    strips
        Those of a sampling, numbered by batch.
    window
        (batches,) the window of each batch.
    """
    apart, mean = spacing_of(lags)
    counts = np.zeros((window.size, lags.size, 2), dtype=np.int64)
    later, batch, whole = [], [], []
    needed = [np.empty(0, dtype=np.int64)]
    for n, (lag, m, over) in enumerate(zip(lags.tolist(), apart.tolist(), mean.tolist(), strict=True)):
        begin = -(-np.maximum(strips.low, strips.first + lag) // m)
        number = np.maximum((strips.high - 1) // m - begin + 1, 0)
        strip = np.repeat(np.arange(number.size), number)
        ends = (begin[strip] + np.arange(strip.size) - np.repeat(np.cumsum(number) - number, number)) * m
        both = ends - lag - over >= strips.first[strip]
        later.append(ends)
        batch.append(strips.number[strip])
        whole.append(both)
        np.add.at(counts[:, n, SQUARES], batch[-1], 1)
        np.add.at(counts[:, n, PRODUCTS], batch[-1][both], 1)
        needed += [ends, ends - lag, ends[both] - over, ends[both] - lag - over]
    windows = tuple(window[of_pair] for of_pair in batch)
    frames = np.unique(np.concatenate(needed))
    return Levels(lags, apart, mean, frames, tuple(later), tuple(batch), windows, tuple(whole), counts)


def level_bytes(plan: Levels, bundles: Sequence[Bundle], groups: int, workers: int) -> int:
    """Projected memory of far lags: the frames of as many bundles as are at work, and the sums of all."""
    weights = max((sum(piece.weights for piece in bundle.chosen) for bundle in bundles), default=0)
    rows = max((int(bundle_groups(bundle)[1].size) for bundle in bundles), default=0)
    pairs = max((one.size for one in plan.later), default=0)
    sums = 16 * int(plan.counts.shape[0]) * int(plan.lags.size)
    return workers * (16 * weights * int(plan.frames.size) + 32 * _TILE * pairs + rows * sums) + 2 * groups * sums


@np.errstate(invalid="ignore", over="ignore")  # of weights that are not finite, which are noted
def sums_of(plan: Levels, bundle: Bundle, parts: Sequence[Picked], slopes: Array | None = None) -> Array:
    """Sums over the pairs of a bundle's groups, (groups of the bundle, batches, lags, 2), as those of all pairs are.

    Parameters
    ----------
    parts
        The frames of the plan, in order.
    slopes
        (weights, windows) mean velocities to take off.
    """
    groups, numbers = bundle_groups(bundle)
    sums = np.zeros((numbers.size, *plan.counts.shape))
    if not parts:  # no lag has a pair
        return sums
    values = joined(parts)
    for n, (lag, over) in enumerate(zip(plan.lags.tolist(), plan.mean.tolist(), strict=True)):
        later, batch, both = plan.later[n], plan.batch[n], plan.whole[n]
        if not later.size:
            continue
        places = [np.searchsorted(plan.frames, later - back) for back in (0, lag)]
        means = [np.searchsorted(plan.frames, later[both] - back) for back in (0, over, lag, lag + over)]
        for low in range(0, len(values), _TILE):
            some = values[low : low + _TILE].astype(np.float64)
            own = groups[low : low + _TILE]
            drift = None if slopes is None else slopes[low : low + _TILE][:, plan.window[n]]
            moved = some[:, places[0]] - some[:, places[1]]
            late, early = some[:, means[0]] - some[:, means[1]], some[:, means[2]] - some[:, means[3]]
            if drift is not None:
                moved -= lag * drift
                late -= over * drift[:, both]
                early -= over * drift[:, both]
            _add(sums[:, :, n, SQUARES], own, moved * moved, batch)
            _add(sums[:, :, n, PRODUCTS], own, late * early / over**2, batch[both])
    return sums


def _add(sums: Array, groups: Array, terms: Array, batch: Array) -> None:
    """Add (weights, pairs), whose batches are in order, to (groups, batches)."""
    if batch.size:
        starts = np.flatnonzero(np.diff(batch, prepend=batch[0] - 1))
        of_batch = np.add.reduceat(terms, starts, axis=1)
        np.add.at(sums, (groups[:, np.newaxis], batch[starts]), of_batch)
