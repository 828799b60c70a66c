"""Correlations and displacements with error bars, from sums of pairs in batches of time.

Neighbouring pairs are correlated; displacements are, for as long as their lag. So an error bar comes from batches of at
least max(256, 2τ) frames. The correlation r₁ of neighbouring batches is allowed for: the variance is multiplied by
1 + 2 r₁, and Student's t has half as many degrees of freedom as there are batches. Batches of 256 frames would cover
only 39 to 90 % at lags of 1,000 and more (300 systems of a prototype). Fewer than eight batches, at a lag beyond a
sixteenth of the window, give no interval: every estimator that was tried covers too little there. The coverage of this
one: `tests/benchmarks/COVERAGE.md`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from analyzer.statistics.density import NORMAL

Array = np.ndarray[Any, np.dtype[Any]]

FEWEST_BATCHES = 7.25
"""Least number of batches of an error bar. Eight fit a window at a lag of a sixteenth of it. Pairs begin one lag later,
and batches end on a grid, which leaves seven and a bit."""
LEAST_FRAMES = 256
"""Shortest batch."""
SUMMED = 2
"""C is summed for its integral to so many times the first lag at which it is not distinguishable from 0. What is left
of an exponential there is the square of its error bar. Summed to that lag alone, the intervals of AR(1) velocities held
the truth in 82 % (ρ = 0.9) and 61 % (ρ = 0.99)."""
HIDDEN = 2.5758293035489004
"""The correlation time has no error bar where its interval leaves out what the displacement says at the longest lag
with an error bar, and both differ by more than so many errors of the latter: p < 0.01. A small, slow part of C below
the error bars of each C(τ) is not small in the sum: in a minimum the whole sum is 0, and 0 to 2 % of intervals held
that."""
PRODUCTS, SQUARES = 0, 1


@dataclass(frozen=True)
class Lagged:
    """Correlation and displacement of groups in one window; all arrays (groups, lags), in frames and weights.

    Attributes
    ----------
    autocorrelation, displacement
        C(τ) = ⟨v(t) v(t + τ)⟩ and MSD(τ) = ⟨(w(t + τ) − w(t))²⟩.
    normalised
        C(τ)/C(0).
    exponent
        d ln MSD/d ln τ, from the two neighbouring lags.
    ..._error
        Standard errors: mean ± 1.96 of them is a 95 % interval. NaN with fewer than eight batches.
    n_eff
        Effective number of independent batches in the displacement (at lag 0: in the correlation).
    time, time_error
        (groups,) integrated correlation time in frames, ½ + Σ C(τ)/C(0); NaN unless the lags begin with 0 and 1, and
        lie close up to the cutoff (`are_close`).
    cutoff
        (groups,) the lag up to which C is summed: about twice the first at which it is not distinguishable from 0.
    """

    autocorrelation: Array
    autocorrelation_error: Array
    normalised: Array
    normalised_error: Array
    displacement: Array
    displacement_error: Array
    exponent: Array
    exponent_error: Array
    n_eff: Array
    time: Array
    time_error: Array
    cutoff: Array


@np.errstate(divide="ignore", invalid="ignore")  # without pairs or velocities, NaN is right
def lagged(sums: Array, counts: Array, lags: Array, weights: Array, length: int) -> Lagged:
    """Return correlations and displacements of one window.

    Parameters
    ----------
    sums
        (groups, batches, lags, 2): sums of products and of squares over weights and pairs, batches in order of time.
    counts
        (batches, lags, 2): pairs of each weight.
    lags
        (lags,) in frames, increasing.
    weights
        (groups,) number of weights.
    length
        Frames of a batch.
    """
    groups = sums.shape[0]
    if not counts.shape[0]:  # a window in a gap
        sums, counts = np.zeros((groups, 1, lags.size, 2)), np.zeros((1, lags.size, 2))
    per_weight = sums / weights[:, np.newaxis, np.newaxis, np.newaxis]
    means = per_weight.sum(axis=1) / counts.sum(axis=0)
    error = np.full((groups, lags.size, 2), np.nan)
    n_eff, ratio_error = np.full((2, groups, lags.size), np.nan)
    zero = int(np.searchsorted(lags, 0))
    has_zero = zero < lags.size and lags[zero] == 0
    ratio = means[:, :, PRODUCTS] / means[:, zero, PRODUCTS, np.newaxis] if has_zero else np.full_like(n_eff, np.nan)
    for some, joined, pairs in _joined(per_weight, counts, lags, length):
        share = pairs / pairs.sum(axis=0)
        off = share * (joined / pairs - means[:, np.newaxis, some])
        error[:, some], effective = spread(np.where(pairs > 0, off, 0.0), share)
        n_eff[:, some] = np.where(lags[some] > 0, effective[:, :, SQUARES], effective[:, :, PRODUCTS])
        if has_zero:
            at_zero, zeros = _rebatched(per_weight[:, :, zero, PRODUCTS], counts[:, zero, PRODUCTS], joined.shape[1])
            left = _left_out(joined[..., PRODUCTS], pairs[..., PRODUCTS])
            left /= _left_out(at_zero, zeros)[:, :, np.newaxis]
            off = (ratio[:, np.newaxis, some] - left) * (1 - share[..., PRODUCTS])
            ratio_error[:, some], _ = spread(np.where(pairs[..., PRODUCTS] > 0, off, 0.0), share[..., PRODUCTS])
    if has_zero:
        ratio_error[:, zero] = np.where(np.isnan(error[:, zero, PRODUCTS]), np.nan, 0.0)
    exponent, exponent_error = _exponents(per_weight, counts, lags, means, length)
    time, time_error, cutoff = _time(per_weight, counts, lags, ratio, ratio_error, length)
    hidden = _hides_a_slow_part(ratio, time_error, cutoff, means, error[..., SQUARES], lags)
    return Lagged(
        means[..., PRODUCTS],
        error[..., PRODUCTS],
        ratio,
        ratio_error,
        means[..., SQUARES],
        error[..., SQUARES],
        exponent,
        exponent_error,
        n_eff,
        time,
        np.where(hidden, np.nan, time_error),
        cutoff,
    )


def _joined(sums: Array, counts: Array, reach: Array, length: int) -> Iterator[tuple[Array, Array, Array]]:
    """Yield places of lags with equal batches, their sums (groups, batches, lags, 2) and pairs (batches, lags, 2).

    Batches are at least max(256, 2 · reach) frames long; lags without an interval are left out.
    """
    needed = np.maximum(-(-np.maximum(2 * reach, LEAST_FRAMES) // length), 1)
    for several in np.unique(needed):
        some = np.flatnonzero(needed == several)
        batches = -(-counts.shape[0] // int(several))
        joined, pairs = _rebatched(sums[:, :, some], counts[:, some], batches, int(several))
        enough = effective(pairs / pairs.sum(axis=0)).min(axis=-1) >= FEWEST_BATCHES
        if enough.any():
            yield some[enough], joined[:, :, enough], pairs[:, enough]


def _rebatched(sums: Array, counts: Array, batches: int, several: int | None = None) -> tuple[Array, Array]:
    """Join neighbouring batches, `several` to one. A remainder shortens the first: it has the fewest pairs anyway."""
    several = several or -(-counts.shape[0] // batches)
    lack = batches * several - counts.shape[0]
    pairs = np.concatenate([np.zeros((lack, *counts.shape[1:])), counts])
    padded = np.concatenate([np.zeros((sums.shape[0], lack, *sums.shape[2:])), sums], axis=1)
    return (
        padded.reshape(sums.shape[0], batches, several, *sums.shape[2:]).sum(axis=2),
        pairs.reshape(batches, several, *counts.shape[1:]).sum(axis=1),
    )


def effective(share: Array) -> Array:
    """The number of equal batches that are worth as much as batches of these shares (batches, …)."""
    return np.asarray(1 / (share * share).sum(axis=0))


def _left_out(sums: Array, pairs: Array) -> Array:
    """The mean without each batch in turn, the shape of `sums`."""
    return np.asarray((sums.sum(axis=1, keepdims=True) - sums) / (pairs.sum(axis=0) - pairs))


def spread(off: Array, share: Array) -> tuple[Array, Array]:
    """Standard error of a mean, and the effective number of independent batches in it.

    Parameters
    ----------
    off
        (groups, batches, …) the contribution of each batch to the deviation of the mean.
    share
        (batches, …) share of the pairs in each batch.
    """
    batches = effective(share)
    squares = (off * off).sum(axis=1)
    alike = (off[:, 1:] * off[:, :-1]).sum(axis=1) / np.where(squares > 0, squares, 1) + 1 / batches
    inflation = 1 + 2 * np.clip(alike, 0, 0.5)
    variance = squares * batches / (batches - 1) * inflation
    return np.sqrt(variance) * student(batches / 2) / NORMAL, batches / inflation


def student(freedom: Array) -> Array:
    """Return the quantile 0.975 of Student's t, to 3e-4 from 3.5 degrees of freedom on (Abramowitz & Stegun, 26.7.5).

    Importing scipy's function takes longer than a question from kept sums.

    Examples
    --------
    >>> [f"{student(np.array(n)):.3f}" for n in (4.0, 10.0, 1e6)]
    ['2.776', '2.228', '1.960']
    """
    z, n = NORMAL, np.asarray(freedom, dtype=np.float64)
    terms = (
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
        (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / 92160,
    )
    return np.asarray(z + sum(term / n ** (power + 1) for power, term in enumerate(terms)))


def _exponents(sums: Array, counts: Array, lags: Array, means: Array, length: int) -> tuple[Array, Array]:
    """The slope of ln MSD over ln τ between the neighbours of each lag, and its jackknife error."""
    exponent, error = np.full((2, sums.shape[0], lags.size), np.nan)
    places = np.flatnonzero(lags > 0)
    if places.size < 2:
        return exponent, error
    before, after = np.maximum(places - 1, places[0]), np.minimum(places + 1, places[-1])
    width = np.log(lags[after] / lags[before])
    displacement = means[..., SQUARES]
    exponent[:, places] = np.log(displacement[:, after] / displacement[:, before]) / width
    for some, joined, pairs in _joined(sums[:, :, after], counts[:, after], lags[after], length):
        batches = joined.shape[1]
        low, low_pairs = _rebatched(sums[:, :, before[some], SQUARES], counts[:, before[some], SQUARES], batches)
        high, high_pairs = joined[..., SQUARES], pairs[..., SQUARES]
        left = np.log(_left_out(high, high_pairs) / _left_out(low, low_pairs)) / width[some]
        share = high_pairs / high_pairs.sum(axis=0)
        off = (exponent[:, np.newaxis, places[some]] - left) * (1 - share)
        error[:, places[some]], _ = spread(np.where(high_pairs > 0, off, 0.0), share)
    return exponent, error


def summing(lags: Array) -> Array:
    """Return the weight of each C(τ) in Σ C over lags 1 to each end, (ends, lags). Between two lags C is linear.

    Parameters
    ----------
    lags
        (lags,) increasing, beginning with 0 and 1.
    """
    table = np.zeros((lags.size, lags.size))
    for n in range(1, lags.size):
        table[n] = table[n - 1]
        apart = lags[n] - lags[n - 1]
        table[n, n - 1] += (apart - 1) / 2
        table[n, n] += (apart + 1) / 2
    return table


def are_close(lags: Array) -> Array:
    """Return whether C may be taken as linear from 0 up to each lag: none is a quarter further than the one before.

    Examples
    --------
    >>> are_close(np.array([0, 1, 2, 4, 5]))
    array([ True,  True,  True, False, False])
    """
    close = np.diff(lags) <= np.maximum(-(-lags[:-1] // 4), 1)
    return np.concatenate([[True], np.logical_and.accumulate(close)])


def _time(
    sums: Array, counts: Array, lags: Array, ratio: Array, ratio_error: Array, length: int
) -> tuple[Array, Array, Array]:
    """The integrated correlation time ½ + Σ C(τ)/C(0), its error, and the lag up to which it is summed."""
    groups = sums.shape[0]
    time, error, cutoff = np.full((3, groups), np.nan)
    if lags.size < 2 or lags[0] != 0 or lags[1] != 1:
        return time, error, cutoff
    weight = summing(lags)
    is_noise = _is_far(lags, ~(np.abs(ratio) > NORMAL * ratio_error))
    is_noise[:, 0] = False
    last = np.where(is_noise.any(axis=1), np.argmax(is_noise, axis=1), lags.size - 1)
    known = np.isfinite(ratio_error[:, 1]) & are_close(lags)[last]
    for end in np.unique(last[known]):
        some = np.flatnonzero(known & (last == end))
        table = weight[end]
        time[some] = 0.5 + ratio[some] @ table
        cutoff[some] = lags[end]
        several = max(-(-max(2 * int(lags[end]), LEAST_FRAMES) // length), 1)
        batches = -(-counts.shape[0] // several)
        used = np.arange(end + 1)
        joined, pairs = _rebatched(sums[some][:, :, used, PRODUCTS], counts[:, used, PRODUCTS], batches, several)
        left = _left_out(joined, pairs)
        off_time = time[some, np.newaxis] - (0.5 + (left / left[:, :, :1]) @ table[used])
        share = pairs[:, 0] / pairs[:, 0].sum()
        if effective(share) >= FEWEST_BATCHES:
            error[some], _ = spread(off_time * (1 - share), share)
    return time, error, cutoff


def _is_far(lags: Array, is_noise: Array) -> Array:
    """Whether each lag is so far beyond the first one (from 1 on) that is noise that the sum ends: (groups, lags)."""
    noise = is_noise & (lags > 0)
    first = np.where(noise.any(axis=1), lags[np.argmax(noise, axis=1)], lags[-1])
    return np.asarray(lags >= np.minimum(SUMMED * first, lags[-1])[:, np.newaxis])


def _hides_a_slow_part(
    ratio: Array, time_error: Array, cutoff: Array, means: Array, error: Array, lags: Array
) -> Array:
    """Whether displacements at the longest lag L with an error bar tell of correlation that is not in the sum of C.

    MSD(L)/(2L C(0)) = ½ + Σ_{τ<L} (1 − τ/L) C(τ)/C(0) exactly, for all lags up to L: (groups,) bool.
    """
    known = np.flatnonzero(np.isfinite(error).any(axis=0) & (lags > 0))
    if not known.size or lags[0] != 0:
        return np.zeros(len(ratio), dtype=bool)
    last = known[-1]
    unit = 2 * lags[last] * means[:, 0, PRODUCTS]
    kept = (lags[np.newaxis] <= cutoff[:, np.newaxis]) * np.maximum(1 - lags / lags[last], 0)
    ends = np.searchsorted(lags, np.nan_to_num(cutoff))
    summed = 0.5 + np.einsum("gl,gl->g", np.where(kept > 0, ratio * kept, 0.0), summing(lags)[ends])
    allowed = np.fmax(NORMAL * time_error, HIDDEN * error[:, last] / unit)
    return np.asarray(np.abs(summed - means[:, last, SQUARES] / unit) > allowed)
