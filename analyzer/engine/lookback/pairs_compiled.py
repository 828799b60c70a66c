"""The kernel of pair sums, compiled by numba; `tests/kernel_twins.py` has the same in numpy.

Frames come as they are stored, step contiguous. Each weight's frames and velocities are widened to float64 once, which
fits the first-level cache. Four lags share the loads of the later end. The loop over a strip is cut only where a pair
at one of these lags changes its class. Indices are unsigned, so that numba does not check for negative ones; slices
would avoid that too, but cost as much as 200 terms of a sum. One lag at a time was 1.9 times slower, and tiles of
transposed weights 4 times (a prototype, one thread). Displacements are squared directly: a Fourier transform would lose
4e-11 at lag 1 to cancellation.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit, types

from analyzer.engine.compiled import _compiled, _read, _written

Array = np.ndarray[Any, np.dtype[Any]]
_FAST = {"reassoc", "contract"}
_PAIRS = [
    types.void(
        types.Array(real, 2, "A", readonly=True),
        _read(types.float64, 1),
        _read(types.int64, 1),
        _read(types.int64, 2),
        _read(types.int64, 1),
        _read(types.int64, 2),
        _read(types.int64, 2),
        _written(types.float64, 5),
    )
    for real in (types.float32, types.float64)
]


@njit(nogil=True, fastmath=_FAST, inline="always")
def _products(x: Any, low: Any, high: Any, a: Any, b: Any, c: Any, d: Any) -> Any:
    s0, s1, s2, s3 = 0.0, 0.0, 0.0, 0.0
    for t in range(low, high):
        y = x[t]
        s0 += y * x[t - a]
        s1 += y * x[t - b]
        s2 += y * x[t - c]
        s3 += y * x[t - d]
    return s0, s1, s2, s3


@njit(nogil=True, fastmath=_FAST, inline="always")
def _squares(x: Any, low: Any, high: Any, a: Any, b: Any, c: Any, d: Any) -> Any:
    s0, s1, s2, s3 = 0.0, 0.0, 0.0, 0.0
    for t in range(low, high):
        y = x[t]
        d0, d1, d2, d3 = y - x[t - a], y - x[t - b], y - x[t - c], y - x[t - d]
        s0 += d0 * d0
        s1 += d1 * d1
        s2 += d2 * d2
        s3 += d3 * d3
    return s0, s1, s2, s3


@_compiled(_PAIRS, fastmath=_FAST)
def add_pairs(
    frames: Array, slopes: Array, groups: Array, strips: Array, lags: Array, splits: Array, order: Array, sums: Array
) -> None:
    """Σ v(t − τ)·v(t) and Σ (w(t) − w(t − τ))² over the pairs whose later end lies in a strip, added to its group's.

    Weight after weight, so that a group's sum has one order.

    Parameters
    ----------
    frames
        (weights, frames), float32 or float64. Frame numbers count from the first of them.
    slopes
        (weights,) mean velocity that is taken off each weight; 0 where none is.
    groups
        (weights,) the group of each weight.
    strips
        (strips, 5), columns low, high, base, first, number. The later end t runs from `low` to `high` - 1; `base` is
        the frame of the first velocity of its place in the grid; no pair reaches back before frame `first`; the sums
        belong to record `number`. A pair needs frames back to t - τ - 1, so `frames` must hold all from
        max(first, low - longest lag - 1) on.
    lags
        (lags,) τ in frames.
    splits
        (2, lags), rows for products and for squares. Pairs whose later end is at `base` + split or after it are of
        class 0. Earlier ones are of class 1: their earlier end lies one place of the grid further back.
    order
        (2, lags): the lags sorted by their splits; four neighbours share loads.
    sums
        (groups, records, lags, 2, 2), added to. Last two axes: products and squares; class 0 and class 1.
    """
    weights, length = frames.shape
    w, v = np.empty(length), np.empty(length)
    tau, cut, edge = np.empty(4, np.uint64), np.empty(4, np.int64), np.empty(6, np.int64)
    for weight in range(weights):
        slope = slopes[weight]
        for t in range(length):
            w[t] = frames[weight, t] - slope * t
        v[0] = 0.0
        for t in range(1, length):
            v[t] = w[t] - w[t - 1]
        for strip in range(strips.shape[0]):
            low, high, base = strips[strip, 0], strips[strip, 1], strips[strip, 2]
            out = sums[groups[weight], strips[strip, 4]]
            for kind in range(2):
                x = v if kind == 0 else w
                earliest = strips[strip, 3] + 1 - kind
                n = 0
                while n < lags.size:
                    # Four lags together if the strip holds all pairs of each; else one lag, computed four times.
                    begin, alike = low, n + 4 <= lags.size
                    for k in range(4):
                        lag = order[kind, min(n + k, lags.size - 1)]
                        tau[k], cut[k] = np.uint64(lags[lag]), base + splits[kind, lag]
                        alike = alike and earliest + lags[lag] <= low
                    if not alike:
                        tau[:], cut[:] = tau[0], cut[0]
                        begin = max(low, earliest + lags[order[kind, n]])
                    edge[0], edge[5] = begin, high
                    for k in range(4):  # the cuts in order, within the strip
                        at, m = min(max(cut[k], begin), high), k
                        while m > 0 and edge[m] > at:
                            edge[m + 1] = edge[m]
                            m -= 1
                        edge[m + 1] = at
                    for part in range(5):
                        i, j = edge[part], edge[part + 1]
                        if i >= j:
                            continue
                        i_, j_ = np.uint64(i), np.uint64(j)
                        if kind == 0:
                            found = _products(x, i_, j_, tau[0], tau[1], tau[2], tau[3])
                        else:
                            found = _squares(x, i_, j_, tau[0], tau[1], tau[2], tau[3])
                        out[order[kind, n], kind, int(i < cut[0])] += found[0]
                        if alike:
                            out[order[kind, n + 1], kind, int(i < cut[1])] += found[1]
                            out[order[kind, n + 2], kind, int(i < cut[2])] += found[2]
                            out[order[kind, n + 3], kind, int(i < cut[3])] += found[3]
                    n += 4 if alike else 1
