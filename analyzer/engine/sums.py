"""The sums of a window: their names, how they combine, and how they are kept.

Every weight has these sums in every window: one over velocities for each line of `SUMS`, then Σv (`SUM`), then δ² of
the window's edge frames (`ULP`). They are the rows of an array (WEIGHT_SUMS, …). The moments of a group are the same
rows added up over its weights, then Σ_weights (Σv)² (`SQUARED_SUM`): the rows of an array (MOMENTS, …).

To add a sum over velocities, add a line to `SUMS` and its arithmetic to `analyzer.engine.kernels.reduce_stretches`.
Seams between tasks, windows, bins and the files of kept sums follow from that line.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]


@np.errstate(over="ignore")  # for weights beyond 1e154, which no model has, infinity is right
def _squared(values: Array) -> Array:
    return values * values


@dataclass(frozen=True)
class Sum:
    """A sum over the velocities of a weight.

    Attributes
    ----------
    name
        Name in formulas and messages.
    of_velocity
        Returns what single velocities add to the sum. Used for velocities over seams between tasks, and between frames
        that are no neighbours.
    of_bin
        Returns the sum of a fine bin (`analyzer.engine.bins`) from its displacement, if that determines it. Then fine
        bins do not keep the sum. None where they do.
    """

    name: str
    of_velocity: Callable[[Array], Array]
    of_bin: Callable[[Array], Array] | None = None


KERNELS = 1
"""Version of the arithmetic. Raise it with every change that changes a bit of a sum: then kept sums of another version
are made again, and workers with another version are refused."""

DISPLACED, SQUARES = 0, 1
SUMS = (
    Sum("Σ_bins (Σv)²", _squared, of_bin=_squared),  # each velocity over a seam is a bin of its own
    Sum("Σv²", _squared),
)
"""The sums over velocities, in the order in which files of kept sums hold them."""
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
        """Arrays for a kernel to write to; their values are undefined."""
        return cls(np.empty((weights, len(SUMS), stretches)), np.empty((weights, 2, stretches), dtype))

    def __getitem__(self, weights: slice) -> StretchSums:
        return StretchSums(self.sums[weights], self.ends[weights])


def over_seam(velocity: Array) -> Array:
    """The sums of one velocity of every weight (WEIGHT_SUMS, weights)."""
    rows = [one.of_velocity(velocity) for one in SUMS]
    return np.stack([*rows, velocity, np.zeros_like(velocity)])
