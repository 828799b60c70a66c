"""Tasks of a pass: the frames of each, which of their sums are kept, and what is left to decode."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from analyzer.engine.frames import Frames
from analyzer.engine.makers import maker
from analyzer.engine.pieces import Bundle
from analyzer.query.groups import Grouping
from analyzer.query.windows import Sampling

Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True)
class TaskFrames:
    """The frames of one task.

    Attributes
    ----------
    start, stop
        What ends in frames start to stop - 1 is the task's.
    full
        Whether its sums may be kept.
    maker
        The version that made the plan (`analyzer.engine.makers`).
    """

    start: int
    stop: int
    full: bool = field(default=False, kw_only=True)
    maker: str = field(default_factory=maker, kw_only=True)


@dataclass(frozen=True, kw_only=True)
class Tasks:
    """What a query cut into tasks knows, whatever the tasks do with their frames.

    Attributes
    ----------
    frames
        By bundle: where the frames of each of its pieces come from.
    kept
        (bundles, tasks) bool: sums are on the shelf and need no decoding.
    unit
        Frames that are decoded at once.
    home
        The folder in which sums are kept; None if they are not.
    """

    sampling: Sampling
    grouping: Grouping
    bundles: tuple[Bundle, ...]
    frames: tuple[tuple[Frames, ...], ...]
    kept: Array
    unit: int
    home: Path | None = None

    @property
    def tasks(self) -> int:
        """Tasks that decode."""
        return int((~self.kept).sum())


def bounds_of(low: int, high: int, length: int, least: int, most: int) -> list[tuple[int, int]]:
    """Start and stop of the tasks that hold frames low to high: cut at multiples of a length, and at least and most."""
    starts = range(low // length * length, high + 1, length)
    return [(max(start, least), min(start + length, most)) for start in starts]


def kept_of(bundles: Sequence[Bundle], tasks: Sequence[TaskFrames]) -> Array:
    """(bundles, tasks) bool: which sums are on the shelves."""
    kept = np.zeros((len(bundles), len(tasks)), dtype=bool)
    for n, bundle in enumerate(bundles):
        for m, task in enumerate(tasks):
            kept[n, m] = bundle.shelf is not None and task.full and bundle.shelf.has(task.start)
    return kept


def decoded_bytes(bundles: Sequence[Bundle], lengths: Sequence[int], kept: Array) -> int:
    """Raw bytes of the frames that tasks decode, those whose sums are not kept; `lengths` are the frames of each."""
    frames = np.array(lengths, dtype=np.int64)
    sizes = [sum(piece.frame_bytes for piece in (b.pieces if b.fills else b.chosen)) for b in bundles]
    return sum(size * int(frames[~there].sum()) for size, there in zip(sizes, kept, strict=True))
