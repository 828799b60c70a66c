"""How many correlated samples carry the information of one independent sample, from autocorrelations.

This is the estimate of chemists' tools (pymbar). Error bars here have another one (`density`); this one serves
comparison, and the search for equilibrium.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from analyzer.statistics.correlations import correlations, table_of

Array = np.ndarray[Any, np.dtype[Any]]


def statistical_inefficiency(
    series: Array, *, present: Array | None = None, minimum_time: int = 3, fast: bool = False
) -> Array:
    """Return the statistical inefficiency g = 1 + 2 Σ_t (1 − t/N) C(t), with C the normalised autocorrelation.

    The sum stops at the first C(t) ≤ 0 after `minimum_time`: the rule of Chodera et al. (JCTC 3:26, 2007), as in
    `pymbar.timeseries.statistical_inefficiency`. One Fourier transform gives all C(t). Noise cuts the sum short, so g
    is too low if a small part of the variance stays correlated for long.

    Parameters
    ----------
    series
        (samples,) or (groups, samples).
    present
        (samples,) False for a sample that is missing, as in a gap of the recording; its value is ignored. Pairs on both
        sides of a gap count at their true distance.
    minimum_time
        A C(t) ≤ 0 at a lag up to this one does not end the sum.
    fast
        Sum only the lags 1, 2, 4, 7, 11, …, as pymbar does with `fast=True`. It is not faster here; it allows
        comparison with pymbar.

    Returns
    -------
    g, () or (groups,), at least 1. NaN if a sample is NaN or infinite. 1 for a constant series, whose mean is exact
    (pymbar refuses such a series).

    Examples
    --------
    >>> once = np.random.default_rng(0).normal(size=10_000)
    >>> [f"{statistical_inefficiency(series):.1f}" for series in (once, np.repeat(once, 10))]
    ['1.0', '10.0']
    """
    table, there = table_of(series, present)
    g = np.empty(table.shape[0])
    for some, correlation, pairs in correlations(table, there):
        g[some] = inefficiency_of(correlation, pairs, minimum_time=minimum_time, fast=fast)
    return g.reshape(np.shape(series)[:-1])


def inefficiency_of(correlation: Array, pairs: Array, *, minimum_time: int = 3, fast: bool = False) -> Array:
    """Apply the rule of `statistical_inefficiency` to autocorrelations (groups, samples) with `pairs` (samples,)."""
    samples = correlation.shape[1]
    if not samples:
        return np.full(correlation.shape[0], np.nan)
    lags, width = np.arange(1, max(samples - 1, 1)), np.ones(max(samples - 2, 0))
    if fast:
        stages = np.arange(int(np.sqrt(2 * samples)) + 1)
        lags = 1 + stages * (stages + 1) // 2
        width = (stages + 1.0)[lags < samples - 1]
        lags = lags[lags < samples - 1]
    looked = correlation[:, lags]
    ends = (looked <= 0) & (lags > minimum_time) & (pairs[lags] > 0)
    kept = np.cumsum(ends, axis=1) == 0
    # pairs(t)/N replaces the factor 1 − t/N of the formula; without gaps they are equal.
    terms = 2 * width * pairs[lags] / max(pairs[0], 1) * looked
    g = 1 + np.where(kept, terms, 0.0).sum(axis=1)
    return np.where(np.isnan(correlation[:, 0]), np.nan, np.maximum(g, 1.0))
