"""Synthetic sweeps whose exponents are known: temperatures of runs over hyperparameters and seeds."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

RATES = np.geomspace(7e-4, 3e-3, 7)
BATCHES = np.array([8.0, 16.0, 24.0, 32.0, 48.0, 64.0, 128.0])


@dataclass(frozen=True)
class Sweep:
    """x (runs,) or (runs, hyperparameters); temperature, within, seed (runs,)."""

    x: np.ndarray
    temperature: np.ndarray
    within: np.ndarray
    seed: np.ndarray


def sweep(
    rng: np.random.Generator,
    exponents: tuple[float, ...],
    settings: np.ndarray,
    *,
    seeds: int = 5,
    scatter: float = 0.05,
    slopes: float = 0.0,
    within: tuple[float, float] = (0.01, 0.03),
    missing: float = 0.0,
    prefactor: float = 0.025,
) -> Sweep:
    """T = a Π x_i^e_i, times what a seed adds.

    ln T has a normal deviation of standard deviation `scatter` of each run, the error within the run besides, which is
    drawn from `within` for each run, and of each seed exponents that deviate by `slopes`. A share `missing` of the runs
    is left out.
    """
    grid = settings.reshape(len(settings), -1)
    x = np.repeat(grid, seeds, axis=0)
    seed = np.tile(np.arange(seeds), len(grid))
    own = np.asarray(exponents) + slopes * rng.standard_normal((seeds, len(exponents)))
    centre = np.log(grid).mean(axis=0)
    logarithm = np.log(prefactor) + np.log(x) @ np.asarray(exponents)
    logarithm = logarithm + ((own - exponents)[seed] * (np.log(x) - centre)).sum(axis=1)
    error = rng.uniform(*within, size=seed.size)
    logarithm = logarithm + scatter * rng.standard_normal(seed.size) + error * rng.standard_normal(seed.size)
    kept = rng.random(seed.size) >= missing
    x = x[:, 0] if grid.shape[1] == 1 else x
    temperature = np.exp(logarithm)
    return Sweep(x[kept], temperature[kept], (error * temperature)[kept], seed[kept])


def cross() -> np.ndarray:
    """(13, 2) learning rate at batch 32, and batch at the middle rate: how one records a sweep of two."""
    middle = RATES[3]
    rates = [(rate, 32.0) for rate in RATES]
    return np.array(rates + [(middle, batch) for batch in BATCHES if batch != 32.0])
