"""Synthetic layers whose rows are equally hot, or differ by a known spread."""

from __future__ import annotations

import numpy as np
from scipy.signal import lfilter


def ar1(rng: np.random.Generator, shape: tuple[int, ...], rho: float) -> np.ndarray:
    """Stationary series along the last axis, of variance 1 and autocorrelation ρ^k."""
    kicks = rng.standard_normal(shape) * np.sqrt(1 - rho**2)
    kicks[..., 0] /= np.sqrt(1 - rho**2)
    return lfilter([1.0], [1.0, -rho], kicks, axis=-1)


def layer(
    rng: np.random.Generator,
    *,
    rows: int = 32,
    elements: int = 4,
    blocks: int = 100,
    length: int = 32,
    rho: float = 0.9,
    shared: float = 0.7,
    common: float = 0.0,
    spread: float = 0.0,
) -> np.ndarray:
    """(rows, elements, blocks) mean squared velocity of every element over blocks of `length` steps.

    Velocities are AR(1) with ρ = 0.9, so 𝒯 is correlated over (1 + ρ²)/(1 − ρ²) = 9.5 steps and neighbouring blocks
    with it. A share `shared` of the variance is one signal of all elements of a row, their unit's error signal. Every
    row has ⟨v²⟩ = 1; `spread` is the standard deviation of its logarithm between rows, `common` that of a slow factor
    of all rows in time.
    """
    steps = blocks * length
    signal = ar1(rng, (rows, 1, steps), rho)
    velocity = np.sqrt(shared) * signal + np.sqrt(1 - shared) * ar1(rng, (rows, elements, steps), rho)
    means = (velocity**2).reshape(rows, elements, blocks, length).mean(axis=-1)
    slow = np.exp(common * ar1(rng, (blocks,), 0.9))
    return means * slow * np.exp(spread * rng.standard_normal(rows))[:, None, None]
