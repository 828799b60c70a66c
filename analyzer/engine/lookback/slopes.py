"""Mean velocities of single weights in windows, from the frames at the ends of the windows' stretches.

They are subtracted when the drift is removed. Only the chunks at the ends of windows are decoded once more for them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from analyzer.engine.lookback.picks import Picked, joined
from analyzer.query.windows import Sampling

Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True)
class Slopes:
    """The frames that mean velocities are computed from.

    Attributes
    ----------
    frames
        Numbers of the frames that are needed, in order.
    ends
        (2, stretches) places of the first and the last frame of each stretch among them.
    window
        (stretches,) the window of each stretch.
    velocities
        (windows,) velocities of each weight.
    """

    frames: Array
    ends: Array
    window: Array
    velocities: Array


def plan_slopes(sampling: Sampling) -> Slopes:
    """Plan the mean velocities of a sampling of neighbouring frames."""
    first, last = sampling.first, sampling.first + sampling.count - 1
    frames = np.unique(np.concatenate([first, last]))
    ends = np.stack([np.searchsorted(frames, first), np.searchsorted(frames, last)])
    return Slopes(frames, ends, sampling.window, sampling.windows.velocities)


@np.errstate(invalid="ignore", over="ignore", divide="ignore")  # weights that are not finite; windows without velocity
def slopes_of(plan: Slopes, parts: Sequence[Picked]) -> Array:
    """The mean velocity of each weight of a bundle in each window, (weights, windows), weight/frame."""
    values = joined(parts).astype(np.float64)
    moved = np.zeros((len(values), plan.velocities.size))
    for start, stop, window in zip(*plan.ends, plan.window, strict=True):
        moved[:, window] += values[:, stop] - values[:, start]
    return moved / plan.velocities
