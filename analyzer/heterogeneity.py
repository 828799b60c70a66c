"""Rows of a layer: whether they differ in temperature, which are hot, and whether their order lasts.

Everything is computed from the mean squared velocity of each (row, time block). The elements of one row share their
output unit's error signal, so they are no independent samples, and permuting them finds differences where there are
none (40 of 40 false rejections).
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from scipy.special import fdtrc, stdtrit
from scipy.stats import spearmanr

from analyzer.errors import GroupError, WindowError

Array = np.ndarray[Any, np.dtype[Any]]

BATCHES = 10
LEAST_ROWS, LEAST_BLOCKS = 3, 20


@dataclass(frozen=True, eq=False)
class Heterogeneity:
    """How the rows of one layer differ over a window.

    Attributes
    ----------
    mean, standard_error
        (rows,) mean squared velocity of each row over the window, and its error from ten batch means with the ratio of
        t(9) to the normal distribution. NaN for a row with NaN.
    ranking
        (rows used,) numbers of the rows, hot to cold.
    left_out
        Rows that do not move or are not finite: they are in no test and no ranking.
    between
        Standard deviation of ln(mean squared velocity) between rows beyond its error; 0 where there is none to see.
    ratio
        Hottest over coldest row.
    f_value, degrees_of_freedom, p_value
        Test of equal rows; NaN where blocks are correlated over more than an eighth of the window.
    inefficiency
        Variance of a row's mean over what independent blocks would give.
    rank_correlation, rank_p_value
        Spearman's, between the first and the second half of the window, and the chance of as much where no order lasts.
    """

    mean: Array
    standard_error: Array
    ranking: Array
    left_out: int
    between: float
    ratio: float
    f_value: float
    degrees_of_freedom: tuple[int, float]
    p_value: float
    inefficiency: float
    rank_correlation: float
    rank_p_value: float


def heterogeneity(blocks: Array) -> Heterogeneity:
    """Test whether rows differ, and rank them.

    The test compares the variance between the rows' means of y = ln(mean squared velocity) with the variance that y's
    fluctuation in time gives a mean of n blocks, both after the mean over rows is taken off each block (what moves all
    rows together says nothing about their differences):

        F = n Var(row means) / S,   S = (γ_0 + 2 Σ_{k ≤ K} γ_k) / (1 − (2K + 1)/n)

    with the autocovariances γ_k pooled over rows, up to the last lag K before they vanish in their noise; the divisor
    restores what taking off each row's mean removes. F has rows − 1 and about rows · n/(2K + 1) degrees of freedom. It
    assumes rows that fluctuate independently but for the common part, and alike.

    Parameters
    ----------
    blocks
        (rows, blocks) mean squared velocity of each row over consecutive time blocks of one length.

    Raises
    ------
    GroupError
        Fewer than three rows that move.
    WindowError
        Fewer than twenty blocks.
    """
    values = np.asarray(blocks, dtype=np.float64)
    if values.ndim != 2 or values.shape[1] < LEAST_BLOCKS:
        raise WindowError(
            f"Rows: expected at least {LEAST_BLOCKS} time blocks, got the shape {values.shape} of (rows, blocks). "
            "Fewer do not show how long a row's temperature is correlated. Take a longer window or shorter blocks."
        )
    moving = (np.isfinite(values) & (values > 0)).all(axis=1)
    rows, count = int(moving.sum()), values.shape[1]
    if rows < LEAST_ROWS:
        raise GroupError(
            f"Rows: expected at least {LEAST_ROWS} rows that move, got {rows} of {len(values)}. "
            "Differences between rows need rows. Choose another parameter."
        )
    mean = values.mean(axis=1)
    logarithm = np.log(values[moving])
    deviation = logarithm - logarithm.mean(axis=0)
    own = deviation.mean(axis=1)
    long_run, plain, lag = _long_run_variance(deviation - own[:, None])
    spread = float((own**2).sum()) / (rows - 1)
    free = (rows - 1, rows * count / (2 * lag + 1))
    f_value = count * spread / long_run
    half = count // 2
    order = spearmanr(values[moving, :half].mean(axis=1), values[moving, -half:].mean(axis=1), alternative="greater")
    ranked = np.flatnonzero(moving)[np.argsort(-mean[moving], kind="stable")]
    return Heterogeneity(
        mean=mean,
        standard_error=_batch_error(values),
        ranking=ranked,
        left_out=len(values) - rows,
        between=float(np.sqrt(max(0.0, spread - long_run / count))) if np.isfinite(long_run) else np.nan,
        ratio=float(mean[ranked[0]] / mean[ranked[-1]]),
        f_value=float(f_value),
        degrees_of_freedom=free,
        p_value=float(fdtrc(*free, f_value)),
        inefficiency=float(long_run / plain),
        rank_correlation=float(order.statistic),
        rank_p_value=float(order.pvalue),
    )


def _long_run_variance(deviation: Array) -> tuple[float, float, int]:
    """Variance of a row's mean of n blocks, times n; the variance of a block; the last lag that counts.

    `deviation` (rows, blocks) has neither row nor block means. NaN where covariances last beyond an eighth of them.
    """
    rows, count = deviation.shape
    sums = np.zeros(count // 8 + 2)
    for lag in range(sums.size):
        products = (deviation[:, lag:] * deviation[:, : count - lag]).sum()
        sums[lag] = products / ((rows - 1) * (count - lag))
    for last in range(sums.size - 1):
        share = 1 - (2 * last + 1) / count
        total = (sums[0] + 2 * sums[1 : last + 1].sum()) / share
        # A row's mean taken off lowers every covariance by total/count; two deviations of noise end the sum.
        noise = 2 * sums[0] / np.sqrt(rows * (count - last - 1))
        if sums[last + 1] + total / count < noise:
            return float(total), float(sums[0] + total / count), last
    return np.nan, float(sums[0]), sums.size - 2


def _batch_error(values: Array) -> Array:
    """(rows,) standard error from ten batch means, widened as t(9) is wider than the normal distribution."""
    edges = np.linspace(0, values.shape[1], BATCHES + 1).round().astype(int)
    means = np.stack([values[:, a:b].mean(axis=1) for a, b in pairwise(edges)], axis=1)
    ratio = stdtrit(BATCHES - 1, 0.975) / 1.959963984540054
    error: Array = ratio * means.std(axis=1, ddof=1) / np.sqrt(BATCHES)
    return error
