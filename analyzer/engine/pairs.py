"""Sums over pairs of velocities and of frames at many lags, in one pass: for correlations and displacements.

Groups of whole parameters in windows on the grid (`analyzer.engine.strips`) are answered from the sums of strips of 256
frames of the whole run, which are kept by parameter. For 187,500 steps of a GCN they take 9.4 MB; those of every row
would take 439, and those of every weight 11.1 GB. So all other questions decode, and sum each window's batches alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import dask.array as da
import numpy as np
from dask.base import tokenize

from analyzer.engine.cache import Extent
from analyzer.engine.contents import noted_of, places_of
from analyzer.engine.frames import Chunks, Frames, Noted
from analyzer.engine.makers import maker, require_maker
from analyzer.engine.pair_cache import keep_pairs, load_pairs
from analyzer.engine.parts import Assembly, Part, added, answered, arrays_of, note_nonfinite, tasks_of
from analyzer.engine.passage import Asked, Passage, Reach, check_memory, cut, remains_of, task_bytes, units_of
from analyzer.engine.pieces import Bundle, Piece, bundle_groups, piece_groups
from analyzer.engine.remains import Remains, preserve
from analyzer.engine.spans import chosen_of, frames_of
from analyzer.engine.strips import (
    GRID,
    Batches,
    Strips,
    counts,
    is_on_grid,
    order_of,
    sampled_strips,
    splits_of,
    stretches_of,
    strips_of,
)
from analyzer.query.lags import LEAST_WINDOWS, LONGEST, TABLE
from analyzer.store.roots import check_same

Array = np.ndarray[Any, np.dtype[Any]]

_KEPT_LONGEST = (256, 1024, LONGEST)
"""Longest lag of kept sums, by the length of the run: a run that grows has them made anew twice at most."""


@dataclass(frozen=True)
class PairJob:
    """What one task sums.

    Attributes
    ----------
    strips
        (strips, 5) in the reach, as the kernel takes them; records count from the first of them.
    record
        Number of that first record.
    lags, splits
        In frames; of one class where the strips are those of windows.
    extent
        Of the file in which the sums are kept, if they are kept.
    """

    strips: Array
    record: int
    lags: Array
    splits: Array
    by_class: bool
    unit: int
    extent: Extent | None

    @property
    def records(self) -> int:
        """How many records there are."""
        return int(self.strips[-1, 4]) + 1 if len(self.strips) else 0


@dataclass(frozen=True)
class PairSums:
    """What a question about pairs is answered from.

    Attributes
    ----------
    sums
        (groups, batches, lags, 2) float64: Σ v(t − τ)·v(t) and Σ (w(t) − w(t − τ))² over weights and pairs.
    counts
        (batches, lags, 2): pairs of each weight.
    nonfinite
        The first frame with a NaN or infinite weight, by parameter.
    """

    sums: Array
    counts: Array
    nonfinite: dict[str, int]


@dataclass(frozen=True)
class Selection:
    """Which strips of the run make up the batches of a question.

    Attributes
    ----------
    strip, batch
        (parts,) the run's strip and the question's batch of each part.
    allowed
        (parts, lags, 2, 2) which classes of pairs lie in the window.
    lags
        Places of the question's lags in those of the sums.
    """

    strip: Array
    batch: Array
    allowed: Array
    lags: Array


@dataclass(frozen=True)
class PairPlan:
    """A question about pairs, cut into tasks."""

    passage: Passage
    jobs: tuple[PairJob, ...]
    lags: Array
    batches: Batches
    records: int
    by_class: bool
    counts: Array
    selection: Selection | None


@dataclass(frozen=True)
class PairAssembly(Assembly):
    """The last task's share of a plan."""

    records: int
    classes: int
    lags: int
    counts: Array
    selection: Selection | None
    batches: int


def plan_pairs(asked: Asked, lags: Array) -> PairPlan:
    """Plan the sums of a question at these lags, in frames.

    Raises
    ------
    MemoryLimitError
        At once.
    """
    line, sampling, grouping = asked.run.line, asked.sampling, asked.grouping
    frames = line.steps.size
    longest = next((n for n in _KEPT_LONGEST if n * LEAST_WINDOWS >= frames), LONGEST)
    table = np.array([lag for lag in TABLE if lag <= longest])
    stored = asked.run.opened is not None
    by_class = stored and grouping.is_whole and is_on_grid(line, sampling) and bool(np.isin(lags, table).all())
    selection = None
    if by_class:
        own, summed = _strips_of_run(line), table
        _, batches = sampled_strips(sampling, GRID)
        selection = _selection(own, sampled_strips(sampling, GRID)[0], batches, lags, table)
        splits = splits_of(table)
        found = counts(_table_of(own), table, splits)[selection.strip][:, selection.lags]
        per_batch = np.zeros((batches.window.size, lags.size, 2), dtype=np.int64)
        np.add.at(per_batch, selection.batch, np.where(selection.allowed, found, 0).sum(axis=-1))
    else:
        own, batches = sampled_strips(sampling)
        summed, splits = lags, np.zeros((2, lags.size), dtype=np.int64)
        per_batch = np.zeros((batches.window.size, lags.size, 2), dtype=np.int64)
        np.add.at(per_batch, own.number, counts(_table_of(own), lags, splits).sum(axis=-1))

    def layout(start: int, stop: int) -> list[Any]:
        there = own.within(start, stop)
        return [summed.tolist(), GRID, there[:, [0, 1, 3]].tolist()]

    halo = int(summed.max()) + 1
    passage = cut(asked, halo, layout if by_class else None, f".{longest}.pairs")
    jobs = []
    for reach in passage.reaches:
        strips = own.within(reach.start, reach.stop)
        record = int(strips[0, 4]) if len(strips) else 0
        strips[:, 4] -= record
        extent = Extent(reach.start, reach.stop, reach.first, layout(reach.start, reach.stop)) if reach.full else None
        jobs.append(PairJob(strips, record, summed, splits, by_class, passage.unit, extent))
    records = int(own.number[-1]) + 1
    plan = PairPlan(passage, tuple(jobs), lags, batches, records, by_class, per_batch, selection)
    plan = replace(plan, passage=replace(passage, memory=_memory(plan, asked.query.workers)))
    groups, count = grouping.weights.size, batches.window.size
    what = f"{groups:,} groups × {count:,} batches × {lags.size} lags × 16 bytes, four times"
    remedy = "Choose a coarser --by, fewer --lags, fewer parameters (--parameter), fewer --workers"
    check_memory(plan.passage, asked.query.workers, asked.query.memory_limit, what, remedy)
    return plan


def _memory(plan: PairPlan, workers: int) -> int:
    """Projected peak: what the tasks have at work, what they gave, and the sums of all, with copies for statistics."""
    passage, per_record = plan.passage, 8 * plan.jobs[0].lags.size * 2 * (2 if plan.by_class else 1)
    rows = [_rows(bundle, plan.by_class) for bundle in passage.bundles]
    given = sum(rows) * per_record * sum(job.records for job in plan.jobs)
    at_work = max(rows) * per_record * max(job.records for job in plan.jobs)
    answer = 16 * passage.grouping.weights.size * plan.batches.window.size * plan.lags.size
    return workers * (task_bytes(passage) + 2 * at_work) + 2 * given + 4 * answer


def _rows(bundle: Bundle, by_class: bool) -> int:
    return len(bundle.pieces) if by_class else int(bundle_groups(bundle)[1].size)


def _strips_of_run(line: Any) -> Strips:
    first, last = stretches_of(line)
    return strips_of(first, last, np.full(first.size, GRID))[0]


def _table_of(strips: Strips) -> Array:
    return np.stack([strips.low, strips.high, strips.base, strips.first, strips.number], axis=1)


def _selection(run: Strips, asked: Strips, batches: Batches, lags: Array, table: Array) -> Selection:
    """The strips of the run that a question on the grid is made of, and the classes that its windows hold."""
    strip = np.searchsorted(run.low, asked.low)
    place = (asked.base - 1) // GRID - asked.first // GRID  # places of the window before this one
    back = np.stack([lags // GRID, np.maximum(lags - 1, 0) // GRID], axis=1)[:, :, np.newaxis] + np.arange(2)
    allowed = place[:, np.newaxis, np.newaxis, np.newaxis] >= back
    return Selection(strip, batches.of_strip, allowed, np.searchsorted(table, lags))


def pair_arrays(
    asked: Asked,
    plan: PairPlan,
    finish: Callable[[PairSums], dict[str, Array]],
    shapes: dict[str, tuple[tuple[int, ...], Any]],
) -> tuple[dict[str, da.Array], da.Array]:
    """The lazy answer of a plan: arrays by name as `finish` makes them from the sums, and those that are not finite.

    Parameters
    ----------
    finish
        A function that other processes can load, or a partial of one.
    shapes
        Shape and dtype of each array.
    """
    passage = plan.passage
    name = str(tokenize(passage.bundles, passage.frames, passage.reaches, plan.jobs, plan.selection, finish))
    graph, keys = tasks_of(passage, name, reduce_pairs, plan.jobs, load_together)
    assembly = PairAssembly(
        passage.bundles,
        passage.grouping.weights.size,
        passage.source,
        maker(),
        plan.records,
        2 if plan.by_class else 1,
        plan.jobs[0].lags.size,
        plan.counts,
        plan.selection,
        plan.batches.window.size,
    )
    remains = remains_of(asked, passage)
    whole = f"pairs-{name}"
    graph[whole] = (assemble_pairs, assembly, finish, keys, remains)
    made = arrays_of(passage, graph, whole, shapes | {"nonfinite": ((), object)})
    return made, made.pop("nonfinite")


def reduce_pairs(job: PairJob, bundle: Bundle, frames: Sequence[Frames], reach: Reach) -> Part:
    """The pair sums of a bundle over a reach: from the shelf where they are kept, else from the frames."""
    require_maker(reach.maker)
    if not job.by_class:
        return _by_group(job, bundle, frames, reach)
    place = bundle.shelf if job.extent is not None else None
    shape = (len(bundle.pieces), job.records, job.lags.size, 2, 2)
    held = None if place is None or job.extent is None else load_pairs(place, job.extent, shape)
    if held is not None:
        return _chosen(bundle, job, *held)
    fills = place is not None and bundle.fills
    noted: dict[str, str] = {}
    read = [Noted(some, noted) if fills and isinstance(some, Chunks) else some for some in frames]
    rows: list[Array] = []
    bad: dict[str, int] = {}
    for piece, some in zip(bundle.pieces, read, strict=True) if fills else chosen_of(bundle, frames):
        sums = np.zeros((1, *shape[1:]))
        _add_piece(job, piece, some, reach, np.zeros(piece.weights, dtype=np.int64), sums, bad)
        rows.append(sums)
    made = np.concatenate(rows)
    if not fills:
        return Part(job.record, made, tuple(bad.items()))
    assert place is not None
    assert job.extent is not None
    [places] = places_of([piece.region for piece in bundle.pieces], frames, [(reach.first, reach.stop)])
    if places:
        check_same(places[0].source)
    keep_pairs(place, job.extent, made, bad, noted_of(places, noted))
    return _chosen(bundle, job, made, bad)


def load_together(some: Sequence[tuple[PairJob, Sequence[Frames], Reach]], bundle: Bundle) -> list[Part]:
    """The kept sums of a bundle over several reaches; what was deleted meanwhile is made again."""
    return [reduce_pairs(job, bundle, frames, reach) for job, frames, reach in some]


def _chosen(bundle: Bundle, job: PairJob, sums: Array, bad: dict[str, int]) -> Part:
    """The sums of the pieces that the query asks for, of those of all."""
    wanted = [piece.rule is not None for piece in bundle.pieces]
    names = {piece.parameter for piece in bundle.chosen}
    return Part(job.record, sums[wanted], tuple((n, frame) for n, frame in bad.items() if n in names))


def _by_group(job: PairJob, bundle: Bundle, frames: Sequence[Frames], reach: Reach) -> Part:
    rows: list[Array] = []
    bad: dict[str, int] = {}
    for piece, some in chosen_of(bundle, frames):
        groups, numbers = piece_groups(piece)
        sums = np.zeros((numbers.size, job.records, job.lags.size, 2, 1))
        _add_piece(job, piece, some, reach, groups, sums, bad)
        rows.append(sums)
    return Part(job.record, np.concatenate(rows), tuple(bad.items()))


def _add_piece(
    job: PairJob, piece: Piece, frames: Frames, reach: Reach, groups: Array, sums: Array, bad: dict[str, int]
) -> None:
    """Add the pair sums of a piece over a reach, and note its first frame that is not finite."""
    from analyzer.engine.pairs_compiled import add_pairs  # loads numba

    order = order_of(job.splits)
    halo = int(job.lags.max()) + 1

    def read(start: int, stop: int) -> Array:
        if start == stop:
            return np.empty((piece.weights, 0), dtype=np.float32)
        return frames_of(piece, frames, start, stop)

    for origin, before, values in units_of(read, reach, job.unit, halo):
        low = origin + before.shape[1]
        strips = job.strips[(job.strips[:, 0] < low + values.shape[1]) & (job.strips[:, 1] > low)].copy()
        strips[:, 0] = np.maximum(strips[:, 0], low)
        strips[:, 1] = np.minimum(strips[:, 1], low + values.shape[1])
        strips[:, :4] -= origin
        add_pairs(before.astype(values.dtype, copy=False), values, groups, strips, job.lags, job.splits, order, sums)
        note_nonfinite(bad, piece, sums, values, low)


def assemble_pairs(
    assembly: PairAssembly,
    finish: Callable[[PairSums], dict[str, Array]],
    partials: Sequence[Sequence[Sequence[Part]]],
    remains: Remains | None,
) -> dict[str, Any]:
    """The answer, from the partials of all bundles in the order of their spans.

    Raises
    ------
    StoreChangedError
        The store was replaced since it was opened.
    """
    shape = (assembly.groups, assembly.records, assembly.lags, 2, assembly.classes)
    total, found = added(assembly, partials, shape, by_piece=assembly.classes == 2)
    sums = total[..., 0] if assembly.selection is None else _selected(assembly, total)
    if remains is not None:
        preserve(remains)
    return answered(finish(PairSums(sums, assembly.counts, found)), found)


def _selected(assembly: PairAssembly, total: Array) -> Array:
    """The sums of batches (groups, batches, lags, 2), from those of the run's strips and classes."""
    chosen = assembly.selection
    assert chosen is not None
    sums = np.zeros((assembly.batches, assembly.groups, chosen.lags.size, 2))
    by_strip = total[:, :, chosen.lags].swapaxes(0, 1)
    for part, (strip, batch) in enumerate(zip(chosen.strip, chosen.batch, strict=True)):
        sums[batch] += np.where(chosen.allowed[part], by_strip[strip], 0.0).sum(axis=-1)
    return np.ascontiguousarray(sums.swapaxes(0, 1))
