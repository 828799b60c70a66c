"""Lags of correlations and displacements: the default ones, and the texts in which users give others."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from analyzer.errors import EpochError, WindowError
from analyzer.query.epochs import known_epochs
from analyzer.query.timeline import Timeline

Array = np.ndarray[Any, np.dtype[Any]]
Lags = str | int | Sequence[int | str] | None

LONGEST = 4096
"""Longest lag, in frames, over which all pairs are summed: a task looks back by this many frames. Longer lags are
estimated from decimated frames (`analyzer.engine.lookback.levels`)."""
LEAST_WINDOWS = 16
"""The default lags end at this share of a window: beyond it there is no interval (`analyzer.statistics.lagged`)."""
TABLE = tuple(range(9)) + tuple(
    step * 2**octave for octave in range(1, 10) for step in (5, 6, 7, 8) if step * 2**octave <= LONGEST
)
"""The default lags, in frames: 0 to 8, then four to an octave. Fixed, so that questions share kept sums."""
_RANGE = re.compile(r"(\d{1,12}):(\d{1,12})(?::(log|\d{1,12}))?", re.ASCII)
_PER_OCTAVE = 4


def default_lags(frames: int) -> Array:
    """Return the default lags, in frames, of a window of `frames` velocities: those up to a sixteenth of it."""
    table = np.array(TABLE)
    return table[table <= max(frames // LEAST_WINDOWS, 1)]


def lags_in(text: str, option: str = "--lags") -> tuple[int | str, ...]:
    """Return the lags of a text such as "1,2,5", "1:100", "1:1000:10", "1:1000:log" or "epoch", in steps.

    Raises
    ------
    WindowError
    """
    found: list[int | str] = []
    for part in text.split(","):
        one = part.strip()
        if one == "epoch":
            found.append(one)
        elif match := _RANGE.fullmatch(one):
            found += _range(int(match[1]), int(match[2]), match[3], text, option)
        elif one.isdecimal() and len(one) <= 12:
            found.append(int(one))
        else:
            raise _refusal(text, option)
    return tuple(found)


def _range(low: int, high: int, by: str | None, text: str, option: str) -> list[int]:
    if by == "log":
        if not 0 < low <= high:
            raise _refusal(text, option)
        octaves = np.arange(0, np.log2(high / low) + 1e-9, 1 / _PER_OCTAVE)
        return sorted({*np.rint(low * 2**octaves).astype(int).tolist(), high})
    apart = int(by or 1)
    if low > high or not apart or (high - low) // apart > LONGEST:
        raise _refusal(text, option)
    return list(range(low, high + 1, apart))


def _refusal(text: str, option: str) -> WindowError:
    return WindowError(
        f"{option}: expected lags in steps, as in 1,2,5 or 1:100 or 1:1000:log or epoch, got {text!r}. Pairs of frames "
        f"are taken at such distances. Write {option} 1:1000:log",
        lags=text,
    )


def frames_of(line: Timeline, lags: Lags, low: int, high: int, steps_per_epoch: int | None = None) -> Array | None:
    """Return lags in frames, in order and each once; None for the default.

    Parameters
    ----------
    line
        The run's frames.
    lags
        In steps, "epoch", or a text with several; `lags_in` has the forms.
    low, high
        First and last frame of the range, in which epochs are looked for.
    steps_per_epoch
        Takes the place of a recorded epoch.

    Raises
    ------
    WindowError
        A lag is negative, or no multiple of the stride.
    EpochError
        The lag is an epoch, and there are no complete ones, or unequal ones.
    """
    if lags is None:
        return None
    wanted = {
        _epoch(line, low, high, steps_per_epoch) if lag == "epoch" else _checked(line, lag) for lag in listed(lags)
    }
    return np.array(sorted(wanted))


def listed(given: Lags, option: str = "--lags") -> list[int | str]:
    """Return the lags that were given for an option as one list of steps and "epoch"; it holds at least one."""
    each = [given] if given is None or isinstance(given, (int, np.integer, str)) else list(given)
    found: list[int | str] = []
    for one in each:
        if isinstance(one, str):
            found += lags_in(one, option)
        elif isinstance(one, (int, np.integer)) and not isinstance(one, bool):
            found.append(int(one))
        else:
            raise _refusal(str(one), option)
    if not found:
        raise _refusal(str(given), option)
    return found


def _checked(line: Timeline, lag: Any) -> int:
    if not isinstance(lag, (int, np.integer)) or isinstance(lag, bool) or lag < 0 or lag % line.stride:
        raise WindowError(
            f"--lags: expected multiples of the stride ({line.stride} steps), got {lag!r}. Frames exist only every "
            f"{line.stride} steps. Write --lags {line.stride},{10 * line.stride}",
            lag=lag,
        )
    return int(lag) // line.stride


def _epoch(line: Timeline, low: int, high: int, steps_per_epoch: int | None) -> int:
    epochs = known_epochs(line.steps, line.breaks, line.epoch, low, high, steps_per_epoch)
    pairs = np.flatnonzero(epochs.complete[1:] & epochs.complete[:-1] & epochs.within(low, high)[1:])
    lengths = line.steps[epochs.last[pairs + 1]] - line.steps[epochs.last[pairs]]
    if not lengths.size or lengths.min() != lengths.max():
        told = f"epochs of {lengths.min()} to {lengths.max()} steps" if lengths.size else "no two complete epochs"
        raise EpochError(
            f"--lags epoch: expected complete epochs of equal length in steps {line.steps[low]} to {line.steps[high]}, "
            f"got {told}. A lag is one number of steps. Give it in steps, or choose another range."
        )
    return _checked(line, int(lengths[0]))
