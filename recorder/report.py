"""What a recording cost and left: one record, one line."""

from __future__ import annotations

from dataclasses import dataclass

from recorder.budget import format_bytes
from recorder.overhead import Overhead


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
        Frames pushed; the first is the state at attachment.
    dropped : int
        Frames dropped under pressure.
    skipped : int
        Updates that a gradient scaler skipped.
    raw_bytes, stored_bytes : int
        Parameters before compression, and all arrays after it.
    start_seconds : float
        Time to start the writer and take the first frame.
    seconds : float
        Time that recording took on the training thread after that, stalls included.
    stall_seconds : float
        The part of it spent waiting for the writer.
    overhead : Overhead or None
        The paired slowdown, if `compare_every` asked for it.
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

    @property
    def ratio(self) -> float:
        """Raw over stored bytes; NaN before anything is stored."""
        return self.raw_bytes / self.stored_bytes if self.stored_bytes else float("nan")

    def __str__(self) -> str:
        per_step = f" ({self.seconds / self.steps * 1e6:.0f} µs a step)" if self.steps else ""
        parts = [
            f"recorded {self.frames:,} frames of {self.steps:,} steps in {self.store} ({self.status})",
            f"{format_bytes(self.raw_bytes)} → {format_bytes(self.stored_bytes)} ({self.ratio:.2f}×)",
            f"{self.seconds:.2f} s on the training thread{per_step}, {self.stall_seconds:.2f} s of it waiting",
        ]
        parts += [f"{self.dropped:,} frames dropped"] * bool(self.dropped)
        parts += [f"{self.skipped:,} updates skipped"] * bool(self.skipped)
        parts += [str(self.overhead)] * (self.overhead is not None)
        return "; ".join(parts)
