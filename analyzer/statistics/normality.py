"""Are velocities Gaussian (Maxwell-Boltzmann)? Excess kurtosis and a Kolmogorov-Smirnov distance of a sample.

The null is that each weight's velocity is Gaussian with a mean and a variance of its own: every weight is scaled by its
own mean and rms over the window first. Pooled without that, Gaussian weights of different temperatures have heavy
tails. Nothing is assumed of how weights depend on each other, since those of one row share their unit's error signal:
what is averaged over weights at one step is one sample of a time series, and its scatter and correlation in time alone
say how far to trust its mean.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import ndtr, ndtri

from analyzer.statistics.stretches import laid_out, present, standardised
from analyzer.statistics.uncertainty import BATCHES, FEWER_BATCHES, RELIABLE_N_EFF, correlations, from_series

Array = np.ndarray[Any, np.dtype[Any]]

_GRID = 63
"""Quantiles of the normal distribution at which the scatter of the empirical one is followed."""
_DRAWS = 4000
"""Gaussian processes that the distance is compared with: p-values of 0.05 are known to 0.003."""
_FADED = 0.1
"""Correlation of a velocity below which the rest of it is taken for noise."""


@dataclass(frozen=True)
class Normality:
    """How Gaussian the velocities of a group are.

    Attributes
    ----------
    kurtosis, kurtosis_error, kurtosis_p
        Mean excess kurtosis of the weights, freed of the bias of short windows; ±1.96 of the error is a 95 % interval;
        p-value of 0.
    distance, distance_p
        Largest distance between the distribution of the scaled velocities and the normal one, and its p-value.
    n_eff
        Independent velocities that the distribution is worth: as many would scatter as it does.
    weights, samples
        Weights that move, and velocities of each.
    """

    kurtosis: float
    kurtosis_error: float
    kurtosis_p: float
    distance: float
    distance_p: float
    n_eff: float
    weights: int
    samples: int


def normality(velocities: Array, *, seed: int = 0) -> Normality:
    """Excess kurtosis and Kolmogorov-Smirnov distance from a Gaussian of each weight's own mean and variance.

    Scaling by estimated moments takes the first two Hermite components out of the empirical distribution (Lilliefors
    1967), and correlation in time damps the others unequally, so tables of the distance do not apply, whatever the
    effective size. The distance is compared with the largest value of Gaussian processes that have the covariance in
    time of the influence function 1(z ≤ x) − Φ(x) + φ(x)(z + x(z² − 1)/2), from batches, scaled to its standard error.

    Parameters
    ----------
    velocities
        (weights, stretches, samples): stretches of consecutive velocities, as far apart as they like. Weights that do
        not move are left out; one that is not finite makes all NaN.
    seed
        Of the Gaussian processes.

    Returns
    -------
    Normality. p-values are NaN with fewer than 20 independent samples in time.

    Notes
    -----
    The kurtosis of a Gaussian over n samples is −6 g₂/n on average, g₂ = Σ_t ρ(t)² with ρ the correlation of the
    velocity: added back. False rejections: `tests/benchmarks/NORMALITY.md`. A temperature that changes within the
    window makes a mixture of Gaussians, which has heavy tails: test windows of equilibrium.
    """
    v = np.asarray(velocities, dtype=np.float64)
    stretches, length = v.shape[1:]
    samples = stretches * length
    if not np.isfinite(v).all():
        return _nothing(len(v), samples)
    if not samples:
        return _nothing(0, samples)
    z = standardised(v).reshape(-1, samples)
    if not z.size or samples < FEWER_BATCHES:
        return _nothing(len(z), samples)
    there = present(stretches, length)
    squares = z * z
    # The mean of z² is 1, so this is the excess kurtosis; 6z² takes along what scaling takes out of its scatter.
    fourth = (squares * (squares - 6)).mean(axis=0, keepdims=True) + 3
    tails = from_series(laid_out(fourth, stretches, length), present=there)
    bias = -6 * _squared_correlation(laid_out(z, stretches, length), there) / samples
    kurtosis, error = float(tails.mean[0] - bias), float(tails.standard_error[0])
    at = ndtri(np.arange(1, _GRID + 1) / (_GRID + 1))
    influence, alone = _influence(z, at)
    found = from_series(laid_out(influence, stretches, length), present=there)
    errors = found.standard_error
    if (found.n_eff >= RELIABLE_N_EFF).all():
        # The larger of two estimates is too wide for the largest of many points; in a short window g alone is too low
        # (of Gaussian samples 12 % were rejected at 500 steps and ρ = 0.9).
        errors = np.sqrt(found.inefficiency * influence.var(axis=1) / (samples - found.inefficiency))
    n_eff = float(alone.sum() / (errors**2).sum())
    distance = _distance(z.reshape(-1))
    # At the same points as the processes: between them the distance has a little more room to grow.
    p_value = _exceeded(influence, errors, float(np.abs(influence.mean(axis=1)).max()), seed)
    return Normality(kurtosis, error, _two_sided(kurtosis, error), distance, p_value, n_eff, len(z), samples)


def _nothing(weights: int, samples: int) -> Normality:
    return Normality(np.nan, np.nan, np.nan, np.nan, np.nan, np.nan, weights, samples)


def _squared_correlation(z: Array, there: Array) -> float:
    """g₂ = Σ_t ρ(t)² over all t, ρ the correlation of a velocity with itself, the mean over weights."""
    mean = np.zeros(z.shape[1])
    for _, correlation, _ in correlations(z, there):
        mean += correlation.sum(axis=0) / len(z)
    faded = mean < _FADED
    end = int(np.argmax(faded)) if faded.any() else mean.size
    return float(1 + 2 * (mean[1:end] ** 2).sum())


def _influence(z: Array, at: Array) -> tuple[Array, Array]:
    """Influence function at points (points,) of the scaled velocities (weights, samples), their mean over weights.

    Returns
    -------
    (points, samples), and (points,) its variance for one independent Gaussian velocity: Φ(1 − Φ) − φ² (1 + x²/2).
    """
    samples, bins = z.shape[1], at.size + 1
    place = np.searchsorted(at, z) + bins * np.arange(samples)
    counts = np.bincount(place.reshape(-1), minlength=bins * samples).reshape(samples, bins)
    below = counts.cumsum(axis=1)[:, :-1].T / len(z)
    cdf, density = ndtr(at)[:, np.newaxis], (np.exp(-(at**2) / 2) / np.sqrt(2 * np.pi))[:, np.newaxis]
    first, second = z.mean(axis=0), (z * z).mean(axis=0) - 1
    influence = below - cdf + density * (first + 0.5 * at[:, np.newaxis] * second)
    alone = cdf * (1 - cdf) - density**2 * (1 + 0.5 * at[:, np.newaxis] ** 2)
    return influence, alone[:, 0]


def _distance(z: Array) -> float:
    """Largest |F_n − Φ|."""
    cdf = ndtr(np.sort(z))
    rank = np.arange(z.size + 1) / z.size
    return float(max((rank[1:] - cdf).max(), (cdf - rank[:-1]).max()))


def _exceeded(influence: Array, errors: Array, distance: float, seed: int) -> float:
    """How often the largest value of a Gaussian process passes a distance: t processes, as batches are few."""
    if not np.isfinite(errors).all():
        return float("nan")
    edges = np.linspace(0, influence.shape[1], BATCHES, endpoint=False).astype(np.int64)
    means = np.add.reduceat(influence, edges, axis=1) / np.diff(np.append(edges, influence.shape[1]))
    means = means - means.mean(axis=1, keepdims=True)
    size = np.sqrt((means**2).sum(axis=1))
    shape = means / np.where(size > 0, size, 1.0)[:, np.newaxis]
    rng = np.random.default_rng(seed)
    drawn = np.abs(shape @ rng.standard_normal((BATCHES, _DRAWS))) * errors[:, np.newaxis]
    return float((1 + np.count_nonzero(drawn.max(axis=0) >= distance)) / (1 + _DRAWS))


def _two_sided(value: float, error: float) -> float:
    return float(2 * ndtr(-abs(value) / error)) if error > 0 else float("nan")
