"""How often the true correlation, displacement and exponent lie inside the reported 95 % interval.

    python -m tests.benchmarks.dynamics_coverage

Each system is one weight, which no average over weights helps. The truths are derived in
tests/analyzer/quantities/test_dynamics.py.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from scipy.signal import lfilter

from analyzer.engine.strips import GRID, MOST_BATCHES
from analyzer.statistics.lagged import NORMAL, lagged
from tests.benchmarks.analyzer_workload import table

LAGS = np.array([0, 1, 2, 10, 12, 14, 96, 112, 128, 448, 512, 640, 896, 1024])
SHOWN = (0, 1, 12, 112, 512, 1024)
_AT_ONCE = 100


@dataclass(frozen=True)
class System:
    """Weights of one kind: from noise (weights, samples) to (weights, frames), with C(τ) and MSD(τ)."""

    name: str
    weights: Callable[[np.ndarray], np.ndarray]
    correlation: Callable[[np.ndarray], np.ndarray]
    displacement: Callable[[np.ndarray], np.ndarray]


def ar1(rho: float) -> System:
    """AR(1) velocities, with innovations of variance 1."""
    square = 1 / (1 - rho**2)
    return System(
        f"AR(1), ρ = {rho}" if rho else "random walk",
        lambda noise: np.cumsum(lfilter([1], [1, -rho], noise, axis=1), axis=1),
        lambda lag: square * rho**lag,
        lambda lag: square * (lag * (1 + rho) / (1 - rho) - 2 * rho * (1 - rho**lag) / (1 - rho) ** 2),
    )


def sgd(a: float) -> System:
    """SGD in a minimum: w = a w + ξ."""
    square = 1 / (1 - a**2)
    return System(
        f"SGD, a = {a}",
        lambda noise: lfilter([1], [1, -a], noise, axis=1),
        lambda lag: np.where(lag == 0, 2 * square * (1 - a), -square * (1 - a) ** 2 * a ** (lag - 1.0)),
        lambda lag: 2 * square * (1 - a**lag),
    )


SYSTEMS = (ar1(0.0), ar1(0.9), ar1(0.99), sgd(0.9), sgd(0.999))


def sums_of(weights: np.ndarray, length: int) -> tuple[np.ndarray, np.ndarray]:
    """The sums of batches of one window that begins at frame 0, as the engine makes them."""
    velocities = weights.shape[1] - 1
    batches = -(-velocities // length)
    sums, counts = np.zeros((len(weights), batches, LAGS.size, 2)), np.zeros((batches, LAGS.size, 2))
    v = np.diff(weights, axis=1)
    edges = np.arange(batches) * length
    for n, lag in enumerate(LAGS):
        products = np.zeros_like(v)
        products[:, lag:] = v[:, lag:] * v[:, : velocities - lag]
        sums[:, :, n, 0] = np.add.reduceat(products, edges, axis=1)
        counts[:, n, 0] = np.add.reduceat((np.arange(velocities) >= lag).astype(float), edges)
        if lag:
            products[:] = 0
            products[:, lag - 1 :] = (weights[:, lag:] - weights[:, : weights.shape[1] - lag]) ** 2
            sums[:, :, n, 1] = np.add.reduceat(products, edges, axis=1)
        counts[:, n, 1] = np.add.reduceat((np.arange(velocities) >= lag - 1).astype(float), edges)
    return sums, counts


def measure(count: int, frames: int, seed: int = 0) -> Iterator[tuple[object, ...]]:
    """Rows: system, column, and the share of intervals that hold the truth at each shown lag, in percent."""
    rng = np.random.default_rng(seed)
    length = max(GRID, 2 ** int(np.log2(2 * (frames - 1) / MOST_BATCHES)))
    before = 8000
    for system in SYSTEMS:
        correlation, displacement = system.correlation(LAGS), system.displacement(LAGS)
        low, high = np.maximum(np.arange(LAGS.size) - 1, 1), np.minimum(np.arange(LAGS.size) + 1, LAGS.size - 1)
        with np.errstate(divide="ignore", invalid="ignore"):
            slope = np.log(displacement[high] / displacement[low]) / np.log(LAGS[high] / LAGS[low])
        truths = {
            "autocorrelation": correlation,
            "normalised": correlation / correlation[0],
            "displacement": displacement,
            "exponent": slope,
        }
        hits = {name: np.zeros(LAGS.size) for name in truths}
        made = {name: np.zeros(LAGS.size) for name in truths}
        for begin in range(0, count, _AT_ONCE):
            some = min(_AT_ONCE, count - begin)
            weights = system.weights(rng.standard_normal((some, before + frames)))[:, before:]
            found = lagged(*sums_of(weights, length), LAGS, np.ones(some), length)
            for name, truth in truths.items():
                error = getattr(found, f"{name}_error")
                made[name] += np.isfinite(error).sum(axis=0)
                hits[name] += (np.abs(getattr(found, name) - truth) <= NORMAL * error).sum(axis=0)
        for name in truths:
            with np.errstate(invalid="ignore"):
                share = 100 * hits[name] / made[name]
            yield (system.name, name, *(_percent(share[list(LAGS).index(lag)], name, lag) for lag in SHOWN))


def _percent(share: float, name: str, lag: int) -> str:
    exact = lag == 0 and name != "autocorrelation"  # 0 or 1 by definition
    return "–" if exact or np.isnan(share) else f"{share:.1f}"


def main() -> None:
    """Print the table."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--systems", type=int, default=2000)
    options.add_argument("--frames", type=int, default=16385)
    chosen = options.parse_args()
    title = f"Coverage, %, of 95 % intervals; {chosen.systems:,} systems of {chosen.frames:,} frames"
    print(table(title, ("system", "column", *map(str, SHOWN)), list(measure(chosen.systems, chosen.frames))))


if __name__ == "__main__":
    main()
