"""Samples of velocities, (weights, stretches, samples): stretches of consecutive steps with gaps between them."""

from __future__ import annotations

from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]


def present(stretches: int, length: int) -> Array:
    """Return a mask of the samples that exist on a time axis with a gap of one stretch's length after each stretch.

    (2 × stretches × length,) bool; (length,) and all true for a single stretch.
    """
    there = np.zeros((stretches, length if stretches == 1 else 2 * length), dtype=bool)
    there[:, :length] = True
    return there.reshape(-1)


def laid_out(series: Array, stretches: int, length: int) -> Array:
    """Return series (groups, stretches × length) on the time axis of `present`, with zeros in the gaps.

    The gaps keep samples of different stretches further apart than any lag within one.
    """
    if stretches == 1:
        return series
    table = np.zeros((len(series), stretches, 2 * length))
    table[:, :, :length] = series.reshape(len(series), stretches, length)
    return table.reshape(len(series), -1)


def standardised(velocities: Array) -> Array:
    """Return each weight's velocities with mean 0 and mean square 1, (moving weights, stretches, samples).

    Weights that never move are left out. `velocities` is (weights, stretches, samples).
    """
    v = velocities - velocities.mean(axis=(1, 2), keepdims=True)
    largest = np.abs(v).max(axis=(1, 2), initial=0.0)
    v = v[largest > 0] / largest[largest > 0, np.newaxis, np.newaxis]  # squares of 1e-160 would underflow
    return np.asarray(v / np.sqrt((v * v).mean(axis=(1, 2), keepdims=True)))
