"""The statistical inefficiency: pymbar as judge, and theory."""

from __future__ import annotations

import logging

import numpy as np
import pytest

from analyzer.statistics import correlations
from analyzer.statistics.inefficiency import statistical_inefficiency
from tests import systems

logging.disable(logging.WARNING)  # pymbar advertises JAX while it is imported
from pymbar import timeseries  # noqa: E402

logging.disable(logging.NOTSET)


def series_of_every_kind() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(10)
    return {
        "white": rng.standard_normal(1000),
        "correlated": systems.autoregression(rng, 1, 3001, 0.95, 2e-9)[0],
        "alternating": systems.autoregression(rng, 1, 500, -0.8, 1.0)[0],
        "trend": np.linspace(0, 3, 777) + rng.standard_normal(777),
        "energies": systems.kinetic(rng, systems.ar1(0.9), 1, 7, 2000)[0],
        "short": rng.standard_normal(5),
        "tiny": 1e-170 * rng.standard_normal(400),
    }


@pytest.mark.parametrize("kind", list(series_of_every_kind()))
@pytest.mark.parametrize("fast", [False, True])
@pytest.mark.parametrize("minimum_time", [1, 3, 10])
def test_inefficiency_is_pymbars(kind: str, fast: bool, minimum_time: int) -> None:
    series = series_of_every_kind()[kind]
    # pymbar squares without rescaling, and 1e-170 squared is 0.
    judged = series / np.abs(series).max()
    expected = timeseries.statistical_inefficiency(judged, fast=fast, mintime=minimum_time)
    assert statistical_inefficiency(series, fast=fast, minimum_time=minimum_time) == pytest.approx(expected, rel=1e-9)


def test_groups_do_not_see_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    table = systems.kinetic(np.random.default_rng(11), systems.ar1(0.9), 9, 2, 700)
    alone = [statistical_inefficiency(row) for row in table]
    monkeypatch.setattr(correlations, "_TILE", 3000)  # tiles of two groups
    np.testing.assert_allclose(statistical_inefficiency(table), alone, rtol=1e-12)


def test_inefficiency_across_a_gap_is_that_of_the_pairs() -> None:
    """Missing samples: C(t) over the pairs that are there, by a plain loop, and the same rule."""
    rng = np.random.default_rng(12)
    series = systems.autoregression(rng, 1, 400, 0.8, 1.0)[0]
    present = np.ones(400, dtype=bool)
    present[100:150] = present[220:223] = False
    d = np.where(present, series - series[present].mean(), 0.0)
    n = int(present.sum())
    g = 1.0
    for t in range(1, 399):
        pairs = int((present[t:] & present[:-t]).sum())
        c = (d[t:] * d[:-t]).sum() / pairs / (d @ d / n)
        if c <= 0 and t > 3:
            break
        g += 2 * c * pairs / n
    assert statistical_inefficiency(series, present=present) == pytest.approx(g, rel=1e-9)
    series[~present] = np.nan  # what stands in a gap is not looked at
    assert statistical_inefficiency(series, present=present) == pytest.approx(g, rel=1e-9)


@pytest.mark.parametrize("rho", [0.0, 0.5, 0.9])
def test_inefficiency_of_kinetic_energy(rho: float) -> None:
    """AR(1) velocities: Cov(v(0)², v(τ)²) = 2σ⁴ρ^2τ, so 𝒯 is correlated as ρ^2τ: g = (1 + ρ²)/(1 − ρ²)."""
    series = systems.kinetic(np.random.default_rng(13), systems.ar1(rho), 40, 1, 20_000)
    g = statistical_inefficiency(series)
    assert g.mean() == pytest.approx((1 + rho**2) / (1 - rho**2), rel=0.04)
