"""Opening a store for a session, and bringing a dead recording's frames home."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from recorder.budget import compressing_threads
from recorder.drain import Drain, Progress
from recorder.errors import SchemaError, StoreExistsError, StoreFormatError, StoreLockedError
from recorder.root import FORMAT, FORMAT_VERSION, now, read_root
from recorder.segments import Session, replace_text
from recorder.store import StoreWriter, lock_store


def open_store(spool: Path, session: Session) -> tuple[StoreWriter, Progress, int]:
    """Lock the session's store and bring it to where this session goes on.

    Returns
    -------
    StoreWriter, Progress, int
        The last is the lock's file descriptor.

    Raises
    ------
    StoreExistsError, StoreLockedError, StoreFormatError, SchemaError
    """
    store = Path(session.store)
    store.mkdir(parents=True, exist_ok=True)
    lock = _lock(store)
    fresh = Progress(session.session, str(spool), os.getppid(), session.boot_id)
    if (store / "zarr.json").exists():
        attributes = read_root(store)
        recording = attributes.get("recording", {})
        if recording.get("session") == session.session:  # this writer replaces one that died
            return *_take_over(store, session, attributes), lock
        if session.mode == "a":
            recover_locked(store)
            attributes = read_root(store)
            attributes["software"] = session.attributes["software"]
            writer = _reopen(store, session, attributes)
            fresh.skipped_before = attributes["skipped_updates"]
            fresh.dropped_before = attributes["dropped_frames"]
            writer.publish(fresh.document())
            return writer, fresh, lock
        if session.mode == "w-":
            raise StoreExistsError(
                f"{store}: expected no store there, one exists. Its frames are kept: resume it (mode='a'), replace "
                "it (mode='w'), or name another path."
            )
        shutil.rmtree(attributes.get("recording", {}).get("spool", store / "no spool"), ignore_errors=True)
        _empty(store)
    elif any(store.iterdir()):
        raise StoreFormatError(
            f"{store}: expected a new path, the folder holds files that are no trajectory store. Name another path; "
            "nothing was touched."
        )
    attributes = {"format": FORMAT, "format_version": FORMAT_VERSION, **session.attributes, "created": now()}
    attributes |= {"segments": [], "skipped_updates": 0, "dropped_frames": 0}
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
    except BaseException:  # a full disk: what never began is not in the way of the next attempt
        writer.close()  # its threads still write
        _empty(store)
        store.rmdir()
        raise
    return writer, fresh, lock


def _empty(store: Path) -> None:
    """Remove a store's content, its root first: a death in between leaves no half-empty store that opens."""
    (store / "zarr.json").unlink(missing_ok=True)
    for member in store.iterdir():
        shutil.rmtree(member) if member.is_dir() else member.unlink()


def _lock(store: Path) -> int:
    """Take the lock; wait for a writer that drains after its trainer's death, but not for a run that goes on."""
    while True:
        try:
            return lock_store(store)
        except StoreLockedError:
            with contextlib.suppress(StoreFormatError):
                trainer = read_root(store).get("recording", {}).get("trainer", 0)
                if trainer != os.getppid() and not is_alive(trainer):
                    time.sleep(0.2)
                    continue
            raise


def is_alive(process: int) -> bool:
    """Tell whether a process runs; one that ended and was not waited for does not."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (OSError, IndexError):
        return False


def _take_over(store: Path, session: Session, attributes: dict[str, Any]) -> tuple[StoreWriter, Progress]:
    """Go on where the session's last writer committed, its counts too."""
    progress, writer = Progress(**attributes["recording"]), _reopen(store, session, attributes)
    writer.raw_bytes, writer.stored_bytes = progress.raw_bytes, progress.stored_bytes + writer.tail_bytes
    return writer, progress


def _reopen(store: Path, session: Session, attributes: dict[str, Any]) -> StoreWriter:
    members = json.loads((store / "zarr.json").read_text())["consolidated_metadata"]["metadata"]
    _check_same(session, attributes, members)
    return StoreWriter(
        store,
        session.schema,
        attributes,
        frames=members["step"]["shape"][0],
        param_groups=session.param_groups,
        scalars={
            path: member["attributes"]["first_frame"]
            for path, member in members.items()
            if "first_frame" in member["attributes"]
        },
        threads=compressing_threads(),
    )


def _check_same(session: Session, attributes: dict[str, Any], members: dict[str, Any]) -> None:
    """Compare what the store holds with what is to be recorded."""
    held = {m["attributes"]["name"]: m for m in members.values() if "name" in m["attributes"]}
    remedy = "A store holds one model: record into a new store, or resume with the model and options of the first run."
    for parameter in session.schema.parameters:
        member = held.pop(parameter.name, None)
        if member is None:
            raise SchemaError(
                f"parameter {parameter.name}: expected it in {session.store}, the store has none. {remedy}"
            )
        found = (member["shape"][:-1], member["attributes"]["original_dtype"])
        if found != (list(parameter.shape), parameter.dtype):
            raise SchemaError(
                f"parameter {parameter.name}: the store holds shape {found[0]}, {found[1]}, the model has "
                f"{list(parameter.shape)}, {parameter.dtype}. {remedy}",
                parameter=parameter.name,
            )
    if held:
        raise SchemaError(f"parameter {next(iter(held))}: the store holds it, the model to record has none. {remedy}")
    groups = members["learning_rate"]["shape"][1] if "learning_rate" in members else 0
    for name, ours, theirs in (
        ("stride", session.attributes["stride"], attributes["stride"]),
        ("chunk_steps", session.attributes["chunk_steps"], attributes["chunk_steps"]),
        ("compression", session.attributes["compression"], attributes["compression"]),
        ("number of parameter groups", session.param_groups, groups),
    ):
        if ours != theirs:
            raise SchemaError(f"{name}: the store has {theirs}, this recording {ours}. {remedy}")


@dataclass(frozen=True, slots=True)
class Recovery:
    """What `recover` did: frames in the store, frames taken from the spool, frames lost because their checksum
    failed; and sentences on what is damaged and which frames are missing.
    """

    frames: int
    recovered: int
    rejected: int
    messages: tuple[str, ...] = ()


def recover(store: Path) -> Recovery:
    """Bring every frame that a dead recording left in its spool into the store, and close the store.

    Raises
    ------
    StoreFormatError, StoreLockedError
    """
    read_root(store)
    lock = lock_store(store)
    try:
        return recover_locked(store)
    finally:
        os.close(lock)


def recover_locked(store: Path) -> Recovery:
    """Do what `recover` says; the caller holds the store's lock."""
    attributes = read_root(store)
    recording = attributes.get("recording", {})
    members = json.loads((store / "zarr.json").read_text())["consolidated_metadata"]["metadata"]
    held = members["step"]["shape"][0]
    spool = Path(recording.get("spool", ""))
    if attributes["status"] == "complete" or not (spool / "session.json").exists():
        messages = []
        if attributes["status"] == "running":
            messages.append(
                f"the spool {spool} is gone (another machine, or a reboot): frames after the last commit are lost"
            )
            _settle(store, attributes)
        return Recovery(held, 0, 0, tuple(messages))
    session = replace(Session.load(spool), store=str(store))
    writer, progress = _take_over(store, session, attributes)
    drain = Drain(spool, session, writer, progress)
    try:
        known = {name: len(attributes.get(name, [])) for name in ("lost_frames", "lost_scalars")}
        drain.finish()
        drain.commit("interrupted")
    finally:
        writer.close()
    shutil.rmtree(spool)
    new = {name: writer.attributes.get(name, [])[count:] for name, count in known.items()}
    lost = [describe_lost(**entry) for entry in new["lost_frames"]]
    lost += [
        f"lost: what was logged at steps {entry['first_step']:,} to {entry['last_step']:,}"
        for entry in new["lost_scalars"]
    ]
    return Recovery(writer.frames, writer.frames - held, drain.progress.rejected, (*drain.damaged, *lost))


def describe_lost(least: int, most: int, after_step: int | None, before_step: int | None) -> str:
    """Return one sentence on frames that are missing."""
    count = f"{least:,}" if least == most else f"{least:,} to {most:,}"
    after = "the run's start" if after_step is None else f"step {after_step:,}"
    where = f"after {after}" if before_step is None else f"between {after} and step {before_step:,}"
    return f"lost: {count} frame{'s' * (most != 1)} {where}"


def _settle(store: Path, attributes: dict[str, Any]) -> None:
    """Mark a dead run as interrupted; nothing else is known of it."""
    root = json.loads((store / "zarr.json").read_text())
    root["attributes"] = attributes | {"status": "interrupted", "heartbeat": now()}
    replace_text(store / "zarr.json", json.dumps(root))
