"""⟨v⟩² without a drift."""

from __future__ import annotations

import numpy as np
import pytest

from analyzer.statistics.drift import drift_null
from tests import oracles


def null_of(velocity: np.ndarray, edges: np.ndarray) -> float:
    """Mean over weights of the null ⟨v⟩² of velocities (weights, samples), from blocks that begin at `edges`."""
    weights, samples = velocity.shape
    lengths = np.diff(np.append(edges, samples))
    displaced = (np.add.reduceat(velocity, edges, axis=1) ** 2).sum()
    sums, squares = (velocity.sum(axis=1) ** 2).sum(), (velocity**2).sum()
    return float(drift_null(displaced, sums, squares, (lengths**2).sum(), samples)) / weights


@pytest.mark.parametrize(("rho", "samples"), [(0.0, 2000), (0.9, 313 * 16)])
def test_drift_null(rho: float, samples: int) -> None:
    """⟨v⟩² without drift is ⟨v²⟩·g/N with g = (1 + ρ)/(1 − ρ); blocks of n see g to 2ρ/((1 − ρ²)·n)."""
    sigma, weights = 1e-3, 3000
    position = oracles.ar1_velocities(np.random.default_rng(20), weights, samples + 1, rho, sigma)
    velocity = np.diff(position, axis=1)
    edges = np.sort(np.append(np.arange(0, samples, 313), 100))  # blocks need not be of one length
    null = null_of(velocity, edges)
    theory = sigma**2 * (1 + rho) / (1 - rho) / samples
    assert null == pytest.approx(theory, rel=5 * np.sqrt(2 / (weights * (samples // 313 - 1))) + 0.04)
    assert (velocity.mean(axis=1) ** 2).mean() == pytest.approx(theory, rel=5 * np.sqrt(2 / weights))
    # A drift that is really there is not in the null: blocks of one length do not see it, others within their scatter.
    even = np.arange(0, samples, samples // 16)
    assert null_of(velocity + 10 * sigma, even) == pytest.approx(null_of(velocity, even), rel=1e-6)
    assert null_of(velocity + 10 * sigma, edges) < 1e-4 * (10 * sigma) ** 2
    assert np.isnan(null_of(velocity, np.array([0])))
    assert np.isnan(null_of(velocity, np.array([0, samples - 10])))


def test_drift_null_of_blocks_that_are_too_short_is_not_known() -> None:
    velocity = np.diff(oracles.ar1_velocities(np.random.default_rng(3), 500, 1001, 0.9, 1.0), axis=1)
    assert np.isnan(null_of(velocity, np.arange(0, 1000, 10)))
    assert null_of(velocity, np.arange(1000)) == pytest.approx(velocity.var(axis=1, ddof=1).mean() / 1000)
    assert null_of(np.ones((3, 100)), np.arange(0, 100, 10)) == 0
