"""Uncertainty of a time average whose samples are correlated: inefficiency, batch means, effective sample size.

Everything is for many groups at once: series are (groups, samples), sums of blocks (groups, blocks). What is computed
for one group does not depend on the others.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import fft
from scipy.special import ndtri, stdtrit

Array = np.ndarray[Any, np.dtype[Any]]

BATCHES, FEWER_BATCHES = 20, 10
"""Where the inefficiency is right, the larger of two estimates is a little too wide: with 10 batches it covers 97.1 %,
with 20 96.5 % (from the normal and χ² distributions), so there are 20 unless n_eff is below 200: a batch of few
effective samples has too small a variance."""
LEAST_N_EFF = 20.0
"""Below, no estimator that was tried has an error bar worth the name (coverage 72-92 %): standard errors are NaN."""
RELIABLE_N_EFF, RELIABLE_N_EFF_ELEMENT = 200.0, 500.0
"""Below, an error bar is flagged. One weight needs more: its kinetic energy is as skewed as χ² of one degree."""
RELIABLE_BLOCKS = 10
"""With fewer, n_eff is known so badly that those that pass are those whose error bar is too short (coverage 92 %)."""
LEAST_BLOCKS = 4
"""With fewer, an interval that holds the truth reaches far below zero (1.96 standard errors were 2.7 T from two
blocks): it says nothing, so there is none."""
NORMAL = float(ndtri(0.975))
"""1.96: `mean ± NORMAL * standard_error` is the 95 % interval of every estimate here."""

_TILE = 1 << 22  # samples transformed at once: some 200 MiB with the transforms' temporaries


@dataclass(frozen=True)
class Uncertainty:
    """Time averages of groups and how far to trust them; all (groups,).

    Attributes
    ----------
    mean
        In the units of the samples.
    standard_error
        In the same units, such that mean ± 1.96 of it is a 95 % interval; NaN where n_eff < 20.
    inefficiency
        g: correlated samples that are worth one independent sample; at least 1.
    n_eff
        Samples over g.
    unreliable
        True where n_eff < 200 (500 for a single weight), or is not known, or comes from fewer than ten blocks.
    """

    mean: Array
    standard_error: Array
    inefficiency: Array
    n_eff: Array
    unreliable: Array


def statistical_inefficiency(
    series: Array, *, present: Array | None = None, minimum_time: int = 3, fast: bool = False
) -> Array:
    """Statistical inefficiency g = 1 + 2 Σ_t (1 − t/N) C(t), summed up to the first C(t) ≤ 0 past a minimum time.

    The rule of Chodera et al. (JCTC 3:26, 2007), as `pymbar.timeseries.statistical_inefficiency` has it, with all
    C(t) from one Fourier transform. The sum is cut by noise, so g is biased low where a small part of the variance is
    correlated for long.

    Parameters
    ----------
    series
        (samples,) or (groups, samples).
    present
        (samples,) False where a sample is missing (a gap in the recording; its value is not looked at): pairs across
        a gap count at their true distance.
    minimum_time
        Up to this lag C(t) ≤ 0 does not end the sum.
    fast
        Look at ever sparser lags 1, 2, 4, 7, 11, … only, as pymbar's `fast`: not faster here, but comparable.

    Returns
    -------
    g, () or (groups,), at least 1. NaN where a sample is NaN or infinite. 1 for a constant series: nothing
    fluctuates, so nothing is correlated, and the mean is exact whatever g is (pymbar refuses such a series).

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


def correlations(table: Array, present: Array) -> Iterator[tuple[slice, Array, Array]]:
    """Normalised autocorrelation of series about their means, by tiles of groups.

    Yields
    ------
    Which groups, C(t) (tile, samples) with C(0) = 1, and the pairs of samples at each distance (samples,). A constant
    series has C = 0, one that is not finite NaN. Without pairs C is 0.
    """
    samples = table.shape[1]
    size = fft.next_fast_len(max(2 * samples, 1), real=True)
    count = int(np.count_nonzero(present))
    if present.all():
        pairs = np.arange(samples, 0, -1.0)
    else:
        pairs = np.rint(_products(present[np.newaxis].astype(np.float64), size)[0])
    step = max(_TILE // size, 1)
    for low in range(0, table.shape[0], step):
        some = slice(low, low + step)
        deviation = _deviations(table[some], present, count)
        variance = np.einsum("gs,gs->g", deviation, deviation) / max(count, 1)
        scale = np.where(variance > 0, variance, np.where(variance == 0, 1.0, np.nan))
        correlation = (
            np.divide(_products(deviation, size), pairs, out=np.zeros(deviation.shape), where=pairs > 0)
            / scale[:, np.newaxis]
        )
        yield some, correlation, pairs


def inefficiency_of(correlation: Array, pairs: Array, *, minimum_time: int = 3, fast: bool = False) -> Array:
    """The rule of `statistical_inefficiency` on autocorrelations (groups, samples) with their numbers of pairs."""
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
    # Samples at distance t are pairs(t) of N²; without gaps pairs(t)/N = 1 − t/N.
    terms = 2 * width * pairs[lags] / max(pairs[0], 1) * looked
    g = 1 + np.where(kept, terms, 0.0).sum(axis=1)
    return np.where(np.isnan(correlation[:, 0]), np.nan, np.maximum(g, 1.0))


def from_series(
    series: Array, *, present: Array | None = None, epoch: Array | None = None, weights: Any = None
) -> Uncertainty:
    """Time averages from the samples themselves.

    The standard error is the larger of two: that of 20 batch means (10 where n_eff < 200), widened by the ratio of the
    t quantile with 19 (9) degrees of freedom to 1.96; and √(g·variance/N) by `statistical_inefficiency`. The first
    sees slow correlations that the second cuts off, the second is steady where the first is lucky.

    Parameters
    ----------
    series
        (groups, samples), for a temperature 𝒯(t) of each group. A NaN makes its group NaN.
    present
        (samples,) False where a sample is missing.
    epoch
        (samples,) label of each sample's epoch, in order. Windows of ten epochs or more use batches of whole
        epochs: what repeats in each epoch then does not pass for noise.
    weights
        () or (groups,) weights in each group: those with one are flagged below n_eff 500 instead of 200.
    """
    table, there = _table(series, present)
    count = int(np.count_nonzero(there))
    values = np.where(there, table, 0.0)
    with np.errstate(invalid="ignore"):
        mean = values.sum(axis=1) / count if count else np.full(table.shape[0], np.nan)
        variance = np.where(there, table - mean[:, np.newaxis], 0.0)
        variance = np.einsum("gs,gs->g", variance, variance) / max(count, 1)
    g = statistical_inefficiency(table, present=there)
    constant = _constant(table, there)
    # The sample variance is low by variance/n_eff, because the mean is taken from the same samples.
    with np.errstate(divide="ignore", invalid="ignore"):
        by_correlation = np.sqrt(variance / np.maximum(count / g - 1, 0))
    by_batches = _batch_error(there.astype(np.float64), values, epoch, count / g)
    return _judged(mean, by_batches, by_correlation, g, count, constant, weights)


def from_blocks(
    counts: Array,
    sums: Array,
    squares: Array | None = None,
    *,
    epoch: Array | None = None,
    weights: Any = None,
    inefficiency: Array | None = None,
) -> Uncertainty:
    """Time averages from sums over blocks of samples, where the samples are too many to keep.

    A block mean of n samples has variance s/n with s = g·Var(sample) once blocks are longer than the correlation; s is
    taken from all blocks, times the inefficiency of the sequence of block means where that is beyond chance, and from
    20 (or 10) batches of blocks. The larger standard error counts, each widened by its own ratio of t to 1.96.

    Parameters
    ----------
    counts
        (blocks,) samples in each block, in order of time; 0 where a block is missing.
    sums, squares
        (groups, blocks) Σ𝒯 and Σ𝒯² over the samples of each block.
    epoch
        (blocks,) label of each block's epoch: as for `from_series`.
    weights
        () or (groups,) weights in each group. Without `squares` and `inefficiency` it is needed: the variance of 𝒯 is
        then taken as 2T²/weights, that of independent Gaussian velocities.
    inefficiency
        (groups,) g, if it is known from elsewhere, as from the series of the parameter that a row belongs to: n_eff
        and the verdict are taken from it, the standard error is still that of the group's own blocks.

    Notes
    -----
    Biased where blocks are not much longer than the correlation: for 𝒯 correlated as r^t, s is low by
    2r/((1 − r²)·n) of itself (1.8 % for n = 256, r = 0.81, Adam's), until the correlation of block means is seen.
    g, and n_eff with it, is as uncertain as a variance from that many blocks: fewer than ten are flagged. Without
    `squares` n_eff is too low by the factor by which the weights of a group move together, so that error bars are
    flagged that need not be; and too low by half the excess kurtosis plus one for velocities with heavy tails.
    """
    counts = np.asarray(counts, dtype=np.float64)
    sums = np.atleast_2d(np.asarray(sums, dtype=np.float64))
    there = counts > 0
    samples, blocks = float(counts.sum()), int(np.count_nonzero(there))
    safe = np.where(there, counts, 1.0)
    values = np.where(there, sums, 0.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        mean = values.sum(axis=1) / samples
        # √n (block mean − mean) has the same variance s in long and short blocks.
        scaled = np.where(there, np.sqrt(safe) * (values / safe - mean[:, np.newaxis]), 0.0)
        spread = np.einsum("gb,gb->g", scaled, scaled) / (blocks - 1) if blocks > 1 else np.full(mean.shape, np.nan)
        between = _inefficiency_of_blocks(scaled, there)
        long_run = spread * between
        constant = _constant(values / safe, there)
        if inefficiency is not None:
            g = np.asarray(inefficiency)
        elif squares is not None:
            total = np.where(there, np.atleast_2d(squares), 0.0).sum(axis=1)
            g = np.maximum(long_run / np.maximum(total / samples - mean**2, 0), 1.0)
        elif weights is not None:
            g = np.maximum(long_run * np.asarray(weights) / (2 * mean**2), 1.0)
        else:
            raise TypeError(
                "from_blocks() needs squares, weights or inefficiency: without them the variance of a sample is unknown"
            )
        g = np.where(constant, 1.0, g)
        freedom = np.maximum(blocks / between - 1, 1)
        by_blocks = np.sqrt(long_run / samples) * stdtrit(freedom, 0.975) / NORMAL
    if blocks < LEAST_BLOCKS:
        by_blocks = np.where(constant, 0.0, np.nan)
    by_batches = _batch_error(counts, values, epoch, samples / g)
    return _judged(mean, by_batches, by_blocks, g, samples, constant, weights, enough=blocks >= RELIABLE_BLOCKS)


def batches_of(counts: Array, batches: int, epoch: Array | None = None) -> Array:
    """Which of (at most) so many batches of equal length each sample or block belongs to, in order of time.

    Parameters
    ----------
    counts
        (items,) samples in each item: 1 (0) for a sample that is present (missing), a block's length.
    batches
        How many; no more than there are epochs where these are kept whole.
    epoch
        (items,) labels: with ten epochs or more, none is cut.
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
    """Standard error from batch means, widened to t; NaN with fewer than two batches."""
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
    ratio = float(stdtrit(length.size - 1, 0.975)) / NORMAL
    return np.asarray(np.sqrt(spread / length.sum()) * ratio)


def _inefficiency_of_blocks(scaled: Array, there: Array) -> Array:
    """Inefficiency of a sequence of block means: 1 unless neighbours are correlated beyond chance.

    On white noise the rule alone would find 1.1, because it stops where the noise turns negative.
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


def _constant(table: Array, there: Array) -> Array:
    """Groups all of whose samples are one number, to the rounding of sums; nothing is known from a single sample."""
    kept = table[:, there]
    if kept.shape[1] < 2:
        return np.zeros(table.shape[0], dtype=bool)
    with np.errstate(invalid="ignore"):
        low, high = kept.min(axis=1), kept.max(axis=1)
        return np.asarray(np.isfinite(high) & (high - low <= 1e-12 * np.maximum(np.abs(low), np.abs(high))))


def _deviations(table: Array, present: Array, count: int) -> Array:
    """Deviations from the mean in units of the largest one, 0 where missing or constant; NaN where not finite."""
    with np.errstate(invalid="ignore"):
        values = np.where(present, table, 0.0)
        deviation = np.where(present, values - values.sum(axis=1, keepdims=True) / max(count, 1), 0.0)
        deviation[_constant(table, present)] = 0.0
        # Squares of temperatures near 1e-160 would underflow.
        largest = np.abs(deviation).max(axis=1, keepdims=True, initial=0.0)
        return np.asarray(np.where(np.isfinite(largest), deviation / np.where(largest > 0, largest, 1.0), np.nan))


def _products(deviation: Array, size: int) -> Array:
    """Σ_i d(i) d(i + t) for all t, (groups, samples)."""
    spectrum = fft.rfft(deviation, size, axis=1)
    power = spectrum.real**2 + spectrum.imag**2
    return np.asarray(fft.irfft(power, size, axis=1)[:, : deviation.shape[1]])
