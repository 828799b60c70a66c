"""Whether velocities are Gaussian (Maxwell-Boltzmann): excess kurtosis and Kolmogorov-Smirnov distance of a sample.

The null hypothesis: each weight's velocity is Gaussian with its own mean and variance. So each weight is scaled by its
own mean and rms over the window before weights are pooled. Without that, Gaussian weights of different temperatures
would show heavy tails together.

Weights may depend on each other: those of one row share the error signal of their unit. So the average over weights at
one step counts as one sample of a time series, and errors come from the scatter and correlation of that series alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import ndtr, ndtri

from analyzer.statistics.correlations import correlations
from analyzer.statistics.inefficiency import statistical_inefficiency
from analyzer.statistics.stretches import laid_out, present, standardised
from analyzer.statistics.uncertainty import LEAST_N_EFF, RELIABLE_N_EFF, from_series

Array = np.ndarray[Any, np.dtype[Any]]

_GRID = 63
"""Number of quantiles of the normal distribution at which the scatter of the empirical one is measured."""
_BATCHES, _FEWEST = 20, 10
"""Batches that the simulated processes take their covariance from, and samples below which nothing is tested."""
_DRAWS = 4000
"""Number of simulated Gaussian processes for a p-value of the distance: one of 0.05 has an error of 0.003."""
_FADED = 0.1
"""The autocorrelation of a velocity counts as noise from the first lag at which it is below this."""


@dataclass(frozen=True)
class Normality:
    """Two tests of whether the velocities of a group are Gaussian.

    Attributes
    ----------
    kurtosis, kurtosis_error, kurtosis_p
        Mean excess kurtosis of the weights, corrected for the bias of short windows; its standard error (±1.96 errors
        are a 95 % interval); the p-value of the hypothesis that it is 0.
    distance, distance_p
        Largest difference between the cumulative distribution of the scaled velocities and the normal one, 0 to 1, and
        its p-value.
    n_eff
        Effective number of independent velocities: the distribution of n_eff independent ones scatters as much.
    weights, samples
        Number of weights that move, and of velocities of each.
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
    """Test velocities against a Gaussian with each weight's own mean and variance.

    The usual tables of the Kolmogorov-Smirnov distance do not apply. Scaling by estimated moments removes the first two
    Hermite components of the empirical distribution (Lilliefors, JASA 62:399, 1967), and correlation in time damps the
    other components unequally. Instead, the distance is compared with the largest values of simulated Gaussian
    processes. Their covariance is that of the influence function 1(z ≤ x) − Φ(x) + φ(x)(z + x(z² − 1)/2) over batches
    of steps, scaled to its standard error.

    Parameters
    ----------
    velocities
        (weights, stretches, samples), in stretches of consecutive steps with any gaps between. Weights that do not move
        are left out. A single value that is not finite makes every result NaN.
    seed
        Seed of the simulated processes.

    Returns
    -------
    Normality
        p-values are NaN with fewer than 20 effective samples in time.

    Notes
    -----
    The expected kurtosis of n Gaussian samples is −6 g₂/n, with g₂ = Σ_t ρ(t)² and ρ the autocorrelation of the
    velocity. This bias is subtracted. Rates of false rejection: `tests/benchmarks/NORMALITY.md`. A temperature that
    changes within the window gives a mixture of Gaussians, which has heavy tails, so test windows of equilibrium only.
    """
    v = np.asarray(velocities, dtype=np.float64)
    stretches, length = v.shape[1:]
    samples = stretches * length
    if not np.isfinite(v).all():
        return _nothing(len(v), samples)
    if not samples:
        return _nothing(0, samples)
    z = standardised(v).reshape(-1, samples)
    if not z.size or samples < _FEWEST:
        return _nothing(len(z), samples)
    there = present(stretches, length)
    squares = z * z
    # The mean of z² is 1, so the mean of this is the excess kurtosis. The term in z² gives it the smaller scatter that
    # a kurtosis of scaled velocities has.
    fourth = (squares * (squares - 6)).mean(axis=0, keepdims=True) + 3
    tails = from_series(laid_out(fourth, stretches, length), present=there)
    bias = -6 * _squared_correlation(laid_out(z, stretches, length), there) / samples
    kurtosis, error = float(tails.mean[0] - bias), float(tails.standard_error[0])
    at = ndtri(np.arange(1, _GRID + 1) / (_GRID + 1))
    influence, alone = _influence(z, at)
    laid = laid_out(influence, stretches, length)
    g = statistical_inefficiency(laid, present=there)
    with np.errstate(invalid="ignore"):
        errors = np.sqrt(g * influence.var(axis=1) / np.maximum(samples - g, 1))
    if not (samples / g >= RELIABLE_N_EFF).all():
        # g alone is too low in a short window: 12 % of Gaussian samples were rejected at 500 steps and ρ = 0.9. In a
        # long one the larger of two errors at each of many points would be too wide.
        errors = np.fmax(errors, from_series(laid, present=there).standard_error)
    errors = np.where(samples / g >= LEAST_N_EFF, errors, np.nan)
    n_eff = float(alone.sum() / (errors**2).sum())
    distance = _distance(z.reshape(-1))
    # The p-value compares distances at the grid points alone, because the processes are simulated only there.
    p_value = _exceeded(influence, errors, float(np.abs(influence.mean(axis=1)).max()), seed)
    return Normality(kurtosis, error, _two_sided(kurtosis, error), distance, p_value, n_eff, len(z), samples)


def _nothing(weights: int, samples: int) -> Normality:
    return Normality(np.nan, np.nan, np.nan, np.nan, np.nan, np.nan, weights, samples)


def _squared_correlation(z: Array, there: Array) -> float:
    """Return g₂ = Σ_t ρ(t)² over lags of both signs, with ρ the mean autocorrelation of the weights' velocities."""
    mean = np.zeros(z.shape[1])
    for _, correlation, _ in correlations(z, there):
        mean += correlation.sum(axis=0) / len(z)
    faded = mean < _FADED
    end = int(np.argmax(faded)) if faded.any() else mean.size
    return float(1 + 2 * (mean[1:end] ** 2).sum())


def _influence(z: Array, at: Array) -> tuple[Array, Array]:
    """Return the influence function at points `at` (points,), averaged over the weights of z (weights, samples).

    Returns
    -------
    The average (points, samples), and the variance (points,) that one independent Gaussian velocity would have:
    Φ(1 − Φ) − φ² (1 + x²/2).
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
    """Return the largest |F_n − Φ|, with F_n the empirical cumulative distribution of z (velocities,)."""
    cdf = ndtr(np.sort(z))
    rank = np.arange(z.size + 1) / z.size
    return float(max((rank[1:] - cdf).max(), (cdf - rank[:-1]).max()))


def _exceeded(influence: Array, errors: Array, distance: float, seed: int) -> float:
    """Return the share of simulated processes whose largest value reaches a distance.

    The processes are Gaussian, with the correlation between points that means of 20 batches have.
    """
    if not np.isfinite(errors).all():
        return float("nan")
    edges = np.linspace(0, influence.shape[1], _BATCHES, endpoint=False).astype(np.int64)
    means = np.add.reduceat(influence, edges, axis=1) / np.diff(np.append(edges, influence.shape[1]))
    means = means - means.mean(axis=1, keepdims=True)
    size = np.sqrt((means**2).sum(axis=1))
    shape = means / np.where(size > 0, size, 1.0)[:, np.newaxis]
    rng = np.random.default_rng(seed)
    drawn = np.abs(shape @ rng.standard_normal((_BATCHES, _DRAWS))) * errors[:, np.newaxis]
    return float((1 + np.count_nonzero(drawn.max(axis=0) >= distance)) / (1 + _DRAWS))


def _two_sided(value: float, error: float) -> float:
    return float(2 * ndtr(-abs(value) / error)) if error > 0 else float("nan")
