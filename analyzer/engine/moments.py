"""Reduce frames to the few sums that every temperature is computed from.

A *partial* holds the sums of one range of frames over a bundle of weights. Two neighbouring partials merge into the
partial of both: the velocity over the seam is the first sampled frame of the later range less the last one of the
earlier. So no chunk is decoded twice, and the fixed tree in which partials merge decides the order of summation.

A window is *open* while some of its velocities lie outside the range. Then its sums are kept for every weight, because
(Σv)² is taken weight by weight and needs the whole window first. A closed window is reduced to its groups at once, so
memory does not grow with the length of the trajectory.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from analyzer.engine.kernels import (
    add_batches,
    add_moments,
    add_squares,
    add_windows,
    reduce_stretches,
    ulps_by_exponent,
)
from analyzer.engine.sums import MOMENTS, WEIGHT_SUMS, StretchSums, over_seam
from analyzer.query.clips import Clip, bin_lengths
from analyzer.query.windows import Sampling

Array = np.ndarray[Any, np.dtype[Any]]

_TILE = 1 << 20  # entries of a (weights, stretches) table held at once: 8 MiB of float64


@dataclass(frozen=True)
class OpenWindow:
    """A window of which only a part of the velocities has been added.

    Attributes
    ----------
    window
        Number of the window.
    velocities, total
        Velocities of a weight that were added so far, and in all.
    sums
        (WEIGHT_SUMS, weights), see `analyzer.engine.sums`.
    """

    window: int
    velocities: int
    total: int
    sums: Array


@dataclass(frozen=True)
class Partial:
    """The sums of a range of frames over a bundle of weights.

    Attributes
    ----------
    enter, leave
        (weights,) the first and the last sampled frame, if a stretch crosses the range's start or end; else None.
    open
        At most two windows: the one that began before the range, and the one that goes on after it.
    closed
        Tables of closed windows: (windows,) and moments (MOMENTS, groups, windows).
    sampled
        False for a range without a sampled frame (a lag longer than the range).
    nonfinite
        (parameter, frame) of the first NaN or infinite weight of each parameter that has one.
    series
        Σ_weights v² of every pair of neighbouring frames of the range, if the query asks for it: arrays (pieces, pairs)
        float64 in order; NaN over a seam that no stretch crosses. They are joined only at the end, since every join
        copies all.
    batches
        Σv² by group and batch, in pieces: numbers of the batches (n,) and sums (groups, n).
    """

    enter: Array | None
    leave: Array | None
    open: tuple[OpenWindow, ...]
    closed: tuple[tuple[Array, Array], ...]
    sampled: bool
    nonfinite: tuple[tuple[str, int], ...] = ()
    series: tuple[Array, ...] = ()
    batches: tuple[tuple[Array, Array], ...] = ()


def reduce_frames(
    frames: Array, part: Clip, groups: Array, n_groups: int, original_dtype: str, with_series: bool = False
) -> Partial:
    """The partial of a range.

    Parameters
    ----------
    frames
        (weights, frames) float32 or float64, contiguous.
    part
        The stretches in the range.
    groups
        (weights,) int64: local group of each weight.
    original_dtype
        Name of the weights' dtype in the model, for the rounding floor.
    with_series
        Whether the sums of single steps are asked for.
    """
    partial = reduce_sums(lambda some: _stretches(frames[some], part), part, groups, n_groups, original_dtype)
    return replace(partial, series=(squares_by_step(frames)[np.newaxis],)) if with_series else partial


def squares_by_step(frames: Array) -> Array:
    """Σ_weights v² of every pair of neighbouring frames (frames - 1,)."""
    series = np.zeros(frames.shape[1] - 1)
    add_squares(frames, series)
    return series


def reduce_sums(
    supply: Callable[[slice], StretchSums], part: Clip, groups: Array, n_groups: int, original_dtype: str
) -> Partial:
    """The partial of a range from the sums of its stretches.

    Parameters
    ----------
    supply
        Takes a slice of weights; returns the sums of their stretches.
    part, groups, n_groups, original_dtype
        As for `reduce_frames`.
    """
    windows = part.windows.size
    if not windows:
        return Partial(None, None, (), (), sampled=False)
    velocities = np.bincount(part.window, weights=part.count - 1, minlength=windows).astype(np.int64)
    # Windows are in step order, so those that are whole here follow each other.
    whole, opens = np.flatnonzero(velocities == part.total), np.flatnonzero(velocities != part.total)
    assert opens.size <= 2, "only the first and the last window of a range can be open"
    column = np.empty(windows, dtype=np.int64)
    column[whole], column[opens] = np.arange(whole.size), ~np.arange(opens.size)
    stretches = np.stack([column[part.window], *_edges(part)])
    weights = groups.size
    table = np.zeros((MOMENTS, n_groups, whole.size))
    sums = [np.empty((WEIGHT_SUMS, opens.size, 0))]
    by_batch = np.zeros((n_groups, 0 if part.batch is None else part.batch.size))
    first, last = [], []
    tile = max(_TILE // part.first.size, 1)
    for low in range(0, weights, tile):
        some = slice(low, low + tile)
        found = supply(some)
        # Copies: a view would keep the whole table in memory.
        first.append(found.ends[:, 0, 0].copy())
        last.append(found.ends[:, 1, -1].copy())
        if part.batch is not None:
            add_batches(groups[some], found.sums, by_batch)
        bits = found.ends.view(f"u{found.ends.dtype.itemsize}")
        ulps = ulps_by_exponent(found.ends.dtype.name, original_dtype)
        sums.append(np.empty((WEIGHT_SUMS, opens.size, len(found.ends))))
        add_windows(groups[some], stretches, found.sums, found.ends, bits, ulps, table, sums[-1])
    kept = np.concatenate(sums, axis=2)
    return Partial(
        enter=np.concatenate(first) if part.enters else None,
        leave=np.concatenate(last) if part.leaves else None,
        open=tuple(
            OpenWindow(int(part.windows[n]), int(velocities[n]), int(part.total[n]), kept[:, k].copy())
            for k, n in enumerate(opens)
        ),
        closed=((part.windows[whole], table),) if whole.size else (),
        sampled=True,
        batches=() if part.batch is None else ((part.batch, by_batch),),
    )


def _stretches(frames: Array, part: Clip) -> StretchSums:
    """The sums of every weight and stretch of a range."""
    found = StretchSums.empty(frames.shape[0], part.first.size, frames.dtype)
    stretches = np.stack([part.first, part.spacing, part.count, bin_lengths(part)])
    reduce_stretches(frames, stretches, found.sums, found.ends)
    return found


def _edges(part: Clip) -> tuple[Array, Array]:
    """Which stretches begin, and which end, their window in this range (stretches,) 0 or 1."""
    changes = np.flatnonzero(np.diff(part.window))
    begins, ends = np.zeros((2, part.window.size), dtype=np.int64)
    begins[np.concatenate([[0], changes + 1])] = part.edges[:, 0] >= 0
    ends[np.concatenate([changes, [-1]])] = part.edges[:, 1] >= 0
    return begins, ends


def stack(partials: Sequence[Partial]) -> Partial:
    """Join the partials of several sets of weights over one range. Their groups are numbered one after the other."""
    first = partials[0]
    series = tuple(np.concatenate(parts) for parts in zip(*(p.series for p in partials), strict=True))
    if not first.sampled:
        return replace(first, series=series)
    return Partial(
        enter=_joined([p.enter for p in partials]),
        leave=_joined([p.leave for p in partials]),
        open=tuple(
            replace(window, sums=np.concatenate([p.open[n].sums for p in partials], axis=1))
            for n, window in enumerate(first.open)
        ),
        closed=tuple(
            (windows, np.concatenate([p.closed[n][1] for p in partials], axis=1))
            for n, (windows, _) in enumerate(first.closed)
        ),
        sampled=True,
        nonfinite=tuple(found for p in partials for found in p.nonfinite),
        series=series,
        batches=tuple(
            (numbers, np.concatenate([p.batches[n][1] for p in partials]))
            for n, (numbers, _) in enumerate(first.batches)
        ),
    )


def is_finite(partial: Partial) -> bool:
    """Whether a partial holds neither NaN nor infinity."""
    arrays = [a for a in (partial.enter, partial.leave) if a is not None]
    arrays += [window.sums for window in partial.open]
    arrays += [table for _, table in partial.closed]
    return all(bool(np.isfinite(a).all()) for a in arrays)


def merge(partials: Sequence[Partial], groups: Array, n_groups: int, pieces: Array) -> Partial:
    """Merge the partials of consecutive ranges in step order; `groups` and `pieces` (weights,) number each weight's."""
    merged = partials[0]
    for later in partials[1:]:
        merged = _merge_two(merged, later, groups, n_groups)
    if not merged.series:
        return merged
    series = partials[0].series
    for earlier, later in itertools.pairwise(partials):
        seam = seam_squares(earlier.leave, later.enter, pieces, series[0].shape[0])
        series = (*series, seam, *later.series)
    return replace(merged, series=series)


def _merge_two(earlier: Partial, later: Partial, groups: Array, n_groups: int) -> Partial:
    if not later.sampled or not earlier.sampled:
        kept = earlier if earlier.sampled else later
        return replace(kept, nonfinite=earlier.nonfinite + later.nonfinite)
    open_, closed = list(earlier.open), earlier.closed
    following = list(later.open)
    if open_ and following and open_[-1].window == following[0].window:
        open_[-1] = _join(open_[-1], following.pop(0))
    if earlier.leave is not None and later.enter is not None:
        open_[-1] = _across(open_[-1], earlier.leave, later.enter)
    batches = earlier.batches
    if later.batches and earlier.leave is not None and later.enter is not None:
        seam = seam_squares(earlier.leave, later.enter, groups, n_groups)
        batches = (*batches, (later.batches[0][0][:1], seam))
    still: list[OpenWindow] = []
    for window in open_:
        if window.velocities < window.total:
            still.append(window)
        else:
            table = np.zeros((MOMENTS, n_groups, 1))
            add_moments(groups, window.sums[:, :, np.newaxis], table)
            closed = (*closed, (np.array([window.window]), table))
    return replace(
        later,
        enter=earlier.enter,
        open=(*still, *following),
        closed=(*closed, *later.closed),
        nonfinite=earlier.nonfinite + later.nonfinite,
        batches=(*batches, *later.batches),
    )


def squares_by_window(series: Array, sampling: Sampling, origin: int) -> Array:
    """Σv² of every window (groups, windows), added up over pairs of neighbouring frames.

    Parameters
    ----------
    series
        (groups, frames - 1), from frame `origin` on.
    sampling
        Stretches of neighbouring frames.
    """
    begin = sampling.first - origin
    edges = np.stack([begin, begin + sampling.count - 1], axis=1).reshape(-1)
    # Every other sum covers what lies between two stretches. A stretch that ends with the series has nothing after it.
    edges = edges[: edges.size - int(edges[-1] == series.shape[1])]
    stretches = np.add.reduceat(series, edges, axis=1)[:, ::2]
    squares = np.zeros((sampling.windows.velocities.size, series.shape[0]))
    np.add.at(squares, sampling.window, stretches.T)
    return squares.T


def seam_squares(before: Array | None, after: Array | None, groups: Array, n_groups: int) -> Array:
    """Σ_weights v² over a seam (groups, 1), in the order in which `squares_by_step` adds; NaN if a frame is None."""
    seam = np.zeros((n_groups, 1))
    if before is None or after is None:
        return np.full_like(seam, np.nan)
    velocity = after.astype(np.float64) - before
    np.add.at(seam[:, 0], groups, velocity * velocity)
    return seam


def _joined(arrays: Sequence[Array | None]) -> Array | None:
    present = [a for a in arrays if a is not None]
    return np.concatenate(present) if present else None


def _join(earlier: OpenWindow, later: OpenWindow) -> OpenWindow:
    return replace(earlier, velocities=earlier.velocities + later.velocities, sums=earlier.sums + later.sums)


def _across(window: OpenWindow, before: Array, after: Array) -> OpenWindow:
    """Add the velocity over a seam to a window."""
    velocity = after.astype(np.float64) - before
    return replace(window, velocities=window.velocities + 1, sums=window.sums + over_seam(velocity))
