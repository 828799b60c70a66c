"""Whether averages change over a window by more than their noise, and by how much."""

from __future__ import annotations

from typing import Any

import numpy as np

from analyzer.statistics.density import FEW_PROJECTIONS, PROJECTIONS, cosines

Array = np.ndarray[Any, np.dtype[Any]]

FEWEST = 16
"""Fewest batches that are judged: 15 cosines."""
_BROAD = 64


def slow_changes(counts: Array, sums: Array) -> tuple[Array, Array]:
    """Return the p-value of no slow change in a window, and the change from its first half to its second.

    An F test compares the four slowest cosines of the window with those after the twelfth (of fewer than 36, after the
    first third), up to the 64th, as the flag of error bars does in windows of 37 batches and more
    (`analyzer.statistics.density`). It sees transients, drifts, and correlation times beyond about a fiftieth of the
    window.

    Parameters
    ----------
    counts
        (batches,) samples of each batch, in order of time; 0 for a batch that is missing.
    sums
        (groups, batches) sums over the samples of each batch.

    Returns
    -------
    p_value, change, both (groups,)
        The change is relative to the mean of the first half. NaN with fewer than 16 batches, and for groups that are
        not finite; p is 1 for a constant.

    Examples
    --------
    >>> ramp = np.linspace(1, 2, 64) + np.random.default_rng(0).normal(scale=0.1, size=64)
    >>> p, change = slow_changes(np.ones(64), ramp[np.newaxis])
    >>> bool(p[0] < 1e-6), f"{change[0]:.0%}"
    (True, '45%')
    """
    from scipy.special import fdtrc

    there = np.asarray(counts) > 0
    lengths, values = np.asarray(counts, dtype=np.float64)[there], sums[:, there]
    if lengths.size < FEWEST:
        return np.full(len(sums), np.nan), np.full(len(sums), np.nan)
    with np.errstate(divide="ignore", invalid="ignore"):
        mean = values.sum(axis=1, keepdims=True) / lengths.sum()
        relative = values / mean - lengths
        most = min(lengths.size - 1, _BROAD)
        squares = np.einsum("gb,bj->gj", relative, cosines(lengths, most)) ** 2
        begin = min(most // 3, PROJECTIONS)
        ratio = squares[:, :FEW_PROJECTIONS].mean(axis=1) / squares[:, begin:].mean(axis=1)
        p_value = fdtrc(FEW_PROJECTIONS, most - begin, ratio)
        constant = (values / lengths == values[:, :1] / lengths[0]).all(axis=1)
        half = int(np.searchsorted(np.cumsum(lengths), lengths.sum() / 2)) + 1
        early, late = (values[:, part].sum(axis=1) / lengths[part].sum() for part in (slice(half), slice(half, None)))
        change = late / early - 1
    return np.where(constant, 1.0, p_value), np.where(constant, 0.0, change)
