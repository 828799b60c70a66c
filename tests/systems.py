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
    shared
        Whether the weights of one call are those of one group.
    """

    name: str
    velocities: Callable[[np.random.Generator, int, int], np.ndarray]
    truth: float
    shared: bool = False


def kinetic(rng: np.random.Generator, system: System, groups: int, weights: int, samples: int) -> np.ndarray:
    """𝒯(t) = ½ mean over a group's weights of v², (groups, samples)."""
    series = np.empty((groups, samples))
    step = 1 if system.shared else max(1, int(2e7 / (weights * samples)))
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


def heavy_ball(momentum: float, decay: float, step: float = 1e-2, noise: float = 1.0) -> System:
    """SGD with momentum μ on ½hw², ηh = `decay`: T = η²C/((1 − μ)(2(1 + μ) − ηh)), see `oracles.heavy_ball`."""
    stiffness = decay / step

    def velocities(rng: np.random.Generator, weights: int, samples: int) -> np.ndarray:
        # w(t+1) = (1 + μ − ηh) w(t) − μ w(t−1) − η√C ξ: a filter, run from rest until it has forgotten that.
        burn_in = int(20 / min(1 - momentum, decay))
        kicks = -step * np.sqrt(noise) * rng.standard_normal((weights, burn_in + samples + 1))
        position = lfilter([1.0], [1.0, -(1 + momentum - decay), momentum], kicks, axis=1)
        return np.asarray(np.diff(position, axis=1)[:, burn_in:])

    truth = oracles.heavy_ball_temperature(step, momentum, stiffness, noise)
    return System(f"heavy ball, μ = {momentum}, ηh = {decay}", velocities, truth)


def wandering(fraction: float, samples: int, spread: float = 0.2, sigma: float = 1e-3) -> System:
    """Independent Gaussian velocities of a weight whose temperature wanders: T·exp(s − spread²/2), s autoregressive.

    s has the given standard deviation and a correlation time of `fraction` of the window; its mean factor is 1. The
    weights of one group wander together.
    """

    def velocities(rng: np.random.Generator, weights: int, length: int) -> np.ndarray:
        slow = autoregression(rng, 1, length, float(np.exp(-1 / (fraction * samples))), spread)
        return np.asarray(sigma * np.exp((slow - spread**2 / 2) / 2) * rng.standard_normal((weights, length)))

    return System(f"wanders, time {fraction:g} N", velocities, 0.5 * sigma**2, shared=True)


def scattered(block: int, spread: float = 0.2, sigma: float = 1e-3) -> System:
    """Independent Gaussian velocities of weights that have one temperature for each block of steps.

    The factors of blocks are exp(s − spread²/2), independent between blocks; the weights of a group share them.
    T = ½σ², since the mean factor is 1.
    """

    def velocities(rng: np.random.Generator, weights: int, length: int) -> np.ndarray:
        blocks = -(-length // block)
        factor = np.exp(spread * rng.standard_normal(blocks) - spread**2 / 2)
        return np.asarray(sigma * np.sqrt(np.repeat(factor, block)[:length]) * rng.standard_normal((weights, length)))

    return System(f"blocks of {block} scatter by {spread:.0%}", velocities, 0.5 * sigma**2, shared=True)


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


def matrix_of_share(rng: np.random.Generator, shape: tuple[int, int], share: float) -> np.ndarray:
    """Logarithms (rows, columns) of which rows and columns explain exactly this share; mean 0, mean square 1.

    A Gaussian matrix falls into two parts, that of its row and column means and what is left: they are orthogonal, and
    each is scaled to the length that it should have.
    """
    rows, columns = shape
    noise = rng.normal(size=shape)
    left = noise - noise.mean(axis=0) - noise.mean(axis=1, keepdims=True) + noise.mean()
    sides = rng.normal(size=(rows, 1)) + rng.normal(size=(1, columns))
    sides -= sides.mean()
    parts = [part / np.sqrt((part**2).mean()) for part in (sides, left)]
    return np.asarray(np.sqrt(share) * parts[0] + np.sqrt(1 - share) * parts[1])
