"""Least squares: the coefficients of one model for one set of runs, and their likelihood.

All methods assume a constant relative scatter. For models of ln T, ln T is normal about the curve. For the others, T is
gamma-distributed about it with a constant coefficient of variation, and least squares in T with weights 1/T̂² maximises
that likelihood exactly. Likelihoods of different models compare, because all are densities of T itself: that of ln T is
multiplied by the Jacobian 1/T.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy  # scipy.optimize is loaded where it is first used
from scipy.special import digamma, gammaln

from analyzer.errors import FitError
from analyzer.fitting.models import Model

Array = np.ndarray[Any, np.dtype[Any]]

ROUNDS = 500
CONVERGED, LEAST = 1e-14, 1e-12
"""The iteration ends if T̂ changes by less than the first (relative), or if not even the second fraction of a step
improves the fit."""
STIRLING = 100.0
"""Above this shape, ln Γ and ψ come from their asymptotic series, whose next term is below 1e-15 of the first."""


@dataclass(frozen=True, eq=False)
class Solution:
    """The best-fitting coefficients of a model.

    Attributes
    ----------
    theta
        (coefficients,) θ, with ln a in place of a for models of ln T.
    fitted
        (runs,) T̂, in T's units.
    residuals
        (runs,) ln(T/T̂) for models of ln T, else (T − T̂)/T̂.
    leverage
        (runs,) diagonal of the hat matrix.
    inverse
        (coefficients, coefficients) inverse of the weighted normal matrix. Times the squared scatter it is the
        covariance.
    scatter
        Standard deviation of the residuals, √(Σr²/(n − k)) for n runs and k coefficients. With given variances, of the
        standardized residuals.
    between_run
        Standard deviation of ln T between runs in excess of the given variances; NaN without them.
    """

    theta: Array
    fitted: Array
    residuals: Array
    leverage: Array
    inverse: Array
    scatter: float
    between_run: float = np.nan


def solve(model: Model, x: Array, temperature: Array, variances: Array | None = None) -> Solution:
    """Fit `model` by least squares.

    Parameters
    ----------
    model
        The model.
    x
        (runs, hyperparameters).
    temperature
        (runs,), positive.
    variances
        (runs,) variance of each ln T within its run, for models linear in ln T only. The weights are then
        w = 1/(τ² + variance). The variance between runs τ² is chosen so that Σ w r² has its expected value n − k (Paule
        and Mandel, J. Res. NBS 87:377, 1982). τ² is 0 if the runs scatter less than their variances say.

    Returns
    -------
    Solution

    Raises
    ------
    FitError
        The hyperparameters do not determine every coefficient, no curve of the model is positive at every run, or the
        best curve is at the edge of the model's domain.
    """
    if model.method == "nonlinear":
        return _nonlinear(model, x, temperature)
    assert model.columns is not None
    design = model.columns(x)
    size = np.linalg.norm(design, axis=0)
    if (size == 0).any() or np.linalg.matrix_rank(design / size, tol=1e-9) < design.shape[1]:
        raise FitError(
            f"model {model.name}: expected hyperparameters that tell {', '.join(model.coefficients)} apart, got some "
            "that are constant, zero or proportional to each other. Vary each at a fixed value of the others."
        )
    if model.method == "relative":
        return _relative(model, design, temperature)
    logarithm, tau2 = np.log(temperature), np.nan
    weights = np.ones_like(temperature)
    if variances is not None:
        tau2 = _between(design, logarithm, variances)
        weights = 1 / (tau2 + variances)
    theta = _least_squares(design, logarithm, weights)
    return _solution(theta, np.exp(design @ theta), logarithm - design @ theta, design, weights, np.sqrt(tau2))


def _solution(
    theta: Array, fitted: Array, residuals: Array, gradient: Array, weights: Array, between: float = np.nan
) -> Solution:
    """Return the solution that belongs to coefficients.

    `gradient` (runs, coefficients) and `weights` (runs,) are those of the least squares problem that θ solves.
    """
    root = np.sqrt(weights)[:, None] * gradient
    size = np.linalg.norm(root, axis=0)  # scale columns to one size: 1 and η² differ by many decades
    q, r = np.linalg.qr(root / size)
    half = np.linalg.solve(r, np.eye(len(theta))) / size[:, None]
    free = len(fitted) - len(theta)
    standardized = residuals if np.isnan(between) else np.sqrt(weights) * residuals
    scatter = float(np.sqrt((standardized**2).sum() / free)) if free else np.nan
    return Solution(theta, fitted, residuals, (q**2).sum(axis=1), half @ half.T, scatter, between)


def _least_squares(design: Array, target: Array, weights: Array) -> Array:
    """Return the θ that minimises Σ w (target − design θ)²."""
    root = np.sqrt(weights)
    scaled = root[:, None] * design
    size = np.linalg.norm(scaled, axis=0)
    solution: Array = np.linalg.lstsq(scaled / size, root * target, rcond=None)[0]
    coefficients: Array = solution / size
    return coefficients


def _between(design: Array, target: Array, variances: Array) -> float:
    """Return the τ² at which Σ (target − design θ)²/(τ² + variance) is n − k; 0 if there is none.

    The sum falls as τ² grows, so there is at most one.
    """
    free = len(target) - design.shape[1]

    def excess(tau2: float) -> float:
        weights = 1 / (tau2 + variances)
        residual = target - design @ _least_squares(design, target, weights)
        return float((weights * residual**2).sum() - free)

    if excess(0.0) <= 0:
        return 0.0
    plain = target - design @ _least_squares(design, target, np.ones_like(target))
    top = float((plain**2).sum()) / free  # an upper bound: the sum is n − k here even without the variances
    return float(scipy.optimize.brentq(excess, 0.0, top, xtol=1e-14 * top, rtol=1e-14))


def _relative(model: Model, design: Array, temperature: Array) -> Solution:
    """Solve least squares in T with weights 1/T̂², repeated until T̂ no longer changes.

    Its equations Σ (T − T̂)/T̂² ∂T̂ = 0 are those of maximum likelihood for gamma-distributed T. Weights 1/T² from the
    measured T would make the curve too low, by twice the squared scatter: 4 % at a scatter of 15 %.
    """
    theta = _least_squares(design, temperature, temperature**-2.0)
    if not (design @ theta > 0).all():
        theta = _positive_start(model, design, temperature)
    deviance = _deviance(temperature, design @ theta)
    for _ in range(ROUNDS):
        proposal = _least_squares(design, temperature, (design @ theta) ** -2.0)
        step, share = proposal - theta, 1.0
        while share > LEAST and _deviance(temperature, design @ (theta + share * step)) > deviance * (1 + LEAST):
            share /= 2
        if share <= LEAST:
            break
        moved = share * np.abs(design @ step / (design @ theta)).max()
        theta = theta + share * step
        deviance = min(deviance, _deviance(temperature, design @ theta))
        if moved < CONVERGED:
            break
    fitted = design @ theta
    return _solution(theta, fitted, temperature / fitted - 1, design, fitted**-2.0)


def _positive_start(model: Model, design: Array, temperature: Array) -> Array:
    """Return coefficients of a curve that is positive at every run: a constant, if the model has a constant term."""
    constant = np.flatnonzero((design == 1).all(axis=0))
    if not constant.size:
        raise FitError(
            f"model {model.name}: expected a curve {model.equation} that is positive at every run, got none. "
            "Leave out hyperparameters at or below zero, or fit `linear`."
        )
    theta = np.zeros(design.shape[1])
    theta[constant[0]] = temperature.mean()
    return theta


def _deviance(temperature: Array, fitted: Array) -> float:
    """Return half the mean gamma deviance of T from T̂; infinite if a T̂ is not positive."""
    if not (fitted > 0).all():
        return np.inf
    ratio = temperature / fitted - 1
    return float((ratio - np.log1p(ratio)).mean())


def _nonlinear(model: Model, x: Array, temperature: Array) -> Solution:
    """Solve nonlinear least squares in ln T, from the best of the model's starts."""
    assert model.curve is not None
    assert model.limits is not None
    assert model.starts is not None
    curve, logarithm, (low, high) = model.curve, np.log(temperature), model.limits(x)

    def misfit(theta: Array) -> float:
        return float(((curve(x, theta)[0] - logarithm) ** 2).sum())

    start = min(model.starts(x, logarithm), key=misfit)
    found = scipy.optimize.least_squares(
        lambda theta: curve(x, theta)[0] - logarithm,
        start,
        jac=lambda theta: curve(x, theta)[1],
        bounds=(low, high),
        x_scale="jac",
        ftol=1e-15,
        xtol=1e-15,
        gtol=1e-15,
    )
    theta = _polish(model, x, logarithm, found.x, misfit)
    for name, value, least, most in zip(model.coefficients, theta, low, high, strict=True):
        if min(value - least, most - value) < 1e-6 * abs(value):
            raise FitError(
                f"model {model.name}: expected {name} inside its domain ({least:.3g} to {most:.3g}), got its edge. "
                f"The temperatures do not follow {model.equation}. Fit `power` or `linear`."
            )
    value, gradient = curve(x, theta)
    return _solution(theta, np.exp(value), logarithm - value, gradient, np.ones_like(logarithm))


def _polish(model: Model, x: Array, logarithm: Array, theta: Array, misfit: Any) -> Array:
    """Refine θ by a few Gauss-Newton steps: the trust region method is exact only to the root of machine precision."""
    assert model.curve is not None
    assert model.limits is not None
    low, high = model.limits(x)
    for _ in range(20):
        value, gradient = model.curve(x, theta)
        step = _least_squares(gradient, logarithm - value, np.ones_like(logarithm))
        inside = bool(((theta + step > low) & (theta + step < high)).all())
        if not inside or misfit(theta + step) > misfit(theta) * (1 + 1e-9):
            break
        theta = theta + step
        if (np.abs(step) <= 1e-15 * np.abs(theta)).all():
            break
    return theta


def log_likelihood(model: Model, solution: Solution, temperature: Array) -> float:
    """Return the maximum log likelihood of a solution, from the density of T.

    For models of ln T, ln T is normal with variance s² = Σr²/n, which gives −n/2 (ln 2πs² + 1) − Σ ln T; the last term
    is the Jacobian |d ln T/dT| = 1/T. For the others, T is gamma-distributed with mean T̂ and shape ν. The best ν solves
    ln ν − ψ(ν) = D, with D the mean of T/T̂ − 1 − ln(T/T̂).
    """
    n, jacobian = temperature.size, float(np.log(temperature).sum())
    with np.errstate(divide="ignore"):
        if model.of_logarithm:
            return float(-0.5 * n * (np.log(2 * np.pi * (solution.residuals**2).mean()) + 1)) - jacobian
        deviance = _deviance(temperature, solution.fitted)
        if deviance <= 0:
            return np.inf
    shape = _shape(deviance)
    return n * (_peak(shape) - shape * deviance) - jacobian


def _shape(deviance: float) -> float:
    """Return the ν at which ln ν − ψ(ν) = deviance. The left side is between 1/(2ν) and 1/ν."""

    def gap(logarithm: float) -> float:
        shape = float(np.exp(logarithm))
        if shape > STIRLING:
            inverse = 1 / shape
            return inverse / 2 + inverse**2 / 12 - inverse**4 / 120 - deviance
        return float(np.log(shape) - digamma(shape)) - deviance

    low, high = np.log(0.5 / deviance) - 1e-6, np.log(1 / deviance) + 1e-6
    return float(np.exp(scipy.optimize.brentq(gap, low, high, xtol=1e-13, rtol=1e-14)))


def _peak(shape: float) -> float:
    """Return ν ln ν − ν − ln Γ(ν), the logarithm of the gamma density of T/T̂ at 1."""
    if shape > STIRLING:
        return float(0.5 * np.log(shape / (2 * np.pi)) - 1 / (12 * shape) + 1 / (360 * shape**3))
    return float(shape * np.log(shape) - shape - gammaln(shape))
