"""Several fits at once: comparisons of models, groups."""

from __future__ import annotations

import numpy as np
import pytest

from analyzer.fitting.many import compare, fit_groups
from analyzer.fitting.models import MODELS, Model
from tests.analyzer.fitting.test_fit import made


def test_models_of_the_logarithm_and_of_t_compare() -> None:
    """One curve fitted both ways has nearly one AICc; without the Jacobian they would differ by 2 Σ ln T = −1,200."""
    square = Model("log square", "T = {a}·{x}²", ("a",), "nonlinear", curve=_square, limits=_anywhere, starts=_start)
    data = made(6, scatter=0.03)
    pair = compare([MODELS["square"], square], data.x, data.temperature)
    assert abs(pair.delta[1]) < 1
    assert 2 * np.log(data.temperature).sum() < -1000


def _square(x: np.ndarray, theta: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return theta[0] + 2 * np.log(x[:, 0]), np.ones((len(x), 1))


def _anywhere(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return np.array([-np.inf]), np.array([np.inf])


def _start(x: np.ndarray, logarithm: np.ndarray) -> list[np.ndarray]:
    return [np.zeros(1)]


def test_a_comparison_ranks_and_refuses() -> None:
    data = made(6, seeds=1)
    table = compare(["linear", "parabola", "square", "power"], data.x[:5], data.temperature[:5])
    assert [name for name, _ in table.refused] == ["parabola"]
    assert "expected at least 6 runs for 3 coefficient(s), got 5" in table.refused[0][1]
    assert table.fits[0].model.name == "square"
    assert table.delta[0] == 0
    assert (np.diff(table.delta) >= 0).all()
    np.testing.assert_allclose(table.weight, np.exp(-table.delta / 2) / np.exp(-table.delta / 2).sum())
    np.testing.assert_allclose(table.weight.sum(), 1)


def test_groups_are_fitted_one_by_one() -> None:
    data = made(2)
    dead = np.zeros_like(data.temperature)
    table = np.stack([data.temperature, dead, 3 * data.temperature])
    found = fit_groups("power", data.x, table, seed=data.seed)
    first, second, third = found.fits
    assert first is not None
    assert third is not None
    assert second is None
    assert found.refused[0] is None
    assert "got none of 35 (35 with T <= 0)" in str(found.refused[1])
    assert third["a"].value == pytest.approx(3 * first["a"].value)
    assert third["b"].value == pytest.approx(first["b"].value)
