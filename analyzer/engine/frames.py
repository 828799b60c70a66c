"""Where frames come from: the chunks of a store, or the arrays of a tree. The rest of the engine ignores which."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import dask.array as da
import numpy as np

from analyzer.query.groups import Region
from analyzer.store.reading import read
from analyzer.store.rooms import Rooms
from analyzer.store.roots import Source

Array = np.ndarray[Any, np.dtype[Any]]


class Frames(Protocol):
    """The frames of one piece: a region of a parameter, at every step of the run."""

    def read(self, region: Region, start: int, stop: int) -> Array:
        """Frames start to stop - 1 of the piece's region, (*region, frames)."""

    def of_task(self, place: int) -> Any:
        """The argument of a task on span number `place` that stands for these frames; dask replaces keys in it."""

    @property
    def arrays(self) -> Sequence[da.Array]:
        """Dask arrays that `of_task` names."""


@dataclass(frozen=True)
class Chunks:
    """Frames in the chunks of a store; any process can decode them."""

    source: Source

    def read(self, region: Region, start: int, stop: int) -> Array:
        return read(self.source, (*region, (start, stop)))

    def of_task(self, place: int) -> Any:
        return self

    @property
    def arrays(self) -> Sequence[da.Array]:
        return ()


@dataclass(frozen=True)
class Noted:
    """Frames in chunks as one task reads them. Lifetime: one span of one task.

    Attributes
    ----------
    noted
        Checksum of each chunk that was read, by its key; filled. None where nobody needs them.
    rooms
        Where chunks are decoded; None for memory from the allocator.
    """

    chunks: Chunks
    noted: dict[str, str] | None
    rooms: Rooms | None = None

    def read(self, region: Region, start: int, stop: int) -> Array:
        return read(self.chunks.source, (*region, (start, stop)), self.noted, self.rooms)

    def of_task(self, place: int) -> Any:
        return self.chunks

    @property
    def arrays(self) -> Sequence[da.Array]:
        return ()


@dataclass(frozen=True)
class Arrays:
    """Frames in an array of a tree, cut in time at the plan's spans.

    Attributes
    ----------
    values
        (*region, frames), one chunk in space.
    start
        The frame that the array begins with.
    """

    values: da.Array
    start: int

    def read(self, region: Region, start: int, stop: int) -> Array:
        return np.asarray(self.values[..., start - self.start : stop - self.start])

    def of_task(self, place: int) -> Any:
        first = self.start + sum(self.values.chunks[-1][:place])
        return (Held, (self.values.name, *[0] * (self.values.ndim - 1), place), first)

    @property
    def arrays(self) -> Sequence[da.Array]:
        return (self.values,)


@dataclass(frozen=True)
class Held:
    """Frames in memory, from frame `start` on."""

    values: Array
    start: int

    def read(self, region: Region, start: int, stop: int) -> Array:
        return self.values[..., start - self.start : stop - self.start]

    def of_task(self, place: int) -> Any:
        return self

    @property
    def arrays(self) -> Sequence[da.Array]:
        return ()


def in_rooms(frames: Frames) -> Frames:
    """The same frames, for a task that reads one chunk after another: these are decoded into the same memory."""
    if isinstance(frames, Noted):
        return replace(frames, rooms=Rooms())
    return Noted(frames, None, Rooms()) if isinstance(frames, Chunks) else frames


def rows_of(frames: Frames, region: Region, rows: slice, start: int, stop: int) -> Array:
    """Frames of some entries of a region's first axis; a chunk is decoded no further than they reach."""
    if not isinstance(frames, (Chunks, Noted)):
        return frames.read(region, start, stop)[rows]
    (first, _), *rest = region
    return frames.read(((first + rows.start, first + rows.stop), *rest), start, stop)


def of_places(frames: Frames, begin: int, end: int) -> Any:
    """The argument of a task on neighbouring spans that stands for their frames; dask replaces keys in it."""
    if not isinstance(frames, Arrays):
        return frames.of_task(begin)
    values = frames.values
    keys = [(values.name, *[0] * (values.ndim - 1), place) for place in range(begin, end)]
    return (hold, keys, frames.start + sum(values.chunks[-1][:begin]))


def hold(arrays: Sequence[Array], start: int) -> Held:
    """Consecutive frames in memory, from frame `start` on."""
    return Held(np.concatenate(arrays, axis=-1), start)
