"""Standard errors of time averages over correlated samples, the effective number of samples, and when to trust them.

All three come from the projections of one series on the slowest cosines of its window (`analyzer.statistics.density`):
the error bar from the first of them, n_eff and the flag from the others. The projections are independent, so a flag
does not depend on how large the bar came out. If both had the same, the unflagged bars of a system at a threshold would
be those that came out small, and 87 to 92 of 100 would hold the truth, not 95. Thresholds and coverage:
`docs/error-bars.md`, `tests/benchmarks/COVERAGE.md`.

All functions take many groups at once: series (groups, samples), or sums over batches of samples (groups, batches). The
result for one group does not depend on the others.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from analyzer.statistics.correlations import is_constant, table_of
from analyzer.statistics.density import Density, density_of

Array = np.ndarray[Any, np.dtype[Any]]

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
SKEWED, _MOST_SKEWED = 20.0, 1.0
"""Bars of kinetic energies are wider by this times the square of the relative error, at most by the latter.

A mean that comes out low has a bar that came out low as well: S goes as T^b, with b = 2 for velocities without
correlation and 3 for AR(1), from the third cumulants of their squares. To second order in the relative error e this
takes as much coverage as a narrowing by (b²t⁴/8 + (3β² − β)t²/2) e², with β = b/2 and t = 2: 12 e² to 28 e². Of single
weights at n_eff = 420 that is a tenth of the bar; of bars below 2 % less than a hundredth."""
_MOST_BINS = 1 << 10
"""Longer series are averaged in this many bins first, which keeps 99 % of the 64th cosine."""


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
    table, there = table_of(series, present)
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
    density = density_of(counts, sums)
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
    density = density_of(lengths, deviation)
    constant = is_constant(values / lengths, np.ones(batches, dtype=bool))
    return _judged(mean, unit, variance, density, samples, constant, weights, batches=batches)


def relative_variances(series: Array, present: Array | None = None) -> Array:
    """Return the variance of each series (groups, samples) over the square of its mean, (groups,)."""
    table, there = table_of(series, present)
    with np.errstate(divide="ignore", invalid="ignore"):
        kept = table[:, there]
        scaled = kept / kept.mean(axis=1, keepdims=True)
        return np.asarray(scaled.var(axis=1))


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
    density = density_of(lengths, deviations / unit[:, np.newaxis])
    error = unit * np.sqrt(density.value / lengths.sum()) * density.ratio
    return error, density.slow | np.isnan(error) | (lengths.size < RELIABLE_BATCHES)


def _judged(
    mean: Array,
    unit: Array,
    variance: Array,
    density: Density,
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
