"""What a recording will take, before it is made."""

from __future__ import annotations

from pathlib import Path

from recorder.budget import Budget, compressing_threads, format_bytes
from recorder.errors import DiskSpaceError
from recorder.placement import free_bytes
from recorder.schema import Schema

# Measured on the paper's GCN (design targets): pcodec 1.89–3.24, lz4 1.59–2.26, by learning rate. The lower end is
# planned with.
EXPECTED_RATIO = {"pcodec": 1.9, "lz4": 1.55, "none": 1.0}
# Bytes a second and core, measured likewise, transposing and writing included; `recorder plan` times it here and now.
EXPECTED_RATE = {"pcodec": 250e6, "lz4": 700e6, "none": 1000e6}


def check_plan(store: Path, schema: Schema, budget: Budget, frames: int, compression: str) -> str:
    """Return one line on what `frames` frames will take.

    Raises
    ------
    DiskSpaceError
        The disk has less room than the frames are expected to take.
    """
    raw = frames * schema.stored_frame_bytes
    expected = int(raw / EXPECTED_RATIO[compression])
    free = free_bytes(store)
    if expected > free:
        fit = int(frames * free / max(expected, 1))
        raise DiskSpaceError(
            f"{store}: expected room for {frames:,} frames of {format_bytes(schema.stored_frame_bytes)} (about "
            f"{format_bytes(expected)} compressed), the disk has {format_bytes(free)} free: enough for about {fit:,} "
            "frames. Record every "
            f"{-(-frames // max(fit, 1))}th step (stride=…), fewer parameters (include=…), or onto a larger disk.",
            expected=expected,
            free=free,
        )
    rate = compressing_threads() * EXPECTED_RATE[compression] / max(schema.stored_frame_bytes, 1)
    return (
        f"{frames:,} frames of {format_bytes(schema.stored_frame_bytes)}: {format_bytes(raw)}, about "
        f"{format_bytes(expected)} compressed, {format_bytes(free)} free; chunks of {budget.chunk_steps:,} steps, "
        f"spool {format_bytes(budget.pool_bytes)}; compression keeps up with about {rate:,.0f} frames a second"
    )
