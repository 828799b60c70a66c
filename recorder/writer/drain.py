"""From the spool to the store: which frames are taken, how they are numbered, when their spool files are freed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from recorder.errors import StoreFormatError
from recorder.resumption import hyperparameters_before, notes, optimizer_before
from recorder.root import now
from recorder.schema import Parameter
from recorder.spool_files import (
    DROPPED,
    FINISHED,
    FIRST_FRAME,
    FREE,
    NEWEST,
    STATE,
    Control,
    ScalarNames,
    Session,
    SpoolFile,
    open_files,
)
from recorder.writer.recent import RecentFrames
from recorder.writer.resuming.resume import Place, find_place, heartbeat, narrow, publish_cut, restore, supersede
from recorder.writer.resuming.scheduled import scheduled
from recorder.writer.store import StoreWriter


@dataclass(slots=True)
class Progress:
    """How far a session's frames are in the store. Each commit puts it into the root attribute `recording`."""

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
    newest: int = -1  # number of the newest whole frame
    raw_bytes: int = 0
    stored_bytes: int = 0  # of all chunks but the last, which another writer may find fuller than at this commit
    capacity: int | None = None  # frames that the pool holds: if the pool is lost, no more are missing
    waiting: int = 0  # frames of full spool files that were not taken yet at the last commit
    owner: dict[str, Any] = field(default_factory=dict)  # see `recorder.writer.ownership`
    superseded: dict[str, Any] | None = None  # what a cut took out, until the session has its segment

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> Progress:
        """Return the progress that a store records. Members that later versions added are left out.

        Raises
        ------
        StoreFormatError
        """
        known = {name: document[name] for name in cls.__slots__ if name in document}
        counts = [value for name, value in known.items() if cls.__annotations__[name] == "int"]
        texts = [known.get(name) for name in ("session", "spool", "boot_id")]
        if not all(type(value) is int for value in counts) or not all(isinstance(text, str) for text in texts):
            raise StoreFormatError(
                f"recording: expected the writer's own record of its progress in zarr.json, got {dict(document)!r}. "
                "The store is damaged: nothing was touched."
            )
        known["superseded"] = superseded if isinstance(superseded := known.get("superseded"), dict) else None
        return cls(**known)

    def document(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.__slots__}


class Drain:
    """Moves one session's frames from its spool files into a store.

    Lifetime: the mapping of the spool. Draining is idempotent: frames are numbered, and those that are in the store
    already are skipped.
    """

    def __init__(self, spool: Path, session: Session, store: StoreWriter, progress: Progress) -> None:
        self.session, self.store, self.progress = session, store, progress
        self.files, self.damaged = open_files(spool, session)
        self.control = Control(spool)
        self._names = ScalarNames(spool, session)
        self._prefaulted = 0
        self._recent = RecentFrames(session.schema, store.attributes["stride"])
        self._known = _counts(store)
        self.said: list[str] = []  # where the run goes on
        self.appended = 0  # frames that this object put into the store
        self._unsure = 0  # frames that the newest file may have held beyond its last whole one

    def finished(self) -> list[SpoolFile]:
        """Return the files that were handed over, oldest first, without leaving out an older one.

        The trainer goes on meanwhile: a look through the pool may pass a file just before it is finished, and then find
        a newer one finished. A second look finds every file that is older than the newest one of the first look.
        """
        newest = max((s.words[FIRST_FRAME] for s in self._usable() if s.words[STATE] == FINISHED), default=-1)
        found = [s for s in self._usable() if s.words[STATE] == FINISHED and s.words[FIRST_FRAME] <= newest]
        return sorted(found, key=lambda file: file.words[FIRST_FRAME])

    def _usable(self) -> list[SpoolFile]:
        return [file for file in self.files if file.first_frame is not None]

    def take(self, file: SpoolFile, *, over: bool = False) -> None:
        """Append the frames of a file that are not in the store yet. Those whose checksum fails are counted instead.

        Parameters
        ----------
        file : SpoolFile
        over : bool
            The session is over: also take a frame that was whole, but not yet counted, when the trainer died.
        """
        first, count = file.first_frame, file.count
        if first is None:
            return
        begin = max(0, self.progress.pushed - first)
        end = len(file.steps) if over or count is None else count
        if begin >= end:
            return
        valid = [row for row in range(begin, end) if file.is_valid(row, first + row)]
        last = valid[-1] + 1 if valid else begin
        # If the count itself is damaged, only the next file tells how many frames came after the last whole one.
        self._unsure = end - last if count is None else 0
        count = max(last if valid else 0, count or 0)
        self.progress.rejected += max(0, count - begin - len(valid))
        if valid:
            self._append(file, first, np.array(valid))
        self.progress.pushed = max(self.progress.pushed, first + count)

    def _append(self, file: SpoolFile, first: int, rows: np.ndarray[Any, Any]) -> None:
        progress = self.progress
        if not progress.started:
            self._open_segment(file, int(rows[0]))
        store = self.store
        scalars = file.scalars[rows]
        skipped = np.nan_to_num(scalars[:, 0]).astype(np.int64)
        steps = progress.base_step + file.steps[rows] - skipped
        self._note_lost(first + rows, steps)
        # A step equal to the one before is an update that the gradient scaler skipped, or the resumed weights, which
        # the store holds already.
        kept = steps > np.concatenate([[store.last_step], steps[:-1]])
        store.attributes["skipped_updates"] = progress.skipped_before + int(skipped[-1])
        if not kept.any():
            return
        rows, scalars = rows[kept], scalars[kept]
        planes = file.planes
        if len(rows) == rows[-1] - rows[0] + 1:  # the usual case: views, not copies
            planes = [plane[rows[0] : rows[-1] + 1] for plane in planes]
        else:
            planes = [plane[rows] for plane in planes]
        groups = self.session.param_groups
        if not file.is_log_valid:
            scalars[:, 1 + groups :] = np.nan
            self._note("lost_scalars", {"first_step": int(steps[kept][0]), "last_step": int(steps[kept][-1])})
        logged = {
            name: scalars[:, column]
            for name, column in self._names.read().items()
            if name in store.scalar_names or not np.isnan(scalars[:, column]).all()
        }
        rates = scalars[:, 1 : 1 + groups]
        self.appended += len(rows)
        store.append(steps[kept], logged, rates if groups else None, planes)
        self._recent.take(steps[kept], planes, rates[-1].tolist())
        newest = {name: float(values[np.isfinite(values)][-1]) for name, values in logged.items()
                  if np.isfinite(values).any()}  # fmt: skip
        store.attributes["last"] = store.attributes.get("last", {}) | newest | {"step": int(store.last_step)}

    def _note_lost(self, numbers: np.ndarray[Any, Any], steps: np.ndarray[Any, Any]) -> None:
        """Record missing frames: every jump in `numbers`, or from the newest number before them."""
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

    def finish(self, *, only_finished: bool = False) -> None:
        """Take all frames that are left of a session that is over, and record which are missing at its end.

        Frames are recognised only by their numbers and checksums, whatever the state of their file.

        Parameters
        ----------
        only_finished : bool
            The machine was rebooted meanwhile: take only files that were handed over, because only their logged values
            have a checksum. Frames in the file that was being filled are recorded as lost.
        """
        for file in self.files:
            if file.first_frame is None and file.words[STATE] != FREE:
                self.damaged.append(f"spool file {file.name}: its header is damaged, its frames cannot be identified")
        usable = [file for file in self._usable() if not only_finished or file.words[STATE] == FINISHED]
        for file in sorted(usable, key=lambda file: file.words[FIRST_FRAME]):
            self.take(file, over=True)
        if self._names.damaged:
            self.damaged.append(
                f"spool file scalars: {self._names.damaged} names of logged values are damaged; the values are kept as "
                "unreadable_N"
            )
        if self.progress.started:
            self.store.add_scalars(self._names.read())  # also names under which only NaN was logged
            self._close_segment()
        least = self.progress.pushed - 1 - self.progress.newest
        most = least + self._unsure
        opened = self.control.words[NEWEST]
        if opened >= self.progress.pushed and all(file.first_frame != opened for file in usable):
            # The file that the trainer filled last is damaged, and only that file held its number of frames.
            least, most = (opened - 1 - self.progress.newest + more for more in (0, self.session.budget.file_frames))
        if most > 0:
            self._lose(least, most, self.store.last_step, None)

    def losses(self) -> list[str]:
        """Return a sentence on each damaged spool file, and on each stretch that this session lost."""
        new = {name: self.store.attributes.get(name, [])[count:] for name, count in self._known.items()}
        frames = [describe_lost(**entry) for entry in new["lost_frames"]]
        logged = [
            f"lost: what was logged at steps {entry['first_step']:,} to {entry['last_step']:,}"
            for entry in new["lost_scalars"]
        ]
        return [*self.damaged, *frames, *logged]

    def _open_segment(self, file: SpoolFile, row: int) -> None:
        """Open the store's next segment. It goes on from the recorded frame that equals the first weights, if one does.

        Frames after that one are cut from the store before anything is appended. If the writer dies meanwhile, the
        next one comes here again, and finds in `progress` what has been done.
        """
        progress, session = self.progress, self.session
        self._recent.forget()
        self.store.attributes.pop("recent", None)  # it is of the segment before, and perhaps of frames that are cut
        applied = int(file.steps[row] - np.nan_to_num(file.scalars[row, 0]))  # 0 unless the first frames are lost
        place = Place(applied)
        if self.store.frames:
            between = heartbeat(self.store, progress.document())
            parameters = session.schema.parameters
            place = find_place(
                self.store, session, lambda number: spooled_values(file, parameters[number], row), applied, between
            )
        moved = self._moved(place)
        if place.frames < self.store.frames:
            entry, progress.superseded = supersede(self.store, place.frames)
            segments = [] if place.pieces else [self._segment(place, applied, moved)]
            self.store = publish_cut(self.store, session, progress.document(), entry, place.frames, segments)
            self._known = _counts(self.store)
        if place.pieces:
            restore(self.store, session, place.pieces, heartbeat(self.store, progress.document()))
        if not progress.started:
            self.store.attributes["segments"] = [*self._segments(), self._segment(place, applied, moved)]
        if place.pieces:
            self.store.publish(progress.document())
            narrow(place.pieces)
        for sentence in place.said:
            self.said.append(sentence)
            self.control.note(sentence)

    def _segments(self) -> list[dict[str, Any]]:
        """Return the store's segments without the last one, if it has no frame and is not continuous."""
        segments: list[dict[str, Any]] = self.store.attributes["segments"]
        if segments and segments[-1]["first_frame"] == self.store.frames and not segments[-1]["continuous"]:
            *segments, empty = segments
            self.progress.superseded = self.progress.superseded or empty.get("supersedes")
        return segments

    def _kept(self, place: Place) -> dict[str, Any]:
        """Return the root attributes with the segments that stay when the run goes on from a place."""
        attributes = self.store.attributes
        if place.frames == self.store.frames:
            return attributes
        return attributes | {"segments": [one for one in attributes["segments"] if one["first_frame"] < place.frames]}

    def _moved(self, place: Place) -> list[dict[str, Any]]:
        """Return the settings that a schedule had moved there. All others that differ are said to the user."""
        session, attributes = self.session, self._kept(place)
        before, ours = optimizer_before(attributes, session.session), session.attributes.get("optimizer")
        moved = scheduled(self.store, place.frames, before, ours)
        if session.mode == "a":
            for sentence in notes(attributes, session.session, session.attributes, moved):
                self.said.append(sentence)
                self.control.note(sentence)
        return moved

    def _segment(self, place: Place, applied: int, moved: list[dict[str, Any]]) -> dict[str, Any]:
        """Return the segment that begins at a place, and note that the session has one."""
        progress, session, attributes = self.progress, self.session, self._kept(place)
        progress.started, progress.base_step = True, place.step - applied
        segment = {
            "first_frame": place.frames + sum(piece.stop - piece.start for piece in place.pieces),
            "first_step": place.step + (attributes["stride"] if place.continuous else 0),
            "wall_time": now(),
            "user_step": None if session.user_step is None else session.user_step + applied,
            "continuous": place.continuous,
            "session": session.session,
            "stride": attributes["stride"],
            "hyperparameters": session.attributes.get("hyperparameters")
            or hyperparameters_before(attributes, session.session),
            "optimizer": session.attributes.get("optimizer", []),
        }
        if session.optimizer_step is not None and not applied:
            segment["optimizer_step"] = session.optimizer_step
        if moved:
            segment["scheduled"] = moved
        if progress.superseded is not None:
            segment["supersedes"], progress.superseded = progress.superseded, None
        if place.pieces:
            segment["from_attempt"] = place.pieces[-1].number
        return segment

    def _close_segment(self) -> None:
        """Record at which step the session ended: after its last frame, if the last updates left no frame."""
        attributes, progress = self.store.attributes, self.progress
        made, skipped = self.control.updates
        skipped = max(skipped, attributes["skipped_updates"] - progress.skipped_before)
        end = max(self.store.last_step, progress.base_step + made - skipped)
        attributes["skipped_updates"] = progress.skipped_before + skipped
        *earlier, segment = attributes["segments"]
        attributes["segments"] = [*earlier, segment | {"end_step": end}]

    def prefault(self) -> None:
        """Touch the pages of the files that the trainer will take next.

        The first use of a page is expensive, above all in a virtual machine, and this process has the time for it.
        """
        used = max((index for index, file in enumerate(self.files) if file.words[STATE] != FREE), default=0)
        while self._prefaulted < min(used + 3, len(self.files)):
            self.files[self._prefaulted].populate()
            self._prefaulted += 1

    def commit(self, status: str = "running") -> None:
        """Publish the frames that were taken, then free the spool files whose frames are all in the store."""
        progress, attributes = self.progress, self.store.attributes
        attributes["dropped_frames"] = progress.dropped_before + self.control.words[DROPPED]
        progress.raw_bytes, progress.stored_bytes = self.store.raw_bytes, self.store.settled_bytes
        progress.waiting = max(0, self.control.words[NEWEST] - progress.pushed) if status == "running" else 0
        if (recent := self._recent.measure()) is not None:
            attributes["recent"] = recent.document
        self.store.publish(progress.document(), status=status)
        if recent is not None:
            self.control.set_energies(recent.energies)
        for file in self.files:
            if file.words[STATE] != FINISHED:
                continue
            first, count = file.first_frame, file.count
            if first is None or first + (len(file.steps) if count is None else count) <= self.progress.pushed:
                file.words[STATE] = FREE


def _counts(store: StoreWriter) -> dict[str, int]:
    """Return how many losses a store has recorded already."""
    return {name: len(store.attributes.get(name, [])) for name in ("lost_frames", "lost_scalars")}


def describe_lost(least: int, most: int | None, after_step: int | None, before_step: int | None) -> str:
    """Return one sentence on frames that are missing."""
    after = "the run's start" if after_step is None else f"step {after_step:,}"
    where = f"after {after}" if before_step is None else f"between {after} and step {before_step:,}"
    if most is None:
        return f"lost: an unknown number of frames {where}"
    count = f"{least:,}" if least == most else f"{least:,} to {most:,}"
    return f"lost: {count} frame{'s' * (most != 1)} {where}"


def spooled_values(file: SpoolFile, parameter: Parameter, row: int) -> np.ndarray[Any, Any]:
    """Return one parameter of one spooled frame, flat, in its stored type."""
    values = file.planes[parameter.plane][row, parameter.offset : parameter.offset + parameter.elements]
    return (values.astype(np.uint32) << 16).view(np.float32) if parameter.dtype == "bfloat16" else values
