"""Temperature against hyperparameters: fitted coefficients with intervals, diagnostics, and models compared.

    ln T = ln a + b ln η,   T = a η² + b η + c,   ln T = ln a + p ln η − q ln β   and the others of `models.MODELS`

Points of a sweep scatter between seeds by more than a temperature's error within its run. Weights from these errors
alone claim intervals that are far too narrow (they held the true exponent in 45 % of sweeps with 5 % scatter between
seeds), so the default intervals come from the seeds, or from the scatter about the curve.
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
        Of the estimate; for a of a model of ln T it is a times that of ln a.
    low, high
        Ends of its interval; for a of a model of ln T those of ln a, exponentiated.
    without_low, without_high
        Lowest and highest value when each setting in turn is left out; NaN if without one it is not determined.
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
        What was fitted, to what; `points.left_out` counts the runs that were not used.
    coefficients
        In the model's order.
    level
        Level of all intervals.
    theta, uncertainty
        The coefficients with ln a in place of a (models of ln T), their covariance and how it was obtained:
        `uncertainty.kind` is "per-seed", "pooled" or "weighted".
    fitted
        (runs,) T̂. For models of ln T it is the geometric mean of T at that setting.
    residuals
        (runs,) ln(T/T̂) of models of ln T, else (T − T̂)/T̂.
    leverage
        (runs,) hat values; they sum to the number of coefficients.
    setting_leverage
        (settings,) the same, summed over the replicates of a setting: near 1, the curve runs through that point
        whatever the others say.
    scatter
        Relative standard deviation of the runs about the curve, √(Σr²/(n − k)).
    between_run
        Relative standard deviation between runs beyond the errors within them, of "weighted"; else NaN.
    between_seed, between_seed_freedom
        Relative standard deviation between replicates, from settings with several seeds, and its degrees of freedom;
        NaN and 0 where no setting has two.
    lack_of_fit
        p-value of the F test of the curve against free means at every setting (models of ln T with replicates); small:
        the curve misses the points by more than seeds scatter. Else NaN.
    r_squared
        1 − Σ(ln T − ln T̂)²/Σ(ln T − mean)²: a description, not a test. It is near 1 for any rising curve.
    log_likelihood, aicc
        Of the density of T, the scatter counted as a parameter, of the unweighted fit: comparable between models on the
        same runs.
    notes
        What the reader must know about the intervals.
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
    setting_leverage: Array
    scatter: float
    between_run: float
    between_seed: float
    between_seed_freedom: int
    lack_of_fit: float
    r_squared: float
    log_likelihood: float
    aicc: float
    notes: tuple[str, ...]

    def __getitem__(self, name: str) -> Coefficient:
        """The coefficient of that name."""
        for coefficient in self.coefficients:
            if coefficient.name == name:
                return coefficient
        raise KeyError(name)

    def equation(self, symbols: Sequence[str] | None = None, digits: int = 3) -> str:
        """The equation with the fitted values, such as T = 0.025·η^2.03."""
        return equation(self.model, symbols, {c.name: c.value for c in self.coefficients}, digits)


@dataclass(frozen=True, eq=False)
class Prediction:
    """A fitted curve with its confidence band, pointwise; all (points,). `x` is (points, hyperparameters)."""

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
        (runs,) or (runs, hyperparameters): the hyperparameter of each run.
    temperature
        (runs,). Runs with T ≤ 0 or not finite are left out and counted.
    within
        (runs,) standard error of each temperature within its run, in T's units. Only "weighted" uses it.
    seed
        (runs,) labels: which runs share their seed.
    finished
        (runs,) bool: unfinished runs are left out and counted.
    names
        Names of the hyperparameters, for messages.
    intervals
        "per-seed": from the scatter between seeds, t(seeds − 1). "pooled": from the scatter about the curve, t(n − k),
        which takes runs to be independent. "weighted": weights from `within` and a variance between runs, t(n − k).
        "auto": "per-seed" for three seeds or more that have at least half of all (seed, setting) pairs, else "pooled".
    level
        Of all intervals.
    leave_out
        Fit again without each setting. Half of the time goes there; without it these ranges are NaN.

    Raises
    ------
    FitError
        The runs do not determine the model; the message says what is missing.

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
    points = gather(x, temperature, within=within, seed=seed, finished=finished, names=names)
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
    between_seed, freedom = _between_seed(points)
    logarithm = np.log(points.temperature)
    misfit, total = logarithm - np.log(best.fitted), float(((logarithm - logarithm.mean()) ** 2).sum())
    notes = [reason, *_notes(points, chosen, freedom)]
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
        setting_leverage=np.bincount(points.setting, weights=best.leverage),
        scatter=plain.scatter,
        between_run=best.between_run,
        between_seed=between_seed,
        between_seed_freedom=freedom,
        lack_of_fit=_lack_of_fit(points, chosen, plain),
        r_squared=1 - float((misfit**2).sum()) / total if total > 0 else np.nan,
        log_likelihood=likelihood,
        aicc=aicc(likelihood, count, points.runs),
        notes=tuple(notes),
    )


def aicc(likelihood: float, coefficients: int, runs: int) -> float:
    """Akaike's criterion for small samples, −2 ln L + 2K + 2K(K + 1)/(n − K − 1).

    K is the number of coefficients, and one for the scatter, so that n must be at least coefficients + 3. Hurvich &
    Tsai 1989, Biometrika 76:297.
    """
    count = coefficients + 1
    return -2 * likelihood + 2 * count + 2 * count * (count + 1) / (runs - count - 1)


def predict(fitted: Fit, x: Array) -> Prediction:
    """The fitted curve at x (points,) or (points, hyperparameters), with the band of the fit's level.

    The band is that of the curve, not of another run, and holds at each point for itself. NaN beyond the pole of a
    stiff square.

    Raises
    ------
    FitError
        x has another number of hyperparameters than the fit, or no logarithm where the model takes one.
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
    """The coefficients as reported, from θ."""
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
    """Sum of squares of ln T about the mean of each setting, and its degrees of freedom."""
    logarithm = np.log(points.temperature)
    size = np.bincount(points.setting)
    means = np.bincount(points.setting, weights=logarithm) / size
    return float(((logarithm - means[points.setting]) ** 2).sum()), int((size - 1).sum())


def _between_seed(points: Points) -> tuple[float, int]:
    """Standard deviation of ln T between replicates and its degrees of freedom; NaN and 0 if one seed made them all."""
    squares, freedom = _replicates(points)
    if not freedom or len(points.seeds) == 1:
        return np.nan, 0
    return float(np.sqrt(squares / freedom)), freedom


def _lack_of_fit(points: Points, model: Model, solution: Solution) -> float:
    """The p-value of F = ((Σr² − Σu²)/(settings − k)) / (Σu²/(n − settings)), u about each setting's mean of ln T."""
    squares, freedom = _replicates(points)
    free = len(points.settings) - len(model.coefficients)
    if not model.of_logarithm or not freedom or not free or not squares > 0:
        return np.nan
    statistic = (float((solution.residuals**2).sum()) - squares) / free / (squares / freedom)
    return float(fdtrc(free, freedom, max(statistic, 0.0)))


def _notes(points: Points, model: Model, freedom: int) -> list[str]:
    """What the reader must know beside the numbers."""
    notes = []
    if not freedom:
        notes.append("no setting has two seeds: the variance between seeds is unknown")
    if len(points.settings) == len(model.coefficients):
        notes.append(f"{len(points.settings)} settings for as many coefficients: the shape of the curve is not tested")
    if points.left_out.total:
        notes.append(f"left out: {points.left_out}")
    if points.seed is not None and len(points.seeds) > 1 and not points.complete:
        notes.append("not every seed covers every setting")
    return notes
