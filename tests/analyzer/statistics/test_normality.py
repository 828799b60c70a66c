"""Normality of velocities: false rejections, what is found, and the parts against scipy."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from analyzer.statistics.normality import normality
from tests.benchmarks.analyzer_normality import Case, own, rates, shared, student

SYSTEMS = 100
NULLS = (
    Case("white, in stretches", own(0.0), 16, 512, 4),
    Case("AR(1)", own(0.9), 16, 1000),
    Case("AR(1), shared", shared(1.0, 0.9), 16, 1000),
)


@pytest.mark.parametrize("case", NULLS, ids=lambda case: case.name)
def test_gaussian_velocities_are_rejected_in_one_of_twenty(case: Case) -> None:
    """Of 100 systems at most 14: beyond lie 0.01 % of all results at a rate of 5 %, and 1 % at one of 8 %."""
    for _, rejected, without in rates((case,), SYSTEMS, seed=5):
        assert without == 0
        assert (rejected <= 0.14).all(), rejected
        assert (rejected > 0).any(), "a test that never rejects says nothing"


@pytest.mark.parametrize("rho", [0.0, 0.9])
def test_heavy_tails_are_found(rho: float) -> None:
    """Student's distribution with three degrees of freedom has no kurtosis at all: the sample's is large."""
    for _, rejected, _ in rates((Case("t3", student(rho), 64, 2048),), 10, seed=6):
        assert (rejected >= 0.9).all(), rejected


def test_pooling_would_reject_gaussian_weights_of_different_temperatures() -> None:
    """σ = e^ξ: ⟨v⁴⟩/⟨v²⟩² = 3⟨σ⁴⟩/⟨σ²⟩² = 3e⁸/e⁴, far above 3, while each weight is Gaussian."""
    v = own(0.0)(np.random.default_rng(7), 64, 2000)
    assert stats.kurtosis(v.reshape(-1)) > 3
    answer = normality(v[:, np.newaxis])
    assert abs(answer.kurtosis) < 4 * answer.kurtosis_error
    assert answer.distance < 0.01


def test_kurtosis_and_distance_are_those_of_scipy() -> None:
    v = np.random.default_rng(8).standard_t(8, (5, 3000)) * np.arange(1, 6)[:, np.newaxis] + 3
    answer = normality(v[:, np.newaxis])
    # White samples: g₂ = 1, so the bias is 6/3000, up to the noise of correlations that is not taken for more.
    assert answer.kurtosis == pytest.approx(stats.kurtosis(v, axis=1).mean() + 6 / 3000, rel=1e-9)
    z = (v - v.mean(axis=1, keepdims=True)) / v.std(axis=1, keepdims=True)
    assert answer.distance == pytest.approx(stats.kstest(z.reshape(-1), "norm").statistic, rel=1e-9)
    assert (answer.weights, answer.samples) == (5, 3000)


def test_p_values_of_white_samples_are_those_of_lilliefors() -> None:
    """Independent samples of one weight: the distance with estimated mean and variance is Lilliefors' (1967)."""
    from statsmodels.stats.diagnostic import lilliefors

    rng = np.random.default_rng(9)
    ours, theirs = np.empty((2, 80))
    for n in range(80):
        v = rng.standard_normal((1, 2000))
        ours[n] = normality(v[:, np.newaxis]).distance_p
        theirs[n] = lilliefors(v[0], pvalmethod="table")[1]
    inside = (theirs > 0.002) & (theirs < 0.95)  # the table ends there
    assert stats.spearmanr(ours[inside], theirs[inside]).statistic > 0.8
    # Error bars are the larger of two estimates, 5 % too wide: ours is the larger p-value, by that.
    assert -0.05 < np.median(ours[inside] - theirs[inside]) < 0.13


def test_effective_size_of_weights_that_share_a_signal() -> None:
    """White velocities, all equal up to sign: by symmetry odd parts average out, but no more than that."""
    rng = np.random.default_rng(10)
    alone = normality(shared(0.0, 0.0)(rng, 64, 2000)[:, np.newaxis])
    same = normality(shared(1.0, 0.0)(rng, 64, 2000)[:, np.newaxis])
    assert alone.n_eff == pytest.approx(64 * 2000, rel=0.4)
    assert same.n_eff < 5 * 2000
    assert same.kurtosis_error > 4 * alone.kurtosis_error


def test_what_cannot_be_judged_is_nan() -> None:
    rng = np.random.default_rng(11)
    v = rng.standard_normal((3, 1, 400))
    still = np.concatenate([v, np.zeros((2, 1, 400)), np.full((1, 1, 400), 0.1)])
    assert normality(still) == normality(v)
    assert normality(still).weights == 3
    assert np.isnan(normality(np.zeros((2, 1, 400))).kurtosis)
    broken = v.copy()
    broken[1, 0, 7] = np.inf
    assert np.isnan(normality(broken).distance)
    few = normality(v[:, :, :12])
    assert np.isfinite(few.kurtosis)
    assert np.isnan([few.kurtosis_p, few.distance_p]).all()
    np.testing.assert_allclose(normality(1e-170 * v).kurtosis, normality(v).kurtosis, rtol=1e-9)
