"""Frames out of a store: the only module that decodes chunks.

Chunks with the codecs of the format are decoded one by one (`analyzer.chunks`). Others, as when somebody has rewritten
a store, are left to zarr, which reads a chunk that does not exist as fill, without a word: there a chunk whose first
element is the fill value is looked up in the store. Every other one has shown by its content that it exists.
"""

from __future__ import annotations

import itertools
import json
import math
import warnings
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any
from urllib.parse import unquote

import numpy as np
import zarr
from zarr.core.metadata.v3 import ArrayV3Metadata
from zarr.core.sync import sync
from zarr.storage import StorePath

from analyzer.chunks import Decoder, chunk_bytes, decode, decoder_of, store_at
from analyzer.errors import (
    AnalyzerError,
    CorruptChunkError,
    DamagedStoreError,
    MissingChunkError,
    StoreChangedError,
    TrajectoryMissingError,
)
from analyzer.schema import MOMENTS_FORMAT, root_text

_MANY, _VERY_MANY = 64, 1 << 16
"""Chunks of one reading, and of one array, from which on it is worth a look whether the last is there."""
Frames = np.ndarray[Any, np.dtype[Any]]
Region = tuple[tuple[int, int], ...]

# pcodec is outside the Zarr v3 core specification, which zarr says once for every array opened; the format chose it.
warnings.filterwarnings("ignore", message="Numcodecs codecs are not in the Zarr version 3", module="zarr|numcodecs")


@dataclass(frozen=True)
class Source:
    """One array of one run: enough to decode its frames in any process."""

    location: str
    run_id: str
    frames: int
    path: str


@lru_cache(maxsize=256)
def open_array(source: Source) -> zarr.Array[Any]:
    """The zarr array of a source; kept open, since opening costs a millisecond.

    Its metadata is taken from the root by name: `zarr.open_group` would parse the metadata of every array, in every
    process, and loses members whose siblings are not listed side by side (zarr 3.1.6, `_flat_to_nested`).
    """
    node = _nodes(source.location, source.run_id, source.frames).get(source.path)
    try:
        metadata = ArrayV3Metadata.from_dict(node)  # type: ignore[arg-type]
    except (KeyError, ValueError, TypeError, AttributeError) as error:
        raise DamagedStoreError(
            f"{source.location}: expected metadata of an array {source.path!r} that zarr understands, got: "
            f"{_one_line(error)}. The metadata is damaged. Restore zarr.json from a copy of the store, "
            "or record the run again.",
            location=source.location,
            path=source.path,
        ) from error
    store = StorePath(store_at(source.location), source.path)
    return zarr.Array(zarr.AsyncArray(metadata=metadata, store_path=store))


@lru_cache(maxsize=256)
def _decoder(source: Source) -> Decoder | None:
    return decoder_of(open_array(source).metadata)  # type: ignore[arg-type]


def has_frames(source: Source) -> bool:
    """Whether the run has its trajectory, or only what was kept of it."""
    return bool(_root(source.location, source.run_id, source.frames)["attributes"]["format"] != MOMENTS_FORMAT)


def _nodes(location: str, run_id: str, frames: int) -> dict[str, Any]:
    """The consolidated metadata by path."""
    nodes: dict[str, Any] = _root(location, run_id, frames)["consolidated_metadata"]["metadata"]
    return nodes


@lru_cache(maxsize=8)
def _root(location: str, run_id: str, frames: int) -> dict[str, Any]:
    """The root document. `frames` is part of the key: a run that grew is opened anew."""
    document: dict[str, Any] = json.loads(root_text(location))
    found = document["attributes"].get("run_id", "")
    if found != run_id:
        raise StoreChangedError(
            f"{location}: expected the run {run_id}, got {found}. The store was replaced since it was opened. "
            "Open it again: analyzer.open_run(path)",
            location=location,
        )
    return document


def read(source: Source, region: Region) -> Frames:
    """The values of a region, one (start, stop) for each axis of the array, all chunks checked.

    Raises
    ------
    CorruptChunkError, MissingChunkError
        A chunk of the region is damaged or absent; the message names the array and the steps.
    """
    array = open_array(source)
    if source.path.startswith("parameters/") and not has_frames(source):
        raise TrajectoryMissingError(
            f"{source.location}: expected the frames of {source.path}, got only sums of them. They cannot be "
            "made again. Ask what the sums answer (whole run, epochs), or restore the trajectory.",
            location=source.location,
            path=source.path,
        )
    _check_last(array, source, region)
    decoder = _decoder(source)
    if decoder is not None:
        return _joined(array, source, region, decoder)
    try:
        values = np.asarray(array[tuple(slice(*bounds) for bounds in region)])
    except Exception as error:
        raise _located(array, source, region, error) from error
    if values.size:
        _check_presence(array, source, region, values)
    return values


def check_length(source: Source, shape: tuple[int, ...]) -> None:
    """Refuses a shape that only a damaged number can have said: of very many chunks, the last must exist.

    Raises
    ------
    DamagedStoreError
        It does not. Even the list of so many chunks could fill all memory.
    """
    array = open_array(source)
    count, _, key = _last_chunk(array, source, tuple((0, length) for length in shape))
    kept_alone = source.path.startswith("parameters/") and not has_frames(source)
    if count > _VERY_MANY and not kept_alone and not sync(array.store.exists(key)):
        raise DamagedStoreError(
            f"{source.location}: {source.path}: expected the last of {count:,} chunks, {key}, got none. The shape "
            f"{list(shape)} is damaged. Restore zarr.json from a copy of the store, or record the run again.",
            location=source.location,
            path=source.path,
        )


def _check_last(array: zarr.Array[Any], source: Source, region: Region) -> None:
    """Of many chunks the last must exist: a length that is nothing but a damaged number would fill all memory first."""
    count, cell, key = _last_chunk(array, source, region)
    if count > _MANY and not sync(array.store.exists(key)) and not _may_be_absent(array, cell):
        raise _missing(array, source, cell, key)


def _last_chunk(array: zarr.Array[Any], source: Source, region: Region) -> tuple[int, Region, str]:
    """How many chunks a region touches, and the bounds and key of the last."""
    axes = list(zip(region, array.chunks, strict=True))
    count = math.prod(-(-stop // n) - start // n for (start, stop), n in axes)
    position = tuple(max(stop - 1, 0) // n for (_, stop), n in axes)
    cell = tuple((at * n, min(stop, (at + 1) * n)) for at, ((_, stop), n) in zip(position, axes, strict=True))
    return count, cell, f"{source.path}/{array.metadata.encode_chunk_key(position)}"


def _joined(array: zarr.Array[Any], source: Source, region: Region, decoder: Decoder) -> Frames:
    """A region from its chunks."""
    cells = _chunk_regions(array, region)
    if len(cells) == 1:  # the usual case: no copy
        return _chunk(array, source, *cells[0], decoder)
    values = np.empty([stop - start for start, stop in region], array.dtype)
    for position, cell in cells:
        place = tuple(slice(low - start, high - start) for (low, high), (start, _) in zip(cell, region, strict=True))
        values[place] = _chunk(array, source, position, cell, decoder)
    return values


def _chunk(array: zarr.Array[Any], source: Source, position: tuple[int, ...], cell: Region, decoder: Decoder) -> Frames:
    """The part of one chunk that a region asks for."""
    key = f"{source.path}/{array.metadata.encode_chunk_key(position)}"
    try:
        raw = chunk_bytes(source.location, key)
    except OSError as error:  # a folder in its place, a loop of links, no permission
        raise _corrupt(array, source, cell, error) from error
    if raw is None:
        if _may_be_absent(array, cell):
            return np.full([stop - start for start, stop in cell], array.fill_value, array.dtype)
        raise _missing(array, source, cell, key)
    try:
        whole = decode(raw, decoder, array.dtype, array.chunks)
    except Exception as error:  # codecs raise what they like
        raise _corrupt(array, source, cell, error) from error
    origins = [number * length for number, length in zip(position, array.chunks, strict=True)]
    return whole[tuple(slice(low - o, high - o) for (low, high), o in zip(cell, origins, strict=True))]


def _may_be_absent(array: zarr.Array[Any], cell: Region) -> bool:
    """Whether a chunk ends before its scalar was first logged: then it need not exist, and reads as fill."""
    first = array.attrs.get("first_frame")
    return isinstance(first, int) and cell[_step_axis(array)][1] <= first


def _chunk_regions(array: zarr.Array[Any], region: Region) -> list[tuple[tuple[int, ...], Region]]:
    """Grid position and bounds of every chunk that a region touches."""
    axes = []
    for (start, stop), length in zip(region, array.chunks, strict=True):
        first, last = start // length, -(-stop // length)
        axes.append([(n, (max(start, n * length), min(stop, (n + 1) * length))) for n in range(first, last)])
    return [(tuple(n for n, _ in cell), tuple(b for _, b in cell)) for cell in itertools.product(*axes)]


def _located(array: zarr.Array[Any], source: Source, region: Region, error: Exception) -> AnalyzerError:
    """The error of the first chunk that does not decode."""
    for _, cell in _chunk_regions(array, region):
        try:
            array[tuple(slice(*bounds) for bounds in cell)]
        except Exception as cause:
            return _corrupt(array, source, cell, cause)
    return CorruptChunkError(
        f"{source.location}: {source.path}: expected {region} to decode, got: {_one_line(error)}. "
        "The store may have changed while it was read. Read again; if it stays, restore the store from a copy.",
        location=source.location,
        path=source.path,
    )


def _check_presence(array: zarr.Array[Any], source: Source, region: Region, values: Frames) -> None:
    fill = np.asarray(array.fill_value, dtype=values.dtype)
    for position, cell in _chunk_regions(array, region):
        corner = values[tuple(start - first for (start, _), (first, _) in zip(cell, region, strict=True))]
        if not (corner == fill or (corner != corner and fill != fill)):
            continue
        key = f"{source.path}/{array.metadata.encode_chunk_key(position)}"
        if not sync(array.store.exists(key)) and not _may_be_absent(array, cell):
            raise _missing(array, source, cell, key)


def _corrupt(array: zarr.Array[Any], source: Source, cell: Region, cause: Exception) -> CorruptChunkError:
    bounds = cell[_step_axis(array)]
    steps, remedy = _place(source, *bounds)
    return CorruptChunkError(
        f"{source.location}: {source.path}, steps {steps}: expected a chunk that decodes, got: {_one_line(cause)}. "
        f"Its frames are lost, and nothing computed from them can be trusted. {remedy}",
        location=source.location,
        path=source.path,
        frames=bounds,
    )


def _missing(array: zarr.Array[Any], source: Source, cell: Region, key: str) -> MissingChunkError:
    bounds = cell[_step_axis(array)]
    steps, remedy = _place(source, *bounds)
    return MissingChunkError(
        f"{source.location}: {source.path}, steps {steps}: expected the committed chunk {key}, got none. "
        f"zarr would read it as {array.fill_value}, silently. {remedy}",
        location=source.location,
        path=source.path,
        frames=bounds,
    )


def _step_axis(array: zarr.Array[Any]) -> int:
    names: Any = getattr(array.metadata, "dimension_names", None) or ()
    return list(names).index("step") if "step" in names else array.ndim - 1


def _place(source: Source, start: int, stop: int) -> tuple[str, str]:
    """The steps of a chunk's frames, and what to do about it, in the words of the command line."""
    if not source.path.startswith("parameters/"):
        return f"of frames {start} to {stop - 1}", "Restore the chunk from a copy of the store."
    of_steps = replace(source, path="step")

    def step(frame: int) -> int:
        return int(read(of_steps, ((frame, frame + 1),))[0])

    rest = []
    if start > 1:
        rest.append(f"--stop {step(start - 1)}")
    if stop < source.frames - 1:
        rest.append(f"--start {step(stop)}")
    name = ".".join(source.path.split("/")[1:])
    rest.append(f"--exclude {unquote(name)}")
    return (
        f"{step(start)} to {step(stop - 1)}",
        f"Restore the chunk from a copy, or analyse the rest: {' or '.join(rest)}",
    )


def _one_line(error: BaseException) -> str:
    text = str(getattr(error, "strerror", None) or error)  # the path of an OSError is said before
    return " ".join(text.split()).rstrip(".") or type(error).__name__
