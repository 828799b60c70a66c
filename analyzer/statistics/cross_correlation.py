"""The correlation of two series, with an error that allows for the correlation of each in time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import ndtr

from analyzer.statistics.correlations import correlations

Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True)
class CrossCorrelation:
    """Correlations of all pairs of series; all arrays are (series, series).

    Attributes
    ----------
    r
        Pearson's coefficient. NaN if a series is constant or not finite.
    standard_error
        Standard error of r: (1 − r²)/√(n_eff − 1).
    n_eff
        Effective number of independent pairs of samples: N/Σ_t ρ_x(t) ρ_y(t), with autocorrelations ρ.
    p_value
        p-value of the hypothesis r = 0, by Fisher's z with n_eff samples. NaN for n_eff of 4 or less.
    """

    r: Array
    standard_error: Array
    n_eff: Array
    p_value: Array


def cross_correlation(series: Array) -> CrossCorrelation:
    """Correlate every series with every other at equal times.

    For two independent series, r has the variance Σ_t ρ_x(t) ρ_y(t)/N over lags t of both signs (Bartlett, J. R. Stat.
    Soc. 98:536, 1935). The sum stops at the first lag at which either autocorrelation is not positive, because what
    follows is noise, and at N/8 at the latest.

    Parameters
    ----------
    series
        (series, samples). Means of long batches are best: autocorrelations estimated from N samples are too low by
        about g/N, with g the statistical inefficiency, and for such means g is near 1.

    Returns
    -------
    CrossCorrelation
    """
    table = np.asarray(series, dtype=np.float64)
    count, samples = table.shape
    own = np.zeros((count, max(samples // 8, 2)))
    for some, correlation, _ in correlations(table, np.ones(samples, dtype=bool)):
        kept = correlation[:, : own.shape[1]]
        own[some, : kept.shape[1]] = kept
    products = own[:, np.newaxis, 1:] * own[np.newaxis, :, 1:]
    positive = (own[:, np.newaxis, 1:] > 0) & (own[np.newaxis, :, 1:] > 0)
    products = np.where(np.cumsum(~positive, axis=2) == 0, products, 0.0)
    n_eff = samples / (1 + 2 * products.sum(axis=2))
    with np.errstate(divide="ignore", invalid="ignore"):  # a series that is not finite correlates with nothing: NaN
        deviation = table - table.mean(axis=1, keepdims=True)
        largest = np.abs(deviation).max(axis=1, keepdims=True, initial=0.0)
        scaled = deviation / largest  # squares of 1e-160 would underflow
        scaled /= np.sqrt((scaled**2).sum(axis=1, keepdims=True))
        r = np.clip(scaled @ scaled.T, -1, 1)
        error = (1 - r**2) / np.sqrt(np.where(n_eff > 1, n_eff - 1, np.nan))
        p_value = 2 * ndtr(-np.abs(np.arctanh(r)) * np.sqrt(np.where(n_eff > 4, n_eff - 3, np.nan)))
    missing = np.isnan(r)
    return CrossCorrelation(r, *(np.where(missing, np.nan, values) for values in (error, n_eff, p_value)))
