"""Bins: cuts of a trajectory that do not depend on the query, so that their sums can be kept and answer many queries.

A bin holds consecutive frames of one span of the plan. *Fine* bins are cut at every 256th frame, at the middles and
ends of recorded epochs, at gaps and at segment starts. *Coarse* bins lack the cuts at every 256th frame and at middles.
Whole runs and epochs need only coarse bins. These take a fifth of the room, so they are kept and read apart. A query is
*aligned* if all its stretches begin and end on bin edges. The sums of bins answer it, the coarse ones if they are
enough. Sums just computed and sums kept from before give the same bits.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from analyzer.engine.kernels import gather_stretches, reduce_stretches
from analyzer.engine.moments import seam_squares, squares_by_step
from analyzer.engine.sums import KEPT, SUMS, StretchSums
from analyzer.query.clips import Clip
from analyzer.query.timeline import Timeline
from analyzer.query.windows import BIN_FRAMES

Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True)
class Layout:
    """The bins of a span, frame numbers relative to its start; all (bins,) or (edges,) int64.

    Attributes
    ----------
    first, last
        First and last frame of each bin; neighbours share an edge, except across a break.
    edges
        Every first and last frame once, in order.
    """

    first: Array
    last: Array
    edges: Array


@dataclass(frozen=True)
class Cut:
    """The coarse and the fine bins of a span, and the bins in which it is decoded.

    Attributes
    ----------
    coarse, fine
        See the module.
    decoded
        The fine bins, cut at decoding units as well: each lies in one unit, or is the one velocity between two units.
    unit
        Frames that are decoded at once.
    """

    coarse: Layout
    fine: Layout
    decoded: Layout
    unit: int


@dataclass(frozen=True)
class BinSums:
    """The sums of bins over a bundle of weights.

    Attributes
    ----------
    sums
        (SUMS, bins, weights) float64, see `analyzer.engine.sums`. For coarse bins: the fine bins in them added up.
    frames
        (edges, weights) float32 or float64: the frames at the edges.
    """

    sums: Array
    frames: Array


@dataclass(frozen=True)
class SpanSums:
    """The sums of a span over a bundle of weights, as far as a query needs them.

    Attributes
    ----------
    coarse, fine
        Sums of the bins; `fine` is None where the coarse ones are enough.
    series
        (pieces, frames - 1) float64: Σ_weights v² of every pair of neighbouring frames, over each piece; or None.
    nonfinite
        First frame of the span with a NaN or infinite weight, by parameter.
    """

    coarse: BinSums
    fine: BinSums | None
    series: Array | None
    nonfinite: dict[str, int]


def cut(line: Timeline, epoch_ends: Array, middles: Array, start: int, stop: int, unit: int) -> Cut:
    """Return the bins of frames start to stop - 1, which are decoded `unit` frames at once from `start` on."""
    epochs, halves = (frames[(frames >= start) & (frames < stop)] for frames in (epoch_ends, middles))
    regular = np.arange(-(-start // BIN_FRAMES) * BIN_FRAMES, stop, BIN_FRAMES)
    seams = np.arange(start + unit, stop, unit)
    opens = np.concatenate([[start], start + 1 + np.flatnonzero(line.breaks[start + 1 : stop])])
    closes = np.concatenate([opens[1:] - 1, [stop - 1]])
    cuts = (epochs, np.concatenate([regular, halves]), np.concatenate([seams, seams - 1]))
    coarse, fine, decoded = (_layout(opens, closes, np.concatenate(cuts[: n + 1]), start) for n in range(3))
    return Cut(coarse, fine, decoded, unit)


def _layout(opens: Array, closes: Array, cuts: Array, start: int) -> Layout:
    """Bins from every opening frame to its closing one, cut at `cuts`; all of them are frames of the run."""
    first, last = [], []
    for low, high in zip(opens, closes, strict=True):
        edges = np.unique(np.concatenate([[low, high], cuts[(cuts > low) & (cuts < high)]]))
        first.append(edges[:-1] if edges.size > 1 else edges)
        last.append(edges[1:] if edges.size > 1 else edges)
    begin, end = np.concatenate(first) - start, np.concatenate(last) - start
    return Layout(begin, end, np.unique(np.concatenate([begin, end])))


def is_aligned(part: Clip, bins: Layout) -> bool:
    """Return whether every stretch of a span can be answered from its bins."""
    ends = np.concatenate([part.first, part.first + (part.count - 1) * part.spacing])
    if not _are_edges(ends, bins):
        return False
    apart = (part.spacing > 1) & (part.count > 2)
    return all(
        _are_edges(first + spacing * np.arange(count), bins)
        for first, spacing, count in zip(part.first[apart], part.spacing[apart], part.count[apart], strict=True)
    )


def _are_edges(frames: Array, bins: Layout) -> bool:
    """Return whether frames are edges of bins. The edges are in order: four times as fast as `numpy.isin`."""
    places = np.minimum(np.searchsorted(bins.edges, frames), bins.edges.size - 1)
    return bool((bins.edges[places] == frames).all())


def sum_bins(read: Callable[[int, int], Array], frames: int, bins: Cut) -> tuple[BinSums, Array, int | None]:
    """The sums of a span of one piece, decoded unit by unit.

    Parameters
    ----------
    read
        Takes the first and the last + 1 frame of a unit, relative to the span; returns its frames (weights, frames).
    frames
        Length of the span.

    Returns
    -------
    The sums of the fine bins, Σ_weights v² of every step (1, frames - 1), and the first frame that is not finite.
    """
    work, unit = bins.decoded, bins.unit
    kept: list[Array] = []
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
        kept.append(sums)
        edges.append(ends)
    frames_at_edges = np.concatenate(edges)
    finer = _with_seams(kept, frames_at_edges, work, unit)
    fine = bins.fine
    made = completed(_added(finer, work, fine), _at_edges(frames_at_edges, work, fine), fine)
    return made, np.concatenate(series)[np.newaxis], bad


def _sum_unit(frames: Array, first: Array, last: Array) -> Array:
    """The kept sums of every bin that a unit holds whole (KEPT, bins, weights)."""
    found = StretchSums.empty(frames.shape[0], first.size, frames.dtype)
    count = last - first + 1
    reduce_stretches(frames, np.stack([first, np.ones_like(first), count, count]), found.sums, found.ends)
    return np.ascontiguousarray(found.sums[:, KEPT].transpose(1, 2, 0))


def _with_seams(units: list[Array], edges: Array, bins: Layout, unit: int) -> Array:
    """The kept sums of all bins in order: bins inside units, and the single velocities over the seams between them."""
    crossing = bins.first // unit != bins.last // unit
    kept = np.empty((len(KEPT), bins.first.size, edges.shape[1]))
    kept[:, ~crossing] = np.concatenate(units, axis=1)
    before = edges[np.searchsorted(bins.edges, bins.first[crossing])].astype(np.float64)
    with np.errstate(invalid="ignore"):  # infinite weights: no velocity, NaN
        velocity = edges[np.searchsorted(bins.edges, bins.last[crossing])] - before
    for row, number in enumerate(KEPT):
        kept[row, crossing] = SUMS[number].of_velocity(velocity)
    return kept


def completed(kept: Array, frames: Array, fine: Layout) -> BinSums:
    """All sums of fine bins, from those that are kept (KEPT, bins, weights) and the frames at the edges."""
    sums = np.empty((len(SUMS), *kept.shape[1:]))
    sums[list(KEPT)] = kept
    before = frames[np.searchsorted(fine.edges, fine.first)].astype(np.float64)
    with np.errstate(invalid="ignore"):  # infinite weights: no displacement, NaN
        displacement = frames[np.searchsorted(fine.edges, fine.last)] - before
    for row, one in enumerate(SUMS):
        if one.of_bin is not None:
            sums[row] = one.of_bin(displacement)
    return BinSums(sums, frames)


def coarser(sums: BinSums, fine: Layout, coarse: Layout) -> BinSums:
    """The sums of bins, from those of finer ones in them."""
    return BinSums(_added(sums.sums, fine, coarse), _at_edges(sums.frames, fine, coarse))


def _added(sums: Array, fine: Layout, coarse: Layout) -> Array:
    """Add up the sums (…, fine bins, weights) of the fine bins in each coarse one, in order."""
    added = np.zeros((sums.shape[0], coarse.first.size, sums.shape[2]))
    for n, (first, last) in enumerate(zip(coarse.first, coarse.last, strict=True)):
        for one in _bins_between(fine, first, last):
            added[:, n] += sums[:, one]
    return added


def _at_edges(frames: Array, fine: Layout, coarse: Layout) -> Array:
    return np.asarray(frames[np.searchsorted(fine.edges, coarse.edges)])


def squared_lengths(bins: Layout, part: Clip) -> Array:
    """Σ over fine bins of (velocities in the bin)² of every stretch of an aligned query (stretches,).

    Where the spacing is more than one frame, every velocity counts as a bin.
    """
    length = bins.last - bins.first
    before = np.concatenate([[0], np.cumsum(length * length)])
    last = part.first + (part.count - 1) * part.spacing
    first, end = np.searchsorted(bins.first, part.first), np.searchsorted(bins.last, last, side="right")
    return np.where(part.spacing == 1, before[np.maximum(first, end)] - before[first], part.count - 1)


def _bins_between(bins: Layout, first: int, last: int) -> range:
    """Numbers of the bins between two edges."""
    return range(int(np.searchsorted(bins.first, first)), int(np.searchsorted(bins.last, last, side="right")))


def stretches_from_bins(held: BinSums, bins: Layout, part: Clip) -> StretchSums:
    """The sums of every weight and stretch of an aligned query.

    Where the spacing is more than one frame, every velocity is the difference of two edge frames.
    """
    last = part.first + (part.count - 1) * part.spacing
    neighbours = part.spacing == 1
    low, high = np.searchsorted(bins.first, part.first), np.searchsorted(bins.last, last, side="right")
    found = StretchSums.empty(held.sums.shape[2], part.first.size, held.frames.dtype)
    places = [
        np.where(neighbours, low, 0),
        np.where(neighbours, high, 0),
        np.searchsorted(bins.edges, part.first),
        np.searchsorted(bins.edges, last),
    ]
    gather_stretches(held.sums, held.frames, np.stack(places), found.sums, found.ends)
    for n in np.flatnonzero(~neighbours):
        sampled = part.first[n] + part.spacing[n] * np.arange(part.count[n])
        for velocity in np.diff(held.frames[np.searchsorted(bins.edges, sampled)].astype(np.float64), axis=0):
            for row, one in enumerate(SUMS):
                found.sums[:, row, n] += one.of_velocity(velocity)
    return found
