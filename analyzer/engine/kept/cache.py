"""Files of kept sums, so that a second question need not decode.

There is one file for each bundle of weights and span of frames. A file is whole or absent (temporary file, rename), so
any number of analyzers may write at once. It states what it was made from: its bins, the checksums of its chunks, the
segments, and the versions of the kernels and of the store's format. Where these do not match the store, new sums are
made and kept elsewhere (`analyzer.engine.kept.homes`): a file is replaced only by sums of the same frames, or of more
frames of the same run.

A file has three parts, each read alone: the sums of coarse bins, of single steps, and of fine bins. For a GCN with
epochs of 1,875 steps they take 0.5, 0.3 and 2.3 MB. A second file beside it notes the chunks' stamps of the last
comparison.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import google_crc32c
import numpy as np

from analyzer.engine.bins import BinSums, Cut, Layout, SpanSums, completed
from analyzer.engine.kept.contents import (
    Checksums,
    Continuation,
    Place,
    checksums_at,
    digest,
    segments_until,
)
from analyzer.engine.sums import KEPT, KERNELS, SUMS
from analyzer.store.files import temporary_file
from analyzer.store.trust import Untrusted, file_bytes, open_regular

Array = np.ndarray[Any, np.dtype[Any]]

VERSION = 4
_OLDEST = 3
"""Files of this version do not say which chunks they were made from: they answer only where no chunks are left."""
_MAGIC = b"TTMOMENT"
_PARTS = {".sums": ("coarse", "series", "fine"), ".pairs": ("pairs",)}
SUFFIXES = tuple(_PARTS)
"""Suffixes of files of sums."""
_HEAD = struct.Struct("<8sIII")  # magic, version, crc32c of the JSON that follows, its length
FAULTS = (OSError, struct.error, LookupError, ArithmeticError, ValueError, TypeError, AttributeError, RecursionError)
"""Errors that reading a file with arbitrary content may raise."""

ABSENT, SAME, OLDER, NEWER, OTHER = "absent", "same", "older", "newer", "other"
"""What a shelf holds for a span: nothing that can be read; sums of the same frames; of the first of them only; of these
and later ones; of other frames."""


@dataclass(frozen=True)
class Look:
    """The state of a span's chunks, and of sums made from them, when a question was planned.

    Attributes
    ----------
    stamp
        Digest of the chunks' stamps; "" where there are no reliable ones.
    sums
        Digest of the checksums of the chunks in the store, if a file of sums was made from these chunks; else "".
    """

    stamp: str = ""
    sums: str = ""


@dataclass(frozen=True)
class Extent:
    """The frames of a file of sums, and how they are cut.

    Attributes
    ----------
    start, stop
        The span. The file has the name of its first frame.
    first
        First frame that the sums use. Sums of pairs look back, so it lies before `start` there.
    layout
        What each sum covers, in numbers and lists: the edges of bins, or lags and strips.
    """

    start: int
    stop: int
    first: int
    layout: list[Any]


@dataclass(frozen=True)
class Shelf:
    """Where the sums of one bundle of one run lie.

    Attributes
    ----------
    segments
        Segments of the run.
    versions
        Versions of the kernels and of the store's format.
    chunk_steps
        Frames in a chunk.
    alone
        Whether the trajectory is gone: then there are no chunks to compare sums with.
    looks
        State of each span when the question was planned, by the span's first frame.
    suffix
        Suffix of the files: ".sums" for velocities, or one that ends in ".pairs"
        (`analyzer.engine.lookback.pair_cache`).
    """

    folder: str
    segments: Continuation = ()
    versions: tuple[int, int] = (KERNELS, 1)
    chunk_steps: int = 1
    alone: bool = False
    looks: Mapping[int, Look] = field(default_factory=dict, compare=False, repr=False)
    suffix: str = SUFFIXES[0]

    def file(self, start: int) -> Path:
        """The file of the span that begins at a frame."""
        return Path(self.folder) / f"{start}{self.suffix}"

    def seen(self, start: int) -> Path:
        """The file that notes the stamps of the chunks of a span."""
        file = self.file(start)
        return file.with_suffix(".seen") if self.suffix == SUFFIXES[0] else file.with_name(f"{file.name}.seen")

    def has(self, start: int) -> bool:
        """Whether there are sums of a span that fit its chunks; without a trajectory, whether there are any."""
        return self.file(start).is_file() if self.alone else bool(self.looks.get(start, Look()).sums)


def shelf_folder(home: Path, run_id: str, content: object, *, alone: bool) -> Path:
    """The folder for the bundle that `content` describes. Other tensors, regions or spans have another folder."""

    def folder(version: int) -> Path:
        key = hashlib.sha256(repr((version, run_id, content)).encode()).hexdigest()[:24]
        return home / "sums" / run_id / key

    newest, oldest = folder(VERSION), folder(_OLDEST)
    return oldest if alone and not newest.is_dir() and oldest.is_dir() else newest


def load(
    place: Shelf, start: int, bins: Cut, pieces: int, weights: int, *, with_fine: bool, with_series: bool
) -> SpanSums | None:
    """Read the parts of a span's kept sums that are asked for; None where there are no sums that fit."""
    parts = {"coarse": _arrays(len(SUMS), bins.coarse, weights)}
    if with_series:
        parts["series"] = [("<f8", (pieces, int(bins.fine.edges[-1])))]
    if with_fine:
        parts["fine"] = _arrays(len(KEPT), bins.fine, weights)
    try:
        with opened(place.file(start)) as file:
            header, body = header_of(file)
            if header["blocks"] != edges_of(bins) or not (place.alone or is_of(place, start, header)):
                return None
            frames = np.dtype(header["dtype"])
            if frames not in (np.dtype("<f4"), np.dtype("<f8")):
                return None
            found: dict[str, list[Array]] = {}
            for part, shapes in parts.items():
                arrays = [(np.dtype(kind or frames), shape) for kind, shape in shapes]
                raw = part_of(file, header, body, part)
                if len(raw) != sum(kind.itemsize * int(np.prod(shape)) for kind, shape in arrays):
                    return None
                found[part] = _split(raw, arrays)
            nonfinite = dict(header["nonfinite"])
    except FAULTS:
        return None
    return SpanSums(
        BinSums(*found["coarse"]),
        completed(found["fine"][0], found["fine"][1], bins.fine) if with_fine else None,
        found["series"][0] if with_series else None,
        nonfinite,
    )


def is_of(place: Shelf, start: int, header: Mapping[str, Any]) -> bool:
    """Whether a file was made from the chunks that the plan found in the store."""
    known = place.looks.get(start, Look()).sums
    return bool(known) and tuple(header["versions"]) == place.versions and digest(header["chunks"]) == known


def compare(place: Shelf, extent: Extent, chunks: Sequence[Place], stamp: str) -> tuple[str, str]:
    """Compare the file of a span with the chunks in the store now; return the result and the digest of their checksums.

    The checksums are read only if the stamp differs from the one that the last comparison noted.
    """
    start, stop = extent.start, extent.stop
    try:
        with opened(place.file(start)) as file:
            header, _ = header_of(file)
        made_of = header["chunks"]
        known = digest(made_of)
        if not stamp or _noted(place, start) != f"{stamp} {known}":
            found = checksums_at(chunks)
            if found != made_of:
                return _relation(place, header, extent.first, stop, found), ""
            note(place, start, stamp, made_of)
        if tuple(header["versions"]) != place.versions:
            return ABSENT, ""  # of the same frames, but made by other kernels
        fits = header["blocks"] == extent.layout and header["segments"] == segments_until(place.segments, stop)
        return (SAME, known) if fits else (_relation(place, header, extent.first, stop, made_of), "")
    except FAULTS:
        return ABSENT, ""


def _relation(place: Shelf, header: Mapping[str, Any], start: int, stop: int, found: Checksums) -> str:
    """Tell how a file that does not fit relates to the frames: OLDER, NEWER or OTHER.

    It is older if the run was resumed since it was made, and newer if it was made after this run was opened.
    """
    held, own = int(header["frames"]), stop - start
    whole = min(held, own) // place.chunk_steps
    first = [of_piece[:whole] for of_piece in header["chunks"]] == [of_piece[:whole] for of_piece in found]
    if first and held < own and header["segments"] == segments_until(place.segments, start + held):
        return OLDER
    return NEWER if first and held > own else OTHER


def note(place: Shelf, start: int, stamp: str, chunks: Checksums) -> None:
    """Note the stamps of chunks beside the sums made from them. If this cannot be written, checksums are read again."""
    if stamp:
        with contextlib.suppress(OSError):
            put(place.seen(start), f"{stamp} {digest(chunks)}".encode())


def _noted(place: Shelf, start: int) -> str:
    try:
        return file_bytes(place.seen(start), 1 << 10).decode("ascii", "replace")
    except OSError:
        return ""


def fault_of(path: Path) -> str | None:
    """Check the header and every part of a file of sums against their checksums; return what is wrong, or None."""
    try:
        with opened(path) as file:
            header, body = header_of(file)
            for part in _PARTS[path.suffix]:
                part_of(file, header, body, part)
    except FAULTS as error:
        return f"expected a whole file of sums, got {error}"
    return None


@contextlib.contextmanager
def opened(path: Path) -> Iterator[Any]:
    """Yield a file of sums. Only a regular file is opened: a pipe would have to be waited for."""
    with os.fdopen(open_regular(path), "rb") as file:
        yield file


def header_of(file: Any) -> tuple[dict[str, Any], int]:
    """The header of a file, and where its parts begin."""
    size = os.fstat(file.fileno()).st_size
    magic, version, checksum, length = _HEAD.unpack(file.read(_HEAD.size))
    if magic != _MAGIC:
        raise Untrusted("another file")
    if length > size - _HEAD.size:
        raise Untrusted("one that ends in its header")
    text = file.read(length)
    if google_crc32c.value(text) != checksum:
        raise Untrusted("a header that does not fit its checksum")
    if version not in (_OLDEST, VERSION):
        raise Untrusted(f"sums of version {version}, where {_OLDEST} to {VERSION} are known")
    header = json.loads(text)
    if not isinstance(header, dict):
        raise Untrusted("a header that is no object")
    unknown = {"frames": 0, "segments": "", "chunks": [], "versions": []} if version == _OLDEST else {}
    return header | unknown, _HEAD.size + length


def part_of(file: Any, header: Mapping[str, Any], body: int, part: str) -> bytes:
    """Read one part of a file and compare its checksum. Its claimed place is checked against the file's size first."""
    offset, size, checksum = header[part]
    if not (offset >= 0 and size >= 0 and body + offset + size <= os.fstat(file.fileno()).st_size):
        raise Untrusted(f"{part} sums beyond its end")
    file.seek(body + offset)
    raw: bytes = file.read(size)
    if google_crc32c.value(raw) != checksum:
        raise Untrusted(f"{part} sums that do not fit their checksum")
    return raw


def _arrays(sums: int, bins: Layout, weights: int) -> list[tuple[str | None, tuple[int, ...]]]:
    """Types and shapes of the sums of bins and of the frames at their edges; a type of None is that of the frames."""
    return [("<f8", (sums, bins.first.size, weights)), (None, (bins.edges.size, weights))]


def edges_of(bins: Cut) -> list[list[int]]:
    return [edge.tolist() for part in (bins.coarse, bins.fine) for edge in (part.first, part.last)]


def _split(raw: bytes, arrays: Sequence[tuple[np.dtype[Any], tuple[int, ...]]]) -> list[Array]:
    found, begin = [], 0
    for kind, shape in arrays:
        count = int(np.prod(shape))
        found.append(np.frombuffer(raw, kind, count, begin).reshape(shape))
        begin += count * kind.itemsize
    return found


def keep(place: Shelf, start: int, stop: int, bins: Cut, sums: SpanSums, chunks: Checksums) -> None:
    """Keep all sums of a span, unless sums of other frames lie there. Where nothing can be written, nothing is kept.

    Parameters
    ----------
    chunks
        Checksums of the chunks that the sums were made from.
    """
    assert sums.fine is not None
    assert sums.series is not None
    if not may_keep(place, Extent(start, stop, start, []), chunks):
        return
    frames = sums.coarse.frames.dtype.newbyteorder("<")
    parts = {
        "coarse": [sums.coarse.sums.astype("<f8"), sums.coarse.frames.astype(frames)],
        "series": [sums.series.astype("<f8")],
        "fine": [sums.fine.sums[list(KEPT)].astype("<f8"), sums.fine.frames.astype(frames)],
    }
    more = {"dtype": frames.str, "nonfinite": sums.nonfinite}
    write(place, Extent(start, stop, start, edges_of(bins)), parts, chunks, more)


def write(
    place: Shelf, extent: Extent, parts: Mapping[str, Sequence[Array]], chunks: Checksums, more: Mapping[str, Any]
) -> None:
    """Write a file of sums, each part with its checksum. Where nothing can be written, nothing is kept."""
    header: dict[str, Any] = {
        "blocks": extent.layout,
        "frames": extent.stop - extent.first,
        "chunks": chunks,
        "segments": segments_until(place.segments, extent.stop),
        "versions": place.versions,
        **more,
    }
    body = b""
    for part, arrays in parts.items():
        raw = b"".join(array.tobytes() for array in arrays)
        header[part] = [len(body), len(raw), google_crc32c.value(raw)]
        body += raw + b" " * (-len(raw) % 8)
    text = json.dumps(header).encode()
    text += b" " * (-(len(text) + _HEAD.size) % 8)
    head = _HEAD.pack(_MAGIC, VERSION, google_crc32c.value(text), len(text))
    with contextlib.suppress(OSError):
        put(place.file(extent.start), head + text + body)
        note(place, extent.start, place.looks.get(extent.start, Look()).stamp, chunks)


def may_keep(place: Shelf, extent: Extent, chunks: Checksums) -> bool:
    """Whether sums may be kept: all chunks have checksums, and no sums of other frames would be replaced.

    Those may be all that is left of their frames.
    """
    if not all(all(of_piece) for of_piece in chunks):
        return False
    try:
        with opened(place.file(extent.start)) as file:
            header, _ = header_of(file)
        relation = _relation(place, header, extent.first, extent.stop, chunks)
        return header["chunks"] == chunks or relation not in (NEWER, OTHER)
    except FAULTS:
        return True


def put(target: Path, content: bytes) -> None:
    """Write a file so that a reader sees the old or the new one, whole."""
    target.parent.mkdir(parents=True, exist_ok=True)
    part = temporary_file(target)  # with the permissions of the umask: colleagues may read the sums
    try:
        part.write_bytes(content)
        part.replace(target)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
