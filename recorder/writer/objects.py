"""The objects that hold the chunks of an array: where each one is, and how it is read back."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from pathlib import Path

from recorder.files import read_file
from recorder.writer.encoding import Array, decode_chunk, most_bytes
from recorder.writer.format import ArraySpec


def objects_of(store: Path, spec: ArraySpec, chunk: int) -> Iterator[tuple[Path, tuple[slice, ...]]]:
    """Yield the file of each object of one chunk along `step`, and its part of the whole array's chunk."""
    own = spec.chunks[1:] if spec.step_first else spec.chunks[:-1]
    grid = [range(-(-size // piece)) for size, piece in zip(spec.shape, own, strict=True)]
    for index in product(*grid):
        part = tuple(slice(i * piece, (i + 1) * piece) for i, piece in zip(index, own, strict=True))
        key = (chunk, *index) if spec.step_first else (*index, chunk)
        where = (slice(None), *part) if spec.step_first else (*part, slice(None))
        yield store.joinpath(spec.path, "c", *map(str, key)), where


def decoded(data: bytes, spec: ArraySpec, room: Array) -> None:
    """Decode an object into its part of a chunk. Objects are always whole, so the part may be smaller.

    Raises
    ------
    ValueError
    """
    whole = decode_chunk(data, spec.dtype, spec.chunks, spec.compression)
    room[...] = whole[tuple(slice(0, length) for length in room.shape)]


def read_object(path: Path, spec: ArraySpec) -> bytes:
    """Return the bytes of an object.

    Raises
    ------
    OSError
    """
    return read_file(path, most_bytes(spec.chunks, spec.dtype))


def read_chunk(store: Path, spec: ArraySpec, chunk: int, room: Array) -> int:
    """Read one chunk along `step` of an array into `room`; return how many bytes it takes in the store.

    Raises
    ------
    OSError, ValueError
    """
    size = 0
    for path, where in objects_of(store, spec, chunk):
        data = read_object(path, spec)
        decoded(data, spec, room[where])
        size += len(data)
    return size
