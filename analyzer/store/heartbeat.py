"""The writer's last sign of life: whether a run that says "running" is still being written (recorder/FORMAT.md)."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path

from analyzer.store.schema import Store, is_url

PROCESSES = ("trainer", "writer")
STALE_SECONDS = 120
"""An older heartbeat means that nobody writes any more."""


def heartbeat_age(store: Store) -> float | None:
    """Seconds since the writer's last sign, or None where it cannot be read."""
    try:
        beat = datetime.fromisoformat(str(store.attrs.get("heartbeat")).replace("Z", "+00:00"))
    except ValueError:
        return None
    return (datetime.now(UTC) - (beat if beat.tzinfo else beat.replace(tzinfo=UTC))).total_seconds()


def abandoned(store: Store) -> str | None:
    """Return the sign that nobody writes a running store any more; None where somebody does, or the run has ended."""
    if store.status != "running" or not store.is_trajectory:
        return None
    if original := copied_from(store):
        return f"a copy, made while {original} was written"
    if ended_processes(store) == PROCESSES:
        return "the processes of its trainer and its writer have ended"
    age = heartbeat_age(store)
    if age is None:
        return "without a readable heartbeat"
    return f"last sign {age:.0f} s ago" if age > STALE_SECONDS else None


def ended_processes(store: Store) -> tuple[str, ...]:
    """Which of the trainer and the writer of a store no longer run; () where this machine cannot tell.

    The writer names both by process id and start time, which are unique until the next boot. They count on the same
    boot and in the same namespace of process ids (`recorder/FORMAT.md`, "Owner").
    """
    recording = store.attrs.get("recording")
    owner = recording.get("owner") if isinstance(recording, dict) else None
    if not isinstance(owner, dict) or is_url(store.location):
        return ()
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        namespace = Path("/proc/self/ns/pid").stat().st_ino
    except OSError:
        return ()
    if (owner.get("boot_id"), owner.get("pid_namespace")) != (boot, namespace):
        return ()
    return tuple(name for name in PROCESSES if _has_ended(owner.get(name), owner.get(f"{name}_started")))


def _has_ended(process: object, began: object) -> bool:
    """Whether the process of an id and a start time has ended; False where the record or the system does not say."""
    if type(process) is not int or type(began) is not int or not Path("/proc/self/stat").exists():
        return False
    try:
        words = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
        return words[0] in "ZX" or (began > 0 and int(words[19]) != began)
    except (OSError, IndexError, ValueError):
        return not _is_hidden(process)


def _is_hidden(process: int) -> bool:
    """Whether a process of this id exists, although this user may not read its state."""
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:
        return True
    return True


def copied_from(store: Store) -> str | None:
    """Return the path of the original where this store is a copy of one that is being written; None where not known so.

    The writer names its folder by path and inode (`recorder/FORMAT.md`, "Owner"); a copy has neither.
    """
    recording = store.attrs.get("recording")
    owner = recording.get("owner") if isinstance(recording, dict) else None
    if not isinstance(owner, dict) or is_url(store.location):
        return None
    place, inode = owner.get("store"), owner.get("inode")
    try:
        is_here = inode == Path(store.location).stat().st_ino or place == str(Path(store.location).absolute())
    except OSError:
        return None
    return None if is_here or not isinstance(place, str) else place


def spooled(store: Store) -> list[str]:
    """Sentences on frames of an unfinished run that are recorded but not committed yet, and what to do."""
    if store.status == "complete" or not store.is_trajectory:
        return []
    recording = store.attrs.get("recording") or {}
    pushed, spool, notes = recording.get("pushed"), recording.get("spool"), []
    if store.status == "running" and isinstance(pushed, int) and pushed > store.frames:
        notes.append(f"{pushed - store.frames} frames recorded but not committed yet.")
    if isinstance(spool, str) and spool and Path(spool).is_dir():
        over = store.status != "running" or abandoned(store) is not None
        remedy = f" Bring them into the store: recorder recover {store.location}" if over else ""
        notes.append(f"{spool} is on this machine and may hold frames not committed yet.{remedy}")
    return notes
