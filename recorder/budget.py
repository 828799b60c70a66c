"""The sizes of a recording: pure functions of the schema and the limits, called before anything is allocated."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from math import prod
from pathlib import Path

import numpy as np

from recorder.errors import UsageError
from recorder.schema import Schema

DEFAULT_SPOOL_LIMIT = 1 << 30  # most machines can spare it, and a larger pool would save a few percent of the store
GREATEST_DEFAULT_LIMIT = 4 << 30  # for models whose shortest chunks do not fit the first limit
MOST_CHUNK_STEPS = 1024  # longer chunks double the pool, and hardly make the store smaller
# The chunk being filled is written again and again, so that the run can be analysed live. The cost of that grows with
# the chunk's bytes, and longer chunks save less and less.
ENOUGH_CHUNK_STEPS = 256
ENOUGH_CHUNK_BYTES = 64 << 20  # of all parameters together
FEWEST_CHUNK_STEPS = 16  # shorter chunks compress much worse
CHUNKS_IN_POOL = 3  # one being filled, one being written, one to spare
FILES_PER_CHUNK = 4
# A small model steps thousands of times while one commit waits for the disk. Its pool is deeper: up to 48 spool files
# or 16 MiB.
MOST_FILES = 48
DEEP_POOL_BYTES = 16 << 20
LARGEST_CHUNK_BYTES = 64 << 20
SERIES_CHUNK_BYTES = 1 << 30  # of all parameters of an imported series, whose frames wait in memory and not in a spool
SCALAR_COLUMNS = 64  # names that log() may use: 8 bytes each in every spooled frame, none in the store until used
HEADER_BYTES = 4096
ALIGNMENT = 64


# Keys of `session.json`. Spools of earlier versions have the same ones.
_KEYS = {
    "chunk_steps": "chunk_steps",
    "file_frames": "segment_frames",
    "files": "segments",
    "scalar_columns": "scalar_slots",
    "file_bytes": "segment_bytes",
}


@dataclass(frozen=True, slots=True)
class Budget:
    """Sizes of one recording.

    Attributes
    ----------
    chunk_steps : int
        T: frames in a chunk of the store, a power of two.
    file_frames : int
        Frames in a spool file; divides T.
    files : int
        Spool files in the pool.
    scalar_columns : int
        Scalars (float64) that are spooled with each frame: skipped updates, learning rates, logged values.
    file_bytes : int
        Size of a spool file.
    """

    chunk_steps: int
    file_frames: int
    files: int
    scalar_columns: int
    file_bytes: int

    @property
    def pool_bytes(self) -> int:
        return self.files * self.file_bytes

    def to_json(self) -> dict[str, int]:
        return {key: getattr(self, name) for name, key in _KEYS.items()}

    @classmethod
    def from_json(cls, document: dict[str, int]) -> Budget:
        return cls(**{name: document[key] for name, key in _KEYS.items()})


def plan_budget(
    schema: Schema, param_groups: int, *, spool_limit: int | None = None, chunk_steps: int | None = None
) -> Budget:
    """Choose the chunk length and the pool for a schema.

    Parameters
    ----------
    schema : Schema
    param_groups : int
        Learning rates that are spooled with each frame.
    spool_limit : int, optional
        Bytes that the pool may take; default: 1 GiB, or up to 4 GiB where 1 GiB is too little.
    chunk_steps : int, optional
        T, if the caller fixes it (a resumed store has one already). Default: the largest power of two up to 1024 for
        which three chunks of frames fit the limit. Above 256, the chunks of all parameters must also fit 64 MiB.

    Returns
    -------
    Budget

    Raises
    ------
    UsageError
        Chunks of 16 steps do not fit the limit; or `chunk_steps` is not a power of two, is below 16, or does not fit.
    """
    columns = 1 + param_groups + SCALAR_COLUMNS

    def budget(steps: int) -> Budget:
        frames = steps // FILES_PER_CHUNK
        size = file_layout(schema, frames, columns).size
        least = CHUNKS_IN_POOL * FILES_PER_CHUNK
        deep = min(DEEP_POOL_BYTES, spool_limit or DEEP_POOL_BYTES) // size
        return Budget(steps, frames, max(least, min(MOST_FILES, deep)), columns, size)

    if spool_limit is None:
        least = budget(max(chunk_steps or 0, FEWEST_CHUNK_STEPS)).pool_bytes
        spool_limit = min(max(DEFAULT_SPOOL_LIMIT, least), GREATEST_DEFAULT_LIMIT)
    remedy = (
        'Record fewer parameters (include=["conv*"]), or raise the limit (spool_limit="16GiB"), or put the spool on a '
        "larger disk (spool=DIR)."
    )
    if chunk_steps is not None:
        if chunk_steps < FEWEST_CHUNK_STEPS or chunk_steps & (chunk_steps - 1):
            raise UsageError(
                f"chunk_steps: expected a power of two of at least {FEWEST_CHUNK_STEPS}, got {chunk_steps}. Each "
                "spool file holds an equal part of a chunk. Take 256, or leave it out.",
                chunk_steps=chunk_steps,
            )
        fixed = budget(chunk_steps)
        if fixed.pool_bytes > spool_limit:
            raise UsageError(
                f"chunk_steps={chunk_steps}: expected three chunks of frames within the spool limit of "
                f"{format_bytes(spool_limit)}, but they take {format_bytes(fixed.pool_bytes)}. {remedy}",
                pool_bytes=fixed.pool_bytes,
                spool_limit=spool_limit,
            )
        return fixed
    steps = MOST_CHUNK_STEPS
    while steps > ENOUGH_CHUNK_STEPS and steps * schema.stored_frame_bytes > ENOUGH_CHUNK_BYTES:
        steps //= 2
    while steps >= FEWEST_CHUNK_STEPS:
        if (planned := budget(steps)).pool_bytes <= spool_limit:
            return planned
        steps //= 2
    least = budget(FEWEST_CHUNK_STEPS).pool_bytes
    raise UsageError(
        f"spool: expected room for three chunks of {FEWEST_CHUNK_STEPS} frames of {format_bytes(schema.frame_bytes)} "
        f"({format_bytes(least)}), but the limit is {format_bytes(spool_limit)}. {remedy}",
        needed=least,
        spool_limit=spool_limit,
    )


@dataclass(frozen=True, slots=True)
class FileLayout:
    """Byte offsets in a spool file: the header comes first, then arrays with one row for each frame."""

    steps: int
    checksums: int
    scalars: int
    planes: tuple[int, ...]
    size: int


def file_layout(schema: Schema, frames: int, columns: int) -> FileLayout:
    """Place the arrays of a spool file of `frames` frames; every array starts on a cache line."""
    end = HEADER_BYTES

    def place(size: int) -> int:
        nonlocal end
        start = end
        end = -(-(start + size) // ALIGNMENT) * ALIGNMENT
        return start

    steps, checksums, scalars = place(8 * frames), place(8 * frames), place(8 * frames * columns)
    planes = tuple(place(frames * plane.frame_bytes) for plane in schema.planes)
    return FileLayout(steps, checksums, scalars, planes, -(-end // 4096) * 4096)


def chunk_shape(shape: tuple[int, ...], dtype: np.dtype[np.generic], chunk_steps: int) -> tuple[int, ...]:
    """Return the chunk shape of a parameter: whole along its own axes and T along `step`, as far as 64 MiB allow.

    A larger chunk is cut along its leading axes, the first one first. T is the same for every parameter.
    """
    own = [max(1, size) for size in shape]
    most = LARGEST_CHUNK_BYTES // (dtype.itemsize * chunk_steps)
    for axis in range(len(own)):
        inner = prod(own[axis + 1 :])
        if own[axis] * inner <= most:
            break
        own[axis] = max(1, most // inner)
    return (*own, chunk_steps)


def compressing_threads() -> int:
    """Return the writer's number of compressing threads: half the cores that this process may use, at most 8."""
    return max(1, min(8, len(os.sched_getaffinity(0)) // 2))


def series_chunk_steps(schema: Schema, frames: int) -> int:
    """Return the chunk length T for a series of `frames` frames that exist already.

    It is chosen as for a recording, but is no longer than the series, and the chunks take at most 1 GiB.
    """
    steps, frame = MOST_CHUNK_STEPS, schema.stored_frame_bytes
    while steps > FEWEST_CHUNK_STEPS and (
        steps // 2 >= frames
        or steps * frame > SERIES_CHUNK_BYTES
        or (steps > ENOUGH_CHUNK_STEPS and steps * frame > ENOUGH_CHUNK_BYTES)
    ):
        steps //= 2
    return steps


def check_memory(needed: int, what: str, limit: int | None = None, *, remedy: str) -> None:
    """Refuse what does not fit into memory.

    Parameters
    ----------
    needed : int
        Bytes.
    what : str
        What they are for.
    limit : int, optional
        Bytes; default three quarters of the free memory.
    remedy : str
        A sentence: what the user can do.

    Raises
    ------
    UsageError
    """
    free = available_memory() * 3 // 4 if limit is None else limit
    if needed > free:
        raise UsageError(
            f"memory: expected room for {what} ({format_bytes(needed)}), but the limit is {format_bytes(free)}. "
            f"{remedy}",
            needed=needed,
            limit=free,
        )


def available_memory() -> int:
    """Return the bytes of free memory: of the machine, or of this process's control group if that has less."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        free = next(int(line.split()[1]) << 10 for line in lines if line.startswith("MemAvailable"))
    except (OSError, StopIteration, ValueError):
        free = 1 << 62
    group = Path("/sys/fs/cgroup")
    try:
        most, used = (int((group / f"memory.{name}").read_text()) for name in ("max", "current"))
        return min(free, max(0, most - used))
    except (OSError, ValueError):  # no group, or no limit ("max")
        return free


_UNITS = {"": 1, "b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "kib": 1 << 10, "mib": 1 << 20, "gib": 1 << 30}


def parse_bytes(value: int | str) -> int:
    """Return a number of bytes from an integer or a text such as `"8GiB"`."""
    if isinstance(value, int):
        return value
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([a-zA-Z]*)\s*", value)
    if match is None or match[2].lower() not in _UNITS:
        raise UsageError(f"size {value!r}: expected a number of bytes such as 4294967296 or '4GiB'.", value=value)
    return int(float(match[1]) * _UNITS[match[2].lower()])


def format_bytes(size: float) -> str:
    """Return a size as people read it: `1.5 GiB`."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1024 or unit == "GiB":
            return f"{size:.0f} {unit}" if unit == "B" or size >= 100 else f"{size:.1f} {unit}"
        size /= 1024
    raise AssertionError
