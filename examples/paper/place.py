"""Where the files of a scale and a model lie, how they are written whole, and how processes share the work."""

from __future__ import annotations

import fcntl
import json
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any, Self

import torch


@dataclass(frozen=True)
class Place:
    """The folder of one model at one scale."""

    root: Path

    def store(self, name: str) -> Path:
        """The store of a run; its kept sums lie beside it."""
        return self.root / "runs" / f"{name}.zarr"

    def account(self, name: str) -> Path:
        """The file of what a run cost. A run is finished if this file exists, and only then."""
        return self.root / "runs" / f"{name}.json"

    def part(self, name: str) -> Path:
        """The file of weights, optimizer and epoch of a run that was stopped between two epochs."""
        return self.root / "runs" / f"{name}.part.pt"

    @property
    def trained(self) -> Path:
        """The file of the trained model and its optimizer's state."""
        return self.root / "trained.pt"

    @property
    def training(self) -> Path:
        """The file of the training so far."""
        return self.root / "training.part.pt"


class Stop:
    """Says whether to stop at the next opportunity, because a signal came or the time is up.

    Lifetime: one call of the script. Inside its context the first SIGINT or SIGTERM asks for a stop between two epochs.
    The second stops at once.

    Parameters
    ----------
    minutes : float, optional
        From now on.
    """

    def __init__(self, minutes: float | None = None) -> None:
        self._until = None if minutes is None else time.monotonic() + 60 * minutes
        self._signalled = False

    def __enter__(self) -> Self:
        self._before = {n: signal.signal(n, self._on_signal) for n in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(self, kind: object, error: object, traceback: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def __bool__(self) -> bool:
        return self._signalled or (self._until is not None and time.monotonic() > self._until)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self._signalled = True
        signal.signal(number, signal.SIG_DFL)


@contextmanager
def claim(path: Path, *, wait: bool) -> Iterator[bool]:
    """Hold the lock of a piece of work. Yields False if another process holds it and `wait` is false."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.with_name(path.name + ".lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            yield False
            return
        yield True


def save(path: Path, content: Any) -> None:
    """Write what torch can write, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".new")
    torch.save(content, partial)
    partial.replace(path)


def load(path: Path) -> Any:
    """Read what `save` wrote."""
    return torch.load(path, weights_only=True)


def write_json(path: Path, content: Any) -> None:
    """Write JSON, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".new")
    partial.write_text(json.dumps(content, indent=1) + "\n")
    partial.replace(path)


def read_json(path: Path) -> Any:
    """Read JSON."""
    return json.loads(path.read_text())
