"""Rows that are equally hot are called different in a twentieth of layers, and rows that differ are ranked."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from analyzer.errors import GroupError, WindowError
from analyzer.heterogeneity import Heterogeneity, heterogeneity
from tests.benchmarks.row_coverage import rejections
from tests.rows import layer


def blocks(seed: int = 0, **options: Any) -> np.ndarray:
    return layer(np.random.default_rng(seed), **options).mean(axis=1)


def test_independent_blocks_are_the_analysis_of_variance() -> None:
    """Without correlation S is the two-way residual variance, and F that of rows in a two-way layout.

    Its divisor 1 − 1/n turns the mean square over n blocks into the one over n − 1.
    """
    rng = np.random.default_rng(1)
    y = rng.standard_normal((12, 50)) * 0.1
    found = heterogeneity(np.exp(y))
    rest = y - y.mean(axis=0) - y.mean(axis=1, keepdims=True) + y.mean()
    residual = (rest**2).sum() / (11 * 49)
    between = 50 * y.mean(axis=1).var(ddof=1)
    assert found.degrees_of_freedom == (11, 600)
    assert found.inefficiency == 1
    np.testing.assert_allclose(found.f_value, between / residual, rtol=1e-10)
    np.testing.assert_allclose(found.p_value, scipy.stats.f.sf(between / residual, 11, 600), rtol=1e-8)


@pytest.mark.parametrize("options", [{}, {"common": 0.5}, {"rows": 12, "blocks": 60, "shared": 1.0}])
def test_equal_rows_are_called_different_in_a_twentieth(options: dict[str, Any]) -> None:
    """200 layers: one binomial deviation is 1.5 %, four are allowed. Elements taken as independent reject always."""
    found = rejections(200, **options)
    assert 0 < found["rows"] < 0.05 + 4 * 0.0154
    assert found["ranks"] < 0.05 + 4 * 0.0154
    assert found["independent elements"] > 0.5 or options.get("common")
    assert found["undecided"] < 0.02


def test_rows_that_differ_are_found() -> None:
    found = rejections(50, spread=0.1)
    assert found["rows"] > 0.95
    assert found["ranks"] > 0.9


def test_a_known_spread_is_measured() -> None:
    one = heterogeneity(blocks(3, rows=200, spread=0.3))
    assert one.between == pytest.approx(0.3, rel=0.2)
    assert one.rank_correlation > 0.9
    assert one.inefficiency > 1.1


def test_ranking_follows_the_rows() -> None:
    heat = np.array([3.0, 0.0, 1.0, 10.0, 0.3, 30.0])
    values = heat[:, None] * blocks(4, rows=6)
    values[4, 7] = np.nan
    found = heterogeneity(values)
    assert found.ranking.tolist() == [5, 3, 0, 2]
    assert found.left_out == 2
    assert found.ratio == pytest.approx(30, rel=0.3)
    assert np.isnan(found.mean[4])
    assert np.isnan(found.standard_error[4])
    assert found.mean[1] == found.standard_error[1] == 0
    assert found.p_value < 1e-10


def test_errors_of_rows_hold_their_means() -> None:
    """⟨v²⟩ = 1 of every row: 95 % of 1,000 intervals hold it, give or take four binomial deviations."""
    found = heterogeneity(blocks(5, rows=1000, blocks=200))
    inside = np.abs(found.mean - 1) < 1.959964 * found.standard_error
    assert abs(inside.mean() - 0.95) < 4 * np.sqrt(0.95 * 0.05 / 1000)


def test_a_drift_of_single_rows_leaves_it_undecided() -> None:
    """Rows that wander over the whole window have no mean to compare."""
    rng = np.random.default_rng(6)
    found = heterogeneity(np.exp(0.05 * rng.standard_normal((10, 1)) * np.linspace(-1, 1, 80)) + 0)
    assert np.isnan(found.p_value)
    assert np.isnan(found.between)


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 999), factor=st.floats(1e-12, 1e12))
def test_neither_units_nor_order_of_rows_nor_a_common_factor_matter(seed: int, factor: float) -> None:
    rng = np.random.default_rng(seed)
    values = np.exp(0.1 * rng.standard_normal((8, 40)) + 0.05 * rng.standard_normal((8, 1)))
    order = rng.permutation(8)
    one, other = heterogeneity(values), heterogeneity(factor * values[order])
    for name in ("f_value", "p_value", "between", "ratio", "inefficiency", "rank_correlation"):
        np.testing.assert_allclose(getattr(other, name), getattr(one, name), rtol=1e-7, atol=1e-9)
    assert order[other.ranking].tolist() == one.ranking.tolist()
    np.testing.assert_allclose(other.standard_error, factor * one.standard_error[order], rtol=1e-9)
    together: Heterogeneity = heterogeneity(values * np.exp(rng.standard_normal(40)))
    np.testing.assert_allclose(together.f_value, one.f_value, rtol=1e-7)


def test_refusals() -> None:
    with pytest.raises(
        WindowError, match=r"expected at least 20 time blocks, got the shape \(5, 19\) .* longer window"
    ):
        heterogeneity(np.ones((5, 19)))
    with pytest.raises(GroupError, match=r"expected at least 3 rows that move, got 2 of 4\. .* another parameter"):
        heterogeneity(np.array([[1.0], [0.0], [np.nan], [2.0]]) * np.ones(30))
