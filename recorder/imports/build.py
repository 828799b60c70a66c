"""Makes a store from a series of checkpoints: schema, sizes, frames, one publication."""

from __future__ import annotations

import os
import platform
import time
import uuid
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import xxhash

from recorder.budget import check_memory, compressing_threads, series_chunk_steps
from recorder.codecs import CODECS, DEFAULT
from recorder.errors import UsageError
from recorder.imports.formats import Array, Opener
from recorder.imports.names import Globs
from recorder.imports.series import Choices, Series, common_stride, look, stretches_of, total_bytes
from recorder.names import recorded_name, user_path
from recorder.root import CHUNK_CHECKSUMS, FORMAT, FORMAT_VERSION, now
from recorder.schema import Schema
from recorder.trainer.values import jsonable
from recorder.version import VERSION, installed
from recorder.writer.fresh import check_place, fresh_store
from recorder.writer.store import StoreWriter

_BLOCK_BYTES = 8 << 20  # small frames are gathered before they are spread over chunks


@dataclass(frozen=True, slots=True)
class Imported:
    """The result of an import.

    Attributes
    ----------
    frames, weights : int
    raw_bytes, stored_bytes : int
        Bytes of all frames, before and after compression.
    seconds : float
    unchanged : tuple of str
        Parameters whose bits are the same in every frame.
    """

    frames: int
    weights: int
    raw_bytes: int
    stored_bytes: int
    seconds: float
    unchanged: tuple[str, ...]


def import_checkpoints(
    paths: Iterable[str | os.PathLike[str]],
    store: str | os.PathLike[str],
    *,
    overwrite: bool = False,
    compression: str = DEFAULT,
    hyperparameters: Mapping[str, Any] | None = None,
    memory_limit: int | None = None,
    key: str | None = None,
    prefix: str = "",
    step_pattern: str | None = None,
    steps_per_epoch: int | None = None,
    model: str | None = None,
    include: Globs = None,
    exclude: Globs = None,
    formats: Mapping[str, Opener] | None = None,
) -> Imported:
    """Make a store of a series of checkpoint files.

    Parameters
    ----------
    paths : iterable of path
        Files, folders, patterns.
    store : path
        Where the store will be.
    overwrite : bool
        Replace an existing store, which stays whole until the new one is.
    compression : str
        As for `Recorder`.
    hyperparameters : mapping, optional
        Added to those in the files. If both have a name, this value is taken.
    memory_limit : int, optional
        Bytes; default three quarters of the free memory.
    key, prefix, step_pattern, steps_per_epoch, model, include, exclude, formats
        As for `recorder.imports.series.Choices`.

    Returns
    -------
    Imported

    Raises
    ------
    CheckpointError, SelectionError, UsageError
        Nothing is written.
    StoreExistsError, StoreFormatError, StoreLockedError, DiskSpaceError
        Nothing is left behind.
    """
    place = user_path(store)
    check_place(place, overwrite=overwrite)
    choices = Choices(
        key=key, prefix=prefix, step_pattern=step_pattern, steps_per_epoch=steps_per_epoch, model=model,
        include=include, exclude=exclude, formats=formats,
    )  # fmt: skip
    series = look(paths, choices)
    return build(
        series, place, overwrite=overwrite, compression=compression, hyperparameters=hyperparameters,
        memory_limit=memory_limit,
    )  # fmt: skip


def build(
    series: Series,
    store: Path,
    *,
    overwrite: bool = False,
    compression: str = DEFAULT,
    hyperparameters: Mapping[str, Any] | None = None,
    memory_limit: int | None = None,
    progress: Callable[[int], None] = lambda frames: None,
    tell: Callable[[str], None] = lambda sentence: None,
) -> Imported:
    """Write the store of a series; `import_checkpoints` describes the options.

    Parameters
    ----------
    series : Series
    store : Path
    overwrite, compression, hyperparameters, memory_limit
    progress : callable
        Takes the number of frames that were read since the last call.
    tell : callable
        Takes a sentence on what is waited for.
    """
    if compression not in CODECS:
        raise UsageError(f"compression: expected one of {', '.join(map(repr, CODECS))}, got {compression!r}.")
    chunk_steps = series_chunk_steps(series.schema, len(series.members))
    frame = series.schema.stored_frame_bytes
    check_memory(
        chunk_steps * frame + max(_BLOCK_BYTES, 2 * frame),
        f"one chunk of {chunk_steps} frames",
        memory_limit,
        remedy="Take fewer parameters (--include 'conv*'), or raise --memory-limit.",
    )
    began = time.perf_counter()
    with fresh_store(store, overwrite=overwrite, tell=tell) as folder:
        attributes = root_attributes(series, chunk_steps, compression, hyperparameters or {})
        writer = StoreWriter(
            folder,
            series.schema,
            attributes,
            frames=0,
            param_groups=0,
            scalars={},
            threads=compressing_threads(),
        )
        try:
            unchanged = _append(series, writer, progress)
            writer.publish({"session": attributes["segments"][0]["session"]}, status="complete")
        finally:
            writer.close()
    seconds = time.perf_counter() - began
    weights = sum(parameter.elements for parameter in series.schema.parameters)
    return Imported(len(series.members), weights, total_bytes(series), writer.stored_bytes, seconds, unchanged)


def root_attributes(
    series: Series, chunk_steps: int, compression: str, hyperparameters: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the root attributes for the store of a series."""
    steps, session = series.steps, uuid.uuid4().hex
    settings = {**series.notes.hyperparameters, **jsonable(dict(hyperparameters))}
    optimizer = [dict(one) for one in series.notes.optimizer]
    segments: list[dict[str, Any]] = [
        {
            "first_frame": part.first_frame,
            "first_step": steps[part.first_frame],
            "wall_time": now(),
            "user_step": steps[part.first_frame],
            "continuous": number > 0,
            "session": session,
            "stride": part.stride,
        }
        for number, part in enumerate(stretches_of(steps))
    ]
    segments[0] |= {"hyperparameters": settings, "optimizer": optimizer}
    segments[-1] |= {"end_step": steps[-1]}
    newest = {recorded_name(name): value for name, value in series.members[-1].scalars.items() if np.isfinite(value)}
    return {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "run_id": uuid.uuid4().hex,
        "created": now(),
        "chunk_steps": chunk_steps,
        "stride": common_stride(steps),
        "compression": compression,
        "hyperparameters": settings,
        "model": dict(series.model),
        "optimizer": optimizer,
        "software": {
            "thermotrace": VERSION,
            "numpy": installed("numpy"),
            "pcodec": installed("pcodec"),
            "python": platform.python_version(),
        },
        "segments": segments,
        "skipped_updates": 0,
        "dropped_frames": 0,
        "imported": {
            "files": len(series.members),
            "first": series.members[0].place.label,
            "last": series.members[-1].place.label,
        },
        "last": newest | {"step": steps[-1]},
        CHUNK_CHECKSUMS: [],
    }


def _append(series: Series, writer: StoreWriter, progress: Callable[[int], None]) -> tuple[str, ...]:
    """Read every checkpoint into the store; return the parameters that never changed."""
    schema, members = series.schema, series.members
    frames = max(1, min(writer.chunk_steps, _BLOCK_BYTES // max(1, schema.frame_bytes), len(members)))
    planes = [np.empty((frames, plane.elements), plane.travel_dtype) for plane in schema.planes]
    names = list(dict.fromkeys(recorded_name(name) for member in members for name in member.scalars))
    same: dict[str, int] | None = None  # digest of each parameter that has not changed yet
    for first in range(0, len(members), frames):
        block = members[first : first + frames]
        for row, member in enumerate(block):
            for parameter, values in zip(schema.parameters, series.frame(member), strict=True):
                planes[parameter.plane][row, parameter.offset : parameter.offset + parameter.elements] = values
            same = _still_the_same(schema, planes, row, same)
            progress(1)
        told = [{recorded_name(name): value for name, value in member.scalars.items()} for member in block]
        scalars = {name: np.array([one.get(name, np.nan) for one in told]) for name in names}
        steps = np.array([member.step for member in block], np.int64)
        writer.append(steps, scalars, None, [plane[: len(block)] for plane in planes])
    return tuple(same or ())


def _still_the_same(schema: Schema, planes: Iterable[Array], row: int, known: dict[str, int] | None) -> dict[str, int]:
    """Return the digests of the parameters whose bits are the same in this frame and in all before it."""
    rows = [plane[row] for plane in planes]
    found = {}
    for parameter in schema.parameters:
        if known is None or parameter.name in known:
            values = rows[parameter.plane][parameter.offset : parameter.offset + parameter.elements]
            digest = xxhash.xxh3_64_intdigest(values.data)
            if known is None or known[parameter.name] == digest:
                found[parameter.name] = digest
    return found
