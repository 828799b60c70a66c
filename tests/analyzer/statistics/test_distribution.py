"""Histograms of velocities and the Maxwell-Boltzmann curve, on plain arrays."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import integrate, stats

from analyzer.statistics.distribution import histogram, maxwell_boltzmann
from tests.analyzer.quantities.test_distribution import density
from tests.systems import autoregression


def test_maxwell_boltzmann_is_the_normal_density_and_keeps_its_tails() -> None:
    edges = np.array([-38.0, -37.0, -1.0, 0.0, 2.0, 37.0, 38.0])
    for low, high, told in zip(edges[:-1], edges[1:], maxwell_boltzmann(edges), strict=True):
        assert told * (high - low) == pytest.approx(integrate.quad(stats.norm.pdf, low, high, epsabs=0)[0], rel=1e-7)


@pytest.mark.parametrize("rho", [0.0, 0.9])
def test_intervals_hold_the_truth_in_nineteen_of_twenty(rho: float) -> None:
    """400 samples of 8 weights in 16 stretches, ten bins within two rms; 90 to 99 % is what error bars of a few
    hundred independent samples (at ρ = 0.9) can do."""
    rng, edges = np.random.default_rng(2), np.linspace(-2, 2, 11)
    truth, inside, made = density(edges, 1.0), 0, 0
    for _ in range(400):
        v = autoregression(rng, 8 * 16, 256, rho, 1.0)
        found = histogram(v.reshape(8, 16, 256), edges)
        inside += int((np.abs(found.density - truth) <= 1.96 * found.error).sum())
        made += truth.size
    assert 0.90 < inside / made < 0.99


def test_drawn_weights_add_their_scatter() -> None:
    """Eight of many weights of two temperatures: what a bin's density owes to the draw is in its error."""
    rng, edges = np.random.default_rng(3), np.linspace(-1, 1, 3)
    scales = np.where(rng.random((300, 8)) < 0.5, 0.3, 3.0)
    truth = density(edges, 0.3, 3.0)
    away = []
    for some in scales:
        v = rng.normal(size=(8, 1, 4000)) * some[:, np.newaxis, np.newaxis]
        found = histogram(v, edges, of=10**6)
        assert (found.error > 2 * histogram(v, edges).error).all() or np.ptp(some) == 0
        away += [(found.density - truth) / found.error] if np.ptp(some) else []
    assert 0.8 < np.sqrt(np.mean(np.square(away))) < 1.3
