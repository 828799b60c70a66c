"""From the spool to the store: which frames are taken, how they are numbered, when their segments are free again."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from recorder.root import now
from recorder.schema import Parameter
from recorder.segments import (
    ACTIVE,
    COUNT,
    DROPPED,
    FINISHED,
    FIRST_FRAME,
    FREE,
    NEWEST,
    SEQUENCE,
    STATE,
    Control,
    ScalarNames,
    Segment,
    Session,
    open_segments,
)
from recorder.store import StoreWriter


@dataclass(slots=True)
class Progress:
    """How far a session's frames are in the store; the committed part lies in the root attribute `recording`."""

    session: str
    spool: str
    trainer: int
    boot_id: str
    pushed: int = 0
    base_step: int = 0
    skipped_before: int = 0
    dropped_before: int = 0
    rejected: int = 0
    started: bool = False
    newest: int = -1  # number of the last frame that was whole

    def document(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.__slots__}


class Drain:
    """Moves one session's frames from its segments into a store.

    Lifetime: the mapping of the spool. Draining is idempotent: frames are numbered, and those that the store has are
    skipped.
    """

    def __init__(self, spool: Path, session: Session, store: StoreWriter, progress: Progress) -> None:
        self.spool, self.session, self.store, self.progress = spool, session, store, progress
        self.segments, self.damaged = open_segments(spool, session)
        self.control = Control(spool)
        self._names = ScalarNames(spool, session)
        self._prefaulted = 0

    def finished(self, *states: int) -> list[Segment]:
        """Return the segments in any of `states`, oldest first, and none without those before it.

        The trainer hands segments over while they are looked at: one that was still being filled at the first glance
        may be followed by one that is finished a moment later. Whatever was handed over before a finished one is found
        by a second look.
        """
        newest = max((segment.words[SEQUENCE] for segment in self._in(states)), default=-1)
        found = [segment for segment in self._in(states) if segment.words[SEQUENCE] <= newest]
        return sorted(found, key=lambda segment: segment.words[SEQUENCE])

    def _in(self, states: tuple[int, ...]) -> list[Segment]:
        return [segment for segment in self.segments if segment.words[STATE] in states]

    def take(self, segment: Segment) -> None:
        """Append the frames of a segment that are not in the store yet; those whose checksum fails are left out and
        counted.
        """
        first, count = segment.words[FIRST_FRAME], min(segment.words[COUNT], len(segment.steps))
        begin = max(0, self.progress.pushed - first)
        if begin >= count:
            return
        valid = np.fromiter((segment.is_valid(row) for row in range(begin, count)), bool, count - begin)
        self.progress.rejected += int(np.count_nonzero(~valid))
        rows = begin + np.flatnonzero(valid)
        if len(rows):
            self._append(segment, rows)
        self.progress.pushed = first + count

    def _append(self, segment: Segment, rows: np.ndarray[Any, Any]) -> None:
        progress, store = self.progress, self.store
        if not progress.started:
            self._open_stretch(segment, int(rows[0]))
        scalars = segment.scalars[rows]
        skipped = np.nan_to_num(scalars[:, 0]).astype(np.int64)
        steps = progress.base_step + segment.steps[rows] - skipped
        self._note_lost(segment.words[FIRST_FRAME] + rows, steps)
        # Equal to the step before: an update that the gradient scaler skipped, or the resumed weights that the store
        # already holds.
        kept = steps > np.concatenate([[store.last_step], steps[:-1]])
        store.attributes["skipped_updates"] = progress.skipped_before + int(skipped[-1])
        if not kept.any():
            return
        rows, scalars = rows[kept], scalars[kept]
        planes = segment.planes
        if len(rows) == rows[-1] - rows[0] + 1:  # the usual case: views, no gather
            planes = [plane[rows[0] : rows[-1] + 1] for plane in planes]
        else:
            planes = [plane[rows] for plane in planes]
        groups = self.session.param_groups
        logged = {
            name: scalars[:, column]
            for name, column in self._names.read().items()
            if name in store.scalar_names or not np.isnan(scalars[:, column]).all()
        }
        store.append(steps[kept], logged, scalars[:, 1 : 1 + groups] if groups else None, planes)

    def _note_lost(self, numbers: np.ndarray[Any, Any], steps: np.ndarray[Any, Any]) -> None:
        """Record where frames are missing before one of those that come now: their numbers jump."""
        progress = self.progress
        numbers = np.concatenate([[progress.newest], numbers])
        steps = np.concatenate([[self.store.last_step], steps])
        for index in np.flatnonzero(np.diff(numbers) > 1):
            missing = int(numbers[index + 1] - numbers[index] - 1)
            self._lose(missing, missing, int(steps[index]), int(steps[index + 1]))
        progress.newest = int(numbers[-1])

    def _lose(self, least: int, most: int, after: int, before: int | None) -> None:
        lost = {"least": least, "most": most, "after_step": after if after >= 0 else None, "before_step": before}
        self.store.attributes["lost_frames"] = [*self.store.attributes.get("lost_frames", []), lost]

    def finish(self) -> None:
        """Take what is left of a session that is over, and record what is missing at its end."""
        for segment in self.finished(FINISHED, ACTIVE):
            self.take(segment)
        least = most = self.progress.pushed - 1 - self.progress.newest
        if (opened := self.control.words[NEWEST]) >= self.progress.pushed and self.damaged:
            # The segment that the trainer filled last is damaged, and how many frames it held stood only there.
            least, most = (opened - 1 - self.progress.newest + more for more in (0, self.session.budget.segment_frames))
        if most > 0:
            self._lose(least, most, self.store.last_step, None)

    def _open_stretch(self, segment: Segment, row: int) -> None:
        """Begin the store's next segment: compare the first weights with the last frame, and number the steps from
        there.
        """
        store, progress = self.store, self.progress
        stride: int = store.attributes["stride"]
        continuous = False
        if store.frames:
            frame = [spooled_values(segment, parameter, row) for parameter in self.session.schema.parameters]
            continuous = all(same_bits(a, b) for a, b in zip(frame, store.last_frame(), strict=True))
        last = store.last_step
        progress.base_step = last if continuous else last + stride if store.frames else 0
        progress.started = True
        store.attributes["segments"] = [
            *store.attributes["segments"],
            {
                "first_frame": store.frames,
                "first_step": progress.base_step + (stride if continuous else 0),
                "wall_time": now(),
                "user_step": self.session.user_step,
                "continuous": continuous,
            },
        ]

    def prefault(self) -> None:
        """Touch the next segments that the trainer will take: a page's first use is the expensive one (16 µs of
        zeroing in a virtual machine, measured), and this process has the time for it.
        """
        used = max((index for index, segment in enumerate(self.segments) if segment.words[STATE] != FREE), default=0)
        while self._prefaulted < min(used + 3, len(self.segments)):
            self.segments[self._prefaulted].populate()
            self._prefaulted += 1

    def commit(self, status: str = "running") -> None:
        """Publish what was taken, then free the segments that are wholly in the store."""
        progress, attributes = self.progress, self.store.attributes
        attributes["dropped_frames"] = progress.dropped_before + self.control.words[DROPPED]
        self.store.publish(progress.document(), status=status)
        for segment in self.finished(FINISHED):
            if segment.words[FIRST_FRAME] + segment.words[COUNT] <= self.progress.pushed:
                segment.words[STATE] = FREE


def spooled_values(segment: Segment, parameter: Parameter, row: int) -> np.ndarray[Any, Any]:
    """Return one parameter of one spooled frame, flat, as it is stored."""
    values = segment.planes[parameter.plane][row, parameter.offset : parameter.offset + parameter.elements]
    return (values.astype(np.uint32) << 16).view(np.float32) if parameter.dtype == "bfloat16" else values


def same_bits(a: np.ndarray[Any, Any], b: np.ndarray[Any, Any]) -> bool:
    return a.tobytes() == b.tobytes()
