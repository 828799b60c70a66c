"""Fit a model of temperature against hyperparameters: coefficients with intervals, and diagnostics.

    ln T = ln a + b ln η,   T = a η² + b η + c,   ln T = ln a + p ln η − q ln β   and the others of `models.MODELS`

Temperatures scatter between seeds by more than their standard errors within a run. Intervals from these errors alone
are far too narrow: with 5 % scatter between seeds, they contained the true exponent in 45 % of sweeps. So the default
intervals come from the scatter between seeds, or from the scatter about the curve.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import fdtrc

from analyzer.errors import FitError
from analyzer.fitting.intervals import Intervals, Uncertainty, kind_of, leave_one_out, uncertainty
from analyzer.fitting.models import Model, equation, model_of
from analyzer.fitting.points import Points, gather, require
from analyzer.fitting.solutions import Solution, log_likelihood, solve

Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True)
class Coefficient:
    """One fitted coefficient.

    Attributes
    ----------
    name
        As in the model's equation.
    value
        Its estimate.
    standard_error
        Of the estimate. For the coefficient a of a model of ln T, it is a times the standard error of ln a.
    low, high
        Ends of its interval. For the coefficient a of a model of ln T, they are the exponentials of those of ln a.
    without_low, without_high
        Lowest and highest value if each setting in turn is left out. NaN if the other settings do not determine it.
    """

    name: str
    value: float
    standard_error: float
    low: float
    high: float
    without_low: float
    without_high: float


@dataclass(frozen=True, eq=False)
class Fit:
    """A model fitted to the runs of one group.

    Attributes
    ----------
    model, points
        The model and the runs that it was fitted to; `points.left_out` counts the runs that were not used.
    coefficients
        In the model's order.
    level
        Level of all intervals, such as 0.95.
    theta, uncertainty
        (coefficients,) θ: the coefficients, with ln a in place of a for models of ln T; and their covariance.
        `uncertainty.kind` says where it comes from: "per-seed", "pooled" or "weighted".
    fitted
        (runs,) T̂, in T's units. For models of ln T it is the geometric mean of T at that setting.
    residuals
        (runs,) ln(T/T̂) for models of ln T, else (T − T̂)/T̂.
    leverage
        (runs,) hat values; they sum to the number of coefficients. The replicates of a setting share its leverage: if
        they sum to nearly 1, the curve passes through that setting whatever the others are.
    scatter
        Relative standard deviation of the runs about the curve, √(Σr²/(n − k)) for n runs and k coefficients.
    between_run
        For "weighted": relative standard deviation between runs in excess of the errors within them. Else NaN.
    between_seed
        Relative standard deviation between the replicates of a setting. NaN if no setting has two seeds.
    lack_of_fit
        p-value of the F test of the curve against free means at every setting. A small value says that the curve misses
        the points by more than the scatter between seeds. NaN unless the model is one of ln T and there are replicates.
    r_squared
        1 − Σ(ln T − ln T̂)²/Σ(ln T − mean)². It describes the fit and tests nothing: any rising curve has nearly 1.
    log_likelihood, aicc
        Of the unweighted fit, from the density of T, so that models fitted to the same runs compare. The scatter counts
        as a parameter.
    notes
        Sentences about the intervals and the runs, without which the numbers may mislead.
    """

    model: Model
    points: Points
    coefficients: tuple[Coefficient, ...]
    level: float
    theta: Array
    uncertainty: Uncertainty
    fitted: Array
    residuals: Array
    leverage: Array
    scatter: float
    between_run: float
    between_seed: float
    lack_of_fit: float
    r_squared: float
    log_likelihood: float
    aicc: float
    notes: tuple[str, ...]

    def __getitem__(self, name: str) -> Coefficient:
        """Return the coefficient of that name; raise KeyError if there is none."""
        for coefficient in self.coefficients:
            if coefficient.name == name:
                return coefficient
        raise KeyError(name)

    def equation(self, symbols: Sequence[str] | None = None, digits: int = 3) -> str:
        """Return the equation with the fitted values, such as T = 0.025·η^2.03."""
        return equation(self.model, symbols, {c.name: c.value for c in self.coefficients}, digits)


@dataclass(frozen=True, eq=False)
class Prediction:
    """A fitted curve and its pointwise confidence band, (points,) in T's units, at `x` (points, hyperparameters)."""

    x: Array
    temperature: Array
    low: Array
    high: Array


def fit(
    model: str | Model,
    x: Array,
    temperature: Array,
    *,
    within: Array | None = None,
    seed: Array | Sequence[Any] | None = None,
    finished: Array | None = None,
    names: Sequence[str] | None = None,
    runs: Sequence[str] | None = None,
    intervals: Intervals = "auto",
    level: float = 0.95,
    leave_out: bool = True,
) -> Fit:
    """Fit temperature against hyperparameters.

    Parameters
    ----------
    model
        A name of `models.MODELS`, or a model.
    x
        (runs,) or (runs, hyperparameters): the hyperparameters of each run.
    temperature
        (runs,). Runs whose T is not finite or not positive are left out and counted.
    within
        (runs,) standard error of each temperature within its run, in T's units. Only "weighted" uses it.
    seed
        (runs,) label of each run's seed.
    finished
        (runs,) bool. Unfinished runs are left out and counted.
    names
        Names of the hyperparameters, for messages.
    runs
        Names of the runs, for messages.
    intervals
        "per-seed": from the scatter between seeds, t(seeds − 1). "pooled": from the scatter about the curve, t(n − k),
        assuming independent runs. "weighted": runs weighted by `within` and a variance between runs, t(n − k). "auto":
        "per-seed" if there are three or more seeds with runs at no fewer than half of all (seed, setting) pairs, else
        "pooled".
    level
        Level of all intervals, between 0 and 1.
    leave_out
        Whether to fit again without each setting, which takes half of the time. If not, `without_low` and
        `without_high` are NaN.

    Returns
    -------
    Fit

    Raises
    ------
    FitError
        The runs do not determine the model, or an option is invalid; the message says what is missing.

    Examples
    --------
    >>> rates = np.array([1e-3, 2e-3, 4e-3, 8e-3, 16e-3])
    >>> found = fit("power", rates, 0.5 * rates**2 * np.array([1.0, 1.1, 0.9, 1.0, 1.0]))
    >>> print(f"{found['b'].value:.2f}, {found['b'].low:.2f} to {found['b'].high:.2f}")
    1.99, 1.87 to 2.10
    """
    chosen = model_of(model)
    if not 0 < level < 1:
        raise FitError(f"level: expected a share between 0 and 1, got {level}. 0.95 is usual.")
    points = gather(x, temperature, within=within, seed=seed, finished=finished, names=names, runs=runs)
    require(points, chosen)
    kind, reason = kind_of(points, chosen, intervals)
    variances = None
    if kind == "weighted":
        assert points.within is not None
        variances = (points.within / points.temperature) ** 2
    plain = solve(chosen, points.x, points.temperature)
    best = plain if variances is None else solve(chosen, points.x, points.temperature, variances)
    try:
        spread = uncertainty(points, chosen, best, kind)
    except FitError:
        if intervals != "auto" or kind != "per-seed":
            raise
        reason = (
            "intervals from the scatter of all runs about the curve, because without one of the seeds the others do "
            "not determine it"
        )
        spread = uncertainty(points, chosen, best, "pooled")

    def refit(kept: Array) -> Array:
        if np.unique(points.setting[kept]).size < len(chosen.coefficients):
            raise FitError("too few settings")
        part = None if variances is None else variances[kept]
        return chosen.values(solve(chosen, points.x[kept], points.temperature[kept], part).theta)

    count = best.theta.size
    without = leave_one_out(points, count, refit) if leave_out else np.full((1, count), np.nan)
    likelihood = log_likelihood(chosen, plain, points.temperature)
    between_seed = _between_seed(points)
    logarithm = np.log(points.temperature)
    misfit, total = logarithm - np.log(best.fitted), float(((logarithm - logarithm.mean()) ** 2).sum())
    notes = [reason, *_notes(points, chosen, has_replicates=not np.isnan(between_seed))]
    return Fit(
        model=chosen,
        points=points,
        coefficients=_coefficients(chosen, best.theta, spread, without, level),
        level=level,
        theta=best.theta,
        uncertainty=spread,
        fitted=best.fitted,
        residuals=best.residuals,
        leverage=best.leverage,
        scatter=plain.scatter,
        between_run=best.between_run,
        between_seed=between_seed,
        lack_of_fit=_lack_of_fit(points, chosen, plain),
        r_squared=1 - float((misfit**2).sum()) / total if total > 0 else np.nan,
        log_likelihood=likelihood,
        aicc=aicc(likelihood, count, points.runs),
        notes=tuple(notes),
    )


def aicc(likelihood: float, coefficients: int, runs: int) -> float:
    """Return Akaike's criterion for small samples, −2 ln L + 2K + 2K(K + 1)/(n − K − 1).

    K is the number of coefficients plus one for the scatter, so n runs must be at least coefficients + 3. Hurvich and
    Tsai, Biometrika 76:297, 1989.
    """
    count = coefficients + 1
    return -2 * likelihood + 2 * count + 2 * count * (count + 1) / (runs - count - 1)


def predict(fitted: Fit, x: Array) -> Prediction:
    """Return the fitted curve at x (points,) or (points, hyperparameters), with a confidence band at the fit's level.

    The band is for the curve, not for a further run, and for each point alone, not for all together. Both are NaN
    beyond the pole of the model "stiff".

    Raises
    ------
    FitError
        x has another number of hyperparameters than the fit, or is not positive for a model of ln T.
    """
    points = np.asarray(x, dtype=np.float64)
    points = points[:, None] if points.ndim == 1 else points
    if points.ndim != 2 or points.shape[1] != fitted.model.hyperparameters:
        raise FitError(
            f"predict: expected {fitted.model.hyperparameters} hyperparameter(s) a point, got the shape {np.shape(x)}."
        )
    if fitted.model.of_logarithm and (points <= 0).any():
        raise FitError(
            f"predict: expected positive values of {' and '.join(fitted.points.names)}, got {points.min():g}. "
            f"The model {fitted.model.name} is fitted to logarithms."
        )
    with np.errstate(invalid="ignore", divide="ignore"):
        value, gradient = fitted.model.predictor(points, fitted.theta)
    variance = np.einsum("nk,kl,nl->n", gradient, fitted.uncertainty.covariance, gradient)
    half = fitted.uncertainty.half_width(np.maximum(variance, 0.0), fitted.level)
    bounds = [value, value - half, value + half]
    return Prediction(points, *(np.exp(bound) if fitted.model.of_logarithm else bound for bound in bounds))


def _coefficients(
    model: Model, theta: Array, spread: Uncertainty, without: Array, level: float
) -> tuple[Coefficient, ...]:
    """Return the coefficients with their intervals, from θ and its covariance."""
    variance = np.maximum(np.diag(spread.covariance), 0.0)
    half = spread.half_width(variance, level)
    values, low, high = (model.values(ends) for ends in (theta, theta - half, theta + half))
    error = np.sqrt(variance)
    if model.of_logarithm:
        error[0] *= values[0]
    return tuple(
        Coefficient(name, *(float(column[n]) for column in (values, error, low, high, without.min(0), without.max(0))))
        for n, name in enumerate(model.coefficients)
    )


def _replicates(points: Points) -> tuple[float, int]:
    """Return the sum of squares of ln T about the mean of each setting, and its degrees of freedom."""
    logarithm = np.log(points.temperature)
    size = np.bincount(points.setting)
    means = np.bincount(points.setting, weights=logarithm) / size
    return float(((logarithm - means[points.setting]) ** 2).sum()), int((size - 1).sum())


def _between_seed(points: Points) -> float:
    """Return the standard deviation of ln T between replicates; NaN without replicates or if all have one seed."""
    squares, freedom = _replicates(points)
    if not freedom or len(points.seeds) == 1:
        return np.nan
    return float(np.sqrt(squares / freedom))


def _lack_of_fit(points: Points, model: Model, solution: Solution) -> float:
    """Return the p-value of F = ((Σr² − Σu²)/(settings − k)) / (Σu²/(n − settings)).

    r are the residuals from the curve, u the deviations of ln T from the mean of each setting.
    """
    squares, freedom = _replicates(points)
    free = len(points.settings) - len(model.coefficients)
    if not model.of_logarithm or not freedom or not free or not squares > 0:
        return np.nan
    statistic = (float((solution.residuals**2).sum()) - squares) / free / (squares / freedom)
    return float(fdtrc(free, freedom, max(statistic, 0.0)))


def _notes(points: Points, model: Model, *, has_replicates: bool) -> list[str]:
    """Return sentences without which the numbers may mislead."""
    notes = []
    if not has_replicates:
        notes.append("no setting has two seeds: the variance between seeds is unknown")
    if len(points.settings) == len(model.coefficients):
        notes.append(f"{len(points.settings)} settings for as many coefficients: the shape of the curve is not tested")
    if points.left_out.total:
        notes.append(f"left out: {points.left_out}")
    if points.seed is not None and len(points.seeds) > 1 and not points.complete:
        notes.append("not every seed covers every setting")
    return notes
