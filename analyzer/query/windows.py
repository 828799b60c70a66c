"""Which frames form velocities, and in which window each velocity counts.

A velocity is a pair of sampled frames. *Stretches* describe the velocities of a query. A stretch samples `count`
frames, `spacing` frames apart, from frame `first`. It lies in one window, with neither a gap nor the start of a segment
inside. The engine sees only stretches, and so needs to know nothing of lags and gaps.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any, Literal

import numpy as np

from analyzer.errors import TooFewFramesError, WindowError
from analyzer.query.epochs import Epochs, known_epochs
from analyzer.query.settings import FEWEST_STEPS, constant_stretches, variations
from analyzer.query.stretches import between_epochs, cut_at_breaks
from analyzer.query.timeline import Even, Timeline, uneven

Array = np.ndarray[Any, np.dtype[Any]]

BIN_FRAMES = 256
"""Frames in a bin of kept sums. A bin takes 12 bytes a weight (Σv² and an edge frame); its frames take 1,024."""
Lag = int | Literal["epoch"] | None
Ranges = tuple[tuple[int, int], ...]
Window = int | Literal["epoch", "rate"] | Ranges | None
Bound = int | str | None
_PERCENT = re.compile(r"(\d{1,99}/[1-9]\d{0,98}|(\d+\.?\d*|\.\d+)(e[+-]?\d{1,2})?)\s*%", re.ASCII | re.IGNORECASE)
"""A percentage: 50%, 33.3%, or 100/3% for a third."""


@dataclass(frozen=True)
class Windows:
    """The windows of a query, in step order; all arrays (windows,).

    Attributes
    ----------
    start_step, stop_step
        The window holds the velocities with start_step < step <= stop_step.
    velocities
        Number of velocities of each weight in the window.
    left_out
        Number of velocities that gaps and segment starts take away from the window.
    partial
        Whether the window is shorter than asked for: the last one of a range, or an epoch that was cut.
    epoch
        The epoch's number, for windows by epoch.
    steps_per_lag
        Steps that a velocity of each window spans, if windows differ in it.
    """

    start_step: Array
    stop_step: Array
    velocities: Array
    left_out: Array
    partial: Array
    epoch: Array | None = None
    steps_per_lag: Array | None = None


@dataclass(frozen=True)
class Sampling:
    """The velocities of a query: stretches (all (stretches,) int64) and the windows that they fall in.

    `batch` numbers the batches that stretches were cut into for an error bar (`in_batches`), else it is None. Where the
    lag differs between windows, `lag` is "spacing" and `steps_per_lag` is None.
    """

    first: Array
    spacing: Array
    count: Array
    window: Array
    windows: Windows
    lag: int | str
    steps_per_lag: int | None
    batch: Array | None = None

    @property
    def batches(self) -> int:
        """Number of batches."""
        return 0 if self.batch is None else int(self.batch[-1]) + 1


def require_even(line: Timeline, sampling: Sampling, what: str) -> None:
    """Refuse velocities over different spacings, for a question that `what` names and that has one window.

    Raises
    ------
    WindowError
        The message lists the stretches.
    """
    low, high = int(sampling.first.min()), int((sampling.first + (sampling.count - 1) * sampling.spacing).max())
    if len(found := line.within(low, high)) > 1:
        raise uneven(line, found, what)


def stride_in(line: Timeline, start: Bound, stop: Bound) -> int:
    """The steps between neighbouring frames of a range.

    Raises
    ------
    TooFewFramesError, WindowError
        The range has no two frames, or frames of several spacings.
    """
    low, high = _range(line, start, stop)
    if len(found := line.within(low, high)) > 1:
        raise uneven(line, found, "this question")
    return found[0].stride if found else line.stride


def sample(
    line: Timeline,
    *,
    window: Window = None,
    start: Bound = None,
    stop: Bound = None,
    lag: Lag = None,
    steps_per_epoch: int | None = None,
    unequal_epochs: bool = False,
    half_phase: bool = False,
) -> Sampling:
    """The velocities that a query asks for.

    Parameters
    ----------
    line
        The run's frames.
    window
        Length in steps, "epoch", "rate" for the constant stretches of settings, ranges (start, stop), or None for the
        whole range (where the spacing of frames changes: one window for each stretch of equal spacing).
    start, stop
        Steps, or percent of the step range ("50%"); default the first and the last frame.
    lag
        Steps between the two frames of a velocity, a multiple of the stride (the default), or "epoch".
    steps_per_epoch
        Takes the place of a recorded epoch: epochs end at its multiples.
    unequal_epochs
        Allow a lag of an epoch where epochs differ in length.
    half_phase
        With lag "epoch": between the middles of the same epochs in place of their ends.

    Raises
    ------
    TooFewFramesError
        The range holds no two frames.
    WindowError
        A range, window or lag that the run cannot fill.
    EpochError
        Epochs are asked for and there are none, none complete, or unequal ones; or a boundary was not logged.
    """
    low, high = _range(line, start, stop)
    found = line.within(low, high)
    if len(found) > 1:
        if window is not None:
            raise uneven(line, found, f"--window {window}")
        if lag == "epoch":
            raise uneven(line, found, "--lag epoch")
        return _by_stretch(line, found, lag)
    if found:
        line = replace(line, stride=found[0].stride)
    apart = _lag_frames(line, lag)
    epochs = None
    if "epoch" in (window, lag):
        epochs = known_epochs(line.steps, line.breaks, line.epoch, low, high, steps_per_epoch)
    edges, bounds, partial, number = _windows(line, low, high, window, epochs)
    if lag == "epoch":
        assert epochs is not None
        stretches, expected, per_lag = between_epochs(line, edges, epochs, unequal_epochs, half_phase)
    else:
        stretches = cut_at_breaks(line, edges, apart)
        per_lag = apart * line.stride
        expected = (bounds[:, 1] - bounds[:, 0]) // per_lag
    first, spacing, count, index = stretches
    velocities = np.bincount(index, weights=count - 1, minlength=len(edges)).astype(np.int64)
    if not velocities.any():
        raise WindowError(
            f"Lag {lag if lag is not None else per_lag}: expected a window with at least one velocity, got none "
            f"in steps {line.steps[low]} to {line.steps[high]}{_cut(window)}. Nothing can be measured. "
            "Choose a shorter lag, a longer window, or a range without gaps.",
            lag=lag,
            window=window,
        )
    windows = Windows(bounds[:, 0], bounds[:, 1], velocities, np.maximum(expected - velocities, 0), partial, number)
    return Sampling(first, spacing, count, index, windows, "epoch" if lag == "epoch" else per_lag, per_lag)


def _by_stretch(line: Timeline, found: Sequence[Even], lag: Lag) -> Sampling:
    """One window for each range of equal spacing."""
    parts, lags = [], []
    for number, even in enumerate(found):
        try:
            apart = _lag_frames(replace(line, stride=even.stride), lag)
        except WindowError as error:
            raise uneven(line, found, f"--lag {lag}") from error
        first, spacing, count, _ = cut_at_breaks(line, np.array([[even.first, even.last]]), apart)
        parts.append((first, spacing, count, np.full(first.size, number)))
        lags.append(apart * even.stride)
    first, spacing, count, index = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    velocities = np.bincount(index, weights=count - 1, minlength=len(found)).astype(np.int64)
    if not velocities.any():
        raise uneven(line, found, f"--lag {lag}")
    bounds = line.steps[np.array([(even.first, even.last) for even in found])]
    per_lag = np.array(lags, dtype=np.int64)
    expected = (bounds[:, 1] - bounds[:, 0]) // per_lag
    differs = lag is None
    windows = Windows(
        start_step=bounds[:, 0],
        stop_step=bounds[:, 1],
        velocities=velocities,
        left_out=np.maximum(expected - velocities, 0),
        partial=np.zeros(len(found), dtype=bool),
        steps_per_lag=per_lag if differs else None,
    )
    if differs:
        return Sampling(first, spacing, count, index, windows, "spacing", None)
    return Sampling(first, spacing, count, index, windows, lags[0], lags[0])


def _cut(window: Window) -> str:
    if window is None:
        return ""
    if isinstance(window, tuple) or window == "rate":
        return " by rate"
    return " by epochs" if window == "epoch" else f" in windows of {window} steps"


def _range(line: Timeline, start: Bound, stop: Bound) -> tuple[int, int]:
    """First and last frame of a range."""
    steps = line.steps
    if steps.size < 2:
        raise TooFewFramesError(
            f"Run: expected at least two frames, got {steps.size}. A velocity is the difference of two. "
            "Record more steps, or wait for the next commit.",
            frames=int(steps.size),
        )
    begin, end = _bound(line, "start", start, int(steps[0])), _bound(line, "stop", stop, int(steps[-1]))
    if not steps[0] <= begin < end <= steps[-1]:
        raise WindowError(
            f"Range: expected {steps[0]} <= start < stop <= {steps[-1]} (steps of this run), got start {begin} "
            f"and stop {end}. Give --start and --stop inside the run, in steps or percent.",
            start=begin,
            stop=end,
        )
    low, high = int(np.searchsorted(steps, begin)), int(np.searchsorted(steps, end, side="right")) - 1
    if high <= low:
        raise TooFewFramesError(
            f"Range: expected at least two frames from step {begin} to {end}, got {max(high - low + 1, 0)}. "
            "A velocity is the difference of two. Widen --start and --stop.",
            frames=max(high - low + 1, 0),
        )
    return low, high


def _bound(line: Timeline, name: str, value: Bound, default: int) -> int:
    if value is None:
        return default
    text = str(value).strip()
    try:
        if text.endswith("%"):
            if _PERCENT.fullmatch(text) is None or (share := Fraction(text[:-1].rstrip())) > 100:
                raise ValueError(text)
            # Exact fractions: with floating-point numbers, 29% of 100 steps would be 28.
            first, last = int(line.steps[0]), int(line.steps[-1])
            return first + int(share * (last - first) / (100 * line.stride)) * line.stride
        return int(text)
    except ValueError as error:
        raise WindowError(
            f"--{name}: expected a step or a percentage from 0% to 100%, got {text!r}. Write --{name} 1000 or "
            f"--{name} 50%",
            **{name: value},
        ) from error


def _lag_frames(line: Timeline, lag: Lag) -> int:
    if lag is None or lag == "epoch":
        return 1
    if not isinstance(lag, (int, np.integer)) or isinstance(lag, bool) or lag < 1 or lag % line.stride:
        raise WindowError(
            f"--lag: expected a positive multiple of the stride ({line.stride} steps) or 'epoch', got {lag!r}. "
            f"Frames exist only every {line.stride} steps. Write --lag {line.stride}",
            lag=lag,
        )
    return min(int(lag) // line.stride, line.steps.size)  # no two frames are further apart, however long the lag


def _windows(
    line: Timeline, low: int, high: int, window: Window, epochs: Epochs | None
) -> tuple[Array, Array, Array, Array | None]:
    """Frame edges (windows, 2), step bounds (windows, 2), partial and epoch number of the windows in a range."""
    steps = line.steps
    if window == "epoch":
        assert epochs is not None
        keep = (epochs.last > low) & (epochs.first < high)
        if keep.sum() > 1 and (epochs.last[keep] - epochs.first[keep] <= 1).all():
            raise WindowError(
                f"--window epoch: expected epochs of several frames, got {int(keep.sum()):,} epochs of one. A training "
                "on full batches makes an epoch of each step, and one velocity has no error bar. Give steps: "
                f"--window {100 * line.stride}",
                window=window,
            )
        edges = np.stack([np.maximum(epochs.first[keep], low), np.minimum(epochs.last[keep], high)], axis=1)
        cut = (edges[:, 0] > epochs.first[keep]) | (edges[:, 1] < epochs.last[keep])
        return edges, steps[edges], cut | ~epochs.complete[keep], epochs.number[keep]
    begin, end = int(steps[low]), int(steps[high])
    if window is None:
        edges = np.array([[low, high]])
        return edges, steps[edges], np.zeros(1, dtype=bool), None
    if window == "rate":
        return _ranges(line, by_rate(line, begin, end))
    if isinstance(window, tuple):
        return _ranges(line, window)
    if not isinstance(window, (int, np.integer)) or isinstance(window, bool) or window < 1 or window % line.stride:
        raise WindowError(
            f"--window: expected a positive multiple of the stride ({line.stride} steps), 'epoch' or 'rate', got "
            f"{window!r}. A window must hold whole velocities. Write --window {100 * line.stride}",
            window=window,
        )
    if window > end - begin:
        raise WindowError(
            f"--window: expected at most {end - begin} steps, the length of the range {begin} to {end}, got {window}. "
            f"No window would be full. Write --window {end - begin} or leave it out",
            window=window,
            steps=end - begin,
        )
    starts = np.arange(begin, end, window, dtype=np.int64)
    bounds = np.stack([starts, np.minimum(starts + window, end)], axis=1)
    edges = np.stack(
        [np.searchsorted(steps, bounds[:, 0]), np.searchsorted(steps, bounds[:, 1], side="right") - 1], axis=1
    )
    return edges, bounds, bounds[:, 1] - bounds[:, 0] < window, None


def by_rate(line: Timeline, start: int, stop: int) -> Ranges:
    """The constant stretches of a range, as windows.

    Raises
    ------
    WindowError
        No constant stretch in the range has 256 steps.
    """
    found = constant_stretches(line, start, stop)
    if not found:
        changes = ", ".join(map(str, variations(line, start, stop)))
        raise WindowError(
            f"--window rate: expected a stretch of at least {FEWEST_STEPS} steps with constant settings between step "
            f"{start} and {stop}, got none: {changes or 'they change at a resume'}. Each window would hold several "
            f"settings. Ask for T/η² over windows of steps: --per-eta2 --window {an_eighth(start, stop)}",
            start=start,
            stop=stop,
        )
    return tuple(found)


def an_eighth(start: int, stop: int) -> int:
    """Return about an eighth of a range, in one significant digit: a window to propose."""
    length = max((stop - start) // 8, 1)
    unit = int(10 ** (len(str(length)) - 1))
    return length // unit * unit


def _ranges(line: Timeline, ranges: Ranges) -> tuple[Array, Array, Array, None]:
    """As `_windows`, for given ranges of steps, in order."""
    bounds = np.array(ranges, dtype=np.int64)
    edges = np.stack(
        [np.searchsorted(line.steps, bounds[:, 0]), np.searchsorted(line.steps, bounds[:, 1], side="right") - 1], axis=1
    )
    return edges, bounds, np.zeros(len(bounds), dtype=bool), None
