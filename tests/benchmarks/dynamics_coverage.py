"""How often the true correlation, displacement, exponent and diffusion coefficient lie inside the 95 % interval.

    python -m tests.benchmarks.dynamics_coverage
    python -m tests.benchmarks.dynamics_coverage --only Adam     # systems whose name begins so

Systems are single weights, which no average over weights helps, and groups of ten. The truths are derived in
tests/analyzer/quantities/motion/test_dynamics.py; Adam has none in closed form, and stands beside a long simulation.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from scipy.signal import lfilter

from analyzer.engine.lookback.strips import GRID, MOST_BATCHES
from analyzer.quantities.motion.dynamics import _diffusion as diffusion
from analyzer.query.lags import default_lags
from analyzer.statistics.density import NORMAL
from analyzer.statistics.lagged import Lagged, lagged

SHOWN = (0, 1, 12, 112, 512, 1024)
GROUPS = (1, 10)
_AT_ONCE = 100
"""Weights that are simulated at once."""
_REFERENCE = (200, 1 << 18)
"""Weights and frames of the simulation that gives Adam's truth: 3,200 times as many as a system has. Its own error is a
fiftieth of a single weight's, and an eighteenth of that of ten."""
_BEFORE = 8000
"""Frames that are simulated before the first one, so that systems forget how they began."""


@dataclass(frozen=True)
class System:
    """Weights of one kind: from noise (weights, frames) to (weights, frames), with C(τ) and MSD(τ).

    `diffusion` is D of long times, where there is one; `time` is ½ + Σ C(τ)/C(0).
    """

    name: str
    weights: Callable[[np.ndarray], np.ndarray]
    correlation: Callable[[np.ndarray], np.ndarray]
    displacement: Callable[[np.ndarray], np.ndarray]
    diffusion: float
    time: float


@dataclass(frozen=True)
class Coverage:
    """How often intervals of one system and column are given, and hold the truth, at each lag (lags,), in percent.

    The correlation time has no lags, and stands at the first one.
    """

    system: str
    weights: int
    column: str
    lags: np.ndarray
    given: np.ndarray
    held: np.ndarray


def ar1(rho: float) -> System:
    """AR(1) velocities, with innovations of variance 1."""
    square = 1 / (1 - rho**2)
    return System(
        f"AR(1), ρ = {rho}" if rho else "random walk",
        lambda noise: np.cumsum(lfilter([1], [1, -rho], noise, axis=1), axis=1),
        lambda lag: square * rho**lag,
        lambda lag: square * (lag * (1 + rho) / (1 - rho) - 2 * rho * (1 - rho**lag) / (1 - rho) ** 2),
        diffusion=square * (1 + rho) / (1 - rho) / 2,
        time=0.5 + rho / (1 - rho),
    )


def sgd(a: float) -> System:
    """SGD in a minimum: w = a w + ξ."""
    square = 1 / (1 - a**2)
    return System(
        f"SGD, a = {a}",
        lambda noise: lfilter([1], [1, -a], noise, axis=1),
        lambda lag: np.where(lag == 0, 2 * square * (1 - a), -square * (1 - a) ** 2 * a ** (lag - 1.0)),
        lambda lag: 2 * square * (1 - a**lag),
        diffusion=np.nan,  # confined
        time=0.0,
    )


def heavy_ball(momentum: float, pull: float) -> System:
    """SGD with momentum in a minimum: w(t) = (1 + μ − p) w(t − 1) − μ w(t − 2) + ξ, with p = ηh."""
    step = np.array([[1 - pull, momentum], [-pull, momentum]])  # of (w, v)
    square = 2 / ((1 - momentum) * (2 * (1 + momentum) - pull))
    state = [np.array([[square * (1 + momentum) / (2 * pull), square / 2], [square / 2, square]])]
    while len(state) <= 2 * SHOWN[-1]:
        state.append(step @ state[-1])
    both = np.array(state)
    swings = "under" if (1 + momentum - pull) ** 2 < 4 * momentum else "over"
    return System(
        f"heavy ball, μ = {momentum}, ηh = {pull}, {swings}damped",
        lambda noise: lfilter([1], [1, -(1 + momentum - pull), momentum], noise, axis=1),
        lambda lag: both[lag, 1, 1],
        lambda lag: 2 * (both[0, 0, 0] - both[lag, 0, 0]),
        diffusion=np.nan,  # confined
        time=0.0,
    )


def adam(beta1: float = 0.9, beta2: float = 0.999) -> System:
    """Adam in white noise, long after its first steps."""

    def weights(noise: np.ndarray) -> np.ndarray:
        first = lfilter([1 - beta1], [1, -beta1], noise, axis=1)
        return np.cumsum(first / np.sqrt(lfilter([1 - beta2], [1, -beta2], noise**2, axis=1)), axis=1)

    @cache
    def correlations() -> np.ndarray:
        count, frames = _REFERENCE
        rng, total = np.random.default_rng(1), np.zeros(2 * SHOWN[-1])
        for _ in range(count):
            v = np.diff(weights(rng.standard_normal((1, _BEFORE + frames + 1)))[0, _BEFORE:])
            power = np.abs(np.fft.rfft(v, 2 * frames)) ** 2
            total += np.fft.irfft(power)[: total.size] / (frames - np.arange(total.size))
        return total / count

    def displacement(lag: np.ndarray) -> np.ndarray:
        one, sums = correlations(), np.zeros(2 * SHOWN[-1])
        below = np.cumsum(one) - one[0]  # Σ C(k), 0 < k <= τ
        sums[1:] = np.cumsum(one[0] + 2 * below[:-1])
        return sums[lag]

    return System(
        "Adam in white noise",
        weights,
        lambda lag: correlations()[lag],
        displacement,
        diffusion=np.nan,  # of infinite times: not known in closed form
        time=0.5 + beta1 / (1 - beta1),
    )


SYSTEMS = (ar1(0.0), ar1(0.9), ar1(0.99), sgd(0.9), sgd(0.999), heavy_ball(0.9, 0.3), heavy_ball(0.5, 0.05), adam())


def sums_of(weights: np.ndarray, lags: np.ndarray, length: int) -> tuple[np.ndarray, np.ndarray]:
    """The sums of batches of one window that begins at frame 0, as the engine makes them."""
    velocities = weights.shape[1] - 1
    batches = -(-velocities // length)
    sums, counts = np.zeros((len(weights), batches, lags.size, 2)), np.zeros((batches, lags.size, 2))
    v = np.diff(weights, axis=1)
    edges = np.arange(batches) * length
    for n, lag in enumerate(lags):
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


def measure(
    systems: Sequence[System],
    count: int,
    frames: int,
    *,
    weights: int = 1,
    lags: np.ndarray | None = None,
    seed: int = 0,
) -> Iterator[Coverage]:
    """How `count` groups of so many weights fared, of each kind."""
    rng = np.random.default_rng(seed)
    lags = default_lags(frames - 1) if lags is None else lags
    length = max(GRID, 2 ** int(np.log2(2 * (frames - 1) / MOST_BATCHES)))
    for system in systems:
        held: dict[str, np.ndarray] = {}
        given: dict[str, np.ndarray] = {}
        for begin in range(0, count, _AT_ONCE // weights):
            some = min(_AT_ONCE // weights, count - begin)
            moved = system.weights(rng.standard_normal((some * weights, _BEFORE + frames)))[:, _BEFORE:]
            sums, counts = sums_of(moved, lags, length)
            groups = sums.reshape(some, weights, *sums.shape[1:]).sum(axis=1)
            found = lagged(groups, counts, lags, np.full(some, weights), length)
            for name, (off, error) in columns_of(system, found, lags).items():
                known = np.isfinite(error) & np.isfinite(off)
                given[name] = given.get(name, 0) + known.sum(axis=0)
                held[name] = held.get(name, 0) + (known & (np.abs(off) <= NORMAL * error)).sum(axis=0)
        for name in given:
            with np.errstate(invalid="ignore"):
                share = 100 * held[name] / given[name]
            yield Coverage(system.name, weights, name, lags, 100 * given[name] / count, share)


def columns_of(system: System, found: Lagged, lags: np.ndarray) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """How far each column is from the truth, and its standard error: (groups, lags) each; NaN where there is none."""
    correlation, displacement = system.correlation(lags), system.displacement(lags)
    low, high = np.maximum(np.arange(lags.size) - 1, 1), np.minimum(np.arange(lags.size) + 1, lags.size - 1)
    with np.errstate(divide="ignore", invalid="ignore"):
        slope = np.log(displacement[high] / displacement[low]) / np.log(lags[high] / lags[low])
        spread = diffusion(
            {
                "exponent": found.exponent,
                "exponent_error": found.exponent_error,
                "mean_squared_displacement": found.displacement,
                "mean_squared_displacement_error": found.displacement_error,
            },
            lags,
        )
        constant, error = spread["diffusion_coefficient"], spread["diffusion_coefficient_error"]
        apart = np.where(lags > 0, 1.0, np.nan)  # 0 or 1 by definition at lag 0
        summed = 0.5 + np.cumsum(system.correlation(np.arange(1, lags[-1] + 1))) / correlation[0]
        cut = np.nan_to_num(found.cutoff, nan=1).astype(np.int64)
        return {
            "autocorrelation": (found.autocorrelation - correlation, found.autocorrelation_error),
            "normalised": ((found.normalised - correlation / correlation[0]) * apart, found.normalised_error),
            "displacement": ((found.displacement - displacement) * apart, found.displacement_error),
            "exponent": ((found.exponent - slope) * apart, found.exponent_error),
            "diffusion": ((constant - displacement / (2 * lags)) * apart, error),
            "diffusion at long times": ((constant - system.diffusion) * apart, error),
            "correlation time to its cutoff": _first(found.time - summed[cut - 1], found.time_error, lags),
            "correlation time": _first(found.time - system.time, found.time_error, lags),
        }


def _first(off: np.ndarray, error: np.ndarray, lags: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What has no lags, at the first one: (groups, lags) each."""
    nothing = np.full((off.size, lags.size - 1), np.nan)
    return np.column_stack([off, nothing]), np.column_stack([error, nothing])


def line(row: Coverage) -> str:
    """A row of the table: how many hold at each shown lag, and of what is seldom given also how often that is."""
    places = [int(np.searchsorted(row.lags, lag)) for lag in SHOWN]
    cells = []
    for held, given in zip(row.held[places], row.given[places], strict=True):
        seldom = f" ({given:.0f})" if given < 99.5 else ""
        cells.append("–" if np.isnan(held) else f"{held:.1f}{seldom}")
    return f"| {row.system} | {row.weights} | {row.column} | " + " | ".join(cells) + " |"


def main() -> None:
    """Print the table."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--systems", type=int, default=2000)
    options.add_argument("--frames", type=int, default=16385)
    options.add_argument("--only", default="", help="systems whose name begins so")
    options.add_argument("--weights", type=int, nargs="+", default=GROUPS, help="weights of a group")
    chosen = options.parse_args()
    titles = ("system", "weights", "column", *(f"τ = {lag:,}" for lag in SHOWN))
    print(f"| {' | '.join(titles)} |\n{'|---' * len(titles)}|")
    some = [system for system in SYSTEMS if system.name.startswith(chosen.only)]
    for weights in chosen.weights:
        for row in measure(some, chosen.systems, chosen.frames, weights=weights):
            if not np.isnan(row.held).all():
                print(line(row), flush=True)


if __name__ == "__main__":
    main()
