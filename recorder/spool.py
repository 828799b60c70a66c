"""The trainer's end of the spool: one frame after the other into recycled segments."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from recorder.budget import format_bytes
from recorder.errors import UsageError
from recorder.process import WriterProcess
from recorder.segments import (
    COUNT,
    DROPPED,
    ENCODE_NS,
    FINISHED,
    NEWEST,
    RAW_BYTES,
    STATE,
    ScalarNames,
    Segment,
    Session,
    count_word,
    open_segments,
)

HAND_OVER_SECONDS = 5.0  # a slow training is still analysed live: a segment is handed over after this, full or not


class Spool:
    """Hands out rows for frames, and segments to the writer.

    Lifetime: the mapping of the pool, from the first frame to the hand-over of the last. One thread pushes.

    Parameters
    ----------
    directory : Path
    session : Session
    writer : WriterProcess
    drop : bool
        When every segment is full: drop the frame (true) or wait for the writer (false).
    report : callable
        Takes one line for the user.
    """

    def __init__(
        self, directory: Path, session: Session, writer: WriterProcess, *, drop: bool, report: Callable[[str], None]
    ) -> None:
        self._writer, self._drop, self._tell = writer, drop, report
        self.segments, damaged = open_segments(directory, session)
        if damaged:
            raise UsageError(damaged[0])
        self._frames = session.budget.segment_frames
        self._frame_bytes = session.schema.frame_bytes
        self._on_disk = not str(directory).startswith("/dev/shm/")
        self._touched: set[int] = set()
        self._count_words = [count_word(row + 1) for row in range(self._frames)]
        self.names: dict[str, int] = {}
        self._scalar_names = ScalarNames(directory, session)
        self._first_free_slot = 1 + session.param_groups
        self.slots = session.budget.scalar_slots
        self._deadline = 0.0
        self._began = time.monotonic()
        self.segment: Segment | None = None
        self.row = 0
        self._first = 0
        self.dropped = 0
        self.stalls = 0
        self.stall_seconds = 0.0

    @property
    def pushed(self) -> int:
        """Frames so far. Told by where the next one goes, not counted beside it: an interrupt may strike in between,
        and the recording go on.
        """
        return self._first + self.row

    def reserve(self) -> bool:
        """Make `row` of `segment` free for the next frame; hand a full segment over first.

        Only now, not when it became full: so what is logged after a step still reaches its frame.

        Returns
        -------
        bool
            False when the pool is full and frames are to be dropped.
        """
        if self.segment is not None:
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
        segment = self.segments[index]
        if self._on_disk or index not in self._touched:
            segment.populate()
            self._touched.add(index)
        segment.scalars.fill(np.nan)
        segment.open(self.pushed)
        self._writer.control.words[NEWEST] = self.pushed
        self._deadline = time.monotonic() + HAND_OVER_SECONDS
        self._first, self.row = self.pushed, 0
        self.segment = segment
        return True

    def push(self, step: int) -> None:
        """Make the frame in the reserved row valid: step and checksum first, the count last."""
        segment, row = self.segment, self.row
        assert segment is not None
        segment.step_words[row] = step
        segment.checksum_words[row] = segment.checksum(row, self._first + row)
        self.row = row + 1
        segment.words[COUNT] = self._count_words[row]

    def hand_over(self) -> None:
        """Give the current segment to the writer, full or not."""
        if self.segment is not None:
            self.segment.words[COUNT] = count_word(self.row)  # an interrupt may have kept `push` from it
            self.segment.finish()
            self.segment = None
            self._writer.wake()

    def slot(self, name: str) -> int:
        """Return the column of a logged name; a new name is made known to the writer first."""
        slot = self.names.get(name)
        if slot is None:
            slot = self._first_free_slot + len(self.names)
            if slot >= self.slots:
                raise UsageError(
                    f"log({name}=…): expected at most {self.slots - self._first_free_slot} names in one "
                    "recording, this is one more. Each name is an array of the store: log several values under fewer "
                    "names."
                )
            self._scalar_names.add(name, slot)
            self.names[name] = slot
        return slot

    def _find_free(self) -> int | None:
        # The lowest, not the next: a writer that keeps up has only a few segments touched at all, and their pages
        # stay warm. An active one, now that none is being filled, was opened by a `reserve` that was interrupted.
        return next((index for index, s in enumerate(self.segments) if s.words[STATE] != FINISHED), None)

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
        self.stalls += 1
        if self.stalls > 1:
            return
        words = self._writer.control.words
        rate = words[RAW_BYTES] / max(words[ENCODE_NS], 1) * 1e9
        writer = f"manages {format_bytes(rate)}/s" if rate else "has committed nothing yet"
        produced = self.pushed * self._frame_bytes / max(time.monotonic() - self._began, 1e-9)
        effect = "frames are dropped, gaps recorded" if self._drop else "training waits"
        self._tell(
            f"the spool holds {format_bytes(len(self.segments) * self._frames * self._frame_bytes)} of frames that "
            f"are not written yet (its limit): the writer {writer} and training produces "
            f"{format_bytes(produced)}/s, so {effect}. Record fewer "
            'parameters (include=["conv*"]), every second step (stride=2), or raise spool_limit.'
        )
