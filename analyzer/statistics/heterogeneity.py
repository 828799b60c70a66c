"""Whether rows of a parameter differ in temperature: analysis of variance on batch means; and a ranking of the rows.

A permutation of elements would be wrong here: the elements of one row share the error signal of their unit, so
permuting them finds differences between equal rows. Time supplies the independent samples instead: a batch of steps
gives one mean for each row, and whatever the rows share within a batch stays together.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy  # scipy.stats takes as long to import as xarray: it is loaded where it is first used
from scipy.special import fdtrc

from analyzer.statistics.uncertainty import from_batches

Array = np.ndarray[Any, np.dtype[Any]]

DIFFER, NONE_FOUND, UNDECIDED = "differ", "no difference found", "undecided"
SIGNIFICANCE = 0.05
"""Level of the verdict on one parameter: of twenty parameters with equal rows, about one is called different."""
LEAST_BATCHES = 12
"""No verdict with fewer batches: they are too few to show whether batches are correlated, and have little power. With
12 batches equal rows are called different in 0.5 to 6 % of cases (tests/benchmarks/COVERAGE.md)."""
LEAST_EFFECTIVE = 5.0
"""Fewest effective batches, after their correlation, for a verdict. Below, the estimate of that correlation is at its
limit, and rows that fluctuate about one mean over half the window are called different in a fifth of windows."""
MOST_BATCHES = 64
"""Most batches of a test. More would not help: these give enough degrees of freedom, and longer ones correlate less."""
BATCH_INEFFICIENCIES = 3.0
"""Least length of a batch in units of the inefficiency g of 𝒯. The test estimates the correlation that is left between
batches and corrects for it: equal rows are called different in 0.5 to 5 % of cases with batches of 2.2, 4.4 and 9 g,
and in 3 to 5 % if half of the rows stay correlated eleven times as long as the others."""


@dataclass(frozen=True)
class RowsDiffer:
    """A test of the null hypothesis that all rows have the same temperature.

    Attributes
    ----------
    f
        Variance between the means of the rows, divided by the variance expected from their scatter in time. About 1
        under the null hypothesis.
    numerator, denominator
        Degrees of freedom, reduced by `sphericity` and by the correlation of batches.
    p_value
        p-value of the null hypothesis. NaN if there are too few rows or batches or if a mean is not finite.
    sphericity
        1 if the rows fluctuate independently and equally; 1/(rows − 1) if one contrast dominates.
    inefficiency
        Statistical inefficiency of the sequence of batch means, from all rows, in batches.
    batches
        Number of batches in the test.
    """

    f: float
    numerator: float
    denominator: float
    p_value: float
    sphericity: float
    inefficiency: float
    batches: int


def rows_differ(means: Array) -> RowsDiffer:
    """Test whether rows differ: an analysis of variance with rows as treatments and batches as repeated measurements.

    The mean over rows of each batch is subtracted first. The residuals may be correlated between rows and unequal in
    size, so the degrees of freedom are multiplied by Box's ε = tr(S)²/((rows − 1) tr(S²)), with S the covariance of the
    rows in time (Box, Ann. Math. Stat. 25:484, 1954). The estimate of tr(S²) is unbiased even with more rows than
    batches (Bai and Saranadasa, Stat. Sinica 6:311, 1996).

    Parameters
    ----------
    means
        (rows, batches) mean of 𝒯 over each batch of steps. Batches should be about equally long, and longer than the
        correlation of 𝒯; the correlation that is left is estimated and corrected for. A mean that is not finite leaves
        nothing to test.

    Returns
    -------
    RowsDiffer
    """
    table = _table(means)
    rows, batches = table.shape
    if rows < 2 or batches < 3 or not np.isfinite(table).all():
        return _untested(np.nan, np.nan, batches)
    deviation = table - table.mean(axis=0)
    row_means = deviation.mean(axis=1)
    residual = deviation - row_means[:, np.newaxis]
    within = residual @ residual.T / (batches - 1)
    trace = float(np.trace(within))
    between = batches * float(row_means @ row_means)
    rounding = 1e-24 * float((table**2).sum())
    if trace <= rounding:
        return _untested(np.inf, 0.0, batches) if between > rounding else _untested(np.nan, 1.0, batches)
    squares = float((within**2).sum()) - trace**2 / (batches - 1)
    squares *= (batches - 1) ** 2 / ((batches + 1) * (batches - 2))
    sphericity = float(np.clip(trace**2 / ((rows - 1) * squares), 1 / (rows - 1), 1)) if squares > 0 else 1.0
    g = _inefficiency_of_batches(residual)
    f = between / trace / g
    numerator = sphericity * (rows - 1)
    denominator = numerator * max(batches / g - 1, 1)
    return RowsDiffer(f, numerator, denominator, float(fdtrc(numerator, denominator, f)), sphericity, g, batches)


def _table(means: Array) -> Array:
    """Means (rows, batches), contiguous by batch: then a row's sums have the same bits for any number of rows."""
    return np.asarray(means, dtype=np.float64, order="F")


def _untested(f: float, p_value: float, batches: int) -> RowsDiffer:
    """Return a result without an F test: too few data, or rows that are constant and so equal or different for sure."""
    return RowsDiffer(f, np.nan, np.nan, p_value, np.nan, np.nan, batches)


@dataclass(frozen=True)
class Ranking:
    """Rows from hot to cold.

    Attributes
    ----------
    order
        (rows,) numbers of the rows, hottest first; rows that are not finite come last.
    mean, standard_error
        (rows,) in the order of the rows, not of the ranking. Mean ± 1.96 standard errors is a 95 % interval.
    n_eff, unreliable
        (rows,) effective number of independent samples, and True if it is too small for a reliable standard error.
    stability
        Spearman's rank correlation between the means of the first and the second half of the batches, −1 to 1. Its
        expected value is 0 if all rows are equal.
    """

    order: Array
    mean: Array
    standard_error: Array
    n_eff: Array
    unreliable: Array
    stability: float


def ranking(means: Array, counts: Array, weights: Any, *, relative_variance: float | None = None) -> Ranking:
    """Rank rows by their mean over all batches.

    Parameters
    ----------
    means
        (rows, batches) mean of 𝒯 over each batch. A row with a mean that is not finite comes last, and has none.
    counts
        (batches,) steps in each batch.
    weights
        () or (rows,) number of weights in each row.
    relative_variance
        Variance of 𝒯 over T² of the parameter that the rows belong to, if it is known.

    Returns
    -------
    Ranking
    """
    table, lengths = _table(means), np.asarray(counts, dtype=np.float64)
    answer = from_batches(
        lengths,
        table * lengths,
        weights=weights,
        relative_variance=None if relative_variance is None else np.full(len(table), relative_variance),
    )
    order = np.argsort(-answer.mean, kind="stable")
    half = int(np.searchsorted(np.cumsum(lengths), lengths.sum() / 2)) + 1
    early, late = (
        np.average(t, axis=1, weights=n) if n.size else np.full(table.shape[0], np.nan)
        for t, n in ((table[:, :half], lengths[:half]), (table[:, half:], lengths[half:]))
    )
    return Ranking(
        order,
        answer.mean,
        answer.standard_error,
        answer.n_eff,
        answer.unreliable,
        rank_correlation(early, late),
    )


def rank_correlation(one: Array, other: Array) -> float:
    """Return Spearman's rank correlation of two sets of means (rows,), over the rows that are finite in both.

    NaN with fewer than two such rows, or if a set is constant.
    """
    finite = np.isfinite(one) & np.isfinite(other)
    if finite.sum() < 2:
        return float("nan")
    ranks = [scipy.stats.rankdata(values[finite]) for values in (one, other)]
    ranks = [r - r.mean() for r in ranks]
    scale = np.sqrt(float(ranks[0] @ ranks[0]) * float(ranks[1] @ ranks[1]))
    return float(ranks[0] @ ranks[1] / scale) if scale else float("nan")


@dataclass(frozen=True)
class Judgement:
    """The rows of one parameter ranked, and whether they differ.

    Attributes
    ----------
    ranking
        Ranking by the means of all batches.
    test
        Test with the batches that are about equally long.
    length
        Samples in a batch of the test.
    verdict
        `DIFFER`, `NONE_FOUND` or `UNDECIDED`.
    reason
        Why the verdict is `UNDECIDED`, else empty.
    """

    ranking: Ranking
    test: RowsDiffer
    length: float
    verdict: str
    reason: str


def judge(
    means: Array, counts: Array, weights: Any, inefficiency: float, relative_variance: float | None = None
) -> Judgement:
    """Rank rows and test whether they differ, from means over short batches of steps.

    Neighbouring batches are joined until they are longer than the correlation (`joined`). The result is tested twice:
    as it is, and with batches joined further until 12 to 23 are left. The larger p-value counts. Short batches have
    more power if the correlation is short. Long ones show that rows fluctuate slowly about one mean, which noise hides
    from the short ones: ten rows of one weight that fluctuate by 20 % over a twentieth of the window are called
    different in 34 % of cases by the first test alone, in 9 % by both.

    There is no verdict if the short batches find a difference and the long ones do not. Nor is there one where the
    error rates of the test are unknown: with one row, with fewer than `LEAST_BATCHES` batches, with fewer than
    `LEAST_EFFECTIVE` effective batches, or if a row is not finite.

    Parameters
    ----------
    means
        (rows, batches) mean of 𝒯 over each batch.
    counts
        (batches,) number of samples in each batch, at least one.
    weights
        () or (rows,) number of weights in each row.
    inefficiency
        Statistical inefficiency of 𝒯 of all rows together, in samples.
    relative_variance
        As for `ranking`.

    Returns
    -------
    Judgement

    Notes
    -----
    The test cannot see whether a difference outlasts the window. Equal rows whose fluctuation lasts for half of the
    window are called different in half of all windows; if it lasts for a seventh, in 13 %. The `stability` of the
    ranking tells more.
    """
    counts = np.asarray(counts, dtype=np.float64)
    starts = joined(counts, inefficiency)
    lengths = np.add.reduceat(counts, starts)
    table = np.add.reduceat(np.asarray(means) * counts, starts, axis=1) / lengths
    ranked = ranking(table, lengths, weights, relative_variance=relative_variance)
    # Batches at the ends of a window or at a gap may be shorter: their means scatter more than the test allows.
    length = float(np.median(lengths))
    whole = 2 * lengths >= length
    table, lengths = table[:, whole], lengths[whole]
    wide = max(lengths.size // LEAST_BATCHES, 1)
    fine, coarse = (
        rows_differ(np.add.reduceat(table * lengths, cut, axis=1) / np.add.reduceat(lengths, cut))
        for cut in (np.arange(lengths.size), np.arange(lengths.size // wide) * wide)
    )
    finite = bool(np.isfinite(ranked.mean).all())
    reason = _undecided(fine, coarse, len(table), finite, length, inefficiency)
    test, length = (coarse, wide * length) if coarse.p_value > fine.p_value else (fine, length)
    verdict = UNDECIDED if reason else DIFFER if test.p_value < SIGNIFICANCE else NONE_FOUND
    return Judgement(ranked, test, length, verdict, reason)


def joined(counts: Array, inefficiency: float) -> Array:
    """Return where to join short batches into long ones: the number of each long batch's first short one, (long,).

    A long batch spans at least `BATCH_INEFFICIENCIES` times the inefficiency, and there are at most `MOST_BATCHES` of
    them. `counts` (short,) and `inefficiency` are in samples.
    """
    longest = max(float(counts.max()), 1.0)
    g = inefficiency if np.isfinite(inefficiency) else 1.0
    wide = max(np.ceil(BATCH_INEFFICIENCIES * g / longest), np.ceil(counts.size / MOST_BATCHES), 1)
    return np.arange(0, counts.size, int(wide))


def _undecided(
    fine: RowsDiffer, coarse: RowsDiffer, rows: int, finite: bool, length: float, inefficiency: float
) -> str:
    """Return why there is no verdict; empty if there is one."""
    if not finite:
        return "a row has NaN or infinite weights"
    if rows < 2:
        return "there is only one row"
    if fine.batches < LEAST_BATCHES:
        needed = LEAST_BATCHES * max(length, BATCH_INEFFICIENCIES * inefficiency)
        return (
            f"{LEAST_BATCHES} batches are needed, each {BATCH_INEFFICIENCIES:g} times as long as 𝒯 is correlated "
            f"({inefficiency:.3g} velocities), and {fine.batches} are there; take a window of {needed:,.0f} or more"
        )
    effective = fine.batches / fine.inefficiency
    if effective < LEAST_EFFECTIVE:  # never if nothing fluctuates: then it is NaN
        return (
            f"temperatures fluctuate slowly within the window: its {fine.batches} batches are worth {effective:.2g} "
            f"independent ones, {LEAST_EFFECTIVE:g} are needed; take a later or longer window"
        )
    if fine.p_value < SIGNIFICANCE <= coarse.p_value:
        return (
            f"temperatures fluctuate slowly within the window: {fine.batches} batches find a difference "
            f"(p = {fine.p_value:.2g}), {coarse.batches} longer ones do not (p = {coarse.p_value:.2g}); "
            "take a later or longer window"
        )
    return ""


def _inefficiency_of_batches(residual: Array) -> float:
    """Return one inefficiency for all rows, (1 + r)/(1 − r), with r the correlation of neighbouring batches.

    r is averaged over rows with their variances as weights. Subtracting means from the same batches lowers r by about
    (1 + r)/(1 − r)/batches, which is added back to first order. r is used even if it is not significant: a test of r
    first, as for single groups, gave 27 % false rejections at r = 0.3 and 30 batches.
    """
    products = float((residual[:, 1:] * residual[:, :-1]).sum())
    batches = residual.shape[1]
    r = products / float((residual**2).sum()) * batches / (batches - 1)
    r += (1 + max(r, 0)) / (1 - min(r, 0.9)) / batches
    r = min(max(r, 0.0), 1 - 2 / batches)
    return float((1 + r) / (1 - r))
