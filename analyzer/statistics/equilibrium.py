"""Equilibrium: where a series becomes stationary, how many independent samples follow, and whether it still drifts.

It takes any series recorded along a run: a temperature 𝒯(t), the loss, a mean squared displacement. scipy is loaded
where it is used: every question imports this module, and few look for equilibrium.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from analyzer.statistics.density import NORMAL
from analyzer.statistics.inefficiency import statistical_inefficiency
from analyzer.statistics.uncertainty import LEAST_N_EFF, RELIABLE_N_EFF

Array = np.ndarray[Any, np.dtype[Any]]

BATCHES, FEWER_BATCHES = 20, 10
"""Batches of residuals for the error of a slope: 20, or 10 if n_eff is below 200."""
CANDIDATES = 100
DIFFERENT = 0.001
"""p-value below which the drift after t0 counts as different from the drift before it. The errors of short tails are
themselves uncertain."""
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
        p-value of no drift, in the test that decided the verdict.
    verdict
        "stationary", "drifting" or "undecided". Undecided: the series is not finite, or n_eff < 20 and no drift was
        seen before t0.
    reason
        The test that decided the verdict, with its numbers.
    statistic, threshold
        |slope|/error, and the value above which it counts as a drift. If n_eff decided: n_eff and its lower limit.
    size, size_error
        The slope of that test times the number of samples from t0 on, in the units of the series: the change of the
        mean over that time, and its error.
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
    reason: Array
    statistic: Array
    threshold: Array
    size: Array
    size_error: Array


@dataclass(frozen=True)
class Decision:
    """A verdict on one series, and the test that decided it: see `Equilibrium`."""

    verdict: str
    reason: str
    p_value: float = np.nan
    statistic: float = np.nan
    threshold: float = np.nan
    slope: float = np.nan
    slope_error: float = np.nan


def detect(
    series: Array, *, candidates: int = CANDIDATES, fast: bool = False, significance: float = 0.05
) -> Equilibrium:
    """Find the start t0 that maximises N_eff = (N − t0)/g(t0), and test the rest of the series for a drift.

    The method of Chodera, JCTC 12:1799 (2016). `pymbar.timeseries.detect_equilibration` tries every start; this
    function tries evenly spaced ones, so t0 is exact to N/candidates at best.

    The slope after t0 is tested against its standard error. That test alone would miss a run that drifts throughout,
    because t0 is then put where the drift no longer shows. So the equally long stretch before t0 is tested, too. If
    the slopes before and after t0 are not significantly different, and their mean, weighted by their errors, is
    significant, the series counts as drifting.

    Parameters
    ----------
    series
        (samples,) or (groups, samples), equally spaced. A NaN makes its group NaN and undecided.
    candidates
        Most starts that are tried.
    fast
        As for `statistical_inefficiency`.
    significance
        A drift counts if its p-value is below this.

    Returns
    -------
    Equilibrium
        A constant series is stationary from the start, with g = 1. A constant tail after other values counts as one
        sample, as in pymbar, because a series that is stuck carries no information.

    Notes
    -----
    The range contains the end of a sudden change, or of a fast exponential, in 95 of 100 series. The end of a slow
    exponential is a convention: say, where the remainder moves the mean by less than its standard error. t0 comes
    before that point, and the range contains it in only 10 to 90 of 100 series. So look at the drift too.

    After a slow transient, t0 leaves a tail that is smaller than the noise, and a slope test over a long stretch
    detects it: a transient exp(−t/100) of ten standard deviations is called drifting in 2 of 10 series of 2,000 white
    samples. After a sudden change 3 to 5 of 100 series are.
    Figures: `tests/benchmarks/COVERAGE.md`.
    """
    table = np.atleast_2d(np.asarray(series, dtype=np.float64))
    starts = candidate_starts(table.shape[1], candidates)
    g, n_eff = _effective(table, starts, fast)
    best = np.argmax(np.nan_to_num(n_eff, nan=-1.0), axis=1)
    rows = np.arange(table.shape[0])
    start = starts[best]
    drift, error = np.full(rows.size, np.nan), np.full(rows.size, np.nan)
    found: list[Decision] = []
    for row in rows:
        if not np.isfinite(table[row]).all():
            found.append(Decision(UNDECIDED, "the series has NaN or infinite values"))
            continue
        known = float(n_eff[row, best[row]])
        if known >= LEAST_N_EFF:
            drift[row], error[row] = linear_drift(table[row, start[row] :])
        slope = float(drift[row]), float(error[row])
        found.append(_decision(slope, _before(table[row], int(start[row])), known, significance))
    left = table.shape[1] - start
    alike = n_eff >= ALIKE * n_eff[rows, best][:, np.newaxis]
    low = np.maximum(starts[np.argmax(alike, axis=1)] - (starts[1] if starts.size > 1 else 0), 0)
    high = starts[starts.size - 1 - np.argmax(alike[:, ::-1], axis=1)]
    known = alike.any(axis=1)
    low, high = np.where(known, low, 0), np.where(known, high, table.shape[1])
    return Equilibrium(
        start, low, high, g[rows, best], n_eff[rows, best], drift, error,
        p_value=np.array([one.p_value for one in found]),
        verdict=np.array([one.verdict for one in found], dtype="<U10"),
        reason=np.array([one.reason for one in found], dtype=object),
        statistic=np.array([one.statistic for one in found]),
        threshold=np.array([one.threshold for one in found]),
        size=np.array([one.slope for one in found]) * left,
        size_error=np.array([one.slope_error for one in found]) * left,
    )  # fmt: skip


def _decision(
    after: tuple[float, float], before: tuple[float, float] | None, n_eff: float, significance: float
) -> Decision:
    """Judge a series by (slope, error) after t0, NaN if n_eff is below 20, and before t0, None if that is too short."""
    from scipy.special import ndtri

    threshold = float(ndtri(1 - significance / 2))

    def decided(verdict: str, test: str, slope: tuple[float, float]) -> Decision:
        statistic = _ratio(*slope)
        sign = ">" if statistic > threshold else "≤"
        reason = f"{test}: |slope|/error = {statistic:.2f} {sign} {threshold:.2f}"
        return Decision(verdict, reason, _p_value(*slope), statistic, threshold, *slope)

    known = not np.isnan(after[1])
    if known and _ratio(*after) > threshold:
        return decided(DRIFTING, "slope after t0", after)
    if before is not None:
        both = _pooled(before, after) if known else before
        alike = not known or _p_value(after[0] - before[0], float(np.hypot(after[1], before[1]))) >= DIFFERENT
        if alike and _ratio(*both) > threshold:
            return decided(DRIFTING, "slope before t0 that goes on after it" if known else "slope before t0", both)
    if known:
        return decided(STATIONARY, "slope after t0", after)
    reason = f"n_eff {n_eff:.3g} after t0 is below {LEAST_N_EFF:g}: record longer"
    return Decision(UNDECIDED, reason, statistic=n_eff, threshold=LEAST_N_EFF)


def _pooled(one: tuple[float, float], other: tuple[float, float]) -> tuple[float, float]:
    """Return the mean of two slopes, weighted by their errors, and its error."""
    if not one[1] or not other[1]:
        return one if not one[1] else other
    smaller = min(one[1], other[1])  # the square of an error may overflow, that of a ratio does not
    weights = np.array([smaller / one[1], smaller / other[1]]) ** 2
    return float(weights @ [one[0], other[0]] / weights.sum()), float(smaller * weights.sum() ** -0.5)


def _ratio(value: float, error: float) -> float:
    return abs(value) / error if error else (0.0 if value == 0 else float("inf"))


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


def _before(series: Array, start: int) -> tuple[float, float] | None:
    """Return the slope before t0 and its error; None if there are too few samples.

    The stretch before t0 is as long as the one after it, or reaches back to the middle of the series if that is longer.
    """
    before = series[max(0, min(2 * start - series.size, series.size // 2)) : start]
    return linear_drift(before) if before.size >= 2 * FEWER_BATCHES else None


def _p_value(value: float, error: float) -> float:
    """Return the two-sided p-value of zero for a Gaussian `value` with a standard error."""
    if error == 0:
        return 1.0 if value == 0 else 0.0
    from scipy.special import ndtr

    return float(2 * ndtr(-abs(value) / error))
