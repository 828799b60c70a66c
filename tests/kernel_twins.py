"""Kernels in plain numpy that only the tests need, to compare the compiled ones with.

The other twins are used by the analyzer itself and live in `analyzer.engine.plain`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from analyzer.engine.sums import DISPLACED, SQUARES

Array = np.ndarray[Any, np.dtype[Any]]


def reduce_stretches(frames: Array, stretches: Array, sums: Array, ends: Array) -> None:
    """`reduce_stretches` in plain numpy."""
    for stretch, (start, apart, samples, length) in enumerate(stretches.T):
        sampled = frames[:, start : start + (samples - 1) * apart + 1 : apart]
        sums[:, SQUARES, stretch] = (np.diff(sampled.astype(np.float64), axis=1) ** 2).sum(axis=1)
        bins = max((samples - 1) // length, 1)
        edges = sampled[:, np.append(np.arange(bins) * length, samples - 1)].astype(np.float64)
        sums[:, DISPLACED, stretch] = (np.diff(edges, axis=1) ** 2).sum(axis=1)
        ends[:, 0, stretch], ends[:, 1, stretch] = sampled[:, 0], sampled[:, -1]


def add_squares(frames: Array, series: Array) -> None:
    """`add_squares` in plain numpy."""
    for row in frames:
        series += np.diff(row.astype(np.float64)) ** 2
