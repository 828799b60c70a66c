"""Synthetic systems whose temperature is known exactly; each derivation stands in `tests/oracles.py`.

Statistical bounds are five standard errors of the estimate, from the system's own theory, with fixed seeds.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

import analyzer
from tests import oracles
from tests.stores import scratch, write_store


def measured(trajectory: np.ndarray, **options: object) -> dict[str, float]:
    with scratch() as folder:
        path = write_store(f"{folder}/run.zarr", {"lin.weight": trajectory[None]}, chunk_steps=256)
        answer = analyzer.open_run(path).thermo.temperature(**options).compute()
    return {name: answer[name].values.item() for name in answer.data_vars}


def test_constant_velocity() -> None:
    """T = T_drift = ½c², nothing thermal: exact, since c is a power of two."""
    answer = measured(oracles.constant_velocity(5, 600, 2.0**-5))
    assert answer["temperature"] == answer["temperature_drift"] == 0.5 * 2.0**-10
    assert answer["temperature_thermal"] == 0


@pytest.mark.parametrize("lag", [1, 4])
def test_random_walk(lag: int) -> None:
    """T = ½Lσ² at lag L; v² has relative standard deviation √2, so n velocities give T to √(2/n)."""
    sigma, weights, frames = 3e-4, 50, 2001
    answer = measured(oracles.random_walk(np.random.default_rng(1), weights, frames, sigma), lag=lag)
    velocities = weights * (frames - 1) // lag
    assert answer["velocities"] == velocities
    assert answer["temperature"] == pytest.approx(0.5 * lag * sigma**2, rel=5 * np.sqrt(2 / velocities))


def test_drift_of_a_random_walk_is_temperature_over_n() -> None:
    """Without any true drift ⟨v⟩ has variance σ²/N, so T_drift = T/N (g = 1): the null that is not zero."""
    sigma, weights, frames = 3e-4, 200, 501
    answer = measured(oracles.random_walk(np.random.default_rng(2), weights, frames, sigma))
    expected = 0.5 * sigma**2 / (frames - 1)
    assert answer["temperature_drift"] == pytest.approx(expected, rel=5 * np.sqrt(2 / weights))


@pytest.mark.parametrize("stiffness", [0.5, 20.0])
def test_sgd_on_a_quadratic(stiffness: float) -> None:
    """T = η²C/(2 − ηh). v² is correlated over about 1/(ηh) steps; N_eff ≥ weights × frames × ηh/4 bounds the error."""
    step, noise, weights, frames = 0.05, 0.3, 200, 4001
    rng = np.random.default_rng(3)
    trajectory = oracles.sgd_on_quadratic(rng, weights, frames, step, stiffness, noise)
    answer = measured(trajectory)
    effective = weights * frames * step * stiffness / 4
    truth = oracles.sgd_temperature(step, stiffness, noise)
    assert answer["temperature"] == pytest.approx(truth, rel=5 * np.sqrt(2 / effective))
    # ⟨v²⟩/⟨w²⟩ = 2ηh·… ties the temperature to the well: ⟨w²⟩ = ηC/(h(2 − ηh)).
    spread = step * noise / (stiffness * (2 - step * stiffness))
    assert (trajectory**2).mean() == pytest.approx(
        spread, rel=5 * np.sqrt(2 / (weights * frames * step * stiffness / 2))
    )


@pytest.mark.parametrize("rho", [0.0, 0.9, -0.5])
def test_ar1_velocities_at_two_lags(rho: float) -> None:
    """T = ½σ² at lag 1; at lag L ½MSD(L). g of 𝒯 is (1+ρ²)/(1−ρ²)."""
    sigma, weights, frames, lag = 1e-3, 200, 3001, 5
    trajectory = oracles.ar1_velocities(np.random.default_rng(4), weights, frames, rho, sigma)
    effective = weights * (frames - 1) * (1 - rho**2) / (1 + rho**2)
    assert measured(trajectory)["temperature"] == pytest.approx(0.5 * sigma**2, rel=5 * np.sqrt(2 / effective))
    truth = 0.5 * oracles.ar1_msd(lag, rho, sigma)
    few = effective / lag
    assert measured(trajectory, lag=lag)["temperature"] == pytest.approx(truth, rel=5 * np.sqrt(2 / few))


def _white(rng: np.random.Generator, weights: int) -> np.ndarray:
    return rng.standard_normal(weights)


def _consistent(rng: np.random.Generator, weights: int) -> np.ndarray:
    return np.full(weights, 0.7)


def _signal(rng: np.random.Generator, weights: int) -> np.ndarray:
    return 0.5 + rng.standard_normal(weights)


@pytest.mark.parametrize(
    ("gradient", "signal", "bias"), [(_white, 0.0, 0.01), (_consistent, np.inf, 1e-9), (_signal, 0.5, 0.01)]
)
def test_adam(gradient: Callable[[np.random.Generator, int], np.ndarray], signal: float, bias: float) -> None:
    """T/η² = 0.0263 for white gradients, ½ for consistent ones; `bias`: the approximation's own error (√u scatters)."""
    step, weights, frames = 1e-3, 400, 2001
    answer = measured(oracles.adam(np.random.default_rng(5), weights, frames, step, gradient))
    truth = 0.5 * step**2 if np.isinf(signal) else oracles.adam_temperature(step, signal)
    # Velocities are AR(1)-like with ρ = β1: g of 𝒯 is 9.5.
    noise = 0.0 if np.isinf(signal) else 5 * np.sqrt(2 * 9.5 / (weights * frames))
    assert answer["temperature"] == pytest.approx(truth, rel=bias + noise)
    if signal == 0:
        assert truth / step**2 == pytest.approx(0.0263, abs=5e-5)


def test_norm_drift_identity_of_the_frames() -> None:
    """−⟨w(t−1)·v(t)⟩/(½⟨v²⟩) = 1 − (|w_N|² − |w_0|²)/Σv²: the sum of 2w·v + v² telescopes.

    The Σv² in it is the engine's.
    """
    trajectory = oracles.random_walk(np.random.default_rng(6), 20, 300, 1e-2)
    answer = measured(trajectory)
    squares = 2 * answer["temperature"] * answer["velocities"]
    velocity = np.diff(trajectory, axis=1)
    left = -(trajectory[:, :-1] * velocity).sum() / (0.5 * squares)
    right = 1 - ((trajectory[:, -1] ** 2).sum() - (trajectory[:, 0] ** 2).sum()) / squares
    assert left == pytest.approx(right, rel=1e-9)
