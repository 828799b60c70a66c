"""Waiting for conditions. Timings never decide a test: only a test that hangs reaches this limit, on any machine."""

from __future__ import annotations

import time
from collections.abc import Callable

PATIENCE = 600
"""Seconds. Less than pytest's own limit for a test, so that the failure names the condition."""

SLOW_START = "recorder: waiting for the writer to open the store\n"
"""What a recorder says where its writer takes more than two seconds to start."""


def wait_until(holds: Callable[[], object], otherwise: str, every: float = 0.01) -> None:
    """Wait until a condition holds; looked at `every` so many seconds."""
    deadline = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < deadline, otherwise
        time.sleep(every)
