"""Which frames an epoch holds, and whether it was recorded from end to end."""

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
        The recorded value; NaN for frames at the end that no value follows.
    first, last
        Frame before the epoch's first update, and frame of its last.
    complete
        Whether the epoch was recorded from its first update to its last.
    """

    number: Array
    first: Array
    last: Array
    complete: Array

    def middle(self, line_steps: Array, stride: int) -> Array:
        """The frame half way through each epoch, whole strides rounded down; -1 where a gap has swallowed it."""
        begin = line_steps[self.first]
        wanted = begin + (line_steps[self.last] - begin) // (2 * stride) * stride
        frame = np.searchsorted(line_steps, wanted)
        return np.where(line_steps[frame] == wanted, frame, -1)


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


def epochs_of(steps: Array, epoch: Array | None, steps_per_epoch: int | None = None) -> Epochs:
    """The epochs of frames at `steps`.

    The epoch of frame t is the value logged after step t; where nothing was logged, the next value. The first and
    the last epoch are complete when they are not shorter than the second: a run may begin or end inside one.

    Raises
    ------
    EpochError
        No epoch was recorded and `steps_per_epoch` is not given.
    WindowError
        `steps_per_epoch` is not positive.
    """
    if steps_per_epoch is not None:
        if steps_per_epoch < 1:
            raise WindowError(
                f"--steps-per-epoch: expected a positive number of steps, got {steps_per_epoch}. An epoch has at "
                "least one. "
                "Write --steps-per-epoch 1875",
                steps_per_epoch=steps_per_epoch,
            )
        value = np.ceil((steps - steps[0]) / steps_per_epoch) - 1
        value[0] = 0
    elif epoch is None or np.isnan(epoch).all():
        raise EpochError(
            "Epochs: expected a recorded scalar 'epoch', got none. Without it no epoch has an edge. "
            "Record it with recorder.log(epoch=epoch), or give --steps-per-epoch N"
        )
    else:
        value = filled_backward(epoch)
    changes = value[2:] != value[1:-1]
    changes &= ~(np.isnan(value[2:]) & np.isnan(value[1:-1]))
    last = np.append(np.flatnonzero(changes) + 1, steps.size - 1)
    first = np.append(0, last[:-1])
    number = value[last]
    length = steps[last] - steps[first]
    complete = ~np.isnan(number)
    if steps_per_epoch is not None:
        complete &= length >= steps_per_epoch
    elif length.size > 1:
        reference = length[1] if length.size > 2 else length.max()
        complete[[0, -1]] &= length[[0, -1]] >= reference
    return Epochs(number, first, last, complete)
