"""Which pairs of frames a question needs, and in which tasks they are summed.

For groups of whole parameters and windows on the grid (`analyzer.engine.lookback.strips`), the sums of strips of 256
frames of the whole run are kept by parameter, and answer later questions. For 187,500 steps of a GCN they take 9.4 MB;
sums by row would take 439 MB, and sums by weight 11.1 GB. So all other questions decode, and add up only the batches of
their windows. Every task adds up its strips to the batches of the question: what it returns has at most 64 batches a
window, however long the run is. (Before, ten parameters took 28 kB for every 256 frames.)
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from analyzer.engine.kept.cache import Extent
from analyzer.engine.lookback.levels import Levels, level_bytes, plan_levels
from analyzer.engine.lookback.passage import Asked, Passage, check_memory, cut, task_bytes
from analyzer.engine.lookback.picks import PickJob, pick_jobs
from analyzer.engine.lookback.slopes import Slopes, plan_slopes
from analyzer.engine.lookback.strips import (
    GRID,
    Batches,
    Strips,
    counts,
    is_on_grid,
    sampled_strips,
    splits_of,
    stretches_of,
    strips_of,
)
from analyzer.engine.pieces import Bundle, bundle_groups
from analyzer.engine.plan import unanswered
from analyzer.query.lags import LEAST_WINDOWS, LONGEST, TABLE

Array = np.ndarray[Any, np.dtype[Any]]

_KERNEL = 3
"""Version of the kernel. Sums by another version differ in their last bits, and are not used."""
_KEPT_LONGEST = (256, 1024, LONGEST)
"""Longest lag of kept sums; longer runs take a later entry. So a growing run has its sums made anew at most twice."""


@dataclass(frozen=True)
class Selection:
    """Which strips of a reach, or of the run, make up the batches of a question.

    Attributes
    ----------
    strip, batch
        (parts,) the strip and the question's batch of each part, both in order.
    allowed
        (parts, lags, 2, 2) bool: which classes of pairs lie in the window.
    lags
        Places of the question's lags among the lags of the sums.
    """

    strip: Array
    batch: Array
    allowed: Array
    lags: Array

    def within(self, first: int, stop: int) -> tuple[Selection, int]:
        """The parts of strips first to stop - 1, strips and batches counted from their first ones; the first batch."""
        there = (self.strip >= first) & (self.strip < stop)
        begin = int(self.batch[there][0]) if there.any() else 0
        return Selection(self.strip[there] - first, self.batch[there] - begin, self.allowed[there], self.lags), begin


@dataclass(frozen=True)
class PairJob:
    """What one task sums.

    Attributes
    ----------
    strips
        (strips, 5) the strips in the reach, as the kernel takes them. Their records are numbered from 0.
    record
        Number of the first batch of the question to which the task adds.
    lags, splits
        Lags in frames, and the splits of pairs into classes.
    selection
        Which strips and classes make up the batches. None if each record is a batch, and all pairs are in one class.
    extent
        The file in which the sums are kept; None if they are not.
    window
        (strips,) the window of each strip, if the drift is removed.
    """

    strips: Array
    record: int
    lags: Array
    splits: Array
    selection: Selection | None
    unit: int
    extent: Extent | None
    window: Array | None = None

    @property
    def records(self) -> int:
        """Number of records."""
        return int(self.strips[-1, 4]) + 1 if len(self.strips) else 0

    @property
    def batches(self) -> int:
        """Number of batches to which the task adds."""
        if self.selection is None:
            return self.records
        return int(self.selection.batch[-1]) + 1 if self.selection.batch.size else 0


@dataclass(frozen=True)
class PairPlan:
    """A question about pairs, cut into tasks.

    Attributes
    ----------
    lags
        All lags of the question, in frames, in order: the near ones of `jobs`, then the far ones of `levels`.
    counts
        (batches, lags, 2) pairs of each weight.
    levels, slopes
        The pairs of far lags, and the mean velocities that are taken off; None where there are none.
    picks
        Jobs that pick the frames for `slopes` and for `levels`.
    """

    passage: Passage
    jobs: tuple[PairJob, ...]
    lags: Array
    batches: Batches
    by_class: bool
    counts: Array
    levels: Levels | None = None
    slopes: Slopes | None = None
    picks: tuple[tuple[PickJob, ...], tuple[PickJob, ...]] = ((), ())


def plan_pairs(asked: Asked, lags: Array, *, remove_drift: bool = False) -> PairPlan:
    """Plan the sums of a question at these lags, in frames and in order.

    Raises
    ------
    MemoryLimitError
        The projected memory is above the limit. Nothing was read.
    TrajectoryMissingError
        Only kept sums are left of the run, and they do not answer this question.
    """
    line, sampling, grouping = asked.run.line, asked.sampling, asked.grouping
    near, far = lags[lags <= LONGEST], lags[lags > LONGEST]
    table = table_of(line.steps.size)
    by_class = asked.run.opened is not None and grouping.is_whole and is_on_grid(line, sampling)
    by_class = by_class and not remove_drift and bool(near.size and np.isin(near, table).all())
    selection, window = None, None
    if by_class:
        own, summed, splits = _strips_of_run(line), table, splits_of(table)
        strips, batches = sampled_strips(sampling, GRID)
        selection = _selection(own, strips, batches, near, table)
        found = counts(_table_of(own), table, splits)[selection.strip][:, selection.lags]
        found, number = np.where(selection.allowed, found, 0), selection.batch
    else:
        own, batches = sampled_strips(sampling)
        summed, splits, number = near, np.zeros((2, near.size), dtype=np.int64), own.number
        found = counts(_table_of(own), near, splits)
        window = batches.window[own.number] if remove_drift else None
    per_batch = np.zeros((batches.window.size, near.size, 2), dtype=np.int64)
    np.add.at(per_batch, number, found.sum(axis=-1))
    jobs, passage = _jobs(asked, own, summed, splits, selection, window)
    plan = PairPlan(passage, jobs, lags, batches, by_class, per_batch)
    if remove_drift:
        slopes = plan_slopes(sampling)
        plan = replace(plan, slopes=slopes, picks=(pick_jobs(passage, slopes.frames), ()))
    if far.size:
        if asked.run.opened is not None and not asked.run.opened.store.is_trajectory:
            raise unanswered(asked.run.opened.store)
        levels = plan_levels(far, sampled_strips(sampling)[0], batches.window)
        every = np.concatenate([per_batch, levels.counts], axis=1)
        plan = replace(plan, levels=levels, counts=every, picks=(plan.picks[0], pick_jobs(passage, levels.frames)))
    plan = replace(plan, passage=replace(passage, memory=_memory(plan, asked.query.workers)))
    groups, count = grouping.weights.size, batches.window.size
    what = f"{groups:,} groups × {count:,} batches × {lags.size} lags × 16 bytes, four times"
    if far.size and plan.levels is not None:
        what += f", {plan.levels.frames.size:,} frames for lags beyond {LONGEST:,}"
    remedy = "Choose a coarser --by, fewer --lags, fewer parameters (--parameter), fewer --workers"
    check_memory(plan.passage, asked.query.workers, asked.query.memory_limit, what, remedy)
    return plan


def table_of(frames: int) -> Array:
    """The lags of the kept sums of a run of `frames` frames."""
    longest = next((n for n in _KEPT_LONGEST if n * LEAST_WINDOWS >= frames), LONGEST)
    return np.array([lag for lag in TABLE if lag <= longest])


def _jobs(
    asked: Asked, own: Strips, lags: Array, splits: Array, selection: Selection | None, window: Array | None
) -> tuple[tuple[PairJob, ...], Passage]:
    """The tasks that sum strips, and the passage that they are cut from."""

    def layout(start: int, stop: int) -> list[Any]:
        there = own.within(start, stop)
        return [lags.tolist(), GRID, there[:, [0, 1, 3]].tolist(), _KERNEL]

    longest = int(lags.max(initial=0))
    passage = cut(asked, longest + 1, layout if selection is not None else None, f".{longest}.pairs")
    jobs = []
    for reach in passage.reaches:
        strips = own.within(reach.start, reach.stop)
        record = int(strips[0, 4]) if len(strips) else 0
        strips[:, 4] -= record
        extent = Extent(reach.start, reach.stop, reach.first, layout(reach.start, reach.stop)) if reach.full else None
        there = None if window is None else window[(own.low < reach.stop) & (own.high > reach.start)]
        some: Selection | None = None
        if selection is not None:
            some, record = selection.within(record, record + len(strips))
        jobs.append(PairJob(strips, record, lags, splits, some, passage.unit, extent, there))
    return tuple(jobs), passage


def _memory(plan: PairPlan, workers: int) -> int:
    """Projected peak: the memory of running tasks, their results, and the added sums with copies for statistics."""
    passage, summed = plan.passage, plan.jobs[0].lags.size
    rows = [_rows(bundle, plan.by_class) for bundle in passage.bundles]
    near = summed if plan.jobs[0].selection is None else plan.jobs[0].selection.lags.size
    given = 16 * sum(rows) * near * sum(job.batches for job in plan.jobs)
    at_work = max(rows) * 16 * summed * (2 if plan.by_class else 1) * max(job.records for job in plan.jobs)
    groups = passage.grouping.weights.size
    answer = 16 * groups * plan.batches.window.size * plan.lags.size
    more = 0 if plan.levels is None else level_bytes(plan.levels, passage.bundles, groups, workers)
    if plan.slopes is not None:
        weights = sum(piece.weights for bundle in passage.bundles for piece in bundle.chosen)
        more += 8 * weights * (plan.slopes.velocities.size + 2 * plan.slopes.frames.size)
    return workers * (task_bytes(passage) + 2 * at_work) + 2 * given + 4 * answer + more


def _rows(bundle: Bundle, by_class: bool) -> int:
    return len(bundle.pieces) if by_class else int(bundle_groups(bundle)[1].size)


def _strips_of_run(line: Any) -> Strips:
    first, last = stretches_of(line)
    return strips_of(first, last, np.full(first.size, GRID))[0]


def _table_of(strips: Strips) -> Array:
    return np.stack([strips.low, strips.high, strips.base, strips.first, strips.number], axis=1)


def _selection(run: Strips, asked: Strips, batches: Batches, lags: Array, table: Array) -> Selection:
    """The strips of the run that make up a question on the grid, and the classes of pairs that its windows hold."""
    strip = np.searchsorted(run.low, asked.low)
    place = (asked.base - 1) // GRID - asked.first // GRID  # places of the window before this one
    back = np.stack([lags // GRID, np.maximum(lags - 1, 0) // GRID], axis=1)[:, :, np.newaxis] + np.arange(2)
    allowed = place[:, np.newaxis, np.newaxis, np.newaxis] >= back
    return Selection(strip, batches.of_strip, allowed, np.searchsorted(table, lags))
