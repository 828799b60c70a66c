"""How velocities are distributed: a histogram of a sample, with error bars, to be held against Maxwell and Boltzmann's.

Each component of a velocity in equilibrium is Gaussian, f(v) = exp(−m v²/2 k_B T)/√(2π k_B T/m), T by the convention of
molecular dynamics (k_B T = m⟨v²⟩): what the name stands for in one dimension.
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
        (bins,) mean density in each bin and its standard error, NaN where the window is worth fewer than 20 independent
        samples in time.
    outside
        Share of velocities beyond the outermost edges.
    """

    density: Array
    error: Array
    outside: float


def histogram(scaled: Array, edges: Array, *, of: int | None = None) -> Histogram:
    """Density of a sample in bins, with the error that time and the choice of weights leave.

    What falls into a bin at one step, over all weights, is one sample of a time series: its correlation and scatter say
    how well its mean is known (weights depend on each other; nothing is assumed of how). Where only some of a group's
    weights were drawn, the scatter between weights is added.

    Parameters
    ----------
    scaled
        (weights, stretches, samples): stretches of consecutive velocities.
    edges
        (bins + 1,) increasing.
    of
        Weights that the sampled ones were drawn from; default: no others.
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
    """Mean density (bins,) of the standard normal distribution in bins: what scaled velocities tend to."""
    # From the nearer tail: differences of numbers near 1 would lose the far one.
    low, high = edges[:-1], edges[1:]
    near = np.where(low > 0, ndtr(-low) - ndtr(-high), ndtr(high) - ndtr(low))
    return np.asarray(near / (high - low))


def _counts(place: Array, bins: int) -> Array:
    """How often each bin occurs in every line of `place` (lines, n): (bins, lines)."""
    lines = len(place)
    flat = place + bins * np.arange(lines)[:, np.newaxis]
    return np.bincount(flat.reshape(-1), minlength=bins * lines).reshape(lines, bins).T.astype(np.float64)
