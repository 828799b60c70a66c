"""The steps of a run's frames: where velocities may lie, where the spacing changes, and what else was recorded."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from analyzer.errors import WindowError
from analyzer.query.changes import Change
from analyzer.query.recorded import Settings, nothing
from analyzer.store.schema import Segment

Array = np.ndarray[Any, np.dtype[Any]]

_MOST_LISTED = 6
"""Stretches that an error lists."""
_UNKNOWN = Settings(nothing)


@dataclass(frozen=True)
class Even:
    """The frames from `first` to `last`, which are `stride` steps apart except at gaps.

    Two such ranges share a frame if a velocity leads from one into the other.
    """

    first: int
    last: int
    stride: int


@dataclass(frozen=True)
class Timeline:
    """The steps of a run's frames, and where no velocity may cross.

    Attributes
    ----------
    steps
        (frames,) int64, strictly increasing.
    stride
        Steps between consecutive frames; where that changes, the largest number that divides all.
    breaks
        (frames,) bool: frame i does not follow from frame i - 1 (a gap, or a segment's start).
    epoch
        (frames,) float64 with NaN where nothing was logged, or None.
    changes
        Segments that began with other hyperparameters or another optimizer than the one before.
    settings
        The settings that were recorded with every frame.
    evens
        Where the spacing of frames changes: the ranges of equal spacing that hold a velocity. Else empty.
    """

    steps: Array
    stride: int
    breaks: Array
    epoch: Array | None = None
    changes: tuple[Change, ...] = ()
    settings: Settings = _UNKNOWN
    evens: tuple[Even, ...] = ()

    @property
    def gaps(self) -> Array:
        """Frames before which others are missing."""
        usual = np.full(self.steps.size, self.stride)
        for even in self.evens:
            usual[even.first + 1 : even.last + 1] = even.stride
        return 1 + np.flatnonzero(np.diff(self.steps) > usual[1:])

    def within(self, low: int, high: int) -> list[Even]:
        """The ranges of equal spacing in the frames from `low` to `high` that hold a velocity."""
        cut = [replace(one, first=max(one.first, low), last=min(one.last, high)) for one in self.evens]
        return [one for one in cut if one.first < one.last]


def timeline(
    steps: Array,
    stride: int,
    segments: Sequence[Segment] = (),
    epoch: Array | None = None,
    changes: tuple[Change, ...] = (),
    settings: Settings = _UNKNOWN,
) -> Timeline:
    """The timeline of frames at `steps`; no velocity crosses the first step of a segment that is not continuous.

    A segment's frames are as far apart as it says, else `stride`.
    """
    steps = np.asarray(steps, dtype=np.int64)
    starts = [int(np.searchsorted(steps, segment.first_step)) for segment in segments]
    usual = np.broadcast_to(np.int64(stride), steps.shape)  # takes no memory
    if any(segment.stride not in (None, stride) for segment in segments):
        usual = usual.copy()
        for frame, segment in zip(starts, segments, strict=True):
            usual[frame:] = segment.stride or stride
    breaks = np.ones(steps.size, dtype=bool)
    breaks[1:] = np.diff(steps) != usual[1:]
    for frame, segment in zip(starts, segments, strict=True):
        if not segment.continuous and frame < steps.size:
            breaks[frame] = True
    evens = _evens(usual, breaks)
    if len(evens) < 2:
        return Timeline(steps, evens[0].stride if evens else stride, breaks, epoch, changes, settings)
    return Timeline(steps, math.gcd(*(one.stride for one in evens)), breaks, epoch, changes, settings, evens)


def _evens(usual: Array, breaks: Array) -> tuple[Even, ...]:
    """The ranges of equal spacing; `usual` (frames,) is the number of steps that lead to each frame."""
    turns = 1 + np.flatnonzero(np.diff(usual))
    found, first = [], 0
    for frame in turns.tolist():
        found.append(Even(first, frame - 1, int(usual[frame - 1])))
        first = frame if breaks[frame] else frame - 1
    if usual.size:
        found.append(Even(first, usual.size - 1, int(usual[-1])))
    return tuple(one for one in found if one.first < one.last)


def uneven(line: Timeline, found: Sequence[Even], what: str) -> WindowError:
    """The error for a question that needs frames of equal spacing, in a range where the spacing changes."""
    shown = [(int(line.steps[one.first]), int(line.steps[one.last]), one.stride) for one in found]
    listed = ", ".join(f"{start} to {stop} every {stride}" for start, stop, stride in shown[:_MOST_LISTED])
    more = f", … ({len(shown)} in all)" if len(shown) > _MOST_LISTED else ""
    start, stop, _ = max(shown, key=lambda one: (one[1] - one[0]) / one[2])
    return WindowError(
        f"Range: expected frames of equal spacing for {what}, got stretches of several: steps {listed}{more}. "
        "Displacements over different times do not average to one temperature. Choose a stretch: "
        f"--start {start} --stop {stop}",
        stretches=tuple(shown),
    )
