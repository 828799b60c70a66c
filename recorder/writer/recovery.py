"""Opens a store for a session, and recovers the frames of a dead recording."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from recorder.budget import compressing_threads
from recorder.errors import StoreExistsError, StoreFormatError, UsageError
from recorder.files import replace_file
from recorder.root import CHUNK_CHECKSUMS, FORMAT, FORMAT_VERSION, check_continuable, now, read_document, read_root
from recorder.spool_files import LEFT, Control, Session, boot_id, mend_small_files
from recorder.writer.copies import cut, first_doubtful_frame
from recorder.writer.drain import Drain, Progress
from recorder.writer.fresh import finish_replacement
from recorder.writer.ownership import Tell, is_copy, require_free, this_owner, trainer_lives, wait_for_lock
from recorder.writer.resuming.attempts import remove_remnants
from recorder.writer.resuming.reopening import reopen
from recorder.writer.store import StoreWriter, lock_store
from recorder.writer.trust import (
    Spool,
    empty_store,
    find_spool,
    is_being_removed,
    read_members,
    refuse_links,
    remove_spool,
)


def open_store(spool: Path, session: Session, trainer: int, tell: Tell) -> tuple[StoreWriter, Progress, int]:
    """Lock the session's store, and make it, replace it or resume it as the session's mode says.

    Parameters
    ----------
    spool : Path
    session : Session
    trainer : int
        The trainer's process id.
    tell : callable
        Takes a sentence for the user: what is waited for, what was lost.

    Returns
    -------
    StoreWriter, Progress, int
        The writer, the session's progress so far, and the lock's file descriptor.

    Raises
    ------
    StoreExistsError, StoreLockedError, StoreFormatError, SchemaError
    """
    store = Path(session.store)
    store.mkdir(parents=True, exist_ok=True)
    lock = wait_for_lock(store, lock_store, trainer, tell)
    fresh = Progress(session.session, str(spool), trainer, session.boot_id)
    fresh.capacity = session.budget.files * session.budget.file_frames
    if (store / "zarr.json").exists():
        attributes = read_root(store)
        if _recording(attributes).get("session") == session.session:  # this writer replaces one that died
            writer, progress = _take_over(store, session, attributes)
            progress.owner = this_owner(store, trainer).document()
            return writer, progress, lock
        if session.mode == "w-":
            raise StoreExistsError(
                f"{store}: expected no store there, but one exists. Its frames are kept: resume it (mode='a'), replace "
                "it (mode='w'), or name another path."
            )
        require_free(store, tell, has_left=lambda: _has_left(store))
        if session.mode == "a":
            for message in recover_locked(store).messages:
                tell(f"{store}: {message}")
            attributes = read_root(store)
            attributes["software"] = session.attributes["software"]
            writer = _reopen(store, session, attributes)
            fresh.skipped_before = attributes["skipped_updates"]
            fresh.dropped_before = attributes["dropped_frames"]
            fresh.owner = this_owner(store, trainer).document()
            writer.publish(fresh.document())
            return writer, fresh, lock
        _replace(store, attributes, tell)
    elif any(store.iterdir()):
        raise StoreFormatError(
            f"{store}: expected a new path, but the folder holds files that are no trajectory store. Nothing was "
            "touched: name another path."
        )
    attributes = {"format": FORMAT, "format_version": FORMAT_VERSION, **session.attributes, "created": now()}
    attributes |= {"segments": [], "skipped_updates": 0, "dropped_frames": 0, CHUNK_CHECKSUMS: []}
    fresh.owner = this_owner(store, trainer).document()
    writer = StoreWriter(
        store,
        session.schema,
        attributes,
        frames=0,
        param_groups=session.param_groups,
        scalars={},
        threads=compressing_threads(),
    )
    try:
        writer.publish(fresh.document())
    except BaseException:  # a full disk, say: half a store would be in the way of the next recording
        writer.close()  # its threads may still be writing
        writer.discard()
        raise
    return writer, fresh, lock


def _replace(store: Path, attributes: Mapping[str, Any], tell: Tell) -> None:
    """Make room for a new recording: remove the store's content, and the spool of its last recording."""
    try:
        left = find_spool(store, _recording(attributes), boot_id())
    except StoreFormatError as error:
        left = str(error)
        tell(left)
    empty_store(store, read_members(store).levels)
    if isinstance(left, Spool):
        remove_spool(left.path)


def _recording(attributes: Mapping[str, Any]) -> Mapping[str, Any]:
    recording = attributes.get("recording")
    return recording if isinstance(recording, Mapping) else {}


def _has_left(store: Path) -> bool:
    """Tell whether the trainer that recorded into a store has let go of the recording: its spool says so."""
    spool = find_spool(store, _recording(read_root(store)), boot_id())
    try:
        return isinstance(spool, Spool) and bool(Control(spool.path).words[LEFT])
    except (OSError, UsageError):
        return False  # the file is damaged; the trainer is asked then


def _take_over(store: Path, session: Session, attributes: dict[str, Any]) -> tuple[StoreWriter, Progress]:
    """Go on from the last commit of the session's previous writer, and keep its counts."""
    progress, writer = Progress.from_document(attributes["recording"]), _reopen(store, session, attributes)
    writer.raw_bytes, writer.stored_bytes = progress.raw_bytes, progress.stored_bytes + writer.tail_bytes
    return writer, progress


def _reopen(store: Path, session: Session, attributes: dict[str, Any]) -> StoreWriter:
    refuse_links(store)
    return reopen(store, session, attributes)


@dataclass(frozen=True, slots=True)
class Recovery:
    """What `recover` did.

    Attributes
    ----------
    frames : int
        Frames in the store.
    recovered : int
        Frames that were taken from the spool.
    rejected : int
        Frames that were lost because their checksum failed.
    messages : tuple of str
        Sentences on what is damaged and which frames are missing.
    """

    frames: int
    recovered: int
    rejected: int
    messages: tuple[str, ...] = ()


def recover(store: Path, tell: Tell = lambda sentence: None) -> Recovery:
    """Bring every frame that a dead recording left in its spool into the store, and close the store.

    Parameters
    ----------
    store : Path
    tell : callable
        Takes a sentence on what is waited for.

    Raises
    ------
    StoreFormatError
    StoreLockedError
        A writer or a trainer of this store lives.
    """
    finish_replacement(store, tell)
    read_root(store)
    lock = wait_for_lock(store, lock_store, os.getpid(), tell)  # a killed writer holds it until it is gone
    try:
        require_free(store, tell, has_left=lambda: _has_left(store))
        return recover_locked(store)
    finally:
        os.close(lock)


def recover_locked(store: Path) -> Recovery:
    """Recover as `recover` does; the caller holds the store's lock, and knows that its owner is dead."""
    attributes = read_root(store)
    held, is_running = read_members(store).frames, attributes.get("status") == "running"
    spool = find_spool(store, _recording(attributes), boot_id())
    if isinstance(spool, str) and not is_running:
        return Recovery(held, 0, 0)
    check_continuable(store, attributes)
    if isinstance(spool, str):
        messages = [f"{spool}; frames after the last commit are missing in this store"]
        if is_copy(store, _recording(attributes)) and (doubtful := first_doubtful_frame(store)) is not None:
            cut(store, attributes, doubtful)
            messages.append(
                f"it was copied while it was written: frames {doubtful:,} to {held - 1:,} may be older than they "
                "should be and were left out"
            )
            held, attributes = doubtful, read_root(store)
        _settle(store, attributes)
        return Recovery(held, 0, 0, tuple(messages))
    if not is_running and trainer_lives(_recording(attributes)):
        return Recovery(held, 0, 0)  # it is closing, and its writer removes the spool
    ended = attributes.get("status") == "complete" or (not is_running and is_being_removed(spool.path))
    if ended:  # the writer was killed before it removed the whole spool
        remove_spool(spool.path)
        return Recovery(held, 0, 0)
    session = replace(spool.session, store=str(store))
    writer, progress = _take_over(store, session, attributes)
    said = mend_small_files(spool.path, session)
    drain = Drain(spool.path, session, writer, progress)
    try:
        drain.finish(only_finished=not spool.is_of_this_boot)
        drain.commit("interrupted")
    finally:
        drain.store.close()
    remove_remnants(store, drain.store.attributes)
    remove_spool(spool.path)
    messages = [*said, *drain.said, *drain.losses()]
    return Recovery(drain.store.frames, drain.appended, drain.progress.rejected, tuple(messages))


def _settle(store: Path, attributes: dict[str, Any]) -> None:
    """Mark a dead run without a spool as interrupted, and record that frames may be missing at its end."""
    root = read_document(store)
    last, most = attributes.get("last"), _recording(attributes).get("capacity")
    step = last.get("step") if isinstance(last, Mapping) else None
    entry = {
        "least": 0,
        "most": most if type(most) is int else None,
        "after_step": step if type(step) is int else None,
        "before_step": None,
    }
    lost = [*attributes.get("lost_frames", []), entry]
    root["attributes"] = attributes | {"status": "interrupted", "heartbeat": now(), "lost_frames": lost}
    replace_file(store / "zarr.json", json.dumps(root).encode(), durable=True)
