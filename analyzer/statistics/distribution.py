"""Histograms of velocities with error bars, and the Maxwell-Boltzmann distribution to compare them with.

In equilibrium each component of a velocity is Gaussian: f(v) = exp(−m v²/2 k_B T)/√(2π k_B T/m). This is the
Maxwell-Boltzmann distribution in one dimension, with T in the convention of molecular dynamics, k_B T = m⟨v²⟩.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import ndtr

from analyzer.statistics.stretches import laid_out, present
from analyzer.statistics.uncertainty import from_series

Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True)
class Histogram:
    """Density of scaled velocities.

    Attributes
    ----------
    density, error
        (bins,) mean density in each bin and its standard error, both per unit of scaled velocity. The error is NaN with
        fewer than 20 effective samples in time.
    outside
        Share of velocities beyond the outermost edges, 0 to 1.
    """

    density: Array
    error: Array
    outside: float


def histogram(scaled: Array, edges: Array, *, of: int | None = None) -> Histogram:
    """Return the density of scaled velocities in bins, with standard errors.

    At each step, the share of all weights in a bin is one sample of a time series. The correlation and scatter of that
    series give the error, so nothing is assumed of how weights depend on each other. If only some of a group's weights
    were drawn, the scatter between weights is added.

    Parameters
    ----------
    scaled
        (weights, stretches, samples): velocities over their rms, in stretches of consecutive steps.
    edges
        (bins + 1,) increasing.
    of
        Number of weights that the sampled ones were drawn from. Default: the sample is the whole group.

    Returns
    -------
    Histogram
        All NaN if the sample is empty or not finite.
    """
    weights, stretches, length = scaled.shape
    samples, bins = stretches * length, edges.size - 1
    if not weights or not samples or not np.isfinite(scaled).all():
        return Histogram(np.full(bins, np.nan), np.full(bins, np.nan), float("nan"))
    place = np.searchsorted(edges, scaled.reshape(weights, samples), side="right")
    width = np.diff(edges)[:, np.newaxis]
    by_time = _counts(place.T, bins + 2) / weights
    by_weight = _counts(place, bins + 2)[1:-1] / samples / width
    found = from_series(laid_out(by_time[1:-1] / width, stretches, length), present=present(stretches, length))
    drawn = 0.0 if of is None or of <= weights or weights < 2 else (1 - weights / of) / weights
    error = np.sqrt(found.standard_error**2 + drawn * by_weight.var(axis=1, ddof=min(weights - 1, 1)))
    return Histogram(found.mean, error, float(by_time[[0, -1]].sum(axis=0).mean()))


def maxwell_boltzmann(edges: Array) -> Array:
    """Return the mean density of the standard normal distribution in each bin, (bins,), for `edges` (bins + 1,).

    Velocities over their rms have this distribution in equilibrium.
    """
    # Each bin is taken from the tail on its own side: differences of numbers near 1 lose digits.
    low, high = edges[:-1], edges[1:]
    near = np.where(low > 0, ndtr(-low) - ndtr(-high), ndtr(high) - ndtr(low))
    return np.asarray(near / (high - low))


def _counts(place: Array, bins: int) -> Array:
    """Count each bin's number in every line of `place` (lines, n); returns (bins, lines)."""
    lines = len(place)
    flat = place + bins * np.arange(lines)[:, np.newaxis]
    return np.bincount(flat.reshape(-1), minlength=bins * lines).reshape(lines, bins).T.astype(np.float64)
