"""Do two series move together? Their correlation, and how many independent pairs of samples it rests on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import ndtr

from analyzer.statistics.uncertainty import correlations

Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True)
class CrossCorrelation:
    """Correlation of series, pair by pair; all (series, series).

    Attributes
    ----------
    r
        Pearson's coefficient; NaN for a series that is constant or not finite.
    standard_error
        (1 − r²)/√(n_eff − 1).
    n_eff
        Samples over Σ_t ρ_x(t) ρ_y(t), ρ the autocorrelations.
    p_value
        Of r = 0 by Fisher's z with n_eff samples: NaN below n_eff 4.
    """

    r: Array
    standard_error: Array
    n_eff: Array
    p_value: Array


def cross_correlation(series: Array) -> CrossCorrelation:
    """Correlation of series (series, samples) at equal times.

    Two independent series with autocorrelations ρ_x and ρ_y give r the variance Σ_t ρ_x(t) ρ_y(t)/N, t of both signs
    (Bartlett 1935). The sum ends where the product is first not positive, past which it is noise, or at an eighth of N.
    Autocorrelations over N samples are low by about g/N: give block means, which hardly are correlated.
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
    deviation = table - table.mean(axis=1, keepdims=True)
    largest = np.abs(deviation).max(axis=1, keepdims=True, initial=0.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        scaled = deviation / largest  # squares of 1e-160 would underflow
        scaled /= np.sqrt((scaled**2).sum(axis=1, keepdims=True))
        r = np.clip(scaled @ scaled.T, -1, 1)
        error = (1 - r**2) / np.sqrt(np.where(n_eff > 1, n_eff - 1, np.nan))
        p_value = 2 * ndtr(-np.abs(np.arctanh(r)) * np.sqrt(np.where(n_eff > 4, n_eff - 3, np.nan)))
    missing = np.isnan(r)
    return CrossCorrelation(r, *(np.where(missing, np.nan, values) for values in (error, n_eff, p_value)))
