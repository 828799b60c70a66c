"""Tests of hypotheses against statsmodels and scipy, and what they say on data made under and against them."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats
import statsmodels.api as sm
from statsmodels.stats.multivariate import test_mvmean as mean_vector

from analyzer.errors import FitError
from analyzer.fitting.fit import Fit, fit
from analyzer.fitting.hypotheses import NULLS, Null, Wald, wald
from tests.sweeps import BATCHES, RATES, cross, sweep

PAIRS = {"(p, q) = (1, 1)": (1.0, 1.0), "(p, q) = (2, 1)": (2.0, 1.0), "(p, q) = (2, 0)": (2.0, 0.0)}


def named_tests(fitted: Fit) -> list[Wald]:
    """The tests of every named hypothesis about the fit's model, in the order of `NULLS`."""
    return [wald(fitted, null) for null in NULLS if null.model == fitted.model.name]


def test_pooled_against_statsmodels() -> None:
    data = sweep(np.random.default_rng(1), (1.9, -0.9), cross(), seeds=2)
    found = fit("joint", data.x, data.temperature, seed=data.seed)
    columns = np.column_stack([np.ones(len(data.x)), np.log(data.x[:, 0]), -np.log(data.x[:, 1])])
    peer = sm.OLS(np.log(data.temperature), columns).fit()
    tests = {one.null.name: one for one in named_tests(found)}
    assert len(tests) == 7
    for name, (p, q) in PAIRS.items():
        joint = peer.f_test((np.eye(3)[1:], [p, q]))
        assert tests[name].statistic == "F"
        assert tests[name].degrees_of_freedom == (2, 23)
        np.testing.assert_allclose(tests[name].value, joint.fvalue, rtol=1e-8)
        np.testing.assert_allclose(tests[name].p_value, joint.pvalue, rtol=1e-6, atol=1e-300)
    for name, row, value in (("p = 1", 1, 1.0), ("p = 2", 1, 2.0), ("q = 1", 2, 1.0), ("q = 0", 2, 0.0)):
        single = peer.t_test((np.eye(3)[row], value))
        np.testing.assert_allclose(tests[name].value, single.tvalue.item(), rtol=1e-8)
        np.testing.assert_allclose(tests[name].p_value, single.pvalue.item(), rtol=1e-6)
        assert tests[name].degrees_of_freedom == (23,)


def test_seeds_against_hotelling_and_student() -> None:
    data = sweep(np.random.default_rng(2), (2.0, -1.0), cross(), seeds=5)
    found = fit("joint", data.x, data.temperature, seed=data.seed)
    assert found.uncertainty.seed_theta is not None
    own = found.uncertainty.seed_theta[:, 1:]
    tests = {one.null.name: one for one in named_tests(found)}
    for name, pair in PAIRS.items():
        peer = mean_vector(own, pair)
        assert tests[name].degrees_of_freedom == peer.df == (2, 3)
        np.testing.assert_allclose(tests[name].value, peer.statistic, rtol=1e-8)
        np.testing.assert_allclose(tests[name].p_value, peer.pvalue, rtol=1e-8)
    single = scipy.stats.ttest_1samp(own[:, 0], 2.0)
    np.testing.assert_allclose([tests["p = 2"].value, tests["p = 2"].p_value], [single.statistic, single.pvalue])


@pytest.mark.parametrize("exponent", [1.9, 2.0, 2.3])
def test_one_sided_against_student(exponent: float) -> None:
    data = sweep(np.random.default_rng(3), (exponent,), RATES, seeds=5)
    found = fit("power", data.x, data.temperature, seed=data.seed)
    assert found.uncertainty.seed_theta is not None
    both, more = named_tests(found)
    peer = scipy.stats.ttest_1samp(found.uncertainty.seed_theta[:, 1], 2.0, alternative="greater")
    np.testing.assert_allclose([more.value, more.p_value], [peer.statistic, peer.pvalue])
    assert (more.p_value < 0.05) == (peer.confidence_interval(0.95).low > 2)
    assert (both.p_value < 0.05) == (not found["b"].low < 2 < found["b"].high)


@pytest.mark.parametrize(("exponents", "name"), [((1.0, -1.0), "(p, q) = (1, 1)"), ((2.0, -1.0), "(p, q) = (2, 1)"),
                                                 ((2.0, 0.0), "(p, q) = (2, 0)")])  # fmt: skip
def test_only_the_true_hypothesis_stands(exponents: tuple[float, float], name: str) -> None:
    data = sweep(np.random.default_rng(4), exponents, cross(), seeds=5)
    found = fit("joint", data.x, data.temperature, seed=data.seed)
    standing = {one.null.name for one in named_tests(found) if one.statistic == "F" and one.p_value > 0.01}
    assert standing == {name}


def test_every_hypothesis_names_a_model_that_has_its_coefficients() -> None:
    rng = np.random.default_rng(5)
    fits = {
        "power": fit("power", RATES, RATES**2 * rng.uniform(0.9, 1.1, 7)),
        "inverse_power": fit("inverse_power", BATCHES, BATCHES**-1 * rng.uniform(0.9, 1.1, 7)),
        "joint": fit("joint", cross(), cross().prod(axis=1) * rng.uniform(0.9, 1.1, 13)),
    }
    for null in NULLS:
        assert 0 <= wald(fits[null.model], null).p_value <= 1, null


def test_what_cannot_be_tested() -> None:
    found = fit("linear", RATES, RATES * np.linspace(1, 1.1, 7))
    with pytest.raises(FitError, match=r"b = 2: expected a model with b, got linear \(T = a·x \+ c\)\. Fit power"):
        wald(found, NULLS[0])
    power = fit("power", RATES, RATES * np.linspace(1, 1.1, 7))
    with pytest.raises(FitError, match="expected exponents, got the prefactor a"):
        wald(power, Null("a = 1", "power", (("a", 1.0),)))
    joint = fit("joint", cross(), cross().prod(axis=1) * np.linspace(1, 1.1, 13))
    with pytest.raises(FitError, match="expected one coefficient for a one-sided test, got 2"):
        wald(joint, Null("both", "joint", (("p", 1.0), ("q", 1.0)), greater=True))
    assert wald(found, Null("c = 0", "linear", (("c", 0.0),))).p_value < 1
