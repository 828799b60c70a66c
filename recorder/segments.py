"""The spool: a small fixed pool of recycled, memory-mapped segment files that trainer and writer both map.

It is the channel between the two processes and the write-ahead log of the recording: a frame that is in a segment
survives the death of both. Fresh pages are what is expensive (54–142 µs a frame measured, 8–10 in recycled ones), so
segments are reused, never remade.

A segment is FREE, then ACTIVE (the trainer fills it), then FINISHED (the writer reads it), then FREE again once its
frames are committed. The trainer sets the first two transitions, the writer the last; each is one aligned 8-byte
store, and so is the count of valid frames, stored after the frame.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import xxhash

from recorder.budget import Budget, SegmentLayout, format_bytes, segment_layout
from recorder.errors import SpoolSpaceError, StoreFormatError, UsageError
from recorder.schema import Schema

SPOOL_VERSION = 2  # of headers and checksums; 2: a checksum holds its frame's number
FREE, ACTIVE, FINISHED = 0, 1, 2
# Words of a segment's header, and of the control file through which the writer answers. FIRST_CHECK and the upper half
# of COUNT are complements: a header that was damaged shows.
FIRST_FRAME, FIRST_CHECK, COUNT, STATE, LOGGED_CHECK = range(5)
WRITER_STATE, COMMITTED, RAW_BYTES, STORED_BYTES, ENCODE_NS, SKIPPED, REJECTED, DROPPED, NEWEST = range(9)
STARTING, RUNNING, FAILED, DONE = range(4)

_WORD = (1 << 64) - 1
_HALF = (1 << 31) - 1
_GOLDEN = 0x9E3779B97F4A7C15  # an odd constant that spreads frame numbers over 64 bits
_MESSAGE = 2048  # where the writer's last words lie in the control file, preceded by their length
_NAME_BYTES = 1024  # its length, and up to 200 characters of UTF-8
_POPULATE_WRITE = 23  # MADV_POPULATE_WRITE, Linux 5.14; Python has no name for it


@dataclass(frozen=True, slots=True)
class Session:
    """One recording as the writer must know it; lies in the spool as `session.json`.

    Attributes
    ----------
    session : str
        Unique to this recording.
    store : str
        Absolute path of the store.
    mode : {"w", "a"}
        Whether the store is made or resumed.
    boot_id : str
        A frame in memory does not outlive the machine's boot.
    schema : Schema
    budget : Budget
    attributes : dict
        Root attributes that the trainer knows (hyperparameters, model, …).
    param_groups : int
    user_step : int or None
    """

    session: str
    store: str
    mode: str
    boot_id: str
    schema: Schema
    budget: Budget
    attributes: dict[str, Any]
    param_groups: int
    user_step: int | None

    @property
    def layout(self) -> SegmentLayout:
        return segment_layout(self.schema, self.budget.segment_frames, self.budget.scalar_slots)

    def save(self, spool: Path) -> None:
        document = asdict(self) | {"schema": self.schema.to_json(), "spool_version": SPOOL_VERSION}
        replace_text(spool / "session.json", json.dumps(document))

    @classmethod
    def load(cls, spool: Path) -> Session:
        document = json.loads((spool / "session.json").read_text())
        if (version := document.pop("spool_version", 1)) != SPOOL_VERSION:
            raise StoreFormatError(
                f"spool {spool}: expected version {SPOOL_VERSION}, got {version}: another thermotrace filled "
                "it. Nothing was touched: recover with that version."
            )
        document["schema"] = Schema.from_json(document["schema"])
        document["budget"] = Budget(**document["budget"])
        return cls(**document)


class Segment:
    """One mapped segment file; both processes use this class.

    Lifetime: the mapping lives as long as any array made from it.
    """

    def __init__(self, path: Path, session: Session) -> None:
        self.name = path.name
        layout, frames = session.layout, session.budget.segment_frames
        # Mapping past the end of a truncated file would be a SIGBUS at the first touch.
        if (size := path.stat().st_size) != layout.size:
            raise UsageError(f"segment {path.name}: expected {layout.size} bytes, it has {size}: it was truncated.")
        self.bytes = np.memmap(path, dtype=np.uint8, mode="r+")
        self.words = self.bytes[:4096].data.cast("q")
        slots = session.budget.scalar_slots
        # Single numbers go through these: a store into a numpy array touches ten times the code, which a training step
        # has driven out of the caches (43 µs a frame for what takes 3 in a loop).
        self.step_words = self._words(layout.steps, frames, "q")
        self.checksum_words = self._words(layout.checksums, frames, "Q")
        self.scalar_words = self._words(layout.scalars, frames * slots, "d")
        self.steps = self._array(layout.steps, np.dtype(np.int64), (frames,))
        self.checksums = self._array(layout.checksums, np.dtype(np.uint64), (frames,))
        self.scalars = self._array(layout.scalars, np.dtype(np.float64), (frames, slots))
        self.planes = [
            self._array(start, plane.travel_dtype, (frames, plane.elements))
            for start, plane in zip(layout.planes, session.schema.planes, strict=True)
        ]
        along = self.scalars[:, : 1 + session.param_groups].view(np.uint8)
        planes = [plane.view(np.uint8) for plane in self.planes]
        # By frame: the bytes of each plane, and of what rides along with the update.
        self.rows = [tuple(row.data for row in rows) for rows in zip(*planes, strict=True)]
        self._along = [row.data for row in along]
        self._logged = self.bytes[layout.scalars : layout.scalars + 8 * frames * slots].data

    def _words(self, start: int, count: int, code: str) -> memoryview[Any]:
        return self.bytes[start : start + 8 * count].data.cast(code)  # type: ignore[call-overload, no-any-return]

    def _array(self, start: int, dtype: np.dtype[Any], shape: tuple[int, ...]) -> np.ndarray[Any, np.dtype[Any]]:
        return np.ndarray(shape, dtype, buffer=self.bytes, offset=start)

    def open(self, first_frame: int) -> None:
        """Give the segment to frames from this number on: the trainer's first transition."""
        words = self.words
        words[COUNT], words[LOGGED_CHECK] = count_word(0), 0
        words[FIRST_FRAME], words[FIRST_CHECK] = first_frame, ~first_frame
        words[STATE] = ACTIVE

    def finish(self) -> None:
        """Hand the segment over, its logged values sealed: the trainer's second transition."""
        self.words[LOGGED_CHECK] = self._logged_checksum()
        self.words[STATE] = FINISHED

    @property
    def first_frame(self) -> int | None:
        """Number of the first frame; none where the header was damaged, or never written."""
        first: int = self.words[FIRST_FRAME]
        return first if self.words[FIRST_CHECK] == ~first else None

    @property
    def count(self) -> int | None:
        """Frames that were pushed; none where the header was damaged."""
        count: int = self.words[COUNT] & _HALF
        return count if self.words[COUNT] == count_word(count) and count <= len(self.steps) else None

    def checksum(self, row: int, number: int) -> int:
        """Return the checksum of one frame: its number in the recording, its step, what rode along with the update
        (skipped updates, learning rates), and all its planes, chained. The number tells it from the row's earlier use.
        """
        value: int = xxhash.xxh3_64_intdigest(self._along[row], (self.step_words[row] + number * _GOLDEN) & _WORD)
        for plane in self.rows[row]:
            value = xxhash.xxh3_64_intdigest(plane, value)
        return value

    def is_valid(self, row: int, number: int) -> bool:
        return bool(self.checksum(row, number) == self.checksum_words[row])

    @property
    def is_log_valid(self) -> bool:
        """Whether the logged values are what they were at the hand-over; before it they have no checksum."""
        return self.words[LOGGED_CHECK] in (0, self._logged_checksum())

    def _logged_checksum(self) -> int:
        return (xxhash.xxh3_64_intdigest(self._logged, self.words[FIRST_FRAME]) >> 1) | 1

    def populate(self) -> None:
        """Make every page writable at once: pages that the kernel wrote back would fault one by one (27–41 µs a
        frame).
        """
        with contextlib.suppress(OSError, AttributeError):
            self.bytes._mmap.madvise(_POPULATE_WRITE)  # type: ignore[attr-defined]


class Control:
    """The mapped words through which writer and trainer tell each other how far they are. Lifetime: the mapping.

    The trainer writes `DROPPED` and `NEWEST` (first frame of the segment that it opened last), the writer all others.
    """

    def __init__(self, spool: Path) -> None:
        self.bytes = np.memmap(spool / "control", dtype=np.uint8, mode="r+")
        self.words = self.bytes.data.cast("q")

    def fail(self, message: str) -> None:
        """Leave the writer's last words, the error's name on the first line, in memory that is mapped already: on a
        full disk no file could be written.
        """
        text = message.encode()[: len(self.bytes) - _MESSAGE - 8]
        self.bytes[_MESSAGE + 8 : _MESSAGE + 8 + len(text)] = np.frombuffer(text, np.uint8)
        self.words[_MESSAGE // 8] = len(text)
        self.words[WRITER_STATE] = FAILED

    @property
    def last_words(self) -> str:
        length: int = self.words[_MESSAGE // 8]
        return bytes(self.bytes[_MESSAGE + 8 : _MESSAGE + 8 + length]).decode(errors="ignore")


def count_word(count: int) -> int:
    """Return what stands for a count of frames in one word: the number, and its complement above it."""
    return count | (~count & _HALF) << 32


def create_spool(directory: Path, session: Session) -> None:
    """Make the spool's folder with its preallocated pool.

    Raises
    ------
    SpoolSpaceError
        The pool does not fit.
    """
    directory.mkdir(parents=True, mode=0o700)
    try:
        _preallocate(directory / "control", 4096)
        _preallocate(directory / "scalars", session.budget.scalar_slots * _NAME_BYTES)
        for index in range(session.budget.segments):
            _preallocate(segment_path(directory, index), session.budget.segment_bytes)
        session.save(directory)
    except BaseException as error:
        shutil.rmtree(directory, ignore_errors=True)  # a pool in shared memory is memory until the next boot
        if not isinstance(error, OSError):
            raise
        raise SpoolSpaceError(
            f"spool {directory}: expected room for {format_bytes(session.budget.pool_bytes)}, got: {error.strerror}. "
            "Frames wait there until they are written. Free some space, or name another local folder (spool=DIR)."
        ) from error


def _preallocate(path: Path, size: int) -> None:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        os.posix_fallocate(descriptor, 0, size)  # a hole on a full disk would be a SIGBUS in the trainer
    finally:
        os.close(descriptor)


def segment_path(directory: Path, index: int) -> Path:
    return directory / f"segment-{index:02d}"


class ScalarNames:
    """The names given to `log` so far, each with its column among the scalars. Lifetime: the mapping.

    A name takes a fixed place in a preallocated file, its length is stored last: a new name needs no room on a file
    system that others may have filled meanwhile.
    """

    def __init__(self, spool: Path, session: Session) -> None:
        self._first, self._end = 1 + session.param_groups, session.budget.scalar_slots
        self._bytes = np.memmap(spool / "scalars", dtype=np.uint8, mode="r+").data
        self._lengths = self._bytes.cast("q")

    def read(self) -> dict[str, int]:
        names: dict[str, int] = {}
        for column in range(self._first, self._end):
            place = (column - self._first) * _NAME_BYTES
            length: int = self._lengths[place // 8]
            if not length:
                break
            names[bytes(self._bytes[place + 8 : place + 8 + length]).decode()] = column
        return names

    def add(self, name: str, column: int) -> None:
        place, text = (column - self._first) * _NAME_BYTES, name.encode()
        self._bytes[place + 8 : place + 8 + len(text)] = text
        self._lengths[place // 8] = len(text)


def open_segments(directory: Path, session: Session) -> tuple[list[Segment], list[str]]:
    """Map a pool's segments; return them, and a sentence for each that cannot be mapped."""
    segments, damaged = [], []
    for index in range(session.budget.segments):
        try:
            segments.append(Segment(segment_path(directory, index), session))
        except (OSError, UsageError) as error:
            damaged.append(str(error))
    return segments, damaged


def replace_text(path: Path, text: str) -> None:
    """Write a small text file so that a reader sees the old or the new one, whole."""
    temporary = path.with_name(path.name + ".tmp")
    temporary.write_text(text)
    temporary.replace(path)


def boot_id() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return "unknown"
