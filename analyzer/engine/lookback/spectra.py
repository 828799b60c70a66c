"""Periodograms of velocities in half-overlapping sections, summed over the weights of groups, in one pass.

A *section* is a fixed number of velocities in a row, within one window and without a gap. Each weight's velocities in
it are multiplied by a Hann window and transformed; the squares are added to the record of the section's batch. A
section belongs to the task in which it ends.

Periodograms are not kept. Sums by lag serve any window of whole blocks, since pairs within a block are the same in all
of them. Sections are not: they begin where the window does, and their length follows from the window and the epoch, so
that another window mostly has other sections. Kept sections of one length would take 8 bytes a step and parameter (15
MB for 187,500 steps of a GCN, where the sums of all lags take 9.4), and would answer only windows that begin and end at
multiples of half a section. A second spectrum takes as long as the first: three times as long as decoding.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import dask.array as da
import numpy as np
from dask.base import tokenize

from analyzer.engine.frames import Frames
from analyzer.engine.lookback.parts import (
    Assembly,
    Part,
    added,
    answered,
    arrays_of,
    none_kept,
    note_nonfinite,
    tasks_of,
)
from analyzer.engine.lookback.passage import (
    Asked,
    Passage,
    Reach,
    check_memory,
    cut,
    task_bytes,
    tiles_of,
    units_of,
)
from analyzer.engine.lookback.strips import MOST_BATCHES
from analyzer.engine.makers import maker, require_maker
from analyzer.engine.pieces import Bundle, Piece, bundle_groups, piece_groups
from analyzer.engine.spans import chosen_of
from analyzer.query.windows import Sampling
from analyzer.statistics.spectral import hann

Array = np.ndarray[Any, np.dtype[Any]]

_TILE = 1 << 16
"""Velocities that are transformed at once, of as many weights as they make: they stay in the second-level cache."""


@dataclass(frozen=True)
class Sections:
    """The sections of a sampling, in step order.

    Attributes
    ----------
    end
        (sections,) frame at which the last velocity of each ends.
    batch
        (sections,) number of the batch that each belongs to.
    window
        (batches,) the window of each batch.
    counts
        (batches,) sections in each.
    """

    end: Array
    batch: Array
    window: Array
    counts: Array


def sections_of(sampling: Sampling, length: int) -> Sections:
    """Return the sections of a sampling of neighbouring frames. Each overlaps half of the next; a rest is left out."""
    hop = length // 2
    velocities = sampling.count - 1
    number = np.where(velocities >= length, (velocities - length) // hop + 1, 0)
    index = np.repeat(np.arange(number.size), number)
    place = np.arange(index.size) - np.repeat(np.cumsum(number) - number, number)
    window = sampling.window[index]
    in_window = np.bincount(window, minlength=sampling.windows.velocities.size)
    several = np.maximum(-(-in_window // MOST_BATCHES), 1)
    rank = np.arange(index.size) - (np.cumsum(in_window) - in_window)[window]
    place_in_window = rank // several[window]
    fresh = np.ones(index.size, dtype=bool)
    fresh[1:] = (window[1:] != window[:-1]) | (place_in_window[1:] != place_in_window[:-1])
    batch = np.cumsum(fresh) - 1
    end = sampling.first[index] + length + place * hop
    return Sections(end, batch, window[fresh], np.bincount(batch))


@dataclass(frozen=True)
class SpectrumJob:
    """The sections that one task transforms.

    Attributes
    ----------
    sections
        (sections, 2): the frame at which each ends, and the number of its record, counted from `record`.
    """

    sections: Array
    record: int
    length: int
    unit: int

    @property
    def records(self) -> int:
        """Number of records."""
        return int(self.sections[-1, 1]) + 1 if len(self.sections) else 0


@dataclass(frozen=True)
class SpectrumPlan:
    """A question about spectra, cut into tasks."""

    passage: Passage
    jobs: tuple[SpectrumJob, ...]
    sections: Sections
    length: int


def plan_spectrum(asked: Asked, length: int) -> SpectrumPlan:
    """Plan the periodograms of a question, in sections of `length` velocities.

    Raises
    ------
    MemoryLimitError
        When called, before any frame is read.
    """
    sections = sections_of(asked.sampling, length)
    passage = cut(asked, length)
    jobs = []
    for reach in passage.reaches:
        here = (sections.end >= reach.start) & (sections.end < reach.stop)
        table = np.stack([sections.end[here], sections.batch[here]], axis=1)
        record = int(table[0, 1]) if len(table) else 0
        jobs.append(SpectrumJob(table - [0, record], record, length, passage.unit))
    plan = SpectrumPlan(passage, tuple(jobs), sections, length)
    groups, count, per = asked.grouping.weights.size, sections.window.size, 8 * (length // 2 + 1)
    rows = [int(bundle_groups(bundle)[1].size) for bundle in passage.bundles]
    given, most = sum(job.records for job in jobs), max(job.records for job in jobs)
    workers = asked.query.workers
    at_work = task_bytes(passage) + 2 * max(rows) * most * per + 4 * 8 * max(_TILE, length)
    needed = workers * at_work + sum(rows) * given * per + 3 * groups * count * per
    plan = replace(plan, passage=replace(passage, memory=needed))
    what = f"{groups:,} groups × {count:,} batches × {per:,} bytes, four times"
    remedy = "Choose a coarser --by, shorter --sections, fewer parameters (--parameter), fewer --workers"
    check_memory(plan.passage, workers, asked.query.memory_limit, what, remedy)
    return plan


def spectrum_arrays(
    plan: SpectrumPlan,
    finish: Callable[[Array], dict[str, Array]],
    shapes: dict[str, tuple[tuple[int, ...], Any]],
) -> tuple[dict[str, da.Array], da.Array]:
    """The lazy answer of a plan: the arrays that `finish` makes from the sums, by name, and the frames not finite.

    Parameters
    ----------
    finish
        Makes the arrays from the sums (groups, batches, frequencies) of |Σ_t h(t) v(t) exp(−2πift)|² over weights and
        sections, where h is the Hann window. Other processes must be able to load it.
    shapes
        Shape and dtype of each array.
    """
    passage = plan.passage
    name = str(tokenize("spectrum", passage.bundles, passage.frames, passage.reaches, plan.jobs, finish))
    graph, keys = tasks_of(passage, name, reduce_sections, plan.jobs, none_kept)
    assembly = Assembly(passage.bundles, passage.grouping.weights.size, passage.source, maker())
    shape = (assembly.groups, plan.sections.window.size, plan.length // 2 + 1)
    whole = f"spectrum-{name}"
    graph[whole] = (assemble_sections, assembly, finish, keys, shape)
    made = arrays_of(passage, graph, whole, shapes | {"nonfinite": ((), object)})
    return made, made.pop("nonfinite")


def reduce_sections(job: SpectrumJob, bundle: Bundle, frames: Sequence[Frames], reach: Reach) -> Part:
    """The periodograms of a bundle over a reach."""
    require_maker(reach.maker)
    rows: list[Array] = []
    bad: dict[str, int] = {}
    for piece, some in chosen_of(bundle, frames):
        groups, numbers = piece_groups(piece)
        sums = np.zeros((numbers.size, job.records, job.length // 2 + 1))
        _add_piece(job, piece, some, reach, groups, sums, bad)
        rows.append(sums)
    return Part(job.record, np.concatenate(rows), tuple(bad.items()))


def _add_piece(
    job: SpectrumJob, piece: Piece, frames: Frames, reach: Reach, groups: Array, sums: Array, bad: dict[str, int]
) -> None:
    taper, several = hann(job.length), max(_TILE // job.length, 1)
    for part, origin, low, held in units_of(piece, frames, reach, job.unit, job.length):
        stop = low + held[-1].shape[1]
        here = (job.sections[:, 0] >= low) & (job.sections[:, 0] < stop)
        sections = (job.sections[here] - [job.length + origin, 0]).tolist()
        own = groups[part]
        for tile, values in tiles_of(held, stop - origin) if sections else ():
            for weight in range(0, len(values), several):
                some = values[weight : weight + several]
                of_some = own[tile.start + weight : tile.start + weight + len(some)]
                for begin, record in sections:
                    _add_section(some[:, begin : begin + job.length + 1], taper, of_some, sums[:, record])
        note_nonfinite(bad, piece, sums, held[-1], low)


@np.errstate(invalid="ignore", over="ignore")  # weights that are not finite are noted elsewhere
def _add_section(frames: Array, taper: Array, groups: Array, sums: Array) -> None:
    """Add the squares of some weights' transforms, from frames (weights, velocities + 1), to (groups, frequencies)."""
    found = np.fft.rfft(np.diff(frames.astype(np.float64), axis=1) * taper, axis=1)
    squares = found.real**2 + found.imag**2
    if sums.shape[0] == 1:
        sums[0] += squares.sum(axis=0)
    else:
        np.add.at(sums, groups, squares)


def assemble_sections(
    assembly: Assembly,
    finish: Callable[[Array], dict[str, Array]],
    parts: Sequence[Sequence[Sequence[Part]]],
    shape: tuple[int, ...],
) -> dict[str, Any]:
    """The answer, from the sums of all bundles in the order of their spans."""
    total, found = added(assembly, parts, shape, by_piece=False)
    return answered(finish(total), found)
