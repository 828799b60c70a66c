"""Equilibrium: from where on a series is stationary, how many independent samples remain, and whether it still drifts.

For any series recorded along a run: a temperature 𝒯(t), the loss, a mean squared displacement.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import ndtr, stdtrit

from analyzer.statistics.uncertainty import (
    BATCHES,
    FEWER_BATCHES,
    LEAST_N_EFF,
    NORMAL,
    RELIABLE_N_EFF,
    statistical_inefficiency,
)

Array = np.ndarray[Any, np.dtype[Any]]

CANDIDATES = 100
DIFFERENT = 0.001
ALIKE = 0.85
"""Starts whose N_eff is at least this share of the largest are not told from t0: g is known to some ten percent.
The end of a sudden change lies among them in 95 to 100 of 100 series (`tests/benchmarks/COVERAGE.md`)."""
STATIONARY, DRIFTING, UNDECIDED = "stationary", "drifting", "undecided"


@dataclass(frozen=True)
class Equilibrium:
    """What `detect` found; all (groups,).

    Attributes
    ----------
    start
        t0: samples to leave out; one of the candidates.
    low, high
        Range in which the transient ended: from one candidate before the earliest start that is not told from t0 to the
        latest.
    inefficiency, n_eff
        g of the samples from t0 on, and their number over g.
    drift, drift_error
        Slope of a straight line through the samples from t0 on, per sample, and its standard error: ±1.96 of it is a
        95 % interval. NaN where n_eff < 20.
    p_value
        Of no drift.
    verdict
        "stationary", "drifting" or "undecided" (not finite, or n_eff < 20 and no drift before it).
    """

    start: Array
    low: Array
    high: Array
    inefficiency: Array
    n_eff: Array
    drift: Array
    drift_error: Array
    p_value: Array
    verdict: Array


def detect(
    series: Array, *, candidates: int = CANDIDATES, fast: bool = False, significance: float = 0.05
) -> Equilibrium:
    """The start t0 that maximises N_eff = (N − t0)/g(t0), and what is left from there.

    Chodera, JCTC 12:1799 (2016); `pymbar.timeseries.detect_equilibration` looks at every start, this at evenly spaced
    ones, so t0 is found to N/candidates at best.

    The slope from t0 on is tested against its error. Alone this would miss a run that drifts throughout: t0 is put
    where the drift no longer shows. So the equally long stretch before t0 is looked at too: where it drifts
    significantly, and the slope after t0 is not significantly different from that, the drift was not seen to end.

    Parameters
    ----------
    series
        (samples,) or (groups, samples), equally spaced. A NaN makes its group NaN and undecided.
    candidates
        Starts that are tried.
    fast
        As for `statistical_inefficiency`.
    significance
        Below this p-value a drift is called one.

    Returns
    -------
    Equilibrium. A constant series is stationary from the start, with g = 1; but a constant tail after something else is
    worth one sample, as in pymbar: a stuck series says nothing.

    Notes
    -----
    The range holds the end of a sudden change in 95 of 100 series, and that of a fast exponential. A slow one has no
    end but by agreement: where what is left of it moves the mean by less than its standard error, t0 comes before that
    and the range, too narrow, holds it in 10 to 90 of 100. After a slow exponential the drift is looked at as well.

    A transient that decays slowly leaves a tail below the noise after t0, and a slope test over a long stretch sees it:
    exp(−t/200) of ten standard deviations is called drifting in 4 of 10 series of 4,000 white samples. After a
    transient, a correlated series with n_eff below 200 is called drifting in up to 18 of 100: see
    `tests/benchmarks/COVERAGE.md`.
    """
    table = np.atleast_2d(np.asarray(series, dtype=np.float64))
    starts = candidate_starts(table.shape[1], candidates)
    g, n_eff = _worth(table, starts, fast)
    best = np.argmax(np.nan_to_num(n_eff, nan=-1.0), axis=1)
    rows = np.arange(table.shape[0])
    start = starts[best]
    drift, error = np.full(rows.size, np.nan), np.full(rows.size, np.nan)
    p_value, verdict = np.full(rows.size, np.nan), np.full(rows.size, UNDECIDED, dtype="<U10")
    for row in rows:
        if not np.isfinite(table[row]).all():
            continue
        known = n_eff[row, best[row]] >= LEAST_N_EFF
        if known:
            drift[row], error[row] = linear_drift(table[row, start[row] :])
            p_value[row] = _p_value(drift[row], error[row])
        goes_on = _goes_on(table[row], int(start[row]), drift[row], error[row], significance)
        if goes_on or p_value[row] < significance:
            verdict[row] = DRIFTING
        elif known:
            verdict[row] = STATIONARY
    alike = n_eff >= ALIKE * n_eff[rows, best][:, np.newaxis]
    low = np.maximum(starts[np.argmax(alike, axis=1)] - (starts[1] if starts.size > 1 else 0), 0)
    high = starts[starts.size - 1 - np.argmax(alike[:, ::-1], axis=1)]
    known = alike.any(axis=1)
    low, high = np.where(known, low, 0), np.where(known, high, table.shape[1])
    return Equilibrium(start, low, high, g[rows, best], n_eff[rows, best], drift, error, p_value, verdict)


def candidate_starts(samples: int, candidates: int = CANDIDATES) -> Array:
    """Evenly spaced starts, the first at 0, (starts,) of at most `candidates`."""
    return np.arange(0, max(samples - 1, 1), max(-(-samples // candidates), 1))


def linear_drift(series: Array) -> tuple[float, float]:
    """Slope of the least-squares line through a series (samples,), per sample, and its standard error.

    The residuals are correlated: the error is the larger of √(g·variance/Σ(t − t̄)²), g theirs, and of that of a line
    through 20 (10) batch means, widened to t. Subtracting the line hides the slowest correlations from g.
    """
    samples = series.size
    time = np.arange(samples) - (samples - 1) / 2
    spread = float(time @ time)
    slope = float(time @ series) / spread
    residual = series - series.mean() - slope * time
    if np.abs(residual).max() <= 1e-12 * np.abs(series).max():
        return slope, 0.0
    g = float(statistical_inefficiency(residual))
    by_g = np.sqrt(residual @ residual / max(samples - 2 * g, 1) * g / spread)
    batches = BATCHES if samples / g >= RELIABLE_N_EFF else FEWER_BATCHES
    edges = np.linspace(0, samples, batches, endpoint=False).astype(np.int64)
    length = np.diff(np.append(edges, samples))
    mean, place = np.add.reduceat(residual, edges) / length, np.add.reduceat(time, edges) / length
    around = mean - place * (length * place @ mean) / (length * place @ place)
    by_batches = np.sqrt((length * around @ around) / (batches - 2) / (length * place @ place))
    return slope, float(max(by_g, by_batches * stdtrit(batches - 2, 0.975) / NORMAL))


def _worth(table: Array, starts: Array, fast: bool) -> tuple[Array, Array]:
    """Inefficiency and N_eff (groups, starts) of the samples from each start on."""
    groups, samples = table.shape
    g, n_eff = np.empty((groups, starts.size)), np.empty((groups, starts.size))
    for n, start in enumerate(starts):
        tail = table[:, start:]
        g[:, n] = statistical_inefficiency(tail, fast=fast)
        n_eff[:, n] = (samples - start) / g[:, n]
        if start:
            stuck = tail.max(axis=1) == tail.min(axis=1)
            g[stuck, n], n_eff[stuck, n] = samples - start, 1.0
    whole = table.max(axis=1) == table.min(axis=1)
    n_eff[whole, 1:] = 0.0
    return g, n_eff


def _goes_on(series: Array, start: int, drift: float, error: float, significance: float) -> bool:
    """Whether the drift before t0 is significant and the one after it is not seen to differ.

    The stretch before t0 is as long as the one after it, or reaches back to the middle of the series if that is more.
    Errors of short tails are themselves uncertain, so a difference counts from p < 0.001.
    """
    before = series[max(0, min(2 * start - series.size, series.size // 2)) : start]
    if before.size < 2 * FEWER_BATCHES:
        return False
    earlier, earlier_error = linear_drift(before)
    if _p_value(earlier, earlier_error) >= significance:
        return False
    return np.isnan(error) or _p_value(drift - earlier, float(np.hypot(error, earlier_error))) >= DIFFERENT


def _p_value(value: float, error: float) -> float:
    if error == 0:
        return 1.0 if value == 0 else 0.0
    return float(2 * ndtr(-abs(value) / error))
