"""Chooses which frames of a run are kept, and describes their segments. Pure functions of steps and segments."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np

from recorder.errors import UsageError
from recorder.resumption import begin_of

Array = np.ndarray[Any, Any]

_PERCENT = re.compile(r"(\d{1,3}(?:\.\d{1,9})?)\s*%", re.ASCII)
_STEP = re.compile(r"\d{1,18}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Kept:
    """The frames of a thinner run.

    Attributes
    ----------
    frames : (n,) int64
        Their numbers in the whole run.
    segments : list of dict
        As the root attribute has them.
    stride : int
    cut_segments : int
        How many segments of the whole run come before the first that is left.
    """

    frames: Array
    segments: list[dict[str, Any]]
    stride: int
    cut_segments: int


def keep(steps: Array, segments: Sequence[Mapping[str, Any]], stride: int, ranges: Sequence[str], every: int) -> Kept:
    """Choose every n-th frame of those in any of the ranges.

    Counting begins anew at the start of a range, where a run was resumed with a break, where the spacing of frames
    changes, and where frames are out of step. Counting goes on through gaps, as if no frame were missing there.

    Parameters
    ----------
    steps : (frames,) int64
    segments : sequence of mapping
        The root attribute.
    stride : int
        Stride of segments that have none of their own.
    ranges : sequence of str
        Such as "50%:", ":1000" or "1000:2000": from step to step, both included. Empty: the whole run.
    every : int

    Raises
    ------
    UsageError
        A text is no range, or fewer than two frames are left.
    """
    starts = [int(np.searchsorted(steps, int(one["first_step"]))) for one in segments]
    usual = np.full(steps.size, stride)
    for frame, one in zip(starts, segments, strict=True):
        usual[frame:] = one.get("stride") or stride
    breaks = {frame for frame, one in zip(starts, segments, strict=True) if not one.get("continuous")}
    found = [
        _thinned(steps, usual, breaks, low, high, every)
        for low, high in _merged([_range(steps, stride, text) for text in ranges or [":"]])
    ]
    frames = np.unique(np.concatenate(found)) if found else np.empty(0, np.int64)
    if frames.size < 2:
        raise UsageError(
            f"trim: expected at least two frames to be left, got {frames.size}. A velocity is the difference of two. "
            "Keep a longer range, or more of its frames."
        )
    listed, cut_segments = _segments(steps, frames, segments, starts, stride, every)
    strides = [int(one["stride"]) for one in listed]
    return Kept(frames, listed, math.gcd(*strides) if strides else stride * every, cut_segments)


def _thinned(steps: Array, usual: Array, breaks: set[int], low: int, high: int, every: int) -> Array:
    """Return every n-th frame from `low` to `high`, both included."""
    if every == 1:
        return np.arange(low, high + 1)
    opens = breaks | set((1 + np.flatnonzero(np.diff(steps) % usual[1:])).tolist())
    # Two stretches of different spacing share a frame: the one before the first of the second stretch.
    shared = set((1 + np.flatnonzero(np.diff(usual))).tolist()) - opens
    anchors = {low} | {frame for frame in opens | {frame - 1 for frame in shared} if low < frame <= high}
    found = []
    begins = sorted(anchors)
    for first, end in zip(begins, [*begins[1:], high + 1], strict=True):
        own = np.arange(first, end)
        spacing = int(usual[min(first + 1, end - 1)]) * every
        found.append(own[(steps[own] - steps[first]) % spacing == 0])
    return np.concatenate(found)


def _range(steps: Array, stride: int, text: str) -> tuple[int, int]:
    """Return the first and the last frame of a range."""
    begin, colon, end = text.partition(":")
    bounds = []
    for bound, default in ((begin, int(steps[0])), (end, int(steps[-1]))):
        bounds.append(default if not bound.strip() else _bound(steps, stride, bound.strip(), text))
    low, high = int(np.searchsorted(steps, bounds[0])), int(np.searchsorted(steps, bounds[1], side="right")) - 1
    if not colon or low > high:
        raise UsageError(
            f"--keep {text!r}: expected a range of steps from {int(steps[0]):,} to {int(steps[-1]):,} that holds "
            "frames, such as 50%: or 1000:2000."
        )
    return low, high


def _bound(steps: Array, stride: int, bound: str, text: str) -> int:
    if match := _PERCENT.fullmatch(bound):
        share = Fraction(match[1])
        if share <= 100:
            first, last = int(steps[0]), int(steps[-1])
            return first + int(share * (last - first) / (100 * stride)) * stride  # exact, as `analyzer --start` has it
    elif _STEP.fullmatch(bound):
        return int(bound)
    raise UsageError(
        f"--keep {text!r}: expected steps, or percentages from 0% to 100%, got {bound!r}. Write --keep 50%: or "
        "--keep 1000:2000."
    )


def _merged(ranges: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    merged: list[tuple[int, int]] = []
    for low, high in sorted(ranges):
        if merged and low <= merged[-1][1] + 1:
            merged[-1] = (merged[-1][0], max(high, merged[-1][1]))
        else:
            merged.append((low, high))
    return merged


def _segments(
    steps: Array, frames: Array, segments: Sequence[Mapping[str, Any]], starts: Sequence[int], stride: int, every: int
) -> tuple[list[dict[str, Any]], int]:
    """Return the segments that have a frame left, and how many segments before them have none."""
    listed: list[dict[str, Any]] = []
    cut, is_joined = 0, True  # whether no break lies between the last frame that is left and this segment
    for number, one in enumerate(segments):
        begin, end = starts[number], starts[number + 1] if number + 1 < len(starts) else steps.size
        low, high = (int(np.searchsorted(frames, frame)) for frame in (begin, end))
        is_joined = is_joined and bool(one.get("continuous"))
        if low == high:
            if not listed:
                cut += 1
            continue
        apart = int(one.get("stride") or stride) * every
        first_step = int(steps[frames[low]])
        entry = {key: value for key, value in one.items() if key != "supersedes"}
        entry |= {
            "first_frame": low,
            "first_step": first_step,
            "continuous": bool(listed) and is_joined,
            "stride": apart,
        }
        if not listed:
            entry |= _settings_before(segments[: number + 1])
            entry["user_step"] = _user_step(segments[: number + 1], stride, first_step)
        else:
            entry["user_step"] = _moved(one, stride, first_step - (apart if entry["continuous"] else 0))
        listed.append(entry)
        is_joined = True
    return listed, cut


def _settings_before(segments: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the hyperparameters and the optimizer of the last segment; those before it count if it has none."""
    found: dict[str, Any] = {}
    for one in segments:
        found |= {key: one[key] for key in ("hyperparameters", "optimizer") if one.get(key) is not None}
    return found


def _user_step(segments: Sequence[Mapping[str, Any]], stride: int, step: int) -> int:
    """Return the user's count of updates at a step of the last segment."""
    counted = [one for one in segments if isinstance(one.get("user_step"), int)]
    known = counted[-1] if counted else segments[0]
    return int(known.get("user_step") or 0) + step - begin_of(known, {"stride": stride})


def _moved(segment: Mapping[str, Any], stride: int, step: int) -> int | None:
    count = segment.get("user_step")
    return count + step - begin_of(segment, {"stride": stride}) if isinstance(count, int) else None
