"""The moments cache: sums kept beside a store, so that the second question need not decode.

A folder for each run. One file for each bundle of weights and span of frames, whole or absent (temporary file, rename),
so that any number of analyzers may write at once. A file states the blocks it was made from; one that does not fit, as
when a run was resumed and its last span grew, is made again. Beside them lie the run's metadata and its scalars: kept
without its trajectory, the folder opens as a run that answers what the sums can. Deleting it is always safe.

A file has two parts, each read alone: what the span says as a whole (`SpanSums`: 0.5 MB for GCN), and its blocks
(`BlockSums`: 2.3 MB).
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import struct
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import google_crc32c
import numpy as np

from analyzer.blocks import BlockSums, Layout, SpanSums
from analyzer.schema import MOMENTS_FORMAT, is_url

Array = np.ndarray[Any, np.dtype[Any]]

VERSION = 2
SUFFIX = ".moments"
_MAGIC = b"TTMOMENT"
_HEAD = struct.Struct("<8sIII")  # magic, version, crc32c of the JSON that follows, its length


@dataclass(frozen=True)
class Shelf:
    """Where the sums of one bundle of one run lie."""

    folder: str

    def file(self, start: int) -> Path:
        """The file of the span that begins at a frame."""
        return Path(self.folder) / f"{start}.sums"


def folder_of(location: str, run_id: str, chosen: str | None = None) -> Path | None:
    """The cache of a store: beside it, or in a chosen folder; None where neither can be."""
    if chosen is not None:
        return Path(chosen) / f"{run_id}{SUFFIX}"
    return None if is_url(location) else Path(location.rstrip("/") + SUFFIX)


def shelf(folder: Path, run_id: str, content: object) -> Shelf:
    """The shelf for a bundle that `content` describes: other tensors, regions or spans have another shelf."""
    key = hashlib.sha256(repr((VERSION, run_id, content)).encode()).hexdigest()[:24]
    return Shelf(str(folder / "sums" / run_id / key))


def load_span(place: Shelf, start: int, blocks: Layout, pieces: int, weights: int) -> SpanSums | None:
    """What is kept of a span as a whole, or None where there is nothing that fits."""
    steps = int(blocks.edges[-1])
    found = _load(place, start, blocks, "span", [("<f8", (weights,)), ("<f8", (pieces, steps)), (None, (2, weights))])
    if found is None:
        return None
    header, (squares, series, ends) = found
    return SpanSums(squares, ends, series, header["nonfinite"])


def load_blocks(place: Shelf, start: int, blocks: Layout, weights: int) -> BlockSums | None:
    """What is kept of a span's blocks, or None where there is nothing that fits."""
    shapes = (blocks.first.size, weights), (blocks.edges.size, weights)
    found = _load(place, start, blocks, "blocks", [("<f8", shapes[0]), (None, shapes[1])])
    return None if found is None else BlockSums(*found[1])


def _load(
    place: Shelf, start: int, blocks: Layout, part: str, arrays: Sequence[tuple[str | None, tuple[int, ...]]]
) -> tuple[dict[str, Any], list[Array]] | None:
    """Header and arrays of one part of a file; a type of None is that of the frames."""
    try:
        with place.file(start).open("rb") as file:
            magic, version, checksum, length = _HEAD.unpack(file.read(_HEAD.size))
            text = file.read(length)
            if magic != _MAGIC or version != VERSION or google_crc32c.value(text) != checksum:
                return None
            header = json.loads(text)
            if header["first"] != blocks.first.tolist() or header["last"] != blocks.last.tolist():
                return None
            offset, size, checksum = header[part]
            file.seek(_HEAD.size + length + offset)
            raw = file.read(size)
    except (OSError, struct.error, ValueError):
        return None
    types = [np.dtype(kind or header["dtype"]) for kind, _ in arrays]
    sizes = [kind.itemsize * int(np.prod(shape)) for kind, (_, shape) in zip(types, arrays, strict=True)]
    if len(raw) != sum(sizes) or google_crc32c.value(raw) != checksum:
        return None
    found, begin = [], 0
    for kind, taken, (_, shape) in zip(types, sizes, arrays, strict=True):
        found.append(np.frombuffer(raw, kind, taken // kind.itemsize, begin).reshape(shape))
        begin += taken
    return header, found


def keep(place: Shelf, start: int, blocks: Layout, span: SpanSums, sums: BlockSums) -> None:
    """Keeps the sums of a span; a folder that cannot be written is no error, the sums are only not kept."""
    frames = sums.frames.dtype.newbyteorder("<")
    parts = {
        "span": [span.squares.astype("<f8"), span.series.astype("<f8"), span.ends.astype(frames)],
        "blocks": [sums.squares.astype("<f8"), sums.frames.astype(frames)],
    }
    header: dict[str, Any] = {
        "first": blocks.first.tolist(),
        "last": blocks.last.tolist(),
        "dtype": frames.str,
        "nonfinite": span.nonfinite,
    }
    body = b""
    for part, arrays in parts.items():
        raw = b"".join(array.tobytes() for array in arrays)
        header[part] = [len(body), len(raw), google_crc32c.value(raw)]
        body += raw + b" " * (-len(raw) % 8)
    text = json.dumps(header).encode()
    text += b" " * (-(len(text) + _HEAD.size) % 8)
    head = _HEAD.pack(_MAGIC, VERSION, google_crc32c.value(text), len(text))
    try:
        put(place.file(start), head + text + body)
    except OSError:
        return


def put(target: Path, content: bytes) -> None:
    """Write a file so that a reader sees the old or the new one, whole."""
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=target.parent, prefix=".part-")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        Path(name).replace(target)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def is_kept(place: Shelf, start: int) -> bool:
    """Whether a file exists for a span; it may still turn out not to fit."""
    return place.file(start).is_file()


def root_of(folder: Path) -> dict[str, Any]:
    """The metadata that lies in a cache; empty where there is none."""
    try:
        document = json.loads((folder / "zarr.json").read_text())
        return document if document["attributes"]["format"] == MOMENTS_FORMAT else {}
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def describe(folder: Path) -> dict[str, Any]:
    """What a cache holds: files and bytes."""
    sizes = list(_sizes(folder)) if folder.is_dir() else []
    return {"folder": str(folder), "files": len(sizes), "bytes": sum(sizes)}


def drop(folder: Path) -> int:
    """Deletes a cache; the bytes that it held."""
    freed = sum(_sizes(folder)) if folder.is_dir() else 0
    shutil.rmtree(folder, ignore_errors=True)
    return freed


def _sizes(folder: Path) -> Iterator[int]:
    for path in folder.rglob("*.sums"):
        yield path.stat().st_size
