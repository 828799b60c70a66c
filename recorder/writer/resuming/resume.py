"""Finds where a resumed session goes on, and cuts the store there.

Nothing changes before the place is known. A cut is one publication of the root document. A writer that dies at any
instant leaves the store as it was before the cut, or as it is after it. The next writer then looks again.
"""

from __future__ import annotations

import json
import shutil
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from recorder.errors import RecorderError, StoreFormatError
from recorder.files import replace_file, sync_folder
from recorder.resumption import Witnesses, ended_step, resumed_step, witnesses
from recorder.root import CHUNK_CHECKSUMS, read_document
from recorder.spool_files import Session
from recorder.writer.copies import chunk_checksum, chunk_tails
from recorder.writer.encoding import Array
from recorder.writer.resuming.attempts import (
    FOLDER,
    bring_back,
    listed,
    next_number,
    open_attempt,
    remove_cut_chunks,
    set_aside,
)
from recorder.writer.resuming.cutting import Document, newest_values, shortened
from recorder.writer.resuming.reopening import reopen
from recorder.writer.resuming.search import Held, Search, order_of, read_steps
from recorder.writer.store import StoreWriter

_HEARTBEAT_SECONDS = 30.0
_ORDINALS = ("first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth")
Values = Callable[[int], Array]


@dataclass(frozen=True, slots=True)
class Piece:
    """Frames of an attempt that become part of the run again."""

    number: int
    attempt: Held
    start: int
    stop: int


@dataclass(frozen=True, slots=True)
class Place:
    """Where a session goes on.

    Attributes
    ----------
    step : int
        Step of the session's first frame.
    continuous : bool
        Whether that frame equals the last one that stays in the run.
    frames : int
        Number of the run's frames that stay part of it.
    pieces : tuple of Piece
        Frames of attempts that come after them.
    said : tuple of str
        Sentences for the user.
    """

    step: int
    continuous: bool = False
    frames: int = 0
    pieces: tuple[Piece, ...] = ()
    said: tuple[str, ...] = ()


def heartbeat(store: StoreWriter, recording: Mapping[str, Any]) -> Callable[[], None]:
    """Return a function that publishes the store again every 30 s, so that a long search looks alive."""
    last = time.monotonic()

    def beat() -> None:
        nonlocal last
        if time.monotonic() - last >= _HEARTBEAT_SECONDS:
            store.publish(dict(recording))
            last = time.monotonic()

    return beat


def find_place(
    store: StoreWriter, session: Session, values: Values, applied: int, between: Callable[[], None]
) -> Place:
    """Find where a session goes on; nothing is changed.

    Parameters
    ----------
    store : StoreWriter
        The writer of the run, which has frames.
    session : Session
    values : callable
        Takes the number of a parameter in the schema; returns its values in the session's first frame, flat, in its
        stored type.
    applied : int
        Updates of the session before that frame: 0, unless frames before it were lost.
    between : callable
        Called again and again during the search.
    """
    attributes = store.attributes
    try:
        steps = read_steps(store.store, store.frames, store.chunk_steps)
    except (OSError, ValueError):
        return _at_the_end(store, session, values, applied)
    run = Held(store.store, store.parameters, steps, store.chunk_steps, tail=store.tail)
    known = witnesses(attributes, session.optimizer_step, session.user_step, int(steps[-1]))
    wanted = None if known.first is None else known.first + applied
    order = order_of(run)
    search = Search(run, values, order, between)
    found = search.find(wanted)
    said = _unread(search, run, "frames")
    if found is not None:
        step = int(steps[found.index])
        equal = _equal(int(steps[found.first]), int(steps[found.last]))
        said.append(f"resumed at step {step:,}{equal}{_superseded(attributes, steps, found.index + 1)}")
        said += _against(session, known, step - applied, attributes, is_alone=found.first == found.last)
        return Place(step, True, found.index + 1, (), tuple(said))
    attempts = _attempts(store, said)
    for number, attempt in sorted(attempts.items(), reverse=True):
        search = Search(attempt, values, order, between)
        hit = search.find(wanted)
        said += _unread(search, attempt, f"{FOLDER}/{number}: frames")
        route = None if hit is None else _route(run, attempts, number, hit.index, order, between)
        if hit is None or route is None:
            continue
        step, (frames, pieces) = int(attempt.steps[hit.index]), route
        equal = _equal(int(attempt.steps[hit.first]), int(attempt.steps[hit.last]))
        said.append(f"resumed at step {step:,} of {_named(number)}{equal}{_superseded(attributes, steps, frames)}")
        said += _against(session, known, step - applied, attributes, is_alone=hit.first == hit.last)
        return Place(step, True, frames, pieces, tuple(said))
    return _without_equal(attributes, steps, known, session, applied, said)


def _unread(search: Search, held: Held, what: str) -> list[str]:
    """Return a sentence on each chunk that a search could not read."""
    chunks = [(chunk * held.chunk_steps, min((chunk + 1) * held.chunk_steps, held.frames)) for chunk in search.unread]
    return [f"{what} {begin:,} to {end - 1:,} cannot be read and were not compared" for begin, end in chunks]


def _at_the_end(store: StoreWriter, session: Session, values: Values, applied: int) -> Place:
    """Return the place of a session in a store whose steps cannot be read. Nothing of it is cut."""
    last = store.last_step
    said = "the steps of the store cannot be read, so the weights were compared with its last frame alone"
    if all(same_bits(values(number), frame) for number, frame in enumerate(store.last_frame())):
        return Place(last, True, store.frames, (), (f"resumed at step {last:,}; {said}",))
    first = witnesses(store.attributes, session.optimizer_step, session.user_step, last).first
    step = resumed_step(store.attributes, last, first if first is not None and first > last else None) + applied
    return Place(step, False, store.frames, (), (f"resumed at step {step:,}; {said}, which they do not equal",))


def same_bits(a: Array, b: Array) -> bool:
    """Tell whether two arrays of one type hold the same bits."""
    return a.tobytes() == b.tobytes()


def _without_equal(
    attributes: Mapping[str, Any], steps: Array, known: Witnesses, session: Session, applied: int, said: list[str]
) -> Place:
    """Return the place of weights that no recorded frame equals."""
    last, none = int(steps[-1]), "no recorded frame equals the weights, so no velocity leads there"
    witnessed = known.first
    by = f"user_step={session.user_step}" if known.counted is None else "the optimizer's own count"
    advice = "If the weights are older, say so with user_step=, your own count of updates"
    if witnessed is not None and witnessed <= steps[0]:
        advice = f"{by} is step {witnessed:,}, and the run has no frame before it. To begin anew, use a new store"
        witnessed = None
    step, end = resumed_step(attributes, last, witnessed) + applied, ended_step(attributes, last)
    if witnessed is None:
        why = "one stride after its last frame" if end is None else "where its last session ended"
        said.append(f"{none}: the run goes on at step {step:,}, {why}. {advice}")
        return Place(step, False, len(steps), (), tuple(said))
    frames = int(np.searchsorted(steps, witnessed))
    gap = ""
    if witnessed > (end or last) + attributes.get("skipped_updates", 0):
        gap = f". {by} is step {witnessed:,}, and the store ends at step {end or last:,}. The steps between are a gap"
    said.append(f"resumed at step {step:,}, by {by}; {none}{_superseded(attributes, steps, frames)}{gap}")
    return Place(step, False, frames, (), tuple(said))


def _equal(first: int, last: int) -> str:
    return "" if first == last else f" (the weights are equal from step {first:,} to {last:,})"


def _named(number: int) -> str:
    return f"the {_ORDINALS[number - 1]} attempt" if number <= len(_ORDINALS) else f"attempt {number}"


def _superseded(attributes: Mapping[str, Any], steps: Array, frames: int) -> str:
    if frames == len(steps):
        return ""
    number = next_number(attributes)
    first, last = int(steps[frames]), int(steps[-1])
    which = f"step {first:,}" if first == last else f"steps {first:,} to {last:,}"
    verb = "is" if first == last else "are"
    return f"; {which} of {_named(number)} {verb} superseded and kept in {FOLDER}/{number}"


def _against(
    session: Session, known: Witnesses, step: int, attributes: Mapping[str, Any], *, is_alone: bool
) -> list[str]:
    """Say if the user's count contradicts the bits. It may or may not count the updates that a scaler skipped."""
    claimed = known.claimed
    if claimed is None or not is_alone or step <= claimed <= step + attributes.get("skipped_updates", 0):
        return []
    return [
        f"user_step={session.user_step} is step {claimed:,}, but the weights are those of step {step:,}. The weights "
        "decide"
    ]


def _attempts(store: StoreWriter, said: list[str]) -> dict[int, Held]:
    found = {}
    for number, entry in listed(store.attributes).items():
        held = open_attempt(store.store, number, entry, store.parameters, store.chunk_steps)
        if held is None:
            said.append(f"{FOLDER}/{number} cannot be read and was not compared")
        else:
            found[number] = held
    return found


def _route(
    run: Held, attempts: Mapping[int, Held], number: int, index: int, order: Sequence[int], between: Callable[[], None]
) -> tuple[int, tuple[Piece, ...]] | None:
    """Return how many frames of the run stay, and the pieces that lead on to a frame of an attempt; None if none do.

    An attempt also holds the frame that it went on from. That frame is sought in the run, then in other attempts.
    """
    pieces: list[Piece] = []
    left = dict(attempts)
    stop = index + 1
    try:
        while True:
            attempt = left.pop(number)
            if (place := _place_of(attempt, int(run.steps[-1]))) is not None and place + 1 < stop:
                ours, theirs = run.frame(run.frames - 1), attempt.frame(place)
                if all(map(same_bits, ours, theirs)):
                    return run.frames, (Piece(number, attempt, place + 1, stop), *pieces)
            parting, step = attempt.first - 1, int(attempt.steps[attempt.first - 1])
            frame = attempt.frame(parting)
            pieces.insert(0, Piece(number, attempt, attempt.first, stop))
            if (place := _found_at(run, frame, step, order, between)) is not None:
                return place + 1, tuple(pieces)
            for other, held in left.items():
                if (place := _found_at(held, frame, step, order, between)) is not None:
                    number, stop = other, place + 1
                    break
            else:
                return None
    except (OSError, ValueError):
        return None


def _place_of(held: Held, step: int) -> int | None:
    place = int(np.searchsorted(held.steps, step))
    return place if place < held.frames and held.steps[place] == step else None


def _found_at(
    held: Held, frame: Sequence[Array], step: int, order: Sequence[int], between: Callable[[], None]
) -> int | None:
    """Return the index of the frame at a step, if it is equal; else None."""
    found = Search(held, frame.__getitem__, order, between).find(step)
    return found.index if found is not None and held.steps[found.index] == step else None


def supersede(store: StoreWriter, frames: int) -> tuple[Document, Document]:
    """Set all frames but the first `frames` aside, as an attempt.

    Returns
    -------
    entry, supersedes : dict
        Entries for the root attribute `attempts` and for the segment that goes on.

    Raises
    ------
    StoreFormatError
    """
    try:
        entry = set_aside(store.store, frames, read_steps(store.store, store.frames, store.chunk_steps))
    except (OSError, RecorderError):
        raise
    except (KeyError, TypeError, AttributeError, IndexError, ValueError) as error:
        raise StoreFormatError(
            f"{store.store}: expected metadata with which later frames can be set aside, got {error!r}. The store is "
            "damaged. Nothing was changed: record into a new one."
        ) from error
    number = int(entry["path"].rpartition("/")[2])
    return entry, {"attempt": number, "first_step": entry["first_step"], "last_step": entry["last_step"]}


def publish_cut(
    store: StoreWriter,
    session: Session,
    recording: Mapping[str, Any],
    entry: Document,
    frames: int,
    segments: Sequence[Document],
) -> StoreWriter:
    """Publish the store with only its first frames, then remove what was cut; return the writer that goes on.

    Parameters
    ----------
    store : StoreWriter
        The writer until now, which is closed.
    session : Session
    recording : mapping
        The writer's own record.
    entry : dict
        Entry of the attempt that holds what is cut.
    frames : int
    segments : sequence of dict
        The segments that begin at the cut.
    """
    place = store.store
    root = read_document(place)
    last_step = int(read_steps(place, frames, store.chunk_steps)[-1])
    document = shortened(root, frames, last_step)
    attributes: dict[str, Any] = document["attributes"]
    attributes |= {
        "run_id": uuid.uuid4().hex,
        "status": "running",
        "segments": [*attributes["segments"], *segments],
        "attempts": [*listed(attributes).values(), entry],
        "last": newest_values(place, document, root["attributes"].get("last") or {}) | {"step": last_step},
        "recording": dict(recording),
    }
    if attributes.get(CHUNK_CHECKSUMS):  # the last chunk's also covered scalars that began after the cut
        members, chunk = document["consolidated_metadata"]["metadata"], (frames - 1) // store.chunk_steps
        tails = chunk_tails(place, members, chunk, store.chunk_steps)
        attributes[CHUNK_CHECKSUMS] = [*attributes[CHUNK_CHECKSUMS][:chunk], chunk_checksum(tails)]
    store.require_ours(recording)
    store.close()
    replace_file(place / "zarr.json", json.dumps(document, allow_nan=False).encode(), durable=True)
    sync_folder(place)
    remove_cut_chunks(place, root, frames)
    writer = reopen(place, session, attributes)
    begin = (frames - 1) // store.chunk_steps * store.chunk_steps
    writer.count_tail((frames - begin) / min(store.frames - begin, store.chunk_steps))
    return writer


def restore(store: StoreWriter, session: Session, pieces: Sequence[Piece], between: Callable[[], None]) -> None:
    """Record frames of attempts in the run again, and note which frames each attempt keeps. Nothing is published."""
    entries = listed(store.attributes)
    for piece in pieces:
        bring_back(store, session.schema, piece.attempt, piece.start, piece.stop, between)
        left = piece.attempt.steps[piece.stop :]
        if left.size:
            entries[piece.number] = entries[piece.number] | {"first_step": int(left[0])}
        else:
            del entries[piece.number]
    store.attributes["attempts"] = list(entries.values())


def narrow(pieces: Sequence[Piece]) -> None:
    """Write into each attempt's own root which of its frames are still superseded, as the published list says."""
    for piece in pieces:
        place = piece.attempt.store
        if piece.stop == piece.attempt.frames:
            shutil.rmtree(place, ignore_errors=True)
            continue
        root = read_document(place)
        root["attributes"]["superseded_from"] = piece.stop
        replace_file(place / "zarr.json", json.dumps(root, allow_nan=False).encode(), durable=True)
