"""How often Gaussian velocities are called something else, and heavy-tailed ones are found.

`python -m tests.benchmarks.analyzer_normality` prints the table.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from scipy.signal import lfilter

from analyzer.statistics.normality import normality
from tests.systems import autoregression

Make = Callable[[np.random.Generator, int, int], np.ndarray]


@dataclass(frozen=True)
class Case:
    """A system: velocities (weights, samples) from a generator, in so many stretches."""

    name: str
    make: Make
    weights: int
    samples: int
    stretches: int = 1
    gaussian: bool = True


def own(rho: float) -> Make:
    """Weights that do not know of each other, of temperatures e^(2ξ): pooled they are far from Gaussian."""

    def make(rng: np.random.Generator, weights: int, samples: int) -> np.ndarray:
        return np.exp(rng.standard_normal((weights, 1))) * autoregression(rng, weights, samples, rho, 1.0)

    return make


def shared(part: float, rho: float) -> Make:
    """A part of each velocity is one error signal, up to sign: all of it, and no weight says more than the first."""

    def make(rng: np.random.Generator, weights: int, samples: int) -> np.ndarray:
        signal = autoregression(rng, 1, samples, rho, 1.0) * rng.choice([-1.0, 1.0], (weights, 1))
        return np.sqrt(part) * signal + np.sqrt(1 - part) * autoregression(rng, weights, samples, rho, 1.0)

    return make


def student(rho: float) -> Make:
    """v ← ρv + ξ, ξ of Student's distribution with three degrees of freedom: correlation makes v more Gaussian."""

    def make(rng: np.random.Generator, weights: int, samples: int) -> np.ndarray:
        kicks = rng.standard_t(3, (weights, samples + 200))
        return np.asarray(lfilter([1.0], [1.0, -rho], kicks, axis=1)[:, 200:])

    return make


CASES = (
    Case("Gaussian, white", own(0.0), 64, 4096),
    Case("Gaussian, ρ = 0.9", own(0.9), 64, 4096),
    Case("Gaussian, ρ = 0.9, 16 stretches", own(0.9), 64, 4096, 16),
    Case("Gaussian, ρ = 0.9, half shared", shared(0.5, 0.9), 64, 4096),
    Case("Gaussian, ρ = 0.9, all shared", shared(1.0, 0.9), 64, 4096),
    Case("Gaussian, white", own(0.0), 64, 500),
    Case("Gaussian, ρ = 0.9", own(0.9), 64, 500),
    Case("Gaussian, ρ = 0.9, all shared", shared(1.0, 0.9), 64, 500),
    Case("Gaussian, ρ = 0.9", own(0.9), 8, 1000),
    Case("Student, 3 degrees, white", student(0.0), 64, 500, gaussian=False),
    Case("Student, 3 degrees, white", student(0.0), 64, 4096, gaussian=False),
    Case("Student, 3 degrees, ρ = 0.9", student(0.9), 64, 4096, gaussian=False),
)


def rates(cases: tuple[Case, ...], count: int, seed: int = 0) -> Iterator[tuple[Case, np.ndarray, int]]:
    """Each case, how often kurtosis and distance reject it at 5 % (2,), and how many systems had no p-value."""
    rng = np.random.default_rng(seed)
    for case in cases:
        p = np.empty((count, 2))
        for n in range(count):
            v = case.make(rng, case.weights, case.samples).reshape(case.weights, case.stretches, -1)
            answer = normality(v, seed=n)
            p[n] = answer.kurtosis_p, answer.distance_p
        yield case, (p < 0.05).mean(axis=0), int(np.isnan(p).any(axis=1).sum())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--systems", type=int, default=400)
    parser.add_argument("--kind", default="", help="only kinds whose name contains this")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    some = tuple(case for case in CASES if arguments.kind in case.name)
    print("| velocities | weights | samples | kurtosis rejects, % | distance rejects, % | no p-value |")
    print("|---|---|---|---|---|---|")
    for case, rejected, without in rates(some, arguments.systems, arguments.seed):
        shares = " | ".join(f"{100 * share:.1f}" for share in rejected)
        print(f"| {case.name} | {case.weights} | {case.samples:,} | {shares} | {without} |", flush=True)


if __name__ == "__main__":
    main()
