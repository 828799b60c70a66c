"""Least squares against statsmodels and scipy."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import scipy.stats
import statsmodels.api as sm
from scipy.optimize import curve_fit, minimize_scalar
from statsmodels.tools.eval_measures import aicc as peer_aicc

from analyzer.fitting.fit import fit, predict
from tests.analyzer.fitting.test_fit import CLOSE, design, ends, hat, made
from tests.sweeps import BATCHES, RATES, Sweep, cross, sweep


def of_model(name: str) -> Sweep:
    rng = np.random.default_rng(3)
    if name == "joint":
        return sweep(rng, (2.0, -1.0), cross(), seeds=2, scatter=0.1)
    if name == "inverse_power":
        return sweep(rng, (-1.0,), BATCHES, seeds=2, scatter=0.1)
    return made(3, 1.0 if name in ("linear", "proportional") else 2.0, seeds=2, scatter=0.1)


@pytest.mark.parametrize("name", ["power", "inverse_power", "joint"])
def test_logarithms_against_statsmodels(name: str) -> None:
    data = of_model(name)
    found = fit(name, data.x, data.temperature, seed=data.seed)
    peer = sm.OLS(np.log(data.temperature), design(name, data.x)).fit()
    assert found.uncertainty.kind == "pooled"
    np.testing.assert_allclose(found.theta, peer.params, **CLOSE)
    np.testing.assert_allclose(found.uncertainty.covariance, peer.cov_params(), rtol=1e-8, atol=1e-14)
    errors = np.array([c.standard_error for c in found.coefficients])
    np.testing.assert_allclose(errors, peer.bse * np.array([found["a"].value, *[1.0] * (len(errors) - 1)]), **CLOSE)
    interval = peer.conf_int()
    interval[0] = np.exp(interval[0])
    np.testing.assert_allclose(ends(found), interval, **CLOSE)
    influence = peer.get_influence()
    np.testing.assert_allclose(found.leverage, influence.hat_matrix_diag, **CLOSE)
    np.testing.assert_allclose(found.residuals, peer.resid, rtol=1e-8, atol=1e-12)
    np.testing.assert_allclose(found.scatter**2, peer.mse_resid, **CLOSE)
    np.testing.assert_allclose(found.r_squared, peer.rsquared, **CLOSE)
    # The density of T is that of ln T over T.
    likelihood = peer.llf - np.log(data.temperature).sum()
    np.testing.assert_allclose(found.log_likelihood, likelihood, **CLOSE)
    count = len(found.coefficients) + 1
    np.testing.assert_allclose(found.aicc, peer_aicc(likelihood, data.temperature.size, count), **CLOSE)
    band = peer.get_prediction(design(name, data.x)).conf_int()
    curve = predict(found, data.x)
    np.testing.assert_allclose(np.column_stack([curve.low, curve.high]), np.exp(band), **CLOSE)
    np.testing.assert_allclose(curve.temperature, found.fitted, **CLOSE)


@pytest.mark.parametrize("name", ["parabola", "square", "linear", "proportional"])
def test_relative_weights_against_statsmodels(name: str) -> None:
    """The gamma regression with the identity as link, and weighted least squares at its weights, are the same fit."""
    data = of_model(name)
    found = fit(name, data.x, data.temperature)
    columns = design(name, data.x)
    unit = np.linalg.norm(columns, axis=0)  # statsmodels stops early in columns of 1e-6
    with warnings.catch_warnings(action="ignore"):  # of a link that may leave the domain
        model = sm.GLM(data.temperature / 1e-8, columns / unit, family=sm.families.Gamma(sm.families.links.Identity()))
        start = np.zeros(columns.shape[1])
        start[0 if name in ("square", "proportional") else -1] = (data.temperature / 1e-8).mean() * (
            unit[0] / columns[:, 0].mean() if name in ("square", "proportional") else unit[-1]
        )
        peer = model.fit(start_params=start, maxiter=500, tol=1e-15, tol_criterion="params", scale="X2")
    np.testing.assert_allclose([c.value for c in found.coefficients], peer.params / unit * 1e-8, rtol=1e-7)
    np.testing.assert_allclose([c.standard_error for c in found.coefficients], peer.bse / unit * 1e-8, rtol=1e-7)
    np.testing.assert_allclose(found.scatter**2, peer.scale, rtol=1e-8)
    weighted = sm.WLS(data.temperature, columns, weights=found.fitted**-2.0).fit()
    np.testing.assert_allclose(found.theta, weighted.params, rtol=1e-7)
    np.testing.assert_allclose(found.uncertainty.covariance, weighted.cov_params(), rtol=1e-7)
    np.testing.assert_allclose(found.leverage, hat(weighted), rtol=1e-7)
    np.testing.assert_allclose(ends(found), weighted.conf_int(), rtol=1e-7)

    # The likelihood is the largest over the shape ν, scale 1/ν.
    def loss(logarithm: float) -> float:
        shape = np.exp(logarithm)
        return -float(scipy.stats.gamma.logpdf(data.temperature, shape, scale=found.fitted / shape).sum())

    best = minimize_scalar(loss, bracket=(0.0, 5.0), tol=1e-12)
    np.testing.assert_allclose(found.log_likelihood, -best.fun, rtol=1e-10)
    score = columns.T @ ((data.temperature - found.fitted) / found.fitted**2)
    scale = np.abs(columns).T @ np.abs((data.temperature - found.fitted) / found.fitted**2)
    np.testing.assert_array_less(np.abs(score / scale), 1e-10)


def test_the_gamma_likelihood_keeps_its_digits_at_small_scatter() -> None:
    """ν of 1e6: ln Γ(ν) is 1e7 and leaves no digit of the difference unless the series is used."""
    rng = np.random.default_rng(8)
    temperature = RATES**2 * (1 + 1e-3 * rng.standard_normal(7))
    found = fit("square", RATES, temperature)
    s = np.sqrt(((temperature / found.fitted - 1) ** 2).mean())
    normal = -7 * (np.log(s * np.sqrt(2 * np.pi)) + 0.5) - np.log(found.fitted).sum()
    np.testing.assert_allclose(found.log_likelihood, normal, atol=1e-4, rtol=0)


def test_the_stiff_square_against_curve_fit() -> None:
    rng = np.random.default_rng(4)
    x = np.repeat(np.geomspace(0.01, 0.3, 9), 2)
    temperature = 0.5 * x**2 / (1 - 2.5 * x) * np.exp(0.05 * rng.standard_normal(18))

    def curve(rate: np.ndarray, log_a: float, c: float) -> np.ndarray:
        return log_a + 2 * np.log(rate) - np.log(1 - c * rate)

    found = fit("stiff", x, temperature)
    best, covariance = curve_fit(curve, x, np.log(temperature), p0=(np.log(0.5), 2.5), xtol=1e-15, ftol=1e-15)
    np.testing.assert_allclose(found.theta, best, rtol=1e-7)
    np.testing.assert_allclose(found.uncertainty.covariance, covariance, rtol=1e-5)  # its Jacobian is differenced
    assert found.uncertainty.degrees_of_freedom == 16


def test_a_stiff_square_ends_at_its_pole() -> None:
    x = np.geomspace(0.01, 0.3, 9)
    band = predict(fit("stiff", x, 0.5 * x**2 / (1 - 2.5 * x) * np.linspace(1, 1.01, 9)), np.array([0.3, 0.5]))
    assert np.isfinite(band.temperature[0])
    assert np.isnan(band.temperature[1])
