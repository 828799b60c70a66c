"""Many synthetic systems at once, whose true temperature is known: what error bars are judged by.

A `System` makes 𝒯(t) of `groups` independent groups of weights; the derivations of the exact truths stand in
`tests/oracles.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np
from scipy.signal import lfilter

from tests import oracles


@dataclass(frozen=True)
class System:
    """Weights of one kind.

    Attributes
    ----------
    name
        For the table.
    velocities
        From a generator, groups × weights and samples: stationary velocities (weights, samples).
    truth
        T, paper's convention.
    """

    name: str
    velocities: Callable[[np.random.Generator, int, int], np.ndarray]
    truth: float


def kinetic(rng: np.random.Generator, system: System, groups: int, weights: int, samples: int) -> np.ndarray:
    """𝒯(t) = ½ mean over a group's weights of v², (groups, samples)."""
    series = np.empty((groups, samples))
    step = max(1, int(2e7 / (weights * samples)))
    for low in range(0, groups, step):
        high = min(low + step, groups)
        v = system.velocities(rng, (high - low) * weights, samples).reshape(high - low, weights, samples)
        series[low:high] = 0.5 * np.einsum("gws,gws->gs", v, v) / weights
    return series


def random_walk(sigma: float = 1e-3) -> System:
    """Independent Gaussian velocities: T = ½σ²."""
    return System("random walk", lambda rng, w, n: sigma * rng.standard_normal((w, n)), 0.5 * sigma**2)


def ar1(rho: float, sigma: float = 1e-3) -> System:
    """AR(1) velocities, stationary: T = ½σ²; g of 𝒯 is (1 + ρ²)/(1 − ρ²)."""

    def velocities(rng: np.random.Generator, weights: int, samples: int) -> np.ndarray:
        return autoregression(rng, weights, samples, rho, sigma)

    return System(f"AR(1), ρ = {rho}", velocities, 0.5 * sigma**2)


def sgd(decay: float, step: float = 1e-2, noise: float = 1.0) -> System:
    """SGD on ½hw² with gradient noise C, ηh = `decay`: T = η²C/(2 − ηh)."""
    stiffness = decay / step

    def velocities(rng: np.random.Generator, weights: int, samples: int) -> np.ndarray:
        spread = np.sqrt(step * noise / (stiffness * (2 - decay)))
        return np.diff(autoregression(rng, weights, samples + 1, 1 - decay, spread), axis=1)

    return System(f"SGD, ηh = {decay}", velocities, oracles.sgd_temperature(step, stiffness, noise))


def adam(step: float = 1e-3, burn_in: int = 3000) -> System:
    """Adam in white Gaussian noise; the truth from a long simulation of its own (the formula is 0.1 % off)."""

    def velocities(rng: np.random.Generator, weights: int, samples: int) -> np.ndarray:
        return np.diff(oracles.adam(rng, weights, samples + 1, step, white, burn_in=burn_in), axis=1)

    return System("Adam, white noise", velocities, step**2 * adam_truth())


@cache
def adam_truth() -> float:
    """T/η² of Adam in white noise from 1,000 weights × 20,000 steps, to 0.1 %.

    v² has relative variance near 2, and g of 𝒯 is 9.5: √(2·9.5/2e7). The error bars judged by it are 1 % and more.
    """
    trajectory = oracles.adam(np.random.default_rng(2718), 1000, 20_001, 1.0, white)
    return 0.5 * float(np.mean(np.diff(trajectory, axis=1) ** 2))


def white(rng: np.random.Generator, weights: int) -> np.ndarray:
    """Gradients that are all noise."""
    return rng.standard_normal(weights)


def autoregression(rng: np.random.Generator, weights: int, samples: int, rho: float, sigma: float) -> np.ndarray:
    """x ← ρx + σ√(1 − ρ²) ξ, stationary with standard deviation σ: (weights, samples)."""
    kicks = sigma * np.sqrt(1 - rho**2) * rng.standard_normal((weights, samples))
    kicks[:, 0] /= np.sqrt(1 - rho**2)  # the first one is the stationary state itself
    return np.asarray(lfilter([1.0], [1.0, -rho], kicks, axis=1))
