"""The account of a recording: what it left in the store, and what it cost the training."""

from __future__ import annotations

import contextlib
import sys
from dataclasses import dataclass
from typing import Any

from recorder.budget import format_bytes
from recorder.spool_files import RAW_BYTES, SKIPPED, STORED_BYTES
from recorder.text import printable
from recorder.trainer.feeds.spool import Spool
from recorder.trainer.overhead import Overhead


@dataclass(frozen=True, slots=True)
class Report:
    """The account of a recording.

    Attributes
    ----------
    store : str
    status : str
        `complete` or `interrupted`.
    steps : int
        Optimizer steps seen.
    frames : int
        Frames pushed to the spool, the state at the start included.
    dropped : int
        Frames dropped because the spool was full.
    skipped : int
        Updates that a gradient scaler skipped.
    raw_bytes, stored_bytes : int
        Bytes of the parameters before compression, and of all arrays after it.
    start_seconds : float
        Time to start the writer and take the first frame.
    seconds : float
        Time that recording took on the training thread after that, waiting included.
    stall_seconds : float
        The part of `seconds` that the training thread waited for the writer.
    overhead : Overhead or None
        The slowdown measured in the run, where `compare_every` asks for it.
    launch_seconds : float
        The part of `seconds` in launches of copies on a GPU. If the GPU is behind, a launch waits until there is room
        in its queue. Without the recorder, the training's own launches would wait there. 0 for host memory.
    """

    store: str
    status: str
    steps: int
    frames: int
    dropped: int
    skipped: int
    raw_bytes: int
    stored_bytes: int
    start_seconds: float
    seconds: float
    stall_seconds: float
    overhead: Overhead | None = None
    launch_seconds: float = 0.0

    @property
    def ratio(self) -> float:
        """Raw bytes divided by stored bytes; NaN where nothing is stored."""
        return self.raw_bytes / self.stored_bytes if self.stored_bytes else float("nan")

    def __str__(self) -> str:
        per_step = f" ({self._cost_of_a_step()})" if self.steps else ""
        parts = [
            f"recorded {self.frames:,} frame{'s' * (self.frames != 1)} of {self.steps:,} step{'s' * (self.steps != 1)} "
            f"in {self.store} ({self.status})",
            f"{format_bytes(self.raw_bytes)} → {format_bytes(self.stored_bytes)} ({self.ratio:.2f}×)",
            f"{self.seconds:.2f} s on the training thread{per_step}, {self.stall_seconds:.2f} s of it waiting",
        ]
        parts += [f"{self.dropped:,} frames dropped"] * bool(self.dropped)
        parts += [f"{self.skipped:,} updates skipped"] * bool(self.skipped)
        parts += [str(self.overhead)] * (self.overhead is not None)
        return "; ".join(parts)

    def _cost_of_a_step(self) -> str:
        cost = f"{self.seconds / self.steps * 1e6:.0f} µs a step"
        if not self.launch_seconds:
            return cost
        own = self.seconds - self.launch_seconds - self.stall_seconds
        return (
            f"{cost}: {own / self.steps * 1e6:.0f} µs of the recorder's own, "
            f"{self.launch_seconds / self.steps * 1e6:.0f} µs in launches, which wait where the GPU is behind"
        )


def make_report(
    spool: Spool,
    words: memoryview[Any],
    store: str,
    status: str,
    steps: int,
    seconds: tuple[float, float, float, float],
    overhead: Overhead | None,
) -> Report:
    """Return the account of a recording that is over.

    Parameters
    ----------
    spool : Spool
    words : memoryview
        The control words, in which the writer counts.
    store, status, steps, overhead
        As in the report.
    seconds : tuple of float
        Its `start_seconds`, `seconds`, `stall_seconds` and `launch_seconds`.
    """
    return Report(
        store=store,
        status=status,
        steps=steps,
        frames=spool.pushed,
        dropped=spool.dropped,
        skipped=words[SKIPPED],
        raw_bytes=words[RAW_BYTES],
        stored_bytes=words[STORED_BYTES],
        start_seconds=seconds[0],
        seconds=seconds[1],
        stall_seconds=seconds[2],
        overhead=overhead,
        launch_seconds=seconds[3],
    )


def tell(line: str) -> None:
    """Print a line for the user on stderr. If that fails, as on a closed stderr, the training goes on."""
    with contextlib.suppress(Exception):
        print(f"recorder: {printable(line)}", file=sys.stderr, flush=True)
