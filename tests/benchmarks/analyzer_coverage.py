"""How often the true temperature lies inside the reported 95 % interval.

`python -m tests.benchmarks.analyzer_coverage` prints the table.

Coverage counts the systems whose error bar is not flagged (n_eff at least 200, 500 for a single weight), with the NaN
and flagged ones beside it. Which are flagged is decided by the estimate of n_eff, as a user sees it.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from analyzer.statistics.uncertainty import NORMAL, Uncertainty, from_batches, from_series
from tests import systems

BLOCK = 256
Case = tuple[systems.System, int, int]


@dataclass(frozen=True)
class Row:
    """One line of the table; `hits` of `reliable` intervals hold the truth, of `systems` in all."""

    system: str
    weights: int
    samples: int
    estimator: str
    systems: int
    n_eff: float
    nan: int
    flagged: int
    reliable: int
    hits: int


CASES: tuple[Case, ...] = (
    (systems.random_walk(), 1, 8000),
    (systems.random_walk(), 20, 4000),
    (systems.sgd(0.01), 1, 8000),
    (systems.sgd(0.01), 20, 4000),
    (systems.sgd(0.5), 20, 4000),
    (systems.sgd(1.5), 1, 20_000),
    (systems.ar1(0.5), 1, 8000),
    (systems.ar1(0.9), 1, 20_000),
    (systems.ar1(0.9), 20, 3000),
    (systems.ar1(0.9), 20, 10_000),
    (systems.ar1(0.99), 20, 50_000),
)


def every_case() -> tuple[Case, ...]:
    """Adam's truth takes seconds to simulate, so it is not made on import."""
    return (*CASES, (systems.adam(), 1, 8000), (systems.adam(), 5, 4000))


def measure(cases: Sequence[Case], count: int, seed: int = 0) -> Iterator[Row]:
    """Rows for `count` systems of each kind, all estimators on the same series."""
    rng = np.random.default_rng(seed)
    for system, weights, samples in cases:
        series = systems.kinetic(rng, system, count, weights, samples)
        edges = np.arange(0, samples, BLOCK)
        counts = np.diff(np.append(edges, samples))
        sums, squares = (np.add.reduceat(x, edges, axis=1) for x in (series, series**2))
        answers = {
            "series": from_series(series, weights=weights),
            "blocks": from_batches(counts, sums, squares, weights=weights),
            "blocks, no Σ𝒯²": from_batches(counts, sums, weights=weights),
        }
        for name, answer in answers.items():
            yield judged(system, weights, samples, name, answer)


def judged(system: systems.System, weights: int, samples: int, estimator: str, answer: Uncertainty) -> Row:
    """How the error bars of many systems of one kind fared."""
    nan = np.isnan(answer.standard_error)
    reliable = ~answer.unreliable
    inside = np.abs(answer.mean - system.truth) <= NORMAL * answer.standard_error
    return Row(
        system=system.name,
        weights=weights,
        samples=samples,
        estimator=estimator,
        systems=nan.size,
        n_eff=float(np.median(answer.n_eff)),
        nan=int(nan.sum()),
        flagged=int((answer.unreliable & ~nan).sum()),
        reliable=int(reliable.sum()),
        hits=int((inside & reliable).sum()),
    )


def line(row: Row) -> str:
    """A row of the table."""
    coverage = f"{100 * row.hits / row.reliable:.1f}" if row.reliable else "–"
    shares = [f"{100 * n / row.systems:.1f}" for n in (row.nan, row.flagged)]
    head = [row.system, row.weights, f"{row.samples:,}", row.estimator, f"{row.n_eff:,.0f}"]
    return "| " + " | ".join(map(str, [*head, coverage, row.reliable, *shares])) + " |"


HEADER = """| system | weights | samples | estimator | median n_eff | coverage, % | judged | NaN, % | flagged, % |
|---|---|---|---|---|---|---|---|---|"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--systems", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    print(HEADER, flush=True)
    for row in measure(every_case(), arguments.systems, arguments.seed):
        print(line(row), flush=True)


if __name__ == "__main__":
    main()
