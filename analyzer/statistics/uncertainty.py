"""Standard errors of time averages over correlated samples, the effective number of samples, and when to trust them.

All three come from the projections of one series on its lowest cosines, Λ_j = √(2/N) Σ_t (x_t − x̄) cos(π j (t + ½)/N),
j = 1 … 64. The mean of N samples has the variance S/N, with S the spectral density at frequency zero, and each Λ_j has
the variance S as long as the series is longer than its correlations. The error bar has S from the squares of the first
K: then (x̄ − true mean)/√(S/N) is Student's t with K degrees of freedom. (The equal-weighted cosine estimator: Müller,
J. Econometrics 141:1331, 2007; Lazarus, Lewis, Stock and Watson, J. Bus. Econ. Stat. 36:541, 2018.)

n_eff and the flag have S from the others. The Λ_j are independent, so a flag does not depend on how large the bar came
out. Thresholds and coverage: `docs/error-bars.md`, `tests/benchmarks/COVERAGE.md`.

All functions take many groups at once, which do not see each other: series (groups, samples) or sums over batches.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from analyzer.statistics.correlations import correlations, is_constant

Array = np.ndarray[Any, np.dtype[Any]]

PROJECTIONS = 12
"""Number of cosines from which S is estimated. Their t quantile is 1.11 times the normal one. More would narrow the
interval by a few percent, but miss slow changes: then a correlation time of N/100 lowers the coverage to 93 %. Of fewer
than 36 cosines it is a third. With 15 of them (16 batches) and a window that wanders with a time of 0.03 N, 94 % of the
unflagged bars from five cosines hold the truth, 93 % from eight and 89 % from twelve."""
FEW_PROJECTIONS = 4
"""Number of cosines in a window that changes slowly, and the least. Their t quantile is 1.42 times the normal one."""
_BROAD = 64
"""The slowest cosines are compared with the faster ones, up to this number."""
_FLAT = 36
"""From the next cosine on, the fastest are what those after the twelfth are compared with."""
SLOW = 0.01
"""p-value below which slow cosines count as stronger than faster ones (an F test): the window changes too slowly for
its length, and its bar is flagged. Compared are the 13th to 24th and those from the 37th on: the bar has none of them.
So 1 % of good windows are flagged, 7 in 10 of 50 correlation times, and nearly all of 20, even if only a small part of
the variance is correlated that long. Of fewer than 48 cosines the second third is compared with the last."""
VERY_SLOW = 0.001
"""The same for the four slowest cosines: for drifts of the whole. They are a part of the bar."""
_FULLY = (0.1, 0.001)
"""p-values of that test. Below the first, the four slowest cosines begin to count; at the second, only they count."""
LEAST_N_EFF = 20.0
"""Below this n_eff standard errors are NaN: a mean of so few samples is not Gaussian, and its correlation affects the
cosines."""
RELIABLE_N_EFF, RELIABLE_N_EFF_ELEMENT = 200.0, 500.0
"""Below this n_eff an error bar is flagged. A single weight needs more, because its kinetic energy is as skewed as χ²
with one degree of freedom."""
RELIABLE_ERROR = 0.25
"""Above this relative error a bar of kinetic energies is flagged: its mean is of few bursts. Gaussians have 10 %."""
RELIABLE_BATCHES = 10
"""With fewer batches an error bar is flagged: few cosines are left for n_eff and the flag."""
LEAST_BATCHES = 4
"""With fewer batches there is no error bar: an honest interval would reach far below zero."""
SKEWED, _MOST_SKEWED = 20.0, 1.0
"""Bars of kinetic energies are wider by this times the square of the relative error, at most by the latter.

A mean that comes out low has a bar that came out low as well: S goes as T^b, with b = 2 for velocities without
correlation and 3 for AR(1), from the third cumulants of their squares. To second order in the relative error e this
takes as much coverage as a narrowing by (b²t⁴/8 + (3β² − β)t²/2) e², with β = b/2 and t = 2: 12 e² to 28 e². Of single
weights at n_eff = 420 that is a tenth of the bar; of bars below 2 % less than a hundredth."""
NORMAL = 1.959963984540054
"""`mean ± NORMAL * standard_error` is the 95 % interval of every estimate here: `scipy.special.ndtri(0.975)`."""
_MOST_BINS = 1 << 10
"""Longer series are averaged in this many bins first, which keeps 99 % of the 64th cosine."""

_STUDENT = (
    (3, 3.1824463052837078), (4, 2.7764451051977934), (5, 2.5705818356363146), (6, 2.4469118511449786),
    (7, 2.364624251592784), (8, 2.306004135204166), (9, 2.262157162798205), (10, 2.228138851986274),
    (11, 2.200985160091639), (12, 2.1788128296672284),
)  # fmt: skip
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
        In the same units: mean ± 1.96 standard errors is a 95 % interval. It is √(S/N), times the ratio of the t
        quantile to 1.96; of kinetic energies also for their skewness (`SKEWED`). NaN if n_eff < 20.
    inefficiency
        Statistical inefficiency g, at least 1: g correlated samples carry the information of one independent sample.
    n_eff
        Effective number of independent samples: their number divided by g. It does not depend on the error bar, unless
        the window changes slowly or has fewer than nine batches.
    unreliable
        True if n_eff is below 200 (500 for a single weight), the window changes slowly (`SLOW`), there are fewer than
        ten batches, or the bar is above a quarter of a kinetic energy.
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
        Sum only the lags 1, 2, 4, 7, 11, …, as pymbar does with `fast=True`. It is not faster here.

    Returns
    -------
    g, () or (groups,), at least 1. NaN if a sample is NaN or infinite. 1 for a constant series, whose mean is exact.

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

    Parameters
    ----------
    series
        (groups, samples), such as the temperature 𝒯(t) of each group. A NaN makes its group NaN.
    present
        (samples,) False for a sample that is missing. Samples on both sides of a gap count as neighbours.
    epoch
        (samples,) label of each sample's epoch, in order. With ten epochs or more the projections are those of whole
        epochs, so that a pattern which repeats in each does not count as noise.
    weights
        () or (groups,) number of weights in each group, if the samples are their kinetic energies.
    """
    table, there = _table(series, present)
    count = int(np.count_nonzero(there))
    values = np.where(there, table, 0.0)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = values.sum(axis=1) / count if count else np.full(table.shape[0], np.nan)
        deviation = np.where(there, table - mean[:, np.newaxis], 0.0)
        unit = _unit(deviation)
        deviation /= unit[:, np.newaxis]
        relative = np.einsum("gs,gs->g", deviation, deviation) / max(count, 1)
    edges = _edges(table.shape[1], epoch)
    counts = np.add.reduceat(there.astype(np.float64), edges) if edges.size else np.zeros(0)
    sums = np.add.reduceat(deviation, edges, axis=1) if edges.size else deviation
    density = _density(counts, sums)
    constant = is_constant(table, there)
    return _judged(mean, unit, relative, density, count, constant, weights)


def _edges(samples: int, epoch: Array | None) -> Array:
    """Return where the bins of a series begin: single samples, or at most 1,024 runs of them, or of whole epochs."""
    if epoch is not None:
        label = np.asarray(epoch)
        begins = np.flatnonzero(np.append(True, label[1:] != label[:-1])[:samples])
        if begins.size >= RELIABLE_BATCHES:
            return np.asarray(begins[:: -(-begins.size // _MOST_BINS)])
    return np.arange(0, samples, max(-(-samples // _MOST_BINS), 1))


def from_batches(
    counts: Array,
    sums: Array,
    squares: Array | None = None,
    *,
    weights: Any = None,
    relative_variance: Array | None = None,
) -> Uncertainty:
    """Average over time, with standard errors from sums over batches of samples. For series too long to keep.

    The standard error needs only the batches. n_eff also needs the variance of a single sample. If Σ𝒯² is not known,
    the largest of three is taken: the variance of the batch means, 2T²/weights (independent Gaussian velocities), and
    `relative_variance`·T². All three are lower bounds in practice, and so is n_eff.

    Parameters
    ----------
    counts
        (batches,) number of samples in each batch, in order of time; 0 for a batch that is missing. Batches need not
        be longer than the correlation. Few of them widen the interval.
    sums, squares
        (groups, batches) Σ𝒯 and Σ𝒯² over the samples of each batch.
    weights
        () or (groups,) number of weights in each group, if the samples are their kinetic energies.
    relative_variance
        (groups,) variance of a sample over T², known from elsewhere; for a row, from its parameter's series.
    """
    counts = np.asarray(counts, dtype=np.float64)
    there = counts > 0
    lengths = counts[there]
    values = np.atleast_2d(np.asarray(sums, dtype=np.float64))[:, there]
    samples, batches = float(lengths.sum()), lengths.size
    with np.errstate(divide="ignore", invalid="ignore"):
        mean = values.sum(axis=1) / samples
        deviation = values - mean[:, np.newaxis] * lengths
        unit = _unit(deviation)
        deviation /= unit[:, np.newaxis]
        if squares is not None:
            total = np.where(there, np.atleast_2d(squares), 0.0).sum(axis=1)
            variance = np.maximum(total / samples - mean**2, 0) / unit**2
        else:
            variance = (deviation**2 / lengths).sum(axis=1) / samples
            if weights is not None:
                variance = np.maximum(variance, 2 / np.asarray(weights) * (mean / unit) ** 2)
            if relative_variance is not None:
                known = np.nan_to_num(np.asarray(relative_variance))
                variance = np.maximum(variance, known * (mean / unit) ** 2)
    density = _density(lengths, deviation)
    constant = is_constant(values / lengths, np.ones(batches, dtype=bool))
    return _judged(mean, unit, variance, density, samples, constant, weights, batches=batches)


def relative_variances(series: Array, present: Array | None = None) -> Array:
    """Return the variance of each series (groups, samples) over the square of its mean, (groups,)."""
    table, there = _table(series, present)
    with np.errstate(divide="ignore", invalid="ignore"):
        kept = table[:, there]
        scaled = kept / kept.mean(axis=1, keepdims=True)
        return np.asarray(scaled.var(axis=1))


@dataclass(frozen=True)
class _Density:
    """S of groups, in units of the squared deviations, and its reliability; all arrays are (groups,)."""

    value: Array
    """S of the error bar."""
    ratio: Array
    """The t quantile over 1.96."""
    other: Array
    """S of n_eff: from cosines that the bar does not have, if there are eight or more and the window is not slow."""
    slow: Array
    """Whether the slowest cosines are stronger than chance allows."""


def _density(counts: Array, deviations: Array) -> _Density:
    """Estimate S from sums of deviations from the mean, (groups, batches), over batches of `counts` samples."""
    groups, batches = deviations.shape
    most = min(batches - 1, _BROAD)
    if batches < LEAST_BATCHES or not counts.sum():
        unknown = np.full(groups, np.nan)
        return _Density(unknown, unknown, unknown, np.zeros(groups, dtype=bool))
    samples = counts.sum()
    waves = cosines(counts, most)
    # Not a product of matrices, whose last digits would depend on the number of groups.
    squares = 2 / samples * np.einsum("gb,bj->gj", deviations, waves) ** 2
    many = min(max(most // 3, FEW_PROJECTIONS), PROJECTIONS, most)
    value, ratio = squares[:, :many].mean(axis=1), np.full(groups, _student_ratio(many))
    if most < 2 * FEW_PROJECTIONS:
        return _Density(value, ratio, value, np.zeros(groups, dtype=bool))
    slowest = squares[:, :FEW_PROJECTIONS].mean(axis=1)
    begin = PROJECTIONS if most >= 2 * PROJECTIONS else FEW_PROJECTIONS
    with np.errstate(divide="ignore", invalid="ignore"):
        chance = _chance(slowest / squares[:, begin:].mean(axis=1), FEW_PROJECTIONS, most - begin)
        # As the evidence grows, the weight moves from all cosines of the bar to the four slowest: no error bar jumps.
        doubt = np.log(np.maximum(chance, 1e-300) / _FULLY[0]) / np.log(_FULLY[1] / _FULLY[0])
        fewer = _student_ratio(FEW_PROJECTIONS)
        wider = np.sqrt(slowest) * fewer > np.sqrt(value) * ratio
        share = np.where(wider & np.isfinite(doubt), np.clip(doubt, 0, 1), 0.0)
        value = np.where(share > 0, value ** (1 - share) * slowest**share, value)
        slow, band = chance < VERY_SLOW, many // 2 * 2
        fast = _FLAT if most >= _FLAT + PROJECTIONS else many + band
        if most > fast:
            falls = squares[:, many : many + band].mean(axis=1) / squares[:, fast:].mean(axis=1)
            slow |= _chance(falls, band, most - fast) < SLOW
        other = np.where(slow, value, squares[:, many:].mean(axis=1))
    return _Density(value, ratio ** (1 - share) * fewer**share, other, slow)


def cosines(counts: Array, most: int = PROJECTIONS) -> Array:
    """Return the slowest cosines of a window at the middles of its batches, (batches, most).

    `counts` (batches,) are the samples of each batch. If the deviations of a series from its mean add up to d
    (batches,) in its batches, its projections are Λ = √(2/samples)·d @ cosines.
    """
    middle = (np.cumsum(counts) - counts / 2) / counts.sum()
    return np.asarray(np.cos(np.pi * np.outer(middle, np.arange(1, most + 1))))


def error_of_batches(counts: Array, deviations: Array) -> tuple[Array, Array]:
    """Return standard errors of means, and whether the window changes too slowly or has too few batches for them.

    For any number that is, to first order, a mean over time, such as a logarithm of means or a share of variances.

    Parameters
    ----------
    counts
        (batches,) samples of each batch, in order of time; at least one.
    deviations
        (groups, batches) sums of the deviations from the mean over the samples of each batch.

    Returns
    -------
    error, unreliable, both (groups,)
        Mean ± 1.96 errors is a 95 % interval. NaN and True with fewer than four batches.
    """
    lengths = np.asarray(counts, dtype=np.float64)
    unit = _unit(deviations)
    density = _density(lengths, deviations / unit[:, np.newaxis])
    error = unit * np.sqrt(density.value / lengths.sum()) * density.ratio
    return error, density.slow | np.isnan(error) | (lengths.size < RELIABLE_BATCHES)


def _chance(ratio: Array, even: int, freedom: int) -> Array:
    """Return the probability that F exceeds a ratio: a closed form for an even number of degrees of freedom above."""
    share = freedom / (freedom + even * ratio)
    total = term = np.ones_like(share)
    for k in range(1, even // 2):
        term = term * (freedom / 2 + k - 1) / k * (1 - share)
        total = total + term
    return np.asarray(share ** (freedom / 2) * total)


def _student_ratio(freedom: int) -> float:
    return dict(_STUDENT)[freedom] / NORMAL


def _judged(
    mean: Array,
    unit: Array,
    variance: Array,
    density: _Density,
    samples: float,
    constant: Array,
    weights: Any,
    batches: int | None = None,
) -> Uncertainty:
    """Return mean, error and n_eff from a density. Deviations are in `unit`, variance and density in its square."""
    with np.errstate(divide="ignore", invalid="ignore"):
        n_eff = np.minimum(samples * variance / density.other, samples)
        n_eff = np.where(constant, float(samples), n_eff)
        error = np.where(constant, 0.0, unit * np.sqrt(density.value / samples) * density.ratio)
        error = np.where(n_eff >= LEAST_N_EFF, error, np.nan)
        if weights is not None:
            error *= 1 + np.minimum(SKEWED * np.where(error > 0, error / mean, 0.0) ** 2, _MOST_SKEWED)
        g = samples / n_eff
    single = np.asarray(weights if weights is not None else 2) == 1
    least = np.where(single, RELIABLE_N_EFF_ELEMENT, RELIABLE_N_EFF)
    few = batches is not None and batches < RELIABLE_BATCHES
    wide = error > RELIABLE_ERROR * mean if weights is not None else False
    return Uncertainty(mean, error, g, n_eff, ~(n_eff >= least) | np.isnan(error) | density.slow | few | wide)


def _unit(deviations: Array) -> Array:
    """Return the largest deviation of each group, or 1 if all are 0. In these units no square underflows."""
    largest = np.abs(deviations).max(axis=1, initial=0.0)
    return np.where(largest > 0, largest, 1.0)


def _table(series: Array, present: Array | None) -> tuple[Array, Array]:
    table = np.atleast_2d(np.asarray(series, dtype=np.float64))
    there = np.ones(table.shape[1], dtype=bool) if present is None else np.asarray(present, dtype=bool)
    return table, there
