"""Which frames an epoch holds, and whether it was recorded from end to end.

`known_epochs` answers a query and uses only what was logged. `epochs_of` and `labels_of` cut runs into stretches about
as long as an epoch, for kept sums and error bars, where a boundary may be some steps off.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from analyzer.errors import EpochError, WindowError

Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True)
class Epochs:
    """The epochs of a run, in order; all arrays (epochs,).

    Attributes
    ----------
    number
        The recorded value; NaN for frames whose epoch nobody logged.
    first, last
        The frame before the epoch's first update, and the frame after its last.
    complete
        Whether the epoch was recorded from its first update to its last.
    """

    number: Array
    first: Array
    last: Array
    complete: Array

    def middle(self, line_steps: Array, stride: int) -> Array:
        """The frame in the middle of each epoch, rounded down to whole strides; -1 where that frame is missing."""
        begin = line_steps[self.first]
        wanted = begin + (line_steps[self.last] - begin) // (2 * stride) * stride
        frame = np.searchsorted(line_steps, wanted)
        return np.where(line_steps[frame] == wanted, frame, -1)

    def within(self, low: int, high: int) -> Array:
        """Which epochs have an update between frames low and high."""
        return np.asarray((self.last > low) & (self.first < high))


def labels_of(epoch: Array | None) -> Array | None:
    """A number for the epoch of every frame (frames,), -1 after the last one logged; None where none was logged."""
    if epoch is None or np.isnan(epoch).all():
        return None
    return np.nan_to_num(filled_backward(epoch), nan=-1.0)


def filled_backward(epoch: Array) -> Array:
    """Every missing value replaced by the next one that was logged; NaN stays where none follows."""
    known = np.flatnonzero(~np.isnan(epoch))
    if known.size == epoch.size:
        return epoch
    following = np.searchsorted(known, np.arange(epoch.size))
    padded = np.append(epoch[known], np.nan)
    return np.asarray(padded[following])


def epochs_of(steps: Array, epoch: Array) -> Epochs:
    """Stretches of the frames at `steps`, about an epoch each. Kept sums are cut where they end.

    The epoch of frame t is the value logged after step t; where nothing was logged, the next value. The first and
    the last epoch are complete if they are not shorter than the second: a run may begin or end inside one.
    This function must go on returning the same cuts: kept sums without a trajectory cannot be made again.
    """
    found = _cut(steps, filled_backward(epoch))
    length = steps[found.last] - steps[found.first]
    if length.size > 1:
        reference = length[1] if length.size > 2 else length.max()
        found.complete[[0, -1]] &= length[[0, -1]] >= reference
    return found


def known_epochs(
    steps: Array, breaks: Array, epoch: Array | None, low: int, high: int, steps_per_epoch: int | None = None
) -> Epochs:
    """The epochs of frames at `steps`, as far as they were logged, for a query of frames `low` to `high`.

    The epoch of frame t is the value logged after step t. Frames between two equal values have that value. Frames
    before the first value and after the last one belong to no known epoch: their number is NaN. An epoch beside such
    frames, or at an end of the run, is complete if it is not shorter than one with known neighbours.

    Parameters
    ----------
    steps, breaks
        (frames,) as in `analyzer.query.windows.Timeline`.
    epoch
        (frames,) float64, NaN where nothing was logged; or None.
    low, high
        First and last frame of the range that is asked for.
    steps_per_epoch
        Takes the place of what was logged: epochs end at its multiples.

    Raises
    ------
    EpochError
        No epoch was recorded and `steps_per_epoch` is not given; a boundary in the range was not logged; or what was
        logged is not the number of an epoch.
    WindowError
        `steps_per_epoch` is not a positive integer.
    """
    if steps_per_epoch is not None:
        return _of_length(steps, steps_per_epoch)
    epoch = None if epoch is None else np.where(np.isfinite(epoch), epoch, np.nan)
    if epoch is None or np.isnan(epoch[1:]).all():
        raise EpochError(
            "Epochs: expected a recorded scalar 'epoch', got none. Without it, nothing says where an epoch ends. "
            "Record it with recorder.log(epoch=epoch), or give --steps-per-epoch N"
        )
    _check_values(steps, epoch)
    value = _filled_between(epoch)
    unknown = np.isnan(value)
    # No update leads to the first frame, nor to a frame after a break. Such a frame gets the epoch of the next update.
    starts = np.flatnonzero(unknown[:-1] & (breaks[:-1] | (np.arange(steps.size - 1) == 0)))
    for frame in starts[::-1].tolist():
        value[frame] = value[frame + 1]
    _check_boundaries(steps, epoch, value, low, high)
    found = _cut(steps, value)
    length, number = steps[found.last] - steps[found.first], found.number
    if length.size > 1:
        unbounded = np.zeros(length.size, dtype=bool)
        unbounded[[0, -1]] = True
        unbounded[1:] |= np.isnan(number[:-1])
        unbounded[:-1] |= np.isnan(number[1:])
        whole = found.complete & ~unbounded
        if whole.any():
            reference = float(length[whole][0])
        else:  # two epochs and nothing else: the longer one may be whole
            reference = np.inf if np.isnan(number).any() else float(length.max())
        found.complete[unbounded] &= length[unbounded] >= reference
    return found


def _of_length(steps: Array, steps_per_epoch: int) -> Epochs:
    """Epochs that end at the multiples of a number of steps."""
    whole = isinstance(steps_per_epoch, (int, np.integer)) and not isinstance(steps_per_epoch, bool)
    if not whole or steps_per_epoch < 1:
        raise WindowError(
            f"--steps-per-epoch: expected a positive number of steps, got {steps_per_epoch}. An epoch has at "
            "least one. Write --steps-per-epoch 1875",
            steps_per_epoch=steps_per_epoch,
        )
    found = _cut(steps, ((steps - 1) // int(steps_per_epoch)).astype(np.float64))
    found.complete[:] &= steps[found.last] - steps[found.first] >= steps_per_epoch
    return found


def _cut(steps: Array, value: Array) -> Epochs:
    """Epochs from the value of each frame; an epoch without a value is incomplete. No update led to the first frame."""
    changes = value[2:] != value[1:-1]
    changes &= ~(np.isnan(value[2:]) & np.isnan(value[1:-1]))
    last = np.append(np.flatnonzero(changes) + 1, steps.size - 1)
    first = np.append(0, last[:-1])
    return Epochs(value[last], first, last, ~np.isnan(value[last]))


def _filled_between(epoch: Array) -> Array:
    """Missing values between two equal ones replaced by these; all others stay NaN."""
    known = np.flatnonzero(~np.isnan(epoch))
    place = np.searchsorted(known, np.arange(epoch.size), side="right") - 1
    before = np.where(place >= 0, epoch[known[np.maximum(place, 0)]], np.nan)
    return np.where(before == filled_backward(epoch), before, np.nan)


def _check_values(steps: Array, epoch: Array) -> None:
    """Refuse logged values that cannot be the number of an update's epoch."""
    logged = ~np.isnan(epoch)
    odd = np.flatnonzero(logged & (epoch != np.rint(epoch)))
    if odd.size:
        raise EpochError(
            f"Epochs: expected whole numbers, got epoch {epoch[odd[0]]:g} at step {steps[odd[0]]}. Each value would be "
            "an epoch of its own. Record the number of the epoch, recorder.log(epoch=int(epoch)), or give "
            "--steps-per-epoch N",
            step=int(steps[odd[0]]),
        )
    if logged[:-1].all() and not logged[-1]:
        raise EpochError(
            f"Epochs: expected the epoch of each update, logged after it, got one before the first update and none "
            f"after the last, at step {steps[-1]}. It was logged before each update, so every boundary would be one "
            "update late. Give the length of an epoch, --steps-per-epoch N, or call recorder.log(epoch=epoch) after "
            "optimizer.step()",
            step=int(steps[-1]),
        )


def _check_boundaries(steps: Array, epoch: Array, value: Array, low: int, high: int) -> None:
    """Refuse a range with updates between two different logged epochs that may belong to either."""
    known = np.flatnonzero(~np.isnan(epoch))
    between = np.isnan(value)
    between[: known[0]] = between[known[-1] :] = False
    inside = np.flatnonzero(between[low + 1 : high + 1]) + low + 1
    if not inside.size:
        return
    place = int(np.searchsorted(known, inside[0]))
    before, after = int(known[place - 1]), int(known[place])
    raise EpochError(
        f"Epochs: expected an epoch logged at every boundary, got none between step {steps[before]} (epoch "
        f"{epoch[before]:g}) and step {steps[after]} (epoch {epoch[after]:g}). Where epoch {epoch[after]:g} began is "
        "not known. Give the length of an epoch, --steps-per-epoch N, or record every step: recorder.log(epoch=epoch)",
        before=int(steps[before]),
        after=int(steps[after]),
    )
