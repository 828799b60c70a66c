"""The trainer's end of the spool: it puts one frame after the other into recycled spool files."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from recorder.budget import format_bytes
from recorder.errors import UsageError
from recorder.names import recorded_name
from recorder.spool_files import (
    COUNT,
    DROPPED,
    ENCODE_NS,
    FINISHED,
    NEWEST,
    RAW_BYTES,
    STATE,
    ScalarNames,
    Session,
    SpoolFile,
    count_word,
    open_files,
)
from recorder.trainer.process import WriterProcess

HAND_OVER_SECONDS = 5.0  # then a file is handed over, full or not, so that slow trainings are analysed live too


class NoColumnError(UsageError):
    """Every column of the spool has a logged name already."""


class Spool:
    """Gives rows to frames, and spool files to the writer.

    Lifetime: the mapping of the pool, from the first frame to the hand-over of the last file. One thread pushes.

    Parameters
    ----------
    directory : Path
    session : Session
    writer : WriterProcess
    drop : bool
        When every file is full: drop the frame (true) or wait for the writer (false).
    tell : callable
        Takes one line for the user.
    """

    def __init__(
        self, directory: Path, session: Session, writer: WriterProcess, *, drop: bool, tell: Callable[[str], None]
    ) -> None:
        self._writer, self._drop, self._tell = writer, drop, tell
        self.files, damaged = open_files(directory, session)
        if damaged:
            raise UsageError(damaged[0])
        self._frames = session.budget.file_frames
        self._frame_bytes = session.schema.frame_bytes
        self._on_disk = not str(directory).startswith("/dev/shm/")
        self._touched: set[int] = set()
        self._count_words = [count_word(row + 1) for row in range(self._frames)]
        self.names: dict[str, int] = {}
        self._named = 0  # columns in use; two names may share one (`recorded_name`)
        self._scalar_names = ScalarNames(directory, session)
        self._first_column = 1 + session.param_groups
        self.columns = session.budget.scalar_columns
        self._deadline = 0.0
        self._began = time.monotonic()
        self.file: SpoolFile | None = None
        self.row = 0
        self._first = 0
        self.dropped = 0
        self._has_told = False
        self.stall_seconds = 0.0

    @property
    def pushed(self) -> int:
        """Number of frames so far, from the place of the next one: an interrupt could leave a counter out of step."""
        return self._first + self.row

    def reserve(self) -> bool:
        """Point `file` and `row` at a free place for the next frame; hand a full file over first.

        A full file waits for this call, so that what is logged after its last step still reaches the frame.

        Returns
        -------
        bool
            False when the pool is full and the frame must be dropped.
        """
        if self.file is not None:
            if self.row < self._frames and time.monotonic() < self._deadline:
                return True
            self.hand_over()
        self._writer.check()
        index = self._find_free()
        if index is None:
            if self._drop:
                self.dropped += 1
                self._writer.control.words[DROPPED] = self.dropped
                self._tell_pressure()
                return False
            index = self._wait_for_free()
        file = self.files[index]
        if self._on_disk or index not in self._touched:
            file.populate()
            self._touched.add(index)
        file.scalars.fill(np.nan)
        file.open(self.pushed)
        self._writer.control.words[NEWEST] = self.pushed
        self._deadline = time.monotonic() + HAND_OVER_SECONDS
        self._first, self.row = self.pushed, 0
        self.file = file
        return True

    def push(self, step: int) -> None:
        """Make the frame in the reserved row valid: store its step and checksum first, the count last."""
        file, row = self.file, self.row
        assert file is not None
        file.step_words[row] = step
        file.checksum_words[row] = file.checksum(row, self._first + row)
        self.row = row + 1
        file.words[COUNT] = self._count_words[row]

    def hand_over(self) -> None:
        """Give the current file to the writer, full or not."""
        if self.file is not None:
            self.file.words[COUNT] = count_word(self.row)  # an interrupt may have stopped `push` before it
            self.file.finish()
            self.file = None
            self._writer.wake()

    def column(self, name: str) -> int:
        """Return the column of a logged name. The writer is told of a new name first."""
        column = self.names.get(name)
        if column is None:
            recorded = recorded_name(name)
            column = self.names.get(recorded, self._first_column + self._named)
            if column >= self.columns:
                raise NoColumnError(
                    f"log({name}=…): expected at most {self.columns - self._first_column} names in one recording, got "
                    "one more. Each name is an array of the store: log several values under fewer names."
                )
            if recorded not in self.names:
                self._scalar_names.add(recorded, column)
                self.names[recorded] = column
                self._named += 1
            self.names[name] = column
        return column

    def _find_free(self) -> int | None:
        # The lowest, not the next: while the writer keeps up, only few files are ever used, and their pages stay warm.
        # No file is being filled now. If one is ACTIVE, an interrupted `reserve` opened it: it is free, too.
        return next((index for index, s in enumerate(self.files) if s.words[STATE] != FINISHED), None)

    def _wait_for_free(self) -> int:
        began = time.monotonic()
        self._tell_pressure()
        pause = 0.0005
        while (index := self._find_free()) is None:
            time.sleep(pause)
            pause = min(2 * pause, 0.05)
            self._writer.check()
        self.stall_seconds += time.monotonic() - began
        return index

    def _tell_pressure(self) -> None:
        if self._has_told:
            return
        self._has_told = True
        words = self._writer.control.words
        rate = words[RAW_BYTES] / max(words[ENCODE_NS], 1) * 1e9
        writer = f"writes {format_bytes(rate)}/s" if rate else "has committed nothing yet"
        produced = self.pushed * self._frame_bytes / max(time.monotonic() - self._began, 1e-9)
        effect = "frames are dropped, gaps recorded" if self._drop else "training waits"
        self._tell(
            f"the spool is full: it holds {format_bytes(len(self.files) * self._frames * self._frame_bytes)} of frames "
            f"that are not written yet. The writer {writer} and training produces {format_bytes(produced)}/s, so "
            f'{effect}. Record fewer parameters (include=["conv*"]) or every second step (stride=2), or raise '
            "spool_limit."
        )
