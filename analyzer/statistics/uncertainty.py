"""Standard errors of time averages over correlated samples: statistical inefficiency, batch means, effective size.

All functions take many groups at once: series (groups, samples), or sums over batches of samples (groups, batches). The
result for one group does not depend on the others.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from analyzer.statistics.correlations import correlations, is_constant

Array = np.ndarray[Any, np.dtype[Any]]

BATCHES, FEWER_BATCHES = 20, 10
"""Batches of a batch-means error: 20, or 10 if n_eff is below 200, because the means of batches with few effective
samples vary too little. The larger of two estimates is slightly too wide: where g is right, intervals cover 97.1 % with
10 batches and 96.5 % with 20 (from the normal and χ² distributions)."""
LEAST_N_EFF = 20.0
"""Below this n_eff standard errors are NaN: every estimator that was tried covers only 72 to 92 % there."""
RELIABLE_N_EFF, RELIABLE_N_EFF_ELEMENT = 200.0, 500.0
"""Below this n_eff an error bar is flagged. A single weight needs more, because its kinetic energy is as skewed as χ²
with one degree of freedom."""
RELIABLE_BATCHES = 10
"""With fewer batches an error bar is flagged: n_eff is then so uncertain that mostly too short error bars would pass
(coverage 92 %)."""
LEAST_BATCHES = 4
"""With fewer batches there is no error bar: an honest interval would reach far below zero (with two batches 1.96
standard errors were 2.7 T)."""
NORMAL = 1.959963984540054
"""`mean ± NORMAL * standard_error` is the 95 % interval of every estimate here: `scipy.special.ndtri(0.975)`."""

_STUDENT = {FEWER_BATCHES - 1: 2.262157162798205, BATCHES - 1: 2.0930240544083087}
"""Quantile 0.975 of Student's t by degrees of freedom: `scipy.special.stdtrit`, whose import would take longer than a
question from kept sums."""


@dataclass(frozen=True)
class Uncertainty:
    """Time averages of groups with their standard errors; all arrays are (groups,).

    Attributes
    ----------
    mean
        In the units of the samples.
    standard_error
        In the same units: mean ± 1.96 standard errors is a 95 % interval. NaN if n_eff < 20.
    inefficiency
        Statistical inefficiency g, at least 1: g correlated samples carry the information of one independent sample.
    n_eff
        Effective number of independent samples: their number divided by g.
    unreliable
        True if n_eff is below 200 (500 for a single weight), unknown, or taken from fewer than ten batches.
    """

    mean: Array
    standard_error: Array
    inefficiency: Array
    n_eff: Array
    unreliable: Array


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
    table, there = _table(series, present)
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


def from_series(
    series: Array, *, present: Array | None = None, epoch: Array | None = None, weights: Any = None
) -> Uncertainty:
    """Average over time, with standard errors from the samples themselves.

    The standard error is the larger of two. One is that of 20 batch means (10 if n_eff < 200), times the ratio of the
    t quantile with 19 (9) degrees of freedom to 1.96. The other is √(g·variance/N), with g by
    `statistical_inefficiency`. The first includes slow correlations that g cuts off; the second fluctuates less.

    Parameters
    ----------
    series
        (groups, samples), such as the temperature 𝒯(t) of each group. A NaN makes its group NaN.
    present
        (samples,) False for a sample that is missing.
    epoch
        (samples,) label of each sample's epoch, in order. With ten epochs or more, batches are whole epochs, so that a
        pattern which repeats in each epoch does not count as noise.
    weights
        () or (groups,) number of weights in each group. Groups of one weight are flagged below n_eff 500, others below
        200.
    """
    table, there = _table(series, present)
    count = int(np.count_nonzero(there))
    values = np.where(there, table, 0.0)
    with np.errstate(invalid="ignore"):
        mean = values.sum(axis=1) / count if count else np.full(table.shape[0], np.nan)
        variance = np.where(there, table - mean[:, np.newaxis], 0.0)
        variance = np.einsum("gs,gs->g", variance, variance) / max(count, 1)
    g = statistical_inefficiency(table, present=there)
    constant = is_constant(table, there)
    # The sample variance is too low by variance/n_eff, because the mean comes from the same samples.
    with np.errstate(divide="ignore", invalid="ignore"):
        by_correlation = np.sqrt(variance / np.maximum(count / g - 1, 0))
    by_batches = _batch_error(there.astype(np.float64), values, epoch, count / g)
    return _judged(mean, by_batches, by_correlation, g, count, constant, weights)


def from_batches(
    counts: Array,
    sums: Array,
    squares: Array | None = None,
    *,
    epoch: Array | None = None,
    weights: Any = None,
    inefficiency: Array | None = None,
) -> Uncertainty:
    """Average over time, with standard errors from sums over batches of samples. For series too long to keep.

    Once batches are longer than the correlation, the mean of a batch of n samples has variance s/n with
    s = g·Var(sample). s is estimated twice: from all batches, times the inefficiency of the sequence of their means if
    that is significant; and from 20 (or 10) long batches, made by joining neighbours. Each standard error is
    multiplied by its own ratio of the t quantile to 1.96, and the larger one is returned.

    Parameters
    ----------
    counts
        (batches,) number of samples in each batch, in order of time; 0 for a batch that is missing.
    sums, squares
        (groups, batches) Σ𝒯 and Σ𝒯² over the samples of each batch.
    epoch
        (batches,) label of each batch's epoch: as for `from_series`.
    weights
        () or (groups,) number of weights in each group. Required without `squares` and `inefficiency`: the variance of
        𝒯 is then taken to be 2T²/weights, that of independent Gaussian velocities.
    inefficiency
        (groups,) g, if it is known from elsewhere, such as from the series of the parameter that a row belongs to.
        n_eff and `unreliable` then follow from it; the standard error still comes from the group's own batches.

    Raises
    ------
    TypeError
        `squares`, `weights` and `inefficiency` are all missing.

    Notes
    -----
    Biased if batches are not much longer than the correlation. For 𝒯 correlated as r^t, s is too low by a relative
    2r/((1 − r²)·n), 1.8 % for Adam's r = 0.81 at n = 256, until the correlation of batch means is significant. g and
    n_eff are as uncertain as a variance of that many batches, so results from fewer than ten are flagged. Without
    `squares`, n_eff is too low if the weights of a group move together, and too low by a factor of one plus half the
    excess kurtosis if velocities have heavy tails; more error bars are then flagged than need be.
    """
    counts = np.asarray(counts, dtype=np.float64)
    sums = np.atleast_2d(np.asarray(sums, dtype=np.float64))
    there = counts > 0
    samples, batches = float(counts.sum()), int(np.count_nonzero(there))
    safe = np.where(there, counts, 1.0)
    values = np.where(there, sums, 0.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        mean = values.sum(axis=1) / samples
        # √n (batch mean − mean) has the same variance s in long and short batches.
        scaled = np.where(there, np.sqrt(safe) * (values / safe - mean[:, np.newaxis]), 0.0)
        spread = np.einsum("gb,gb->g", scaled, scaled) / (batches - 1) if batches > 1 else np.full(mean.shape, np.nan)
        between = _inefficiency_of_batches(scaled, there)
        long_run = spread * between
        constant = is_constant(values / safe, there)
        if inefficiency is not None:
            g = np.asarray(inefficiency)
        elif squares is not None:
            total = np.where(there, np.atleast_2d(squares), 0.0).sum(axis=1)
            g = np.maximum(long_run / np.maximum(total / samples - mean**2, 0), 1.0)
        elif weights is not None:
            g = np.maximum(long_run * np.asarray(weights) / (2 * mean**2), 1.0)
        else:
            raise TypeError(
                "from_batches() needs squares, weights or inefficiency: without them the variance of a sample is "
                "unknown"
            )
        g = np.where(constant, 1.0, g)
        freedom = np.maximum(batches / between - 1, 1)
        by_all = np.sqrt(long_run / samples) * _student(freedom) / NORMAL
    if batches < LEAST_BATCHES:
        by_all = np.where(constant, 0.0, np.nan)
    by_long = _batch_error(counts, values, epoch, samples / g)
    return _judged(mean, by_long, by_all, g, samples, constant, weights, enough=batches >= RELIABLE_BATCHES)


def batches_of(counts: Array, batches: int, epoch: Array | None = None) -> Array:
    """Divide samples, or short batches of them, into batches of about equal length in order of time.

    Parameters
    ----------
    counts
        (items,) number of samples in each item. For single samples: 1 if present, 0 if missing.
    batches
        How many batches to make.
    epoch
        (items,) label of each item's epoch. With ten epochs or more no epoch is cut, and there are at most as many
        batches as epochs.

    Returns
    -------
    (items,) number of the batch of each item, ascending from 0.
    """
    units = np.arange(counts.size)
    if epoch is not None:
        epoch = np.asarray(epoch)
        epochs = np.unique(epoch[counts > 0]).size
        if epochs >= FEWER_BATCHES:
            units = np.cumsum(np.concatenate([[False], epoch[1:] != epoch[:-1]]))
            batches = min(batches, epochs)
    lengths = np.bincount(units, weights=counts)
    middle = np.cumsum(lengths) - lengths / 2
    place = np.minimum(batches * middle / max(counts.sum(), 1), batches - 1).astype(np.int64)
    return np.asarray(place[units])


def _batch_error(counts: Array, sums: Array, epoch: Array | None, n_eff: Array) -> Array:
    """Return the standard error from 20 (10) batch means, times t/1.96, (groups,); NaN with fewer than two batches."""
    few, many = (_error_of_batches(counts, sums, batches_of(counts, b, epoch)) for b in (FEWER_BATCHES, BATCHES))
    return np.where(n_eff >= RELIABLE_N_EFF, many, few)


def _error_of_batches(counts: Array, sums: Array, batch: Array) -> Array:
    if not counts.size:
        return np.full(sums.shape[0], np.nan)
    length = np.bincount(batch, weights=counts)
    starts = np.flatnonzero(np.concatenate([[True], batch[1:] != batch[:-1]]))
    total = np.add.reduceat(sums, starts, axis=1)
    length = length[batch[starts]]
    total, length = total[:, length > 0], length[length > 0]
    if length.size < 2:
        return np.full(sums.shape[0], np.nan)
    with np.errstate(invalid="ignore"):
        deviation = total / length - (total.sum(axis=1) / length.sum())[:, np.newaxis]
        spread = np.einsum("gb,gb,b->g", deviation, deviation, length) / (length.size - 1)
    freedom = length.size - 1
    ratio = (_STUDENT[freedom] if freedom in _STUDENT else float(_student(freedom))) / NORMAL
    return np.asarray(np.sqrt(spread / length.sum()) * ratio)


def _inefficiency_of_batches(scaled: Array, there: Array) -> Array:
    """Return the inefficiency of a sequence of batch means: 1 unless neighbours are significantly correlated.

    On white noise the plain rule would give 1.1, because its sum stops at the first negative value.
    """
    g = np.empty(scaled.shape[0])
    for some, correlation, pairs in correlations(scaled, there):
        by_rule = inefficiency_of(correlation, pairs, minimum_time=1)
        chance = correlation[:, 1] <= 1.64 / np.sqrt(max(pairs[0], 1)) if there.size > 1 else True
        g[some] = np.where(chance, 1.0, by_rule)
    return g


def _judged(
    mean: Array,
    by_batches: Array,
    by_correlation: Array,
    g: Array,
    samples: float,
    constant: Array,
    weights: Any,
    enough: bool = True,
) -> Uncertainty:
    with np.errstate(divide="ignore", invalid="ignore"):
        n_eff = samples / g
        error = np.where(constant, 0.0, np.maximum(by_batches, by_correlation))
        error = np.where(n_eff >= LEAST_N_EFF, error, np.nan)
    single = np.asarray(weights if weights is not None else 2) == 1
    least = np.where(single, RELIABLE_N_EFF_ELEMENT, RELIABLE_N_EFF)
    return Uncertainty(mean, error, g, n_eff, ~(n_eff >= least) | np.isnan(error) | (not enough))


def _table(series: Array, present: Array | None) -> tuple[Array, Array]:
    table = np.atleast_2d(np.asarray(series, dtype=np.float64))
    there = np.ones(table.shape[1], dtype=bool) if present is None else np.asarray(present, dtype=bool)
    return table, there


def _student(freedom: Any) -> Any:
    """Quantile 0.975 of Student's t with so many degrees of freedom."""
    from scipy.special import stdtrit

    return stdtrit(freedom, 0.975)
