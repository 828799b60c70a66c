"""Modes of walks, which are cosines, and of processes that relax, which are not."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.signal import lfilter

from analyzer.statistics.modes import VERDICTS, cosine_content, modes_of, verdict_of


@pytest.fixture
def rng() -> np.random.Generator:
    """Each test has its own, so that none depends on which others ran before it."""
    return np.random.default_rng(5)


def walk(rng: np.random.Generator, dimensions: int, frames: int) -> np.ndarray:
    return np.cumsum(rng.standard_normal((dimensions, frames)), axis=1)


def test_modes_are_those_of_the_covariance(rng: np.random.Generator) -> None:
    """The eigenvalues of Σ_t x xᵀ (weights × weights) and of xᵀ x (frames × frames) are the same: x = U S Vᵀ."""
    x = walk(rng, 7, 60) + 1e3
    found = modes_of(x.T @ x, 5)
    centred = x - x.mean(axis=1, keepdims=True)
    u, s, vt = np.linalg.svd(centred, full_matrices=False)
    np.testing.assert_allclose(found.share, (s**2 / (s**2).sum())[:5], rtol=1e-6)
    assert found.participation_ratio == pytest.approx((s**2).sum() ** 2 / (s**4).sum(), rel=1e-6)
    for n in range(5):
        assert abs(vt[n] @ found.projection[n] / s[n]) == pytest.approx(1, abs=1e-6)
        assert abs(u[:, n] @ (x @ found.factors[n])) == pytest.approx(1, abs=1e-6)
        moves, mode = np.diff(x, axis=1), u[:, n]
        cosines = (mode @ moves) ** 2 / (moves**2).sum(axis=0)
        assert found.update_angle[n] == pytest.approx(np.degrees(np.arccos(np.sqrt(cosines.mean()))), rel=1e-6)
    assert (found.projection[:, -1] >= found.projection[:, 0]).all()


def test_a_random_walk_has_cosines_for_modes(rng: np.random.Generator) -> None:
    """In many dimensions the Gram matrix of a walk of n steps is near d·min(s, t). Centred, its eigenvectors are
    cos(iπ(t + ½)/n) and its eigenvalues d/(2 sin(iπ/2n))², for i well below n: shares of 6/(π²i²), the first 61 %
    (Antognini & Sohl-Dickstein 2018). Of d dimensions an eigenvalue scatters by √(2/d), 3 % here: four times that is
    allowed."""
    x = walk(rng, 2000, 400)
    found = modes_of(x.T @ x, 4)
    np.testing.assert_allclose(found.share, 6 / (np.pi * np.arange(1, 5)) ** 2, rtol=4 * (2 / 2000) ** 0.5)
    assert (found.cosine_content > 0.97).all()
    assert set(verdict_of(found.cosine_content)) == {VERDICTS[2]}


def test_the_modes_of_an_ornstein_uhlenbeck_process_are_no_cosines(rng: np.random.Generator) -> None:
    x = lfilter([1], [1, -np.exp(-0.2)], rng.standard_normal((100, 700)), axis=1)[:, 200:]
    found = modes_of(x.T @ x, 3)
    assert found.share[0] < 0.1
    assert found.cosine_content[0] < 0.5
    contents = []
    for _ in range(20):
        x = lfilter([1], [1, -np.exp(-0.2)], rng.standard_normal((100, 700)), axis=1)[:, 200:]
        contents.append(modes_of(x.T @ x, 1).cosine_content[0])
    assert np.mean(contents) < 0.2


def test_one_direction_is_one_mode() -> None:
    x = np.outer([3.0, 4.0], np.arange(20.0))
    found = modes_of(x.T @ x, 3)
    assert found.share[0] == pytest.approx(1)
    assert np.isnan(found.share[1:]).all()
    assert found.participation_ratio == pytest.approx(1)
    np.testing.assert_allclose(found.projection[0], 5 * (np.arange(20) - 9.5), atol=1e-9)
    assert found.update_angle[0] == pytest.approx(0, abs=1e-4)


def test_what_does_not_move_has_no_modes() -> None:
    for gram in (np.zeros((20, 20)), np.full((20, 20), np.nan)):
        found = modes_of(gram, 2)
        assert np.isnan(found.share).all()
        assert verdict_of(found.cosine_content).tolist() == ["", ""]


def test_a_cosine_content_is_that_of_a_whole_basis(rng: np.random.Generator) -> None:
    """The waves cos(iπ(t + ½)/N) √(2/N) are orthonormal, so that the contents of one series add up to 1."""
    series = rng.standard_normal(50)
    series -= series.mean()
    total = cosine_content(np.tile(series, (49, 1))).sum()
    assert total == pytest.approx(1, rel=1e-12)
