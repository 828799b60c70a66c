"""Finds the recorded frame that equals given weights. Every bit is compared, one object at a time.

One small parameter is compared with all frames, from the newest chunk to the oldest. The others are compared only with
the frames in which it is equal. It is the smallest parameter that changes between most frames of the last chunk: the
smallest of all may not move for a thousand steps, under bfloat16 for example.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import prod
from pathlib import Path

import numpy as np

from recorder.writer.encoding import Array
from recorder.writer.format import ArraySpec, step_spec
from recorder.writer.objects import decoded, objects_of, read_chunk, read_object

_COMPARED = 1 << 18  # numbers that are compared at once, so that memory stays small


@dataclass(frozen=True, slots=True)
class Held:
    """The frames of a store, or of one of its attempts.

    Attributes
    ----------
    store : Path
    parameters : sequence of ArraySpec
        In the order of the schema.
    steps : (frames,) int64
    chunk_steps : int
    first : int
        The first frame that is searched.
    tail : sequence of array, optional
        The last chunk of every parameter, where a writer has it in memory.
    """

    store: Path
    parameters: Sequence[ArraySpec]
    steps: Array
    chunk_steps: int
    first: int = 0
    tail: Sequence[Array] | None = None

    @property
    def frames(self) -> int:
        return len(self.steps)

    @property
    def chunks(self) -> int:
        return -(-self.frames // self.chunk_steps)

    def read(self, number: int, chunk: int) -> Iterator[tuple[tuple[slice, ...], Array]]:
        """Yield the objects of one chunk of a parameter, each with the part of a frame that it holds.

        Raises
        ------
        OSError, ValueError
            An object is missing or damaged.
        """
        spec = self.parameters[number]
        if self.tail is not None and chunk == self.chunks - 1:
            yield (), self.tail[number]
            return
        for path, where in objects_of(self.store, spec, chunk):
            part = where[:-1]
            sizes = [min(length, piece.stop) - piece.start for length, piece in zip(spec.shape, part, strict=True)]
            room = np.empty((*sizes, self.chunk_steps), spec.dtype)
            decoded(read_object(path, spec), spec, room)
            yield part, room

    def frame(self, index: int) -> list[Array]:
        """Return one frame: every parameter flat, in its stored type.

        Raises
        ------
        OSError, ValueError
        """
        chunk, column = divmod(index, self.chunk_steps)
        found = []
        for number, spec in enumerate(self.parameters):
            values = np.empty(spec.shape, spec.dtype)
            for part, room in self.read(number, chunk):
                values[part] = room[..., column]
            found.append(values.reshape(-1))
        return found


def read_steps(store: Path, frames: int, chunk_steps: int) -> Array:
    """Return the step of every frame of a store.

    Raises
    ------
    OSError, ValueError
    """
    parts = []  # not one array at once: a damaged length would fill all memory
    for chunk in range(-(-frames // chunk_steps)):
        parts.append(np.empty(chunk_steps, np.int64))
        read_chunk(store, step_spec(chunk_steps), chunk, parts[-1])
    return np.concatenate([*parts, np.empty(0, np.int64)])[:frames]


def order_of(held: Held) -> list[int]:
    """Return the numbers of the parameters in the order in which they are compared. Empty ones are left out."""
    sizes = {number: prod(spec.shape) for number, spec in enumerate(held.parameters)}
    ascending = sorted((number for number in sizes if sizes[number]), key=sizes.__getitem__)
    best, probe = -1.0, None
    for number in ascending:
        try:
            share = _moving(held, number)
        except (OSError, ValueError):
            share = 0.0  # a damaged chunk does not tell
        if share > best:
            best, probe = share, number
        if best > 0.5:
            break
    return [number for number in (probe, *(n for n in ascending if n != probe)) if number is not None]


def _moving(held: Held, number: int) -> float:
    """Return in which share of the last steps a parameter changed."""
    last = held.chunks - 1
    filled = held.frames - last * held.chunk_steps
    if filled < 2:
        last, filled = (last - 1, held.chunk_steps) if last else (last, filled)
    moved = np.zeros(max(filled - 1, 0), bool)
    for _, room in held.read(number, last):
        rows = _bits(room).reshape(-1, held.chunk_steps)
        for some in _slabs(len(rows), held.chunk_steps):
            moved |= (rows[some, 1:filled] != rows[some, : filled - 1]).any(axis=0)
            if moved.all():
                break
    return float(moved.mean()) if moved.size else 0.0


@dataclass(frozen=True, slots=True)
class Found:
    """An equal frame, and the first and the last of the equal frames around it."""

    index: int
    first: int
    last: int


class Search:
    """The search for one frame. Lifetime: the search, which remembers what it has compared.

    Parameters
    ----------
    held : Held
    values : callable
        Takes the number of a parameter; returns its values in the frame that is sought, flat, in its stored type.
    order : sequence of int
        See `order_of`.
    between : callable
        Called before each chunk: a long search must not look like a dead writer.
    """

    def __init__(
        self,
        held: Held,
        values: Callable[[int], Array],
        order: Sequence[int],
        between: Callable[[], None] = lambda: None,
    ) -> None:
        self._held, self._values, self._order, self._between = held, values, order, between
        self._equal: dict[int, Array] = {}
        self.unread: list[int] = []  # chunks that are damaged, and were not compared

    def find(self, step: int | None = None) -> Found | None:
        """Return the equal frame. Of several, return the one nearest to `step`; without a step, the newest."""
        held = self._held
        if step is not None:
            place = int(np.searchsorted(held.steps, step))
            if held.first <= place < held.frames and held.steps[place] == step and self._is_equal(place):
                return self._found(place)
        first = held.first // held.chunk_steps
        hits: list[int] = []
        for chunk in reversed(range(first, held.chunks)):
            hits += self._in(chunk).tolist()
            if hits and step is None:
                return self._found(max(hits))
        return self._found(min(hits, key=lambda hit: abs(int(held.steps[hit]) - (step or 0)))) if hits else None

    def _found(self, index: int) -> Found:
        first = last = index
        while first > self._held.first and self._is_equal(first - 1):
            first -= 1
        while last + 1 < self._held.frames and self._is_equal(last + 1):
            last += 1
        return Found(index, first, last)

    def _is_equal(self, index: int) -> bool:
        among = self._in(index // self._held.chunk_steps)
        place = int(np.searchsorted(among, index))
        return place < among.size and among[place] == index

    def _in(self, chunk: int) -> Array:
        """Return the equal frames of one chunk, ascending."""
        if chunk not in self._equal:
            self._between()
            try:
                self._equal[chunk] = self._compared(chunk)
            except (OSError, ValueError):
                self.unread.append(chunk)
                self._equal[chunk] = np.empty(0, np.int64)
        return self._equal[chunk]

    def _compared(self, chunk: int) -> Array:
        held, begin = self._held, chunk * self._held.chunk_steps
        among = np.arange(max(held.first - begin, 0), min(held.chunk_steps, held.frames - begin))
        for number in self._order:
            wanted = _bits(self._values(number)).reshape(held.parameters[number].shape)
            for part, room in held.read(number, chunk):
                among = _agreeing(_bits(room).reshape(-1, held.chunk_steps), wanted[part].reshape(-1), among)
                if not among.size:
                    return among
        return among + begin


def _agreeing(rows: Array, wanted: Array, among: Array) -> Array:
    """Return those columns among `among`, of an array (elements, steps), that hold the wanted values."""
    steps = rows.shape[1]
    for some in _slabs(len(rows), steps):
        if 4 * among.size < steps:
            equal = (rows[some][:, among] == wanted[some, None]).all(axis=0)
        else:
            equal = (rows[some] == wanted[some, None]).all(axis=0)[among]
        among = among[equal]
        if not among.size:
            break
    return among


def _slabs(rows: int, steps: int) -> Iterator[slice]:
    """Yield the rows that are compared at once. The first slabs are small, because they almost always decide."""
    edges, size = [0], 16
    while edges[-1] < rows:
        edges.append(min(rows, edges[-1] + size))
        size = max(1, min(4 * size, _COMPARED // steps))
    return (slice(*edge) for edge in pairwise(edges))


def _bits(values: Array) -> Array:
    return values.view(f"u{values.dtype.itemsize}")
