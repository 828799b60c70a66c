"""From the spool to the store: which frames are taken, how they are numbered, when their segments are free again."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from recorder.root import now
from recorder.schema import Parameter
from recorder.segments import (
    DROPPED,
    FINISHED,
    FIRST_FRAME,
    FREE,
    NEWEST,
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
    raw_bytes: int = 0
    stored_bytes: int = 0  # of the chunks before the last one, which another writer may find fuller than it is counted

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
        self._unsure = 0  # frames that the newest segment may have held beyond its last whole one

    def finished(self) -> list[Segment]:
        """Return the segments that were handed over, oldest first and none left out between them.

        The trainer goes on while they are looked through: one look may find a segment finished, and have passed an
        older one just before that was. What is older than any that the first look found is finished at the second.
        """
        newest = max((s.words[FIRST_FRAME] for s in self._usable() if s.words[STATE] == FINISHED), default=-1)
        found = [s for s in self._usable() if s.words[STATE] == FINISHED and s.words[FIRST_FRAME] <= newest]
        return sorted(found, key=lambda segment: segment.words[FIRST_FRAME])

    def _usable(self) -> list[Segment]:
        return [segment for segment in self.segments if segment.first_frame is not None]

    def take(self, segment: Segment, *, over: bool = False) -> None:
        """Append the frames of a segment that are not in the store yet; those whose checksum fails are left out and
        counted.

        Parameters
        ----------
        segment : Segment
        over : bool
            The session is over: also a frame that was whole when its trainer died, but not counted yet.
        """
        first, count = segment.first_frame, segment.count
        if first is None:
            return
        begin = max(0, self.progress.pushed - first)
        end = len(segment.steps) if over or count is None else count
        if begin >= end:
            return
        valid = [row for row in range(begin, end) if segment.is_valid(row, first + row)]
        last = valid[-1] + 1 if valid else begin
        # Where the count itself is damaged, only the next segment knows what stood beyond the last whole frame.
        self._unsure = end - last if count is None else 0
        count = max(last if valid else 0, count or 0)
        self.progress.rejected += max(0, count - begin - len(valid))
        if valid:
            self._append(segment, first, np.array(valid))
        self.progress.pushed = max(self.progress.pushed, first + count)

    def _append(self, segment: Segment, first: int, rows: np.ndarray[Any, Any]) -> None:
        progress, store = self.progress, self.store
        if not progress.started:
            self._open_stretch(segment, int(rows[0]))
        scalars = segment.scalars[rows]
        skipped = np.nan_to_num(scalars[:, 0]).astype(np.int64)
        steps = progress.base_step + segment.steps[rows] - skipped
        self._note_lost(first + rows, steps)
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
        if not segment.is_log_valid:
            scalars[:, 1 + groups :] = np.nan
            self._note("lost_scalars", {"first_step": int(steps[kept][0]), "last_step": int(steps[kept][-1])})
        logged = {
            name: scalars[:, column]
            for name, column in self._names.read().items()
            if name in store.scalar_names or not np.isnan(scalars[:, column]).all()
        }
        store.append(steps[kept], logged, scalars[:, 1 : 1 + groups] if groups else None, planes)
        newest = {name: float(values[np.isfinite(values)][-1]) for name, values in logged.items()
                  if np.isfinite(values).any()}  # fmt: skip
        store.attributes["last"] = store.attributes.get("last", {}) | newest | {"step": int(store.last_step)}

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
        after_step = after if after >= 0 else None
        self._note("lost_frames", {"least": least, "most": most, "after_step": after_step, "before_step": before})

    def _note(self, attribute: str, entry: dict[str, Any]) -> None:
        self.store.attributes[attribute] = [*self.store.attributes.get(attribute, []), entry]

    def finish(self) -> None:
        """Take what is left of a session that is over, and record what is missing at its end.

        Frames are told by their numbers and checksums alone, whatever state a segment says it is in.
        """
        for segment in self.segments:
            if segment.first_frame is None and segment.words[STATE] != FREE:
                self.damaged.append(f"segment {segment.name}: its header is damaged, its frames cannot be told")
        usable = self._usable()
        for segment in sorted(usable, key=lambda segment: segment.words[FIRST_FRAME]):
            self.take(segment, over=True)
        least = self.progress.pushed - 1 - self.progress.newest
        most = least + self._unsure
        opened = self.control.words[NEWEST]
        if opened >= self.progress.pushed and all(segment.first_frame != opened for segment in usable):
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
        progress.raw_bytes, progress.stored_bytes = self.store.raw_bytes, self.store.settled_bytes
        self.store.publish(progress.document(), status=status)
        for segment in self.segments:
            if segment.words[STATE] != FINISHED:
                continue
            first, count = segment.first_frame, segment.count
            if first is None or first + (len(segment.steps) if count is None else count) <= self.progress.pushed:
                segment.words[STATE] = FREE


def spooled_values(segment: Segment, parameter: Parameter, row: int) -> np.ndarray[Any, Any]:
    """Return one parameter of one spooled frame, flat, as it is stored."""
    values = segment.planes[parameter.plane][row, parameter.offset : parameter.offset + parameter.elements]
    return (values.astype(np.uint32) << 16).view(np.float32) if parameter.dtype == "bfloat16" else values


def same_bits(a: np.ndarray[Any, Any], b: np.ndarray[Any, Any]) -> bool:
    return a.tobytes() == b.tobytes()
