"""The sums of a window: their names, how they combine, and how they are kept.

Every weight has, in every window, one sum over velocities for each line of `SUMS`, then Σv (`SUM`) and δ² of the
window's edge frames (`ULP`): the rows of an array (WEIGHT_SUMS, …). Every group has the moments of its weights: the
same rows added up over them, and Σ_weights (Σv)² (`SQUARED_SUM`), an array (MOMENTS, …).

To add a sum over velocities, add a line to `SUMS` and its arithmetic to `analyzer.engine.kernels.reduce_stretches`.
All else follows: seams between tasks, windows, bins, the files of kept sums.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]


@np.errstate(over="ignore")  # of weights beyond 1e154, which no model has: infinite, as it should be
def _squared(values: Array) -> Array:
    return values * values


@dataclass(frozen=True)
class Sum:
    """A sum over the velocities of a weight.

    Attributes
    ----------
    name
        In formulas and messages.
    of_velocity
        From velocities to what each adds, for the velocity over a seam between two tasks, or between frames that are
        apart.
    of_bin
        From the displacement over a fine bin (`analyzer.engine.bins`) to the bin's sum, where that is all it takes.
        Then it is not kept in fine bins. None where the sum of each fine bin is kept.
    """

    name: str
    of_velocity: Callable[[Array], Array]
    of_bin: Callable[[Array], Array] | None = None


KERNELS = 1
"""Version of the arithmetic. It is raised with every change that changes a bit of a sum: kept sums of another version
are made again, and a worker of another version is refused."""

DISPLACED, SQUARES = 0, 1
SUMS = (
    Sum("Σ_bins (Σv)²", _squared, of_bin=_squared),  # each velocity over a seam is a bin of its own
    Sum("Σv²", _squared),
)
"""In the order of the files of kept sums."""
KEPT = tuple(row for row, one in enumerate(SUMS) if one.of_bin is None)
"""Rows that fine bins keep."""

SUM, ULP = len(SUMS), len(SUMS) + 1
WEIGHT_SUMS = len(SUMS) + 2
"""Rows of the sums of a weight: those of `SUMS`, Σv, and δ² (mean of the two edge frames)."""
SQUARED_SUM = WEIGHT_SUMS
MOMENTS = WEIGHT_SUMS + 1
"""Rows of the moments of a group: Σ_weights of each sum of a weight, then Σ_weights (Σv)²."""


@dataclass(frozen=True)
class StretchSums:
    """The sums of stretches, weight by weight.

    Attributes
    ----------
    sums
        (weights, SUMS, stretches) float64, as `SUMS` names them.
    ends
        (weights, 2, stretches): the first and the last sampled frame, float32 or float64.
    """

    sums: Array
    ends: Array

    @classmethod
    def empty(cls, weights: int, stretches: int, dtype: np.dtype[Any]) -> StretchSums:
        """Room for a kernel to write to."""
        return cls(np.empty((weights, len(SUMS), stretches)), np.empty((weights, 2, stretches), dtype))

    def __getitem__(self, weights: slice) -> StretchSums:
        return StretchSums(self.sums[weights], self.ends[weights])


def over_seam(velocity: Array) -> Array:
    """What one velocity adds to the sums of every weight (WEIGHT_SUMS, weights)."""
    rows = [one.of_velocity(velocity) for one in SUMS]
    return np.stack([*rows, velocity, np.zeros_like(velocity)])
