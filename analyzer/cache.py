"""The moments cache: block sums kept beside a store, so that the second question need not decode.

One file for each bundle of weights and span of frames, whole or absent (temporary file, rename), so that any number of
analyzers may write at once. A file states the blocks it was made from; one that does not fit, as when a run was resumed
and its last span grew, is made again. Deleting the folder is always safe.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import struct
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import google_crc32c
import numpy as np

from analyzer.blocks import BlockSums, Layout
from analyzer.schema import is_url

Array = np.ndarray[Any, np.dtype[Any]]

VERSION = 1
SUFFIX = ".moments"
_MAGIC = b"TTMOMENT"
_HEAD = struct.Struct("<8sIII")  # magic, version, crc32c of the rest, length of the JSON that follows


@dataclass(frozen=True)
class Shelf:
    """Where the block sums of one bundle of one run lie."""

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
    return Shelf(str(folder / run_id / key))


def load(place: Shelf, start: int, blocks: Layout, weights: int) -> BlockSums | None:
    """The kept sums of a span, or None where there are none that fit."""
    try:
        raw = place.file(start).read_bytes()
        magic, version, checksum, length = _HEAD.unpack_from(raw)
        if magic != _MAGIC or version != VERSION or google_crc32c.value(raw[_HEAD.size :]) != checksum:
            return None
        header = json.loads(raw[_HEAD.size : _HEAD.size + length])
    except (OSError, struct.error, ValueError):
        return None
    if header["first"] != blocks.first.tolist() or header["last"] != blocks.last.tolist():
        return None
    shapes = (blocks.first.size, weights), (blocks.edges.size, weights)
    offset = _HEAD.size + length
    squares = np.frombuffer(raw, "<f8", shapes[0][0] * weights, offset).reshape(shapes[0])
    frames = np.frombuffer(raw, header["dtype"], shapes[1][0] * weights, offset + squares.nbytes).reshape(shapes[1])
    return BlockSums(squares, frames, header["nonfinite"])


def keep(place: Shelf, start: int, blocks: Layout, sums: BlockSums) -> None:
    """Keeps the sums of a span; a folder that cannot be written is no error, the sums are only not kept."""
    header: dict[str, Any] = {
        "first": blocks.first.tolist(),
        "last": blocks.last.tolist(),
        "dtype": sums.frames.dtype.newbyteorder("<").str,
        "nonfinite": sums.nonfinite,
    }
    text = json.dumps(header).encode()
    text += b" " * (-(len(text) + _HEAD.size) % 8)
    rest = text + sums.squares.astype("<f8").tobytes() + sums.frames.astype(header["dtype"]).tobytes()
    head = _HEAD.pack(_MAGIC, VERSION, google_crc32c.value(rest), len(text))
    target = place.file(start)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=target.parent, prefix=".part-")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(head + rest)
            Path(name).replace(target)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
    except OSError:
        return


def is_kept(place: Shelf, start: int) -> bool:
    """Whether a file exists for a span; it may still turn out not to fit."""
    return place.file(start).is_file()


def describe(folder: Path) -> dict[str, Any]:
    """What a cache holds: files and bytes, by run."""
    runs = sorted(path for path in folder.iterdir() if path.is_dir()) if folder.is_dir() else []
    return {run.name: {"files": len(sizes), "bytes": sum(sizes)} for run in runs for sizes in [list(_sizes(run))]}


def drop(folder: Path) -> int:
    """Deletes a cache; the bytes that it held."""
    freed = sum(_sizes(folder)) if folder.is_dir() else 0
    shutil.rmtree(folder, ignore_errors=True)
    return freed


def _sizes(folder: Path) -> Iterator[int]:
    for path in folder.rglob("*"):
        if path.is_file():
            yield path.stat().st_size
