"""The writer's last sign of life: whether a run that says "running" is still being written (recorder/FORMAT.md)."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from analyzer.schema import Store

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
    """How it shows that nobody writes a running store any more; None where somebody does, or the run has ended."""
    if store.status != "running" or not store.is_trajectory:
        return None
    age = heartbeat_age(store)
    if age is None:
        return "without a readable heartbeat"
    return f"last sign {age:.0f} s ago" if age > STALE_SECONDS else None


def spooled(store: Store) -> list[str]:
    """What a run that is not complete says of frames that are recorded and not committed yet, and what to do."""
    if store.status == "complete" or not store.is_trajectory:
        return []
    recording = store.attrs.get("recording") or {}
    pushed, spool, notes = recording.get("pushed"), recording.get("spool"), []
    if store.status == "running" and isinstance(pushed, int) and pushed > store.frames:
        notes.append(f"{pushed - store.frames} frames recorded but not committed yet.")
    if isinstance(spool, str) and spool and Path(spool).is_dir():
        over = store.status != "running" or abandoned(store) is not None
        remedy = f" Bring them home: recorder recover {store.location}" if over else ""
        notes.append(f"{spool} is on this machine and may hold frames not committed yet.{remedy}")
    return notes
