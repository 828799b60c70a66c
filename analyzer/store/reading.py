"""Frames out of a store: the only module that decodes chunks.

Chunks with the codecs of the format are decoded one by one (`analyzer.store.codecs`). zarr decodes all others, such as
those of a store that somebody has rewritten. Where a chunk does not exist, zarr silently returns its fill value. So a
chunk that begins with the fill value is looked up in the store.
"""

from __future__ import annotations

import itertools
import math
import warnings
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import numpy as np

from analyzer.errors import (
    AnalyzerError,
    CorruptChunkError,
    DamagedStoreError,
    MissingChunkError,
    TrajectoryMissingError,
)
from analyzer.store.arrays import ArrayMetadata, read_metadata, zarr_metadata
from analyzer.store.chunks import chunk_bytes, chunk_exists, store_at
from analyzer.store.codecs import Decoder, check_foreign, checksum_of, decode, room_for
from analyzer.store.rooms import Rooms
from analyzer.store.roots import Root, Source, check_same, one_line, root_now
from analyzer.store.schema import Store

if TYPE_CHECKING:
    import zarr

_MANY, _VERY_MANY, _ABSURD = 64, 1 << 16, 1 << 24
"""Numbers of chunks. Beyond the first in one reading, and beyond the second in one array, the last chunk is looked up
before anything is allocated. No array has more than the third."""
Frames = np.ndarray[Any, np.dtype[Any]]
Region = tuple[tuple[int, int], ...]

# pcodec is outside the Zarr v3 core specification, and zarr warns of it for every array. The format chose it knowingly.
warnings.filterwarnings("ignore", message="Numcodecs codecs are not in the Zarr version 3", module="zarr|numcodecs")


def open_array(source: Source) -> ArrayMetadata:
    """The metadata of a source, read once for each state of the root document."""
    return _array_in(root_now(source), source)


def _array_in(root: Root, source: Source) -> ArrayMetadata:
    found = root.arrays.get(source.path)
    if found is None:
        node = root.nodes.get(source.path)
        known = read_metadata(node) if isinstance(node, dict) else None
        found = known or zarr_metadata(zarr_array(source).metadata)  # type: ignore[arg-type]
        root.arrays[source.path] = found
    return found


def zarr_array(source: Source) -> zarr.Array[Any]:
    """The zarr array of a source; kept open, since opening costs a millisecond.

    Its metadata is taken from the root by name: `zarr.open_group` would parse the metadata of every array, in every
    process, and loses members whose siblings are not listed side by side (zarr 3.1.6, `_flat_to_nested`).
    """
    import zarr
    from zarr.core.metadata.v3 import ArrayV3Metadata
    from zarr.storage import StorePath

    root = root_now(source)
    known: zarr.Array[Any] | None = root.opened.get(source.path)
    if known is not None:
        return known
    try:
        metadata = ArrayV3Metadata.from_dict(root.nodes.get(source.path))  # type: ignore[arg-type]
    except (KeyError, ValueError, TypeError, AttributeError) as error:
        raise DamagedStoreError(
            f"{source.location}: expected metadata of an array {source.path!r} that zarr understands, got: "
            f"{one_line(error)}. The metadata is damaged. Restore zarr.json from a copy of the store, "
            "or record the run again.",
            location=source.location,
            path=source.path,
        ) from error
    store = StorePath(store_at(source.location), source.path)
    opened: zarr.Array[Any] = zarr.Array(zarr.AsyncArray(metadata=metadata, store_path=store))
    root.opened[source.path] = opened
    return opened


def has_frames(source: Source) -> bool:
    """Whether the run has its trajectory, or only what was kept of it."""
    return not root_now(source).is_kept_alone


def read(source: Source, region: Region, noted: dict[str, str] | None = None, rooms: Rooms | None = None) -> Frames:
    """The values of a region, one (start, stop) for each axis of the array, all chunks checked.

    Parameters
    ----------
    noted
        Receives the checksum of each chunk that is read, by its key (`analyzer.store.chunks.checksums`).
    rooms
        Where chunks are decoded, if they are used one after another; None for memory from the allocator.

    Raises
    ------
    CorruptChunkError, MissingChunkError
        A chunk of the region is damaged or absent; the message names the array and the steps.
    """
    try:
        return _read(source, region, noted, rooms)
    except (CorruptChunkError, MissingChunkError):
        check_same(source)  # a store that was replaced meanwhile is no damaged one
        raise


def _read(source: Source, region: Region, noted: dict[str, str] | None, rooms: Rooms | None) -> Frames:
    root = root_now(source)
    array = _array_in(root, source)
    if source.path.startswith("parameters/") and root.is_kept_alone:
        raise TrajectoryMissingError(
            f"{source.location}: expected the frames of {source.path}, got only sums of them. They cannot be "
            "made again. Ask what the sums answer (whole run, epochs), or restore the trajectory.",
            location=source.location,
            path=source.path,
        )
    _check_last(array, source, region)
    if array.decoder is not None:
        return _joined(array, source, region, array.decoder, noted, rooms)
    _check_foreign(array, source, region, noted)
    try:
        values = np.asarray(zarr_array(source)[tuple(slice(*bounds) for bounds in region)])
    except Exception as error:
        raise _located(array, source, region, error) from error
    if values.size:
        _check_presence(array, source, region, values)
    return values


def keys_of(source: Source, regions: Sequence[Region]) -> list[list[str]]:
    """The keys of the chunks that hold each of some regions."""
    array = open_array(source)
    keys = []
    for region in regions:
        axes = [range(start // n, -(-stop // n)) for (start, stop), n in zip(region, array.chunks, strict=True)]
        keys.append([f"{source.path}/{array.chunk_key(position)}" for position in itertools.product(*axes)])
    return keys


def has_checksums(source: Source) -> bool:
    """Whether the chunks of an array end with their checksums."""
    return open_array(source).codecs[-1:] == ("crc32c",)


def check_length(source: Source, shape: tuple[int, ...]) -> None:
    """Refuse a shape with very many chunks of which the last does not exist: then its number is damaged.

    Raises
    ------
    DamagedStoreError
        The last chunk is missing. Even the list of so many chunks could fill all memory.
    """
    array = open_array(source)
    count, _, key = _last_chunk(array, source, tuple((0, length) for length in shape))
    if count <= _VERY_MANY:
        return
    # A run without its trajectory has no chunk to look for.
    kept_alone = source.path.startswith("parameters/") and not has_frames(source)
    if count > _ABSURD if kept_alone else not chunk_exists(source.location, key):
        raise DamagedStoreError(
            f"{source.location}: {source.path}: expected the last of {count:,} chunks, {key}, got none. The shape "
            f"{list(shape)} is damaged. Restore zarr.json from a copy of the store, or record the run again.",
            location=source.location,
            path=source.path,
        )


def _check_last(array: ArrayMetadata, source: Source, region: Region) -> None:
    """Refuse many chunks without the last one: memory for a damaged length would be allocated before decoding."""
    count, cell, key = _last_chunk(array, source, region)
    if count > _MANY and not chunk_exists(source.location, key) and not _may_be_absent(array, cell):
        raise _missing(array, source, cell, key)


def _last_chunk(array: ArrayMetadata, source: Source, region: Region) -> tuple[int, Region, str]:
    """How many chunks a region touches, and the bounds and key of the last."""
    axes = list(zip(region, array.chunks, strict=True))
    count = math.prod(-(-stop // n) - start // n for (start, stop), n in axes)
    position = tuple(max(stop - 1, 0) // n for (_, stop), n in axes)
    cell = tuple((at * n, min(stop, (at + 1) * n)) for at, ((_, stop), n) in zip(position, axes, strict=True))
    return count, cell, f"{source.path}/{array.chunk_key(position)}"


def _joined(
    array: ArrayMetadata,
    source: Source,
    region: Region,
    decoder: Decoder,
    noted: dict[str, str] | None,
    rooms: Rooms | None,
) -> Frames:
    """A region from its chunks."""
    cells = _chunk_regions(array, region)
    if len(cells) == 1:  # the usual case: no copy
        return _chunk(array, source, *cells[0], decoder, noted, rooms)
    values = np.empty([stop - start for start, stop in region], array.dtype)
    for position, cell in cells:
        place = tuple(slice(low - start, high - start) for (low, high), (start, _) in zip(cell, region, strict=True))
        values[place] = _chunk(array, source, position, cell, decoder, noted, rooms)
    return values


def _chunk(
    array: ArrayMetadata,
    source: Source,
    position: tuple[int, ...],
    cell: Region,
    decoder: Decoder,
    noted: dict[str, str] | None,
    rooms: Rooms | None,
) -> Frames:
    """The part of one chunk that a region asks for."""
    key = f"{source.path}/{array.chunk_key(position)}"
    rows = cell[0][1] - position[0] * array.chunks[0] if array.step_axis else None  # what comes after is not decoded
    try:
        room = room_for(decoder, array.dtype, array.chunks, rows, rooms)
        raw = chunk_bytes(source.location, key, array.most_stored)
    except (OSError, MemoryError) as error:  # a folder or pipe in its place, a loop of links, no permission, too large
        raise _corrupt(array, source, cell, error) from error
    if raw is None:
        if _may_be_absent(array, cell):
            return np.full([stop - start for start, stop in cell], array.fill_value, array.dtype)
        raise _missing(array, source, cell, key)
    try:
        whole = decode(raw, decoder, array.dtype, array.chunks, rows, room)
    except Exception as error:  # codecs raise what they like
        raise _corrupt(array, source, cell, error) from error
    if noted is not None:
        noted[key] = checksum_of(raw, array.codecs)
    origins = [number * length for number, length in zip(position, array.chunks, strict=True)]
    return whole[tuple(slice(low - o, high - o) for (low, high), o in zip(cell, origins, strict=True))]


def _check_foreign(array: ArrayMetadata, source: Source, region: Region, noted: dict[str, str] | None) -> None:
    """Refuse chunks before zarr decodes them: those that are no file, and those that decode to another size."""
    if "sharding_indexed" in array.codecs:
        return  # each object holds many chunks
    for position, cell in _chunk_regions(array, region):
        key = f"{source.path}/{array.chunk_key(position)}"
        try:
            raw = chunk_bytes(source.location, key, array.most_stored)
            if raw is not None:
                check_foreign(raw, array.codecs, array.dtype, math.prod(array.chunks))
                if noted is not None:
                    noted[key] = checksum_of(raw, array.codecs)
        except Exception as error:
            raise _corrupt(array, source, cell, error) from error


def _may_be_absent(array: ArrayMetadata, cell: Region) -> bool:
    """Whether a chunk ends before its scalar was first logged. It need not exist: it reads as the fill value."""
    first = array.attributes.get("first_frame")
    return isinstance(first, int) and cell[array.step_axis][1] <= first


def _chunk_regions(array: ArrayMetadata, region: Region) -> list[tuple[tuple[int, ...], Region]]:
    """Grid position and bounds of every chunk that a region touches."""
    axes = []
    for (start, stop), length in zip(region, array.chunks, strict=True):
        first, last = start // length, -(-stop // length)
        axes.append([(n, (max(start, n * length), min(stop, (n + 1) * length))) for n in range(first, last)])
    return [(tuple(n for n, _ in cell), tuple(b for _, b in cell)) for cell in itertools.product(*axes)]


def _located(array: ArrayMetadata, source: Source, region: Region, error: Exception) -> AnalyzerError:
    """The error of the first chunk that does not decode."""
    for _, cell in _chunk_regions(array, region):
        try:
            zarr_array(source)[tuple(slice(*bounds) for bounds in cell)]
        except Exception as cause:
            return _corrupt(array, source, cell, cause)
    return CorruptChunkError(
        f"{source.location}: {source.path}: expected {region} to decode, got: {one_line(error)}. "
        "The store may have changed while it was read. Read again; if it stays, restore the store from a copy.",
        location=source.location,
        path=source.path,
    )


def _check_presence(array: ArrayMetadata, source: Source, region: Region, values: Frames) -> None:
    fill = np.asarray(array.fill_value, dtype=values.dtype)
    for position, cell in _chunk_regions(array, region):
        corner = values[tuple(start - first for (start, _), (first, _) in zip(cell, region, strict=True))]
        if not (corner == fill or (corner != corner and fill != fill)):
            continue
        key = f"{source.path}/{array.chunk_key(position)}"
        if not chunk_exists(source.location, key) and not _may_be_absent(array, cell):
            raise _missing(array, source, cell, key)


def _corrupt(array: ArrayMetadata, source: Source, cell: Region, cause: Exception) -> AnalyzerError:
    found = (
        f"expected a chunk that decodes, got: {one_line(cause)}. Its frames are lost, and nothing computed from them "
        "can be trusted"
    )
    return _lost(CorruptChunkError, array, source, cell, found)


def _missing(array: ArrayMetadata, source: Source, cell: Region, key: str) -> AnalyzerError:
    found = f"expected the committed chunk {key}, got none. zarr would read it as {array.fill_value}, silently"
    return _lost(MissingChunkError, array, source, cell, found)


def _lost(kind: type[AnalyzerError], array: ArrayMetadata, source: Source, cell: Region, found: str) -> AnalyzerError:
    bounds = cell[array.step_axis]
    steps, remedy = _place(source, *bounds)
    text = f"{source.location}: {source.path}, steps {steps}: {found}. {remedy}"
    return kind(text, location=source.location, path=source.path, frames=bounds)


def _place(source: Source, start: int, stop: int) -> tuple[str, str]:
    """The steps of a chunk's frames, and the options that leave it out."""
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
    known = open_array(source).attributes.get("name")
    name = known if isinstance(known, str) else unquote(".".join(source.path.split("/")[1:]))
    rest.append(f"--exclude {name}")
    return (
        f"{step(start)} to {step(stop - 1)}",
        f"Restore the chunk from a copy, or analyse the rest: {' or '.join(rest)}",
    )


class StoredArray:
    """An array of a store with the part of numpy's interface that dask needs. Every read is verified."""

    def __init__(self, source: Source, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
        self.source, self.shape, self.dtype, self.ndim = source, shape, dtype, len(shape)

    def __getitem__(self, key: tuple[Any, ...]) -> np.ndarray[Any, np.dtype[Any]]:
        region, rest = [], []
        for index, length in zip(key, self.shape, strict=True):
            places = range(length)[index] if isinstance(index, slice) else range(length)[index : index + 1]
            low, high = (min(places[0], places[-1]), max(places[0], places[-1]) + 1) if places else (0, 0)
            region.append((low, high))
            rest.append(slice(None, None, places.step) if isinstance(index, slice) else 0)
        values = read(self.source, tuple(region))
        return np.asarray(values[tuple(rest)])

    def __dask_tokenize__(self) -> Any:
        return self.source


def source_of(store: Store, path: str) -> Source:
    """Return the location of an array of a store."""
    return Source(store.location, store.run_id, store.frames, path, store.segments_mark)
