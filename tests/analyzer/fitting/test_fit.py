"""Fits against their peers: statsmodels and scipy find the same numbers on the same data."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import scipy.stats
import statsmodels.api as sm
from statsmodels.stats.meta_analysis import combine_effects

from analyzer.fitting.fit import Fit, fit, predict
from analyzer.fitting.models import Model
from tests.sweeps import RATES, Sweep, cross, sweep

CLOSE = {"rtol": 1e-8, "atol": 0}


def made(seed: int = 1, exponent: float = 2.0, **options: object) -> Sweep:
    return sweep(np.random.default_rng(seed), (exponent,), RATES, **options)  # type: ignore[arg-type]


def ends(found: Fit) -> np.ndarray:
    return np.array([[c.low, c.high] for c in found.coefficients])


def design(name: str, x: np.ndarray) -> np.ndarray:
    """Written out again: nothing here comes from the table of models."""
    one = np.ones(len(x))
    return {
        "power": lambda: np.column_stack([one, np.log(x)]),
        "inverse_power": lambda: np.column_stack([one, -np.log(x)]),
        "joint": lambda: np.column_stack([one, np.log(x[:, 0]), -np.log(x[:, 1])]),
        "parabola": lambda: np.column_stack([x**2, x, one]),
        "square": lambda: np.column_stack([x**2]),
        "linear": lambda: np.column_stack([x, one]),
        "proportional": lambda: np.column_stack([x]),
    }[name]()


def hat(weighted: Any) -> np.ndarray:
    """Hat values of weighted least squares: those of the ordinary one on its whitened data."""
    return sm.OLS(weighted.model.wendog, weighted.model.wexog).fit().get_influence().hat_matrix_diag


def test_one_seed_against_linregress() -> None:
    data = made(seeds=1)
    found = fit("power", data.x, data.temperature, seed=data.seed)
    peer = scipy.stats.linregress(np.log(data.x), np.log(data.temperature))
    half = scipy.stats.t.ppf(0.975, 5) * peer.stderr
    b = found["b"]
    np.testing.assert_allclose(
        [b.value, b.standard_error, b.low, b.high],
        [peer.slope, peer.stderr, peer.slope - half, peer.slope + half],
        **CLOSE,
    )
    assert found.uncertainty.kind == "pooled"
    assert "no setting has two seeds: the variance between seeds is unknown" in found.notes
    assert np.isnan(found.between_seed)
    assert "there is 1 seed" in found.notes[0]


@pytest.mark.parametrize(("name", "exponents"), [("power", (2.0,)), ("joint", (2.0, -1.0))])
def test_seeds_against_a_fit_of_each(name: str, exponents: tuple[float, ...]) -> None:
    """With every seed at every setting the interval is that of the slopes fitted to each seed, by t over the seeds."""
    settings = RATES if name == "power" else cross()
    data = sweep(np.random.default_rng(5), exponents, settings, seeds=4, slopes=0.05)
    found = fit(name, data.x, data.temperature, seed=data.seed)
    own = np.array(
        [
            sm.OLS(np.log(data.temperature[data.seed == s]), design(name, data.x[data.seed == s])).fit().params
            for s in range(4)
        ]
    )
    assert found.uncertainty.kind == "per-seed"
    assert found.uncertainty.seed_theta is not None
    np.testing.assert_allclose(found.uncertainty.seed_theta, own, rtol=1e-8)
    np.testing.assert_allclose(found.theta, own.mean(axis=0), **CLOSE)
    for n, c in enumerate(found.coefficients[1:], start=1):
        interval = scipy.stats.ttest_1samp(own[:, n], 0.0).confidence_interval(0.95)
        np.testing.assert_allclose([c.low, c.high], [interval.low, interval.high], **CLOSE)
        np.testing.assert_allclose(c.standard_error, scipy.stats.sem(own[:, n]), **CLOSE)


def test_the_variance_between_runs_against_statsmodels() -> None:
    """One coefficient, a mean: a meta-analysis by Paule and Mandel."""
    constant = Model("constant", "T = {a}", ("a",), "log", columns=lambda x: np.ones((len(x), 1)))
    data = made(7, 0.0, seeds=1, scatter=0.05, within=(0.01, 0.08))
    found = fit(constant, data.x, data.temperature, within=data.within, intervals="weighted")
    peer = combine_effects(
        np.log(data.temperature), (data.within / data.temperature) ** 2, method_re="iterated", use_t=False
    )
    assert peer.tau2 > 0
    np.testing.assert_allclose(found.between_run**2, peer.tau2, rtol=1e-4)  # statsmodels stops at 1e-5
    np.testing.assert_allclose(found.theta[0], peer.mean_effect_re, rtol=1e-6)
    np.testing.assert_allclose(np.sqrt(found.uncertainty.covariance[0, 0]), peer.sd_eff_w_re, rtol=1e-4)


def test_weights_with_a_variance_between_runs() -> None:
    data = made(9, within=(0.01, 0.1), seeds=2)
    found = fit("power", data.x, data.temperature, within=data.within, seed=data.seed, intervals="weighted")
    total = found.between_run**2 + (data.within / data.temperature) ** 2
    peer = sm.WLS(np.log(data.temperature), design("power", data.x), weights=1 / total).fit(cov_type="fixed scale")
    np.testing.assert_allclose(found.theta, peer.params, **CLOSE)
    np.testing.assert_allclose(found.uncertainty.covariance, peer.cov_params(), **CLOSE)
    np.testing.assert_allclose(found.leverage, hat(peer), **CLOSE)
    np.testing.assert_allclose((found.residuals**2 / total).sum(), data.temperature.size - 2, rtol=1e-8)
    # Its AICc is that of the unweighted fit: it compares curves, not weights.
    assert found.aicc == fit("power", data.x, data.temperature).aicc


def test_no_variance_between_runs_is_below_zero() -> None:
    data = made(9, scatter=0.0, within=(0.02, 0.02))
    found = fit("power", data.x, data.temperature, within=3 * data.within, intervals="weighted")
    peer = sm.WLS(np.log(data.temperature), design("power", data.x), weights=(data.temperature / data.within / 3) ** 2)
    assert found.between_run == 0
    np.testing.assert_allclose(found.uncertainty.covariance, peer.fit(cov_type="fixed scale").cov_params(), **CLOSE)


def test_left_out_settings_and_lack_of_fit() -> None:
    data = made(2, seeds=3)
    found = fit("power", data.x, data.temperature, seed=data.seed)
    slopes = [
        np.polyfit(np.log(data.x[data.x != rate]), np.log(data.temperature[data.x != rate]), 1)[0] for rate in RATES
    ]
    np.testing.assert_allclose([found["b"].without_low, found["b"].without_high], [min(slopes), max(slopes)], rtol=1e-8)
    means = sm.OLS(np.log(data.temperature), (data.x[:, None] == RATES).astype(float)).fit()
    line = sm.OLS(np.log(data.temperature), design("power", data.x)).fit()
    np.testing.assert_allclose(found.lack_of_fit, means.compare_f_test(line)[1], rtol=1e-8)
    np.testing.assert_allclose(found.between_seed**2, means.mse_resid, rtol=1e-8)
    bent = fit("power", data.x, data.temperature + 0.025 * 3e-3 * data.x, seed=data.seed)
    assert bent.lack_of_fit < 1e-3 < found.lack_of_fit


def test_a_far_point_has_the_leverage_and_its_replicates_share_it() -> None:
    """In 1/β of 8 … 128 the first of five points has 1/5 + (x − x̄)²/Σ(x − x̄)² = 0.85 of 1 in an unweighted line."""
    x = np.repeat(1 / np.array([8.0, 16.0, 32.0, 64.0, 128.0]), 3)
    level = Model("line", "ln T", ("a", "b"), "log", columns=lambda x: np.column_stack([np.ones(len(x)), x]))
    temperature = np.exp(x + 0.01 * np.random.default_rng(1).standard_normal(15))
    found = fit(level, x, temperature)
    assert found.leverage[:3].sum() == pytest.approx(0.85, abs=0.01)
    assert found.leverage[:3].tolist() == pytest.approx([0.85 / 3] * 3, abs=0.005)


def test_without_leaving_out_only_these_ranges_are_unknown() -> None:
    data = made(11)
    one = fit("power", data.x, data.temperature, seed=data.seed)
    other = fit("power", data.x, data.temperature, seed=data.seed, leave_out=False)
    assert (ends(one) == ends(other)).all()
    assert all(np.isnan([c.without_low, c.without_high]).all() for c in other.coefficients)
    assert one.aicc == other.aicc


def test_the_band_over_seeds_is_that_of_their_own_curves() -> None:
    data = made(11, seeds=4, slopes=0.05)
    found = fit("power", data.x, data.temperature, seed=data.seed, level=0.9)
    assert found.uncertainty.seed_theta is not None
    grid = np.geomspace(5e-4, 5e-3, 9)
    curves = design("power", grid) @ found.uncertainty.seed_theta.T
    interval = scipy.stats.ttest_1samp(curves, 0.0, axis=1).confidence_interval(0.9)
    band = predict(found, grid)
    np.testing.assert_allclose(np.log(band.low), interval.low, rtol=1e-10)
    np.testing.assert_allclose(np.log(band.high), interval.high, rtol=1e-10)


def test_seeds_that_lack_a_run_are_left_out_in_turn() -> None:
    """The jackknife over blocks, written out: V = (S − 1)/S Σ (θ₍ₛ₎ − mean)²."""
    data = made(12, seeds=5, missing=0.15)
    found = fit("power", data.x, data.temperature, seed=data.seed)
    assert found.uncertainty.kind == "per-seed"
    assert "not every seed covers every setting" in found.notes
    without = np.array(
        [np.polyfit(np.log(data.x[data.seed != s]), np.log(data.temperature[data.seed != s]), 1)[0] for s in range(5)]
    )
    variance = 4 / 5 * ((without - without.mean()) ** 2).sum()
    np.testing.assert_allclose(found["b"].standard_error ** 2, variance, rtol=1e-8)
    assert found.uncertainty.degrees_of_freedom == 4
