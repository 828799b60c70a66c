"""Single frames, picked by the tasks that decode them: for questions that need few frames, far apart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from analyzer.engine.frames import Frames, in_rooms, of_places
from analyzer.engine.lookback.passage import Passage, Reach
from analyzer.engine.makers import require_maker
from analyzer.engine.pieces import Bundle
from analyzer.engine.spans import chosen_of, frames_of

Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True)
class Picked:
    """Some frames of a bundle's chosen weights, (weights, frames) as stored, and (parameter, frame) not finite."""

    values: Array
    nonfinite: tuple[tuple[str, int], ...]


@dataclass(frozen=True)
class PickJob:
    """The frames that one task picks, and how many it decodes at once."""

    frames: Array
    unit: int


def pick_jobs(passage: Passage, frames: Array) -> tuple[PickJob, ...]:
    """The jobs that pick `frames`, which are in order: one job for each reach of a passage."""
    return tuple(
        PickJob(frames[(frames >= reach.start) & (frames < reach.stop)], passage.unit) for reach in passage.reaches
    )


def pick_tasks(passage: Passage, name: str, jobs: Sequence[PickJob]) -> tuple[dict[Any, Any], list[list[Any]]]:
    """The graph of tasks that pick frames, and its keys by bundle in step order. A reach without frames has none."""
    graph: dict[Any, Any] = {}
    keys: list[list[Any]] = []
    for number, (bundle, frames) in enumerate(zip(passage.bundles, passage.frames, strict=True)):
        keys.append([])
        for n, (job, reach) in enumerate(zip(jobs, passage.reaches, strict=True)):
            if job.frames.size:
                keys[-1].append((name, number, n))
                held = [of_places(some, *reach.places) for some in frames]
                graph[keys[-1][-1]] = (pick_frames, job, bundle, held, reach)
    return graph, keys


def pick_frames(job: PickJob, bundle: Bundle, frames: Sequence[Frames], reach: Reach) -> Picked:
    """The picked frames of a reach."""
    require_maker(reach.maker)
    rows: list[Array] = []
    bad: dict[str, int] = {}
    for piece, some in chosen_of(bundle, frames):
        parts = [np.empty((piece.weights, 0), dtype=np.float32)]
        some = in_rooms(some)
        for low in range(reach.start // job.unit * job.unit, reach.stop, job.unit):
            start, stop = max(low, reach.start), min(low + job.unit, reach.stop)
            wanted = job.frames[(job.frames >= start) & (job.frames < stop)]
            if wanted.size:
                parts.append(np.take(frames_of(piece, some, start, stop), wanted - start, axis=1))  # an index: ×9
        rows.append(np.concatenate(parts[1:] or parts, axis=1))
        there = np.isfinite(rows[-1]).all(axis=0)
        if not there.all():
            bad[piece.parameter] = min(int(job.frames[np.argmin(there)]), bad.get(piece.parameter, reach.stop))
    return Picked(np.concatenate(rows), tuple(bad.items()))


def joined(parts: Sequence[Picked]) -> Array:
    """The picked frames of all reaches in step order, (weights, frames)."""
    return parts[0].values if len(parts) == 1 else np.concatenate([one.values for one in parts], axis=1)
