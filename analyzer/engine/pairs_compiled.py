"""The kernel of pair sums, compiled by numba; `analyzer.engine.pairs_plain` is the same in numpy.

Frames lie as they are stored, step contiguous. Each weight's frames and velocities are widened to float64 once, which
fits the first-level cache. Four lags share the loads of the later end. One lag at a time is 1.9 times slower, and tiles
of transposed weights 4 times (a prototype, one thread). Displacements are squared directly: by Fourier transform they
would lose 4e-11 at lag 1 to cancellation.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit, types

from analyzer.engine.compiled import _compiled, _read, _written

Array = np.ndarray[Any, np.dtype[Any]]
_FAST = {"reassoc", "contract"}
_FEW = 16
"""Terms that are added without a slice of their own, which costs as much as a few of them."""
_PAIRS = [
    types.void(
        types.Array(real, 2, "A", readonly=True),
        _read(real, 2),
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
def _products(later: Any, earlier: Any) -> Any:
    total = 0.0
    for t in range(later.size):
        total += later[t] * earlier[t]
    return total


@njit(nogil=True, fastmath=_FAST, inline="always")
def _squares(later: Any, earlier: Any) -> Any:
    total = 0.0
    for t in range(later.size):
        d = later[t] - earlier[t]
        total += d * d
    return total


@njit(nogil=True, fastmath=_FAST, inline="always")
def _four_products(later: Any, a: Any, b: Any, c: Any, d: Any) -> Any:
    s0, s1, s2, s3 = 0.0, 0.0, 0.0, 0.0
    for t in range(later.size):
        x = later[t]
        s0 += x * a[t]
        s1 += x * b[t]
        s2 += x * c[t]
        s3 += x * d[t]
    return s0, s1, s2, s3


@njit(nogil=True, fastmath=_FAST, inline="always")
def _four_squares(later: Any, a: Any, b: Any, c: Any, d: Any) -> Any:
    s0, s1, s2, s3 = 0.0, 0.0, 0.0, 0.0
    for t in range(later.size):
        x = later[t]
        d0 = x - a[t]
        d1 = x - b[t]
        d2 = x - c[t]
        d3 = x - d[t]
        s0 += d0 * d0
        s1 += d1 * d1
        s2 += d2 * d2
        s3 += d3 * d3
    return s0, s1, s2, s3


@_compiled(_PAIRS, fastmath=_FAST)
def add_pairs(
    before: Array, frames: Array, groups: Array, strips: Array, lags: Array, splits: Array, order: Array, sums: Array
) -> None:
    """Σ v(t − τ)·v(t) and Σ (w(t) − w(t − τ))² over the pairs whose later end lies in a strip, added to its group's.

    Weight after weight, so that a group's sum has one order.

    Parameters
    ----------
    before, frames
        (weights, earlier frames) and (weights, frames), float32 or float64: consecutive frames of the same weights.
        Frame numbers count from the first of `before`.
    groups
        (weights,) the group of each weight.
    strips
        (strips, 5): the later end t runs from `low` to `high` - 1; `base` is the frame of the first velocity of its
        place in the grid; no pair reaches back before frame `first`; the sums belong to record `number`. A pair needs
        frames back to t - τ - 1: all from max(first, low - longest lag - 1) on must be here.
    lags
        (lags,) τ in frames.
    splits
        (2, lags): of products, of squares: later ends from `base` + split on have their earlier end in class 0, those
        before it in class 1, one place of the grid further back.
    order
        (2, lags): the lags in the order in which four of them share loads, those of similar splits together.
    sums
        (groups, records, lags, 2, 2): last axes: products, squares; class 0, class 1. Added to.
    """
    weights, held, length = frames.shape[0], before.shape[1], before.shape[1] + frames.shape[1]
    w, v = np.empty(length), np.empty(length)
    tau, cut = np.empty(4, np.int64), np.empty(4, np.int64)
    for weight in range(weights):
        for t in range(held):
            w[t] = before[weight, t]
        for t in range(frames.shape[1]):
            w[held + t] = frames[weight, t]
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
                    alike = bool(n + 4 <= lags.size)
                    if alike:
                        for k in range(4):
                            tau[k] = lags[order[kind, n + k]]
                            cut[k] = base + splits[kind, order[kind, n + k]]
                        nearest, farthest = min(cut), max(cut)
                        alike = bool(low >= earliest + max(tau) and farthest - nearest <= 128)
                    if not alike:
                        lag = order[kind, n]
                        t0 = lags[lag]
                        begin, at = max(low, earliest + t0), base + splits[kind, lag]
                        for one in range(2):
                            i, j = (max(begin, at), high) if one == 0 else (begin, min(high, at))
                            if i < j:
                                earlier = x[i - t0 : j - t0]
                                s = _products(x[i:j], earlier) if kind == 0 else _squares(x[i:j], earlier)
                                out[lag, kind, one] += s
                        n += 1
                        continue
                    for one in range(2):
                        i, j = (max(low, farthest), high) if one == 0 else (low, min(high, nearest))
                        if i >= j:
                            continue
                        if j - i <= _FEW:
                            for k in range(4):
                                t0 = tau[k]
                                s = 0.0
                                for t in range(i, j):
                                    difference = x[t] - x[t - t0]
                                    s += x[t] * x[t - t0] if kind == 0 else difference * difference
                                out[order[kind, n + k], kind, one] += s
                            continue
                        a, b = x[i - tau[0] : j - tau[0]], x[i - tau[1] : j - tau[1]]
                        c, d = x[i - tau[2] : j - tau[2]], x[i - tau[3] : j - tau[3]]
                        if kind == 0:
                            s0, s1, s2, s3 = _four_products(x[i:j], a, b, c, d)
                        else:
                            s0, s1, s2, s3 = _four_squares(x[i:j], a, b, c, d)
                        out[order[kind, n], kind, one] += s0
                        out[order[kind, n + 1], kind, one] += s1
                        out[order[kind, n + 2], kind, one] += s2
                        out[order[kind, n + 3], kind, one] += s3
                    for k in range(4):
                        lag, t0 = order[kind, n + k], tau[k]
                        for one in range(2):
                            i = max(low, cut[k]) if one == 0 else max(low, nearest)
                            j = min(high, farthest) if one == 0 else min(high, cut[k])
                            if i >= j:
                                continue
                            if j - i > _FEW:
                                earlier = x[i - t0 : j - t0]
                                s = _products(x[i:j], earlier) if kind == 0 else _squares(x[i:j], earlier)
                            else:
                                s = 0.0
                                for t in range(i, j):
                                    difference = x[t] - x[t - t0]
                                    s += x[t] * x[t - t0] if kind == 0 else difference * difference
                            out[lag, kind, one] += s
                    n += 4
