"""`recorder trim`: makes a smaller store from some frames of a run, with the values that were logged at them."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from recorder.budget import check_memory, compressing_threads, series_chunk_steps
from recorder.errors import StoreFormatError, StoreLockedError, UsageError
from recorder.root import CHUNK_CHECKSUMS, check_optional, now, read_root
from recorder.writer.encoding import Array
from recorder.writer.finished.frames import Trajectory, open_frames
from recorder.writer.finished.thinning import Kept, keep
from recorder.writer.format import step_spec
from recorder.writer.fresh import fresh_store
from recorder.writer.store import StoreWriter

_NOT_COPIED = ("attempts", "superseded_from", "recording", "recent", "chunk_checksums", "heartbeat", "status")


@dataclass(frozen=True, slots=True)
class Trim:
    """What is kept of a run, decided before anything is written.

    Attributes
    ----------
    run : Trajectory
    kept : Kept
    scalars : dict of str to (frames,) float64
        All logged values of the whole run, by name.
    said : tuple of str
        What the smaller store can no longer answer.
    ranges : tuple of str
    every : int
    """

    run: Trajectory
    kept: Kept
    scalars: dict[str, Array]
    said: tuple[str, ...]
    ranges: tuple[str, ...]
    every: int


def plan_trim(store: Path, ranges: Sequence[str] = (), every: int = 1) -> Trim:
    """Decide which frames of a store are kept; nothing is written.

    Parameters
    ----------
    store : Path
        A run that was closed.
    ranges : sequence of str
        Ranges of steps, such as "50%:" or "1000:2000"; default: the whole run.
    every : int
        Keep every n-th frame.

    Raises
    ------
    UsageError
        Nothing would be left out, or too little is left.
    StoreFormatError
        The store is damaged, or was not closed.
    """
    attributes = read_root(store)
    if attributes.get("status") == "running":
        raise StoreFormatError(
            f"{store}: expected a run that was closed, but its status is running. Wait until it has closed, or close "
            f"it after a crash: recorder recover {store}"
        )
    check_optional(store, attributes, "cannot be trimmed")
    run = open_frames(store, attributes)
    if run.frames < 2:
        raise UsageError(f"{store}: expected at least two frames, got {run.frames}. There is nothing to trim.")
    steps = run.steps
    if (np.diff(steps) <= 0).any():
        raise StoreFormatError(f"{store}: expected increasing steps. The store is damaged: restore it from a copy.")
    segments = attributes.get("segments")
    stride = attributes.get("stride")
    try:
        listed = [dict(one) for one in segments or [{"first_frame": 0, "first_step": int(steps[0])}]]
        if type(stride) is not int or stride < 1:
            raise ValueError(f"stride {stride!r}")
        kept = keep(steps, listed, stride, ranges, every)
    except (TypeError, KeyError, ValueError) as error:
        if isinstance(error, UsageError):
            raise
        raise StoreFormatError(
            f"{store}: expected segments with first_step, got {segments!r:.200} ({error}). The store is damaged."
        ) from error
    if kept.frames.size == run.frames:
        raise UsageError(f"trim: every frame of {store} would be kept. Give --keep RANGE or --every N.")
    scalars = {name: run.series(spec) for name, spec in run.scalars.items()}
    return Trim(run, kept, scalars, tuple(_losses(run, kept, steps, scalars, stride, every)), tuple(ranges), every)


def _losses(run: Trajectory, kept: Kept, steps: Array, scalars: dict[str, Array], stride: int, every: int) -> list[str]:
    """Return phrases for what the smaller store can no longer answer."""
    left = steps[kept.frames]
    said = []
    inside = [(left[n], left[n + 1]) for n in np.flatnonzero(np.diff(kept.frames) > every)]
    outside = [(low, high) for low, high in ((steps[0], left[0]), *inside, (left[-1], steps[-1])) if low < high]
    if outside:
        said.append(f"anything between steps {', '.join(f'{low:,} and {high:,}' for low, high in outside)}")
    if every > 1:
        said.append(
            f"velocities over {stride:,} step{'s' * (stride > 1)}: the shortest lag is {kept.stride:,} steps, and "
            f"lags and windows are multiples of it. Do not compare a temperature at that lag with one at lag {stride:,}"
        )
    for name, values in scalars.items():
        logged = np.isfinite(values)
        lost = int(logged.sum() - logged[kept.frames].sum())
        if lost:
            said.append(f"{lost:,} of {int(logged.sum()):,} values of {name}, logged at frames that are left out")
    if run.param_groups and every > 1:
        said.append("the learning rates of the updates between kept frames")
    if "epoch" in scalars and every > 1:
        ends = np.flatnonzero(np.diff(scalars["epoch"]) != 0)
        missing = int((~np.isin(ends, kept.frames)).sum())
        if missing:
            said.append(
                f"{missing:,} of {ends.size:,} ends of epochs, which have no kept frame: windows by epoch are not exact"
            )
    if run.attributes.get("attempts"):
        said.append("the attempts that were superseded")
    return said


def write_trim(
    trim: Trim,
    store: Path,
    *,
    overwrite: bool = False,
    memory_limit: int | None = None,
    progress: Callable[[int], None] = lambda frames: None,
    tell: Callable[[str], None] = lambda sentence: None,
) -> StoreWriter:
    """Write the smaller store.

    Parameters
    ----------
    trim : Trim
    store : Path
    overwrite : bool
        Replace a store that is there.
    memory_limit : int, optional
        Bytes; default three quarters of what is free.
    progress : callable
        Takes the number of frames that were written since the last call.
    tell : callable
        Takes a sentence on what is waited for.

    Raises
    ------
    StoreExistsError, StoreFormatError, StoreLockedError, DiskSpaceError, UsageError
        Nothing is left behind. The run must not be cut or replaced meanwhile.
    """
    run, kept = trim.run, trim.kept
    if store.exists() and store.samefile(run.store):
        raise UsageError(f"{store}: expected another path than the run's own. Name a new one.")
    frame = run.schema.stored_frame_bytes
    chunk_steps = min(series_chunk_steps(run.schema, kept.frames.size), run.chunk_steps)
    check_memory(
        (2 * run.chunk_steps + chunk_steps) * frame,
        "chunks of frames, read and written",
        memory_limit,
        remedy="Raise --memory-limit, or use a machine with more memory.",
    )
    with fresh_store(store, overwrite=overwrite, tell=tell) as folder:
        steps = run.steps[kept.frames]
        writer = StoreWriter(
            folder,
            run.schema,
            _attributes(trim, steps, chunk_steps),
            frames=0,
            param_groups=run.param_groups,
            scalars={},
            threads=compressing_threads(),
        )
        try:
            for chunk in range(-(-run.frames // run.chunk_steps)):
                first = chunk * run.chunk_steps
                some = kept.frames[(kept.frames >= first) & (kept.frames < first + run.chunk_steps)]
                if some.size:
                    _append(trim, writer, chunk, some, some - first)
                    progress(int(some.size))
            _require_same(run)
            writer.publish({"session": uuid.uuid4().hex}, status=str(run.attributes.get("status", "complete")))
        except StoreFormatError:
            _require_same(run)  # a chunk that a cut removed is no damage
            raise
        finally:
            writer.close()
    return writer


def _require_same(run: Trajectory) -> None:
    """Refuse a run that is no longer the one that was opened: a resumed training may have cut it.

    Raises
    ------
    StoreLockedError
    """
    if read_root(run.store).get("run_id") != run.attributes.get("run_id"):
        raise StoreLockedError(
            f"{run.store}: expected that no training writes to it, but one cut or replaced the run meanwhile. No new "
            "store was made: wait until the training has closed it, and trim it again."
        )


def _append(trim: Trim, writer: StoreWriter, chunk: int, frames: Array, rows: Array) -> None:
    run = trim.run
    planes = [np.empty((rows.size, plane.elements), plane.travel_dtype) for plane in run.schema.planes]
    for parameter, spec in zip(run.schema.parameters, run.specs, strict=True):
        values = run.chunk(spec, chunk).reshape(parameter.elements, run.chunk_steps)[:, rows].T
        if parameter.dtype == "bfloat16":  # stored widened, exactly
            values = (np.ascontiguousarray(values).view(np.uint32) >> 16).astype(np.uint16)
        planes[parameter.plane][:, parameter.offset : parameter.offset + parameter.elements] = values
    rates = None if run.learning_rate is None else run.chunk(run.learning_rate, chunk)[rows]
    steps = run.chunk(step_spec(run.chunk_steps), chunk)[rows]
    begun = {name: spec.attributes["first_frame"] for name, spec in run.scalars.items()}
    scalars = {name: values[frames] for name, values in trim.scalars.items() if begun[name] <= frames[-1]}
    writer.append(steps, scalars, rates, planes)


def _attributes(trim: Trim, steps: Array, chunk_steps: int) -> dict[str, Any]:
    """Return the root attributes of the smaller store: the run's own, adapted to the frames that are left."""
    run, kept = trim.run, trim.kept
    held = {name: value for name, value in run.attributes.items() if name not in _NOT_COPIED}
    newest = {
        name: float(found[-1])
        for name, values in trim.scalars.items()
        if (found := values[kept.frames][np.isfinite(values[kept.frames])]).size
    }
    first, last = int(steps[0]), int(steps[-1])
    for name, low, high in (
        ("lost_frames", "after_step", "before_step"),
        ("lost_scalars", "first_step", "last_step"),
    ):
        entries = [one for one in held.get(name) or [] if _meets(one, low, high, first, last)]
        held = {key: value for key, value in held.items() if key != name} | ({name: entries} if entries else {})
    if isinstance(counts := held.get("annotated"), dict):
        held["annotated"] = {
            name: max(0, count - kept.cut_segments) for name, count in counts.items() if isinstance(count, int)
        }
    return held | {
        "run_id": uuid.uuid4().hex,
        "created": held.get("created") or now(),
        "chunk_steps": chunk_steps,
        "stride": kept.stride,
        "segments": kept.segments,
        "last": newest | {"step": last},
        "trimmed": {
            "run_id": run.attributes.get("run_id"),
            "frames": run.frames,
            "keep": list(trim.ranges),
            "every": trim.every,
        },
        CHUNK_CHECKSUMS: [],
    }


def _meets(entry: dict[str, int | None], low: str, high: str, first: int, last: int) -> bool:
    """Tell whether a recorded loss lies, at least in part, between the first and the last step that is kept."""
    begin, end = entry.get(low), entry.get(high)
    return (begin is None or begin < last) and (end is None or end > first)
