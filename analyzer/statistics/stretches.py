"""A sample of velocities (weights, stretches, samples): stretches of consecutive ones, as far apart as they like."""

from __future__ import annotations

from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]


def present(stretches: int, length: int) -> Array:
    """Which samples of a time axis with stretches, a stretch's length apart, are there."""
    there = np.zeros((stretches, length if stretches == 1 else 2 * length), dtype=bool)
    there[:, :length] = True
    return there.reshape(-1)


def laid_out(series: Array, stretches: int, length: int) -> Array:
    """Series (groups, stretches × length) on the axis of `present`: no pair of samples crosses the end of a stretch."""
    if stretches == 1:
        return series
    table = np.zeros((len(series), stretches, 2 * length))
    table[:, :, :length] = series.reshape(len(series), stretches, length)
    return table.reshape(len(series), -1)


def standardised(velocities: Array) -> Array:
    """(moving weights, stretches, samples): each weight less its mean, over its rms; still ones are left out."""
    v = velocities - velocities.mean(axis=(1, 2), keepdims=True)
    largest = np.abs(v).max(axis=(1, 2), initial=0.0)
    v = v[largest > 0] / largest[largest > 0, np.newaxis, np.newaxis]  # squares of 1e-160 would underflow
    return np.asarray(v / np.sqrt((v * v).mean(axis=(1, 2), keepdims=True)))
