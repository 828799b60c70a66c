"""Verify: walk every chunk of a store and say what is wrong with it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from analyzer.errors import AnalyzerError
from analyzer.plan import chunk_regions
from analyzer.reading import Source, read
from analyzer.schema import Store
from analyzer.tree import source_of

Array = np.ndarray[Any, np.dtype[Any]]


STALE_SECONDS = 120
"""recorder/FORMAT.md: an older heartbeat means that nobody writes any more."""


@dataclass
class Report:
    """What a walk found: faults make the store wrong, notes do not."""

    faults: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    chunks: int = 0


def chunk_grid(store: Store) -> list[tuple[Source, tuple[tuple[int, int], ...], str]]:
    """Every committed chunk: its array, its region, and the parameter's name ("" for other arrays)."""
    cells: list[tuple[Source, tuple[tuple[int, int], ...], str]] = []
    spans = [
        (start, min(start + store.chunk_steps, store.frames)) for start in range(0, store.frames, store.chunk_steps)
    ]
    for name, shape in [("step", ()), *((s.name, s.shape[1:]) for s in store.scalars)]:
        rest = tuple((0, length) for length in shape)
        cells += [(source_of(store, name), (span, *rest), "") for span in spans]
    for p in store.parameters:
        cells += [(source_of(store, p.path), (*region, span), p.name) for region in chunk_regions(p) for span in spans]
    return cells


def verify(store: Store) -> Iterator[Report]:
    """Walks every chunk, yielding the same growing report after each: checksums, finite weights, steps, segments.

    Gaps, segments and frames not yet written are notes; a missing or damaged chunk, steps that do not increase,
    segments outside the run and weights that are not finite are faults.
    """
    report = Report()
    steps: list[Array] = []
    unfinished: dict[str, int] = {}
    for source, region, parameter in chunk_grid(store):
        report.chunks += 1
        try:
            values = read(source, region)
        except AnalyzerError as error:
            report.faults.append(str(error))
        else:
            if source.path == "step":
                steps.append(values)
            elif parameter and values.dtype.kind == "f" and parameter not in unfinished:
                bad = ~np.isfinite(values.reshape(-1, values.shape[-1])).all(axis=0)
                if bad.any():
                    unfinished[parameter] = region[-1][0] + int(np.argmax(bad))
        yield report
    known = np.concatenate(steps) if steps else np.empty(0, dtype=np.int64)
    for parameter, frame in unfinished.items():
        step = int(known[frame]) if frame < known.size else frame
        report.faults.append(f"{parameter}: expected finite weights, got NaN or infinity from step {step} on.")
    _check_steps(store, known, report)
    _note_writer(store, report)
    yield report


def _check_steps(store: Store, steps: Array, report: Report) -> None:
    apart = np.diff(steps)
    if (apart <= 0).any():
        place = int(np.argmax(apart <= 0))
        report.faults.append(
            f"step: expected strictly increasing steps, got {steps[place]} then {steps[place + 1]} at frame {place}."
        )
        return
    gaps = np.flatnonzero(apart != store.stride)
    starts = {segment.first_frame for segment in store.segments}
    for place in gaps.tolist():
        if place + 1 not in starts:
            report.notes.append(f"gap: steps {steps[place]} to {steps[place + 1]} (stride {store.stride}).")
    for number, segment in enumerate(store.segments):
        if not 0 <= segment.first_frame <= store.frames:
            report.faults.append(
                f"segments: expected first_frame of segment {number} within 0 and {store.frames}, got "
                f"{segment.first_frame}."
            )
        elif number:
            kind = "continuous" if segment.continuous else "not continuous"
            report.notes.append(f"segment {number}: from step {segment.first_step}, {kind}.")


def _note_writer(store: Store, report: Report) -> None:
    """Whether anybody writes, and where uncommitted frames lie, as the root attributes say."""
    if store.status != "complete":
        report.notes.append(f"status: {store.status}.")
    recording = store.attrs.get("recording") or {}
    pushed = recording.get("pushed")
    if store.status == "running" and isinstance(pushed, int) and pushed > store.frames:
        report.notes.append(f"spool: {pushed - store.frames} frames recorded but not committed yet.")
    age = heartbeat_age(store)
    stale = store.status == "running" and (age is None or age > STALE_SECONDS)
    if stale:
        seen = "without a readable heartbeat" if age is None else f"last sign {age:.0f} s ago"
        report.notes.append(f"heartbeat: nobody writes any more ({seen}). Close it: recorder recover {store.location}")
    spool = recording.get("spool")
    if store.status != "complete" and isinstance(spool, str) and spool and Path(spool).is_dir():
        remedy = f" Bring them home: recorder recover {store.location}" if store.status != "running" or stale else ""
        report.notes.append(f"spool: {spool} is on this machine and may hold frames not committed yet.{remedy}")


def heartbeat_age(store: Store) -> float | None:
    """Seconds since the writer's last sign, or None where it cannot be read."""
    try:
        beat = datetime.fromisoformat(str(store.attrs.get("heartbeat")).replace("Z", "+00:00"))
    except ValueError:
        return None
    return (datetime.now(UTC) - (beat if beat.tzinfo else beat.replace(tzinfo=UTC))).total_seconds()
