"""Verify a store: walk every chunk and tell what is wrong."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from analyzer.engine.kept.cache import fault_of
from analyzer.engine.kept.homes import files_of
from analyzer.engine.pieces import chunk_count, chunk_regions
from analyzer.engine.verify.attempts import notes_on
from analyzer.engine.verify.chunks import outdated
from analyzer.engine.verify.sums import Kept, fault_in, kept_of
from analyzer.errors import AnalyzerError
from analyzer.store.heartbeat import abandoned, spooled
from analyzer.store.reading import read, source_of
from analyzer.store.roots import Source
from analyzer.store.schema import Store

Array = np.ndarray[Any, np.dtype[Any]]

MOST_FAULTS = 1000
"""Most faults that a walk lists. A store whose length is a damaged number would otherwise give an endless list."""


@dataclass
class Report:
    """The results of a walk. A store with faults is damaged; notes do no harm."""

    faults: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    chunks: int = 0
    files: int = 0


@dataclass(frozen=True)
class Cell:
    """One thing to check: a chunk of an array, by its region and parameter ("" for other arrays), or a file of sums.

    If the trajectory exists, too, `kept` describes the file of sums, so that it can be compared with the frames.
    """

    source: Source | None
    region: tuple[tuple[int, int], ...] = ()
    parameter: str = ""
    file: Path | None = None
    kept: Kept | None = None


@dataclass(frozen=True)
class Finding:
    """The result of one check: a fault, the steps in the chunk, or the first frame with weights that are not finite."""

    fault: str | None = None
    steps: Array | None = None
    not_finite: int | None = None


def cells_of(store: Store, kept: Sequence[Kept] = ()) -> Iterator[Cell]:
    """Yield every committed chunk, then kept sums. If only kept sums are left: the scalars, then the files of sums."""
    for name, shape in [("step", ()), *((s.path, s.shape[1:]) for s in store.scalars)]:
        rest = tuple((0, length) for length in shape)
        for span in _spans(store):
            yield Cell(source_of(store, name), (span, *rest))
    if not store.is_trajectory:
        for file in files_of(Path(store.location)):
            yield Cell(None, file=file)
        return
    for p in store.parameters:
        source = source_of(store, p.path)
        for region in chunk_regions(p):
            for span in _spans(store):
                yield Cell(source, (*region, span), p.name)
    for one in kept:
        yield Cell(None, kept=one)


def count_of(store: Store) -> int:
    """Number of chunks and files to check."""
    spans = -(-store.frames // store.chunk_steps)
    if not store.is_trajectory:
        return spans * (1 + len(store.scalars)) + len(files_of(Path(store.location)))
    return spans * (1 + len(store.scalars) + sum(chunk_count(p) for p in store.parameters))


def _spans(store: Store) -> Iterator[tuple[int, int]]:
    for start in range(0, store.frames, store.chunk_steps):
        yield start, min(start + store.chunk_steps, store.frames)


def verify(store: Store, pool: Executor, ahead: int = 1, *, cache: bool | str = True) -> Iterator[Report]:
    """Walk every chunk and check checksums, finite weights, steps and segments; yield the growing report after each.

    Faults: missing or damaged chunks, steps that do not increase, segments outside the run, weights that are not
    finite, kept sums that the frames do not give. Notes: gaps, segments, frames that are not written yet.

    Parameters
    ----------
    pool
        Threads that check. Each holds one chunk at a time.
    ahead
        Checks that are begun before the first of them is done. As many as there are threads keep all threads busy.
    cache
        Whether kept sums are compared with the frames; or the folder in which they are kept.
    """
    report = Report()
    steps: list[Array] = []
    unread: int | None = None  # first frame of the first chunk of steps that cannot be read
    unfinished: dict[str, int] = {}
    kept = kept_of(store, cache) if store.is_trajectory and cache is not False else []
    for cell, finding in _in_order(pool, ahead, cells_of(store, kept)):
        if cell.source is not None:
            report.chunks += 1
        else:
            report.files += 1
        if finding.fault is not None:
            report.faults.append(finding.fault)
        if finding.steps is not None and unread is None:
            steps.append(finding.steps)
        elif unread is None and cell.source is not None and cell.source.path == "step":
            unread = cell.region[0][0]
        if finding.not_finite is not None:
            unfinished[cell.parameter] = min(finding.not_finite, unfinished.get(cell.parameter, store.frames))
        yield report
        if len(report.faults) >= MOST_FAULTS:
            report.faults.append(f"and more: the walk ends after {MOST_FAULTS:,} faults.")
            break
    known = np.concatenate(steps) if steps else np.empty(0, dtype=np.int64)
    for parameter, frame in unfinished.items():
        where = f"step {known[frame]}" if frame < known.size else f"frame {frame}"
        report.faults.append(f"{parameter}: expected finite weights, got NaN or infinity from {where} on.")
    _check_steps(store, known, report)
    if unread is not None:
        report.notes.append(f"step: not checked from frame {unread} on, where a chunk of it cannot be read.")
    if store.is_trajectory:
        report.faults += outdated(store)
        report.notes += notes_on(store)
        _note_writer(store, report)
    else:
        report.notes.append("trajectory: not here, only sums of it were kept; the files of sums were checked instead.")
    yield report


def _in_order(pool: Executor, ahead: int, cells: Iterable[Cell]) -> Iterator[tuple[Cell, Finding]]:
    """Yield the cells and their findings in order. At most `ahead` checks are begun and not yet taken."""
    begun: deque[tuple[Cell, Future[Finding]]] = deque()
    for cell in cells:
        if len(begun) >= ahead:
            first, future = begun.popleft()
            yield first, future.result()
        begun.append((cell, pool.submit(_checked, cell)))
    for first, future in begun:
        yield first, future.result()


def _checked(cell: Cell) -> Finding:
    if cell.kept is not None:
        return Finding(fault_in(cell.kept))
    if cell.source is None:
        assert cell.file is not None
        fault = fault_of(cell.file)
        remedy = "If there is a trajectory, its answers are decoded again; else restore the file from a copy."
        return Finding(None if fault is None else f"{cell.file}: {fault}. {remedy}")
    try:
        values = read(cell.source, cell.region)
    except AnalyzerError as error:
        return Finding(str(error))
    if cell.source.path == "step":
        return Finding(steps=values.copy())
    if cell.parameter and values.dtype.kind == "f":
        bad = ~np.isfinite(values.reshape(-1, values.shape[-1])).all(axis=0)
        if bad.any():
            return Finding(not_finite=cell.region[-1][0] + int(np.argmax(bad)))
    return Finding()


def _check_steps(store: Store, steps: Array, report: Report) -> None:
    apart = np.diff(steps)
    if (apart <= 0).any():
        place = int(np.argmax(apart <= 0))
        report.faults.append(
            f"step: expected strictly increasing steps, got {steps[place]} then {steps[place + 1]} at frame {place}."
        )
        return
    usual = np.full(steps.size, store.stride)
    for segment in store.segments:
        usual[max(segment.first_frame, 0) :] = segment.stride or store.stride
    starts = {segment.first_frame for segment in store.segments}
    for place in np.flatnonzero(apart != usual[1:]).tolist():
        if place + 1 not in starts:
            report.notes.append(f"gap: steps {steps[place]} to {steps[place + 1]} (stride {usual[place + 1]}).")
    for number, segment in enumerate(store.segments):
        if not 0 <= segment.first_frame <= store.frames:
            report.faults.append(
                f"segments: expected first_frame of segment {number} within 0 and {store.frames}, got "
                f"{segment.first_frame}."
            )
        elif number:
            kind = "continuous" if segment.continuous else "not continuous"
            apart_by = f", every {segment.stride} steps" if segment.stride not in (None, store.stride) else ""
            report.notes.append(f"segment {number}: from step {segment.first_step}{apart_by}, {kind}.")


def _note_writer(store: Store, report: Report) -> None:
    """Note whether the store is still being written, and where uncommitted frames are."""
    if store.status != "complete":
        report.notes.append(f"status: {store.status}.")
    sign = abandoned(store)
    if sign is not None:
        report.notes.append(f"heartbeat: nobody writes any more ({sign}). Close it: recorder recover {store.location}")
    report.notes += [f"spool: {note}" for note in spooled(store)]
