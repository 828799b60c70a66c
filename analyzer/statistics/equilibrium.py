"""Equilibrium: where a series becomes stationary, how many independent samples follow, and whether it still drifts.

It takes any series recorded along a run: a temperature 𝒯(t), the loss, a mean squared displacement. scipy is loaded
where it is used: every question imports this module, and few look for equilibrium.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

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
"""p-value below which the drift after t0 counts as different from the drift before it."""
ALIKE = 0.85
"""Starts with at least this share of the largest N_eff cannot be distinguished from t0: g is known to some ten percent.
They contain the end of a sudden change in 95 to 100 of 100 series (`tests/benchmarks/COVERAGE.md`)."""
STATIONARY, DRIFTING, UNDECIDED = "stationary", "drifting", "undecided"


@dataclass(frozen=True)
class Equilibrium:
    """The result of `detect`; all arrays are (groups,).

    Attributes
    ----------
    start
        t0, the number of samples to discard; one of the candidates.
    low, high
        Range in which the transient ended, in samples. It runs from one candidate before the earliest start that cannot
        be distinguished from t0 to the latest such start.
    inefficiency, n_eff
        Statistical inefficiency g of the samples from t0 on, and their number divided by g.
    drift, drift_error
        Slope of a straight line through the samples from t0 on, per sample, and its standard error; ±1.96 errors are
        a 95 % interval. NaN if n_eff < 20.
    p_value
        Of the hypothesis that there is no drift.
    verdict
        "stationary", "drifting" or "undecided". Undecided: the series is not finite, or n_eff < 20 and no drift was
        seen before t0.
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
    """Find the start t0 that maximises N_eff = (N − t0)/g(t0), and test the rest of the series for a drift.

    The method of Chodera, JCTC 12:1799 (2016). `pymbar.timeseries.detect_equilibration` tries every start; this
    function tries evenly spaced ones, so t0 is exact to N/candidates at best.

    The slope after t0 is tested against its standard error. That test alone would miss a run that drifts throughout,
    because t0 is then put where the drift no longer shows. So the equally long stretch before t0 is tested too. If it
    drifts significantly, and the slope after t0 is not significantly different, the series counts as drifting.

    Parameters
    ----------
    series
        (samples,) or (groups, samples), equally spaced. A NaN makes its group NaN and undecided.
    candidates
        How many starts are tried, at most.
    fast
        As for `statistical_inefficiency`.
    significance
        A drift counts if its p-value is below this.

    Returns
    -------
    Equilibrium
        A constant series is stationary from the start, with g = 1. A constant tail after something else is worth one
        sample, as in pymbar, because a series that is stuck carries no information.

    Notes
    -----
    The range contains the end of a sudden change, or of a fast exponential, in 95 of 100 series. The end of a slow
    exponential is a convention: say, where the remainder moves the mean by less than its standard error. t0 comes
    before that point, and the range contains it in only 10 to 90 of 100 series. So look at the drift too.

    After a slow transient, t0 leaves a tail that is smaller than the noise, and a slope test over a long stretch
    detects it: a transient exp(−t/200) of ten standard deviations is called drifting in 4 of 10 series of 4,000 white
    samples. After a transient, a correlated series with n_eff below 200 is called drifting in up to 18 of 100 series.
    Figures: `tests/benchmarks/COVERAGE.md`.
    """
    table = np.atleast_2d(np.asarray(series, dtype=np.float64))
    starts = candidate_starts(table.shape[1], candidates)
    g, n_eff = _effective(table, starts, fast)
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
    """Return evenly spaced starts from 0 on, (starts,), at most `candidates` of them."""
    return np.arange(0, max(samples - 1, 1), max(-(-samples // candidates), 1))


def linear_drift(series: Array) -> tuple[float, float]:
    """Fit a straight line to a series (samples,); return its slope per sample and the standard error of the slope.

    The residuals are correlated, so the error is the larger of two. One is √(g·variance/Σ(t − t̄)²), with g the
    statistical inefficiency of the residuals. The other is that of a line through 20 (10) batch means, times the ratio
    of the t quantile to 1.96; it catches the slowest correlations, which subtracting the line hides from g.
    """
    scale = np.ldexp(1.0, int(np.frexp(np.abs(series).max())[1]))  # a power of two: dividing by it loses no bit
    slope, error = _linear_drift(series / scale)
    return float(slope * scale), float(error * scale)


def _linear_drift(series: Array) -> tuple[float, float]:
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
    from scipy.special import stdtrit

    return slope, float(max(by_g, by_batches * stdtrit(batches - 2, 0.975) / NORMAL))


def _effective(table: Array, starts: Array, fast: bool) -> tuple[Array, Array]:
    """Return the inefficiency and N_eff of the samples after each start, both (groups, starts)."""
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
    """Return whether the series drifts significantly before t0 and not significantly differently after it.

    The stretch before t0 is as long as the one after it, or reaches back to the middle of the series if that is longer.
    A difference counts only if p < 0.001, because the errors of short tails are themselves uncertain.
    """
    before = series[max(0, min(2 * start - series.size, series.size // 2)) : start]
    if before.size < 2 * FEWER_BATCHES:
        return False
    earlier, earlier_error = linear_drift(before)
    if _p_value(earlier, earlier_error) >= significance:
        return False
    return np.isnan(error) or _p_value(drift - earlier, float(np.hypot(error, earlier_error))) >= DIFFERENT


def _p_value(value: float, error: float) -> float:
    """Return the two-sided p-value of zero for a Gaussian `value` with a standard error."""
    if error == 0:
        return 1.0 if value == 0 else 0.0
    from scipy.special import ndtr

    return float(2 * ndtr(-abs(value) / error))
