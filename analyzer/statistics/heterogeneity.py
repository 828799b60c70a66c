"""Do the rows of a layer differ? Between against within, on means over time blocks; ranking, and how stable it is.

Elements are never permuted: those of one row share their unit's error signal, so a permutation would find rows
different that are not. What is independent is time: a block of steps gives one mean for each row, and all that rows
share within a block stays together.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy  # scipy.stats takes as long to import as xarray: it is loaded where it is first used
from scipy.special import fdtrc

from analyzer.statistics.uncertainty import from_blocks

Array = np.ndarray[Any, np.dtype[Any]]

DIFFER, NONE_FOUND, UNDECIDED = "differ", "no difference found", "undecided"
SIGNIFICANCE = 0.05
"""Of a verdict on one parameter: of twenty whose rows are equal, one is expected to differ."""
LEAST_BLOCKS = 12
"""Fewer are too few to tell whether blocks are correlated, and little is found with them: no verdict. With as many,
equal rows are called different in 0.5 to 6 % (tests/benchmarks/COVERAGE.md)."""
LEAST_WORTH = 5.0
"""Independent blocks that the blocks must be worth, by their own correlation: below, the estimate of that correlation
is at its limit, and rows that wander over half the window about one mean are called different in a fifth of windows."""
MOST_BLOCKS = 64
"""More say nothing more: the degrees of freedom suffice, and longer blocks are less correlated."""
BLOCK_INEFFICIENCIES = 3.0
"""Length of a block in units of the inefficiency g of 𝒯, at least. What correlation is left between blocks is estimated
and taken off: equal rows are called different in 0.5 to 5 % at 2.2, 4.4 and 9 g, and in 3 to 5 % where half of the
rows are correlated over eleven times as long as the others."""


@dataclass(frozen=True)
class RowsDiffer:
    """A test of the null that all rows have one temperature.

    Attributes
    ----------
    f
        Variance between the rows' means over that expected from their scatter in time; about 1 under the null.
    numerator, denominator
        Degrees of freedom, lowered by `sphericity` and by the correlation of blocks.
    p_value
        Of the null; NaN where the rows or blocks do not suffice or a mean is not finite.
    sphericity
        1 for rows that fluctuate independently and equally; 1/(rows − 1) where one contrast dominates.
    inefficiency
        Of the sequence of blocks, from all rows: blocks that are worth one independent block.
    blocks
        That all rows have.
    """

    f: float
    numerator: float
    denominator: float
    p_value: float
    sphericity: float
    inefficiency: float
    blocks: int


def rows_differ(means: Array) -> RowsDiffer:
    """Analysis of variance with blocks as repeated measurements and rows as treatments.

    What all rows share in a block is taken out. The rest may be correlated between rows and unequal in size, so the
    degrees of freedom are multiplied by Box's ε = tr(S)²/((rows − 1) tr(S²)), S the covariance of the rows in
    time, with an estimate of tr(S²) that is unbiased for more rows than blocks too (Bai and Saranadasa 1996).

    Parameters
    ----------
    means
        (rows, blocks) mean of 𝒯 over each block of steps, blocks about equally long; NaN in all rows for a missing
        block. Blocks should be longer than the correlation of 𝒯; what is left of it is estimated and taken off.
    """
    table = np.asarray(means, dtype=np.float64)
    table = table[:, ~np.isnan(table).all(axis=0)]
    rows, blocks = table.shape
    if rows < 2 or blocks < 3 or not np.isfinite(table).all():
        return _untested(np.nan, np.nan, blocks)
    deviation = table - table.mean(axis=0)
    row_means = deviation.mean(axis=1)
    residual = deviation - row_means[:, np.newaxis]
    within = residual @ residual.T / (blocks - 1)
    trace = float(np.trace(within))
    between = blocks * float(row_means @ row_means)
    rounding = 1e-24 * float((table**2).sum())
    if trace <= rounding:
        return _untested(np.inf, 0.0, blocks) if between > rounding else _untested(np.nan, 1.0, blocks)
    squares = float((within**2).sum()) - trace**2 / (blocks - 1)
    squares *= (blocks - 1) ** 2 / ((blocks + 1) * (blocks - 2))
    sphericity = float(np.clip(trace**2 / ((rows - 1) * squares), 1 / (rows - 1), 1)) if squares > 0 else 1.0
    g = _inefficiency_of_blocks(residual)
    f = between / trace / g
    numerator = sphericity * (rows - 1)
    denominator = numerator * max(blocks / g - 1, 1)
    return RowsDiffer(f, numerator, denominator, float(fdtrc(numerator, denominator, f)), sphericity, g, blocks)


def _untested(f: float, p_value: float, blocks: int) -> RowsDiffer:
    """Too little to test, or nothing that fluctuates: constant rows are equal or they are not."""
    return RowsDiffer(f, np.nan, np.nan, p_value, np.nan, np.nan, blocks)


@dataclass(frozen=True)
class Ranking:
    """Rows from hot to cold.

    Attributes
    ----------
    order
        (rows,) numbers of the rows, hottest first; rows that are not finite last.
    mean, standard_error
        (rows,) in the order of the rows, not of the ranking; mean ± 1.96 standard errors is a 95 % interval.
    n_eff, unreliable
        (rows,) independent samples, and whether these are too few for the standard error to be trusted.
    stability
        Spearman's rank correlation of the first half of the blocks with the second: 0 is expected of equal rows.
    """

    order: Array
    mean: Array
    standard_error: Array
    n_eff: Array
    unreliable: Array
    stability: float


def ranking(
    means: Array, counts: Array, weights: Any, *, inefficiency: float | None = None, epoch: Array | None = None
) -> Ranking:
    """Rows ranked by their mean over all blocks.

    Parameters
    ----------
    means
        (rows, blocks) mean of 𝒯 over each block; NaN where missing.
    counts
        (blocks,) steps in each block.
    weights
        () or (rows,) weights in each row.
    inefficiency
        g of 𝒯 of the parameter that the rows belong to, if it is known.
    epoch
        (blocks,) label of each block's epoch; see `analyzer.statistics.uncertainty.from_blocks`.
    """
    table = np.asarray(means, dtype=np.float64)
    there = ~np.isnan(table).all(axis=0)
    table, lengths = table[:, there], np.asarray(counts, dtype=np.float64)[there]
    answer = from_blocks(
        lengths,
        table * lengths,
        weights=weights,
        epoch=None if epoch is None else np.asarray(epoch)[there],
        inefficiency=None if inefficiency is None else np.full(len(table), inefficiency),
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
    """Spearman's rank correlation of two sets of means (rows,), over rows finite in both; NaN if a set is constant."""
    finite = np.isfinite(one) & np.isfinite(other)
    if finite.sum() < 2:
        return float("nan")
    ranks = [scipy.stats.rankdata(values[finite]) for values in (one, other)]
    ranks = [r - r.mean() for r in ranks]
    scale = np.sqrt(float(ranks[0] @ ranks[0]) * float(ranks[1] @ ranks[1]))
    return float(ranks[0] @ ranks[1] / scale) if scale else float("nan")


@dataclass(frozen=True)
class Judgement:
    """What the blocks of one parameter say of its rows.

    Attributes
    ----------
    ranking, test
        From all blocks; from those that are about equally long.
    length
        Samples in a block.
    verdict
        `DIFFER`, `NONE_FOUND` or `UNDECIDED`.
    reason
        Why it is undecided, else empty.
    """

    ranking: Ranking
    test: RowsDiffer
    length: float
    verdict: str
    reason: str


def judge(means: Array, counts: Array, weights: Any, inefficiency: float, epoch: Array | None = None) -> Judgement:
    """Rows ranked, and whether they differ, from means over short batches of steps.

    Neighbouring batches are joined to blocks that are longer than the correlation (`joined`), and tested twice: as they
    are, and joined further to 12 to 23 blocks. The larger p-value counts. Short blocks tell more where the correlation
    is short; long ones see that rows wander slowly about one mean, which noise hides from the short ones (ten rows of
    one weight that wander by 20 % over a twentieth of the window differ in 34 % by the first test alone, in 9 % by
    both).

    No verdict is given where the short blocks find a difference and the long ones do not, and where the test has not
    been measured: with one row, with fewer than `LEAST_BLOCKS` blocks, with blocks that are worth fewer than
    `LEAST_WORTH` independent ones, and where a row is not finite.

    Parameters
    ----------
    means
        (rows, batches) mean of 𝒯 over each batch.
    counts
        (batches,) samples in each batch, at least one.
    weights
        () or (rows,) weights in each row.
    inefficiency
        g of 𝒯 of all rows together, in samples.
    epoch
        (batches,) label of each batch's epoch.

    Notes
    -----
    What lasts for half of the window counts as a difference, whether it would last longer or not (half of such
    windows; 13 % where it lasts for a seventh): the `stability` of the ranking says more.
    """
    counts = np.asarray(counts, dtype=np.float64)
    starts = joined(counts, inefficiency)
    lengths = np.add.reduceat(counts, starts)
    blocks = np.add.reduceat(np.asarray(means) * counts, starts, axis=1) / lengths
    labels = None if epoch is None else np.asarray(epoch)[starts]
    ranked = ranking(blocks, lengths, weights, inefficiency=inefficiency, epoch=labels)
    # The ends of a window, and what a gap leaves, may be shorter: their means scatter more than the test allows for.
    length = float(np.median(lengths))
    whole = 2 * lengths >= length
    blocks, lengths = blocks[:, whole], lengths[whole]
    wide = max(lengths.size // LEAST_BLOCKS, 1)
    fine, coarse = (
        rows_differ(np.add.reduceat(blocks * lengths, cut, axis=1) / np.add.reduceat(lengths, cut))
        for cut in (np.arange(lengths.size), np.arange(lengths.size // wide) * wide)
    )
    finite = bool(np.isfinite(ranked.mean).all())
    reason = _undecided(fine, coarse, len(blocks), finite, length, inefficiency)
    test, length = (coarse, wide * length) if coarse.p_value > fine.p_value else (fine, length)
    verdict = UNDECIDED if reason else DIFFER if test.p_value < SIGNIFICANCE else NONE_FOUND
    return Judgement(ranked, test, length, verdict, reason)


def joined(counts: Array, inefficiency: float) -> Array:
    """Numbers (blocks,) of the batches that blocks begin with.

    A block joins so many batches that it holds `BLOCK_INEFFICIENCIES` times the inefficiency, and more where there
    would be more than `MOST_BLOCKS`.
    """
    longest = max(float(counts.max()), 1.0)
    g = inefficiency if np.isfinite(inefficiency) else 1.0
    wide = max(np.ceil(BLOCK_INEFFICIENCIES * g / longest), np.ceil(counts.size / MOST_BLOCKS), 1)
    return np.arange(0, counts.size, int(wide))


def _undecided(
    fine: RowsDiffer, coarse: RowsDiffer, rows: int, finite: bool, length: float, inefficiency: float
) -> str:
    """Why there is no verdict, or nothing."""
    if not finite:
        return "a row has NaN or infinite weights"
    if rows < 2:
        return "one row alone"
    if fine.blocks < LEAST_BLOCKS:
        needed = LEAST_BLOCKS * max(length, BLOCK_INEFFICIENCIES * inefficiency)
        return (
            f"{LEAST_BLOCKS} blocks are needed, each {BLOCK_INEFFICIENCIES:g} times as long as 𝒯 is correlated "
            f"({inefficiency:.3g} velocities), and {fine.blocks} are there; take a window of {needed:,.0f} or more"
        )
    worth = fine.blocks / fine.inefficiency
    if worth < LEAST_WORTH:  # NaN where nothing fluctuates
        return (
            f"temperatures wander within the window: its {fine.blocks} blocks are worth {worth:.2g} independent ones, "
            f"and {LEAST_WORTH:g} are needed; take a later or longer window"
        )
    if fine.p_value < SIGNIFICANCE <= coarse.p_value:
        return (
            f"temperatures wander within the window: {fine.blocks} blocks find a difference (p = {fine.p_value:.2g}), "
            f"{coarse.blocks} longer ones do not (p = {coarse.p_value:.2g}); take a later or longer window"
        )
    return ""


def _inefficiency_of_blocks(residual: Array) -> float:
    """One inefficiency from all rows: (1 + r)/(1 − r), r the correlation of neighbouring blocks, averaged by variance.

    Taking the mean from the same blocks lowers r by about (1 + r)/(1 − r)/blocks: put back once, to first order. A test
    of r first, as for single groups, let 27 % false rejections through at r = 0.3 and 30 blocks.
    """
    products = float((residual[:, 1:] * residual[:, :-1]).sum())
    blocks = residual.shape[1]
    r = products / float((residual**2).sum()) * blocks / (blocks - 1)
    r += (1 + max(r, 0)) / (1 - min(r, 0.9)) / blocks
    r = min(max(r, 0.0), 1 - 2 / blocks)
    return float((1 + r) / (1 - r))
