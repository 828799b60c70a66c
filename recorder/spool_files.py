"""The spool: a fixed pool of memory-mapped files that trainer and writer share, and a few small files beside them.

The spool is the channel between the two processes and the write-ahead log of the recording: a frame in a spool file
survives the death of both. Spool files are recycled, never made anew, because the first use of each page of memory is
expensive.

A spool file is FREE, then ACTIVE while the trainer fills it, then FINISHED while the writer reads it, and FREE again
when its frames are committed. The trainer makes the first two transitions, the writer the last. Each is one aligned
8-byte store. So is the count of valid frames, which is stored after the frame.
"""

from __future__ import annotations

import contextlib
import json
import re
import shutil
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import xxhash

from recorder.budget import Budget, FileLayout, file_layout, format_bytes
from recorder.errors import SpoolSpaceError, StoreFormatError, UsageError
from recorder.files import read_file, replace_file
from recorder.mapped_files import mapped, preallocate
from recorder.names import recorded_name
from recorder.schema import Schema
from recorder.text import printable

SPOOL_VERSION = 2  # of headers and checksums; since version 2 a checksum covers the number of its frame
FREE, ACTIVE, FINISHED = 0, 1, 2
# Words of a spool file's header. FIRST_CHECK and the upper half of COUNT are complements, which reveal damage.
FIRST_FRAME, FIRST_CHECK, COUNT, STATE, LOGGED_CHECK = range(5)
# Words of the control file, through which the writer answers.
WRITER_STATE, COMMITTED, RAW_BYTES, STORED_BYTES, ENCODE_NS, SKIPPED, LEFT, DROPPED, NEWEST = range(9)
_UPDATES, _NOT_APPLIED, _UPDATES_CHECK, NOTED = 9, 10, 11, 12
STARTING, RUNNING, FAILED, DONE = range(4)

_WORD = (1 << 64) - 1
_HALF = (1 << 31) - 1
_GOLDEN = 0x9E3779B97F4A7C15  # an odd constant that spreads frame numbers over 64 bits
_MESSAGE = 2048  # place of the writer's last words in the control file: their length, then their text
_NOTES, _ENERGIES = 4096, 16384  # places of the writer's notes to the user, one a line, and of kinetic energies
_NAME_BYTES = 1024  # place of a logged name: its length, then its UTF-8 (`names.LONGEST_NAME`)
# What a spool may hold; nothing else in its folder is ever removed.
SPOOL_FILES = re.compile(r"segment-\d+|control|scalars|session\.json|\.session\.json\.tmp|writer\.log")
_POPULATE_WRITE = 23  # MADV_POPULATE_WRITE, Linux 5.14; Python has no name for it


@dataclass(frozen=True, slots=True)
class Session:
    """What the writer must know of one recording; `session.json` in the spool holds it.

    Attributes
    ----------
    session : str
        Unique to this recording.
    store : str
        Absolute path of the store.
    mode : {"w-", "w", "a"}
        Whether the store is made, replaced or resumed.
    boot_id : str
        Id of the machine's boot. Frames in shared memory are lost at the next one.
    schema : Schema
    budget : Budget
    attributes : dict
        Root attributes that the trainer knows (hyperparameters, model, …).
    param_groups : int
    user_step : int or None
    optimizer_step : list of (int or None), or None
        How many steps each optimizer had counted when the recording began.
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
    optimizer_step: list[int | None] | None = None  # spools of earlier versions have none

    @property
    def layout(self) -> FileLayout:
        return file_layout(self.schema, self.budget.file_frames, self.budget.scalar_columns)

    def save(self, spool: Path) -> None:
        nested = {"schema": self.schema.to_json(), "budget": self.budget.to_json()}
        document = asdict(self) | nested | {"spool_version": SPOOL_VERSION}
        replace_file(spool / "session.json", json.dumps(document).encode())

    @classmethod
    def load(cls, spool: Path) -> Session:
        document = json.loads(read_file(spool / "session.json"))
        if (version := document.pop("spool_version", 1)) != SPOOL_VERSION:
            raise StoreFormatError(
                f"spool {spool}: expected version {SPOOL_VERSION}, got {version}: another version of "
                "thermotrace filled it. Nothing was touched: recover with that version."
            )
        document["schema"] = Schema.from_json(document["schema"])
        document["budget"] = Budget.from_json(document["budget"])
        return cls(**document)


class SpoolFile:
    """One mapped spool file, as both processes see it.

    Lifetime: the mapping, which lives as long as any array made from it.
    """

    def __init__(self, path: Path, session: Session) -> None:
        self.name = path.name
        layout, frames = session.layout, session.budget.file_frames
        self.bytes = mapped(path, layout.size)
        self.words = self.bytes[:4096].data.cast("q")
        columns = session.budget.scalar_columns
        # The trainer stores single numbers through these views. To store into a numpy array runs much more code, which
        # a training step has driven out of the caches.
        self.step_words = self._words(layout.steps, frames, "q")
        self.checksum_words = self._words(layout.checksums, frames, "Q")
        self.scalar_words = self._words(layout.scalars, frames * columns, "d")
        self.steps = self._array(layout.steps, np.dtype(np.int64), (frames,))
        self.scalars = self._array(layout.scalars, np.dtype(np.float64), (frames, columns))
        self.planes = [
            self._array(start, plane.travel_dtype, (frames, plane.elements))
            for start, plane in zip(layout.planes, session.schema.planes, strict=True)
        ]
        self._updates_scalars = 1 + session.param_groups
        self._all_scalars = self.bytes[layout.scalars : layout.scalars + 8 * frames * columns].data

    # Two views of every row are thousands of objects for a file. Most files of a pool are never used, and to make the
    # views of all of them had Python search its whole memory for garbage, again and again.

    @cached_property
    def rows(self) -> list[tuple[memoryview[Any], ...]]:
        """For each row, the bytes of each plane."""
        planes = [plane.view(np.uint8) for plane in self.planes]
        return [tuple(row.data for row in rows) for rows in zip(*planes, strict=True)]

    @cached_property
    def _of_update(self) -> list[memoryview[Any]]:
        """For each row, the bytes of the scalars that belong to the update."""
        return [row.data for row in self.scalars[:, : self._updates_scalars].view(np.uint8)]

    def _words(self, start: int, count: int, code: str) -> memoryview[Any]:
        return self.bytes[start : start + 8 * count].data.cast(code)  # type: ignore[call-overload, no-any-return]

    def _array(self, start: int, dtype: np.dtype[Any], shape: tuple[int, ...]) -> np.ndarray[Any, np.dtype[Any]]:
        return np.ndarray(shape, dtype, buffer=self.bytes, offset=start)

    def open(self, first_frame: int) -> None:
        """Begin to fill the file with frames from `first_frame` on: the trainer's first transition."""
        words = self.words
        words[COUNT], words[LOGGED_CHECK] = count_word(0), 0
        words[FIRST_FRAME], words[FIRST_CHECK] = first_frame, ~first_frame
        words[STATE] = ACTIVE

    def finish(self) -> None:
        """Seal the logged values and hand the file over: the trainer's second transition."""
        self.words[LOGGED_CHECK] = self._logged_checksum()
        self.words[STATE] = FINISHED

    @property
    def first_frame(self) -> int | None:
        """Number of the first frame; None where the header is damaged or was never written."""
        first: int = self.words[FIRST_FRAME]
        return first if self.words[FIRST_CHECK] == ~first else None

    @property
    def count(self) -> int | None:
        """Number of frames that were pushed; None where the header is damaged."""
        count: int = self.words[COUNT] & _HALF
        return count if self.words[COUNT] == count_word(count) and count <= len(self.steps) else None

    def checksum(self, row: int, number: int) -> int:
        """Return the checksum of one frame.

        It covers the frame's number in the recording, its step, the scalars of the update (skipped updates, learning
        rates) and all its planes, each hashed with the last hash as its seed. The number tells the frame from earlier
        ones in the same row.
        """
        value: int = xxhash.xxh3_64_intdigest(self._of_update[row], (self.step_words[row] + number * _GOLDEN) & _WORD)
        for plane in self.rows[row]:
            value = xxhash.xxh3_64_intdigest(plane, value)
        return value

    def is_valid(self, row: int, number: int) -> bool:
        return bool(self.checksum(row, number) == self.checksum_words[row])

    @property
    def is_log_valid(self) -> bool:
        """Whether the logged values are those that were handed over; before the hand-over they have no checksum."""
        return self.words[LOGGED_CHECK] in (0, self._logged_checksum())

    def _logged_checksum(self) -> int:
        return (xxhash.xxh3_64_intdigest(self._all_scalars, self.words[FIRST_FRAME]) >> 1) | 1

    def populate(self) -> None:
        """Make every page writable at once. Otherwise each page that the kernel wrote back would fault on its own."""
        with contextlib.suppress(OSError, AttributeError):
            self.bytes._mmap.madvise(_POPULATE_WRITE)  # type: ignore[attr-defined]


class Control:
    """The mapped words by which writer and trainer tell each other how far they are. Lifetime: the mapping.

    The trainer writes `DROPPED`; `NEWEST`, the first frame of the spool file that it opened last; how many updates it
    has made, by `note_updates`; and `LEFT`, once it has let go of the recording and starts no writer again. The writer
    writes all others, and the mean kinetic energy of each parameter behind them.
    """

    def __init__(self, spool: Path) -> None:
        self.bytes = mapped(spool / "control", _ENERGIES, exactly=False)
        self.words = self.bytes.data.cast("q")
        self._energies = self.bytes[_ENERGIES + 8 :].view(np.float64)  # none in spools of earlier versions

    def note_updates(self, made: int, skipped: int | None = None) -> None:
        """Note how many updates were made, the last of which left no frame, and how many a gradient scaler skipped."""
        words = self.words
        if skipped is not None:
            words[_NOT_APPLIED] = skipped
        words[_UPDATES] = made
        words[_UPDATES_CHECK] = ~(made + (words[_NOT_APPLIED] << 32))

    @property
    def updates(self) -> tuple[int, int]:
        """Updates that were made, and those of them that were skipped, as far as noted; zeros if that is damaged."""
        made, skipped, check = (self.words[word] for word in (_UPDATES, _NOT_APPLIED, _UPDATES_CHECK))
        return (made, skipped) if 0 <= skipped <= made and check == ~(made + (skipped << 32)) else (0, 0)

    def fail(self, message: str) -> None:
        """Leave the writer's last words in the mapped memory, since a full disk takes no new file.

        Parameters
        ----------
        message : str
            The error's name on the first line, its text below.
        """
        text = message.encode()[: _ENERGIES - _MESSAGE - 8]
        self.bytes[_MESSAGE + 8 : _MESSAGE + 8 + len(text)] = np.frombuffer(text, np.uint8)
        self.words[_MESSAGE // 8] = len(text)
        self.words[WRITER_STATE] = FAILED

    def note(self, sentence: str) -> None:
        """Leave a sentence for the user. The trainer prints it, because the user does not see the writer's stderr."""
        text = printable(sentence).encode() + b"\n"
        begin: int = _NOTES + self.words[NOTED]
        if begin + len(text) <= _ENERGIES:
            self.bytes[begin : begin + len(text)] = np.frombuffer(text, np.uint8)
            self.words[NOTED] += len(text)

    def notes(self, seen: int) -> tuple[list[str], int]:
        """Return the notes after the first `seen` bytes, and how many bytes there are."""
        end: int = self.words[NOTED]
        text = bytes(self.bytes[_NOTES + seen : _NOTES + end]).decode(errors="replace")
        return text.splitlines(), end

    def set_energies(self, energies: np.ndarray[Any, Any]) -> None:
        """Publish the mean kinetic energy of each parameter. The word before them is odd while they change."""
        if self._energies.size == energies.size > 0:
            word = _ENERGIES // 8
            self.words[word] += 1 + self.words[word] % 2  # odd, also if a writer was killed before the last line
            self._energies[:] = energies
            self.words[word] += 1

    def energies(self) -> np.ndarray[Any, Any] | None:
        """Return what the writer published last; None before the first time, and while it publishes."""
        if not self._energies.size or (begun := self.words[_ENERGIES // 8]) == 0 or begun % 2:
            return None
        energies = self._energies.copy()
        return energies if self.words[_ENERGIES // 8] == begun else None

    @property
    def last_words(self) -> str:
        length: int = self.words[_MESSAGE // 8]
        return bytes(self.bytes[_MESSAGE + 8 : _MESSAGE + 8 + length]).decode(errors="ignore")


def count_word(count: int) -> int:
    """Return the word that holds a count of frames: the count in its lower half, the complement in its upper half."""
    return count | (~count & _HALF) << 32


def create_spool(directory: Path, session: Session) -> None:
    """Make the spool's folder and preallocate its files.

    Raises
    ------
    SpoolSpaceError
        The pool does not fit there.
    """
    directory.mkdir(parents=True, mode=0o700)
    try:
        preallocate(directory / "control", _ENERGIES + 8 * (1 + len(session.schema.parameters)))
        preallocate(directory / "scalars", session.budget.scalar_columns * _NAME_BYTES)
        for index in range(session.budget.files):
            preallocate(file_path(directory, index), session.budget.file_bytes)
        session.save(directory)
    except BaseException as error:
        shutil.rmtree(directory, ignore_errors=True)  # a pool in shared memory would take memory until the next boot
        if not isinstance(error, OSError):
            raise
        raise SpoolSpaceError(
            f"spool {directory}: expected room for {format_bytes(session.budget.pool_bytes)}, got: {error.strerror}. "
            "Frames wait there until they are in the store. Free some space, or name another local folder (spool=DIR)."
        ) from error


def file_path(directory: Path, index: int) -> Path:
    return directory / f"segment-{index:02d}"  # the name that spools of earlier versions hold too


class ScalarNames:
    """The names given to `log` so far, and the column of each among the scalars. Lifetime: the mapping.

    Each name has a fixed place in a preallocated file: the file system may be full when a new name comes. The length of
    a name is stored last.
    """

    def __init__(self, spool: Path, session: Session) -> None:
        self._first, self._end = 1 + session.param_groups, session.budget.scalar_columns
        self._bytes = mapped(spool / "scalars", session.budget.scalar_columns * _NAME_BYTES).data
        self._lengths = self._bytes.cast("q")
        self.damaged = 0  # names that the last `read` could not read

    def read(self) -> dict[str, int]:
        """Return the column of each name. A damaged name becomes `unreadable_N`, and its values are kept."""
        used = range(self._end - self._first)
        lengths = [self._lengths[index * _NAME_BYTES // 8] for index in used]
        names: dict[str, int] = {}
        self.damaged = 0
        for index in range(max((index for index in used if lengths[index]), default=-1) + 1):
            start, column = index * _NAME_BYTES + 8, self._first + index
            try:
                if not 0 < lengths[index] <= _NAME_BYTES - 8:
                    raise ValueError(f"a name of {lengths[index]} bytes")
                name = bytes(self._bytes[start : start + lengths[index]]).decode()
            except ValueError:
                name = f"unreadable_{column}"
                self.damaged += 1
            names[name if name not in names else f"{name}_{column}"] = column
        return names

    def add(self, name: str, column: int) -> None:
        place, text = (column - self._first) * _NAME_BYTES, recorded_name(name).encode()
        self._bytes[place + 8 : place + 8 + len(text)] = text
        self._lengths[place // 8] = len(text)


def mend_small_files(directory: Path, session: Session) -> list[str]:
    """Make the small files of a dead recording's spool anew where they are damaged; return what is lost with them.

    The frames need neither of them.
    """
    said = []
    try:
        Control(directory)
    except (OSError, UsageError):
        (directory / "control").unlink(missing_ok=True)
        preallocate(directory / "control", _ENERGIES)
    try:
        ScalarNames(directory, session)
    except (OSError, UsageError) as error:
        said.append(
            f"the names of logged values cannot be read ({error}): values that were logged after the last commit are "
            "lost, the frames are not"
        )
        (directory / "scalars").unlink(missing_ok=True)
        preallocate(directory / "scalars", session.budget.scalar_columns * _NAME_BYTES)
    return said


def open_files(directory: Path, session: Session) -> tuple[list[SpoolFile], list[str]]:
    """Map the spool files of a pool; return them, and a sentence for each that cannot be mapped."""
    files, damaged = [], []
    for index in range(session.budget.files):
        try:
            files.append(SpoolFile(file_path(directory, index), session))
        except (OSError, UsageError) as error:
            damaged.append(str(error))
    return files, damaged


def boot_id() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return "unknown"
