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


def add_pairs(
    frames: Array, slopes: Array, groups: Array, strips: Array, lags: Array, splits: Array, order: Array, sums: Array
) -> None:
    """`add_pairs` in plain numpy; `order` changes nothing but speed there."""
    w = frames.astype(np.float64) - slopes[:, np.newaxis] * np.arange(frames.shape[1])
    v = np.zeros_like(w)
    v[:, 1:] = np.diff(w, axis=1)
    for low, high, base, first, number in strips.tolist():
        for n, lag in enumerate(lags.tolist()):
            for kind in range(2):
                begin, cut = max(low, first + 1 - kind + lag), base + int(splits[kind, n])
                for one, (i, j) in enumerate(((max(begin, cut), high), (begin, min(high, cut)))):
                    if i < j:
                        x = (v, w)[kind]
                        later, earlier = x[:, i:j], x[:, i - lag : j - lag]
                        found = (later * earlier if kind == 0 else (later - earlier) ** 2).sum(axis=1)
                        np.add.at(sums[:, number, n, kind, one], groups, found)
