"""Autocorrelations of series, by fast Fourier transforms."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]

_FEW = 1 << 18  # up to so many samples, numpy is done before scipy would be loaded
_TILE = 1 << 22  # samples transformed at once: about 200 MiB with the temporary arrays of the transforms


def correlations(table: Array, present: Array) -> Iterator[tuple[slice, Array, Array]]:
    """Yield the normalised autocorrelations of series about their means, a tile of groups at a time to limit memory.

    Parameters
    ----------
    table
        (groups, samples).
    present
        (samples,) False for a sample that is missing.

    Yields
    ------
    The slice of groups, C(t) (tile, samples) with C(0) = 1, and the number of pairs at each distance t (samples,). C is
    0 for a constant series and at distances without pairs, NaN for a series that is not finite.
    """
    samples = table.shape[1]
    size = _fast_length(2 * samples)
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


def _products(deviation: Array, size: int) -> Array:
    """Return Σ_i d(i) d(i + t) for all t, (groups, samples)."""
    fft = _transforms(deviation.size)
    spectrum = fft.rfft(deviation, size, axis=1)
    power = spectrum.real**2 + spectrum.imag**2
    return np.asarray(fft.irfft(power, size, axis=1)[:, : deviation.shape[1]])


def _transforms(samples: int) -> Any:
    """`scipy.fft`; but `numpy.fft` for few samples while scipy is not loaded. Both give the same bits.

    For many series at once scipy takes a fifth less time, but loading it takes as long as a short command.
    """
    if samples <= _FEW and "scipy.fft" not in sys.modules:
        return np.fft
    import scipy.fft

    return scipy.fft


def _fast_length(least: int) -> int:
    """The smallest 2^a·3^b·5^c that is at least `least`, as `scipy.fft.next_fast_len(least, real=True)` returns it."""
    best = 1 << max(least - 1, 0).bit_length()
    five = 1
    while five < best:
        odd = five
        while odd < best:
            best = min(best, odd << max(-(-least // odd) - 1, 0).bit_length())
            odd *= 3
        five *= 5
    return best


def _deviations(table: Array, present: Array, count: int) -> Array:
    """Return deviations from the mean in units of the largest one: 0 if missing or constant, NaN if not finite."""
    with np.errstate(invalid="ignore"):
        values = np.where(present, table, 0.0)
        deviation = np.where(present, values - values.sum(axis=1, keepdims=True) / max(count, 1), 0.0)
        deviation[is_constant(table, present)] = 0.0
        # Squares of temperatures near 1e-160 would underflow.
        largest = np.abs(deviation).max(axis=1, keepdims=True, initial=0.0)
        return np.asarray(np.where(np.isfinite(largest), deviation / np.where(largest > 0, largest, 1.0), np.nan))


def is_constant(table: Array, there: Array) -> Array:
    """Return which groups are constant up to the rounding of sums, (groups,) bool; False with a single sample."""
    kept = table[:, there]
    if kept.shape[1] < 2:
        return np.zeros(table.shape[0], dtype=bool)
    with np.errstate(invalid="ignore"):
        low, high = kept.min(axis=1), kept.max(axis=1)
        return np.asarray(np.isfinite(high) & (high - low <= 1e-12 * np.maximum(np.abs(low), np.abs(high))))


def table_of(series: Array, present: Array | None) -> tuple[Array, Array]:
    """Return one series or several as (groups, samples), and which samples are there, (samples,)."""
    table = np.atleast_2d(np.asarray(series, dtype=np.float64))
    there = np.ones(table.shape[1], dtype=bool) if present is None else np.asarray(present, dtype=bool)
    return table, there
