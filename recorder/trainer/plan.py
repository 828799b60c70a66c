"""What a recording will take, before it starts."""

from __future__ import annotations

from pathlib import Path

from recorder.budget import Budget, compressing_threads, format_bytes
from recorder.codecs import CODECS
from recorder.errors import DiskSpaceError
from recorder.schema import Schema
from recorder.trainer.placement import free_bytes


def check_plan(store: Path, schema: Schema, budget: Budget, frames: int, compression: str) -> str:
    """Return one line that says what `frames` frames will take.

    Raises
    ------
    DiskSpaceError
        The disk has less room than the frames are expected to take.
    """
    raw = frames * schema.stored_frame_bytes
    expected = int(raw / CODECS[compression].ratio)
    free = free_bytes(store)
    if expected > free:
        fit = int(frames * free / max(expected, 1))
        raise DiskSpaceError(
            f"{store}: expected room for {frames:,} frames of {format_bytes(schema.stored_frame_bytes)} (about "
            f"{format_bytes(expected)} compressed), but the disk has {format_bytes(free)} free, enough for about "
            f"{fit:,} frames. Record fewer frames (a stride that is {-(-frames // max(fit, 1)):,} × as large) or "
            "fewer parameters (include=…), or record onto a larger disk.",
            expected=expected,
            free=free,
        )
    rate = compressing_threads() * CODECS[compression].rate / max(schema.stored_frame_bytes, 1)
    return (
        f"{frames:,} frames of {format_bytes(schema.stored_frame_bytes)}: {format_bytes(raw)}, about "
        f"{format_bytes(expected)} compressed, {format_bytes(free)} free; chunks of {budget.chunk_steps:,} steps, "
        f"spool {format_bytes(budget.pool_bytes)}; compression keeps up with about {rate:,.0f} frames a second"
    )
