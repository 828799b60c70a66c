"""How often the interval of the share that rows × columns explain holds the truth, and that of other ways to make one.

`python -m tests.benchmarks.factors_coverage` prints the table of COVERAGE_FACTORS.md.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from analyzer.statistics.separability import separability
from analyzer.statistics.two_way import fits, layout
from tests import systems

RESAMPLES = 200


@dataclass(frozen=True)
class Case:
    """A kind of matrix, whose rows and columns explain exactly `share` of the variance of ln⟨v²⟩.

    Attributes
    ----------
    spread
        Standard deviation of ln⟨v²⟩ over elements.
    samples, batches
        Velocities of each element, and the batches that they are cut into.
    rho, shared
        All velocities are autoregressive with this ρ. This part of their variance is common to a row, as is the error
        signal of a unit.
    """

    rows: int
    columns: int
    share: float
    spread: float
    samples: int
    batches: int
    rho: float
    shared: float


CASES = (
    Case(16, 16, 1.0, 1.0, 2048, 64, 0.0, 0.0),
    Case(16, 16, 1.0, 1.0, 2048, 64, 0.8, 0.5),
    Case(16, 16, 0.99, 1.0, 2048, 64, 0.0, 0.5),
    Case(16, 16, 0.95, 1.0, 2048, 64, 0.0, 0.0),
    Case(16, 16, 0.95, 1.0, 2048, 64, 0.8, 0.5),
    Case(16, 16, 0.6, 1.0, 2048, 64, 0.8, 0.5),
    Case(16, 16, 0.12, 1.0, 2048, 64, 0.8, 0.0),
    Case(16, 16, 0.95, 1.0, 512, 16, 0.0, 0.5),
    Case(16, 16, 0.95, 4.0, 512, 32, 0.8, 0.5),
    Case(16, 16, 0.6, 0.3, 2048, 64, 0.8, 0.0),
    Case(10, 48, 0.9, 1.0, 2048, 64, 0.0, 0.5),
    Case(5, 4, 0.9, 1.0, 2048, 64, 0.8, 0.5),
    Case(5, 4, 0.35, 1.0, 2048, 64, 0.0, 0.0),
)


@dataclass(frozen=True)
class Outcome:
    """Of the matrices of a case that had an answer: means, and how many intervals held the truth.

    Attributes
    ----------
    answered, unreliable
        Matrices with a share, and how many of them were flagged.
    share, measured
        Mean shares without and with sampling errors.
    hits, below, above
        Matrices whose interval held the truth, lay below it, lay above it.
    width
        Mean width of the interval.
    over_time, over_rows
        Matrices whose bootstrap interval over batches, and over rows, held the truth.
    """

    answered: int
    unreliable: int
    share: float
    measured: float
    hits: int
    below: int
    above: int
    width: float
    over_time: int
    over_rows: int


def energies(rng: np.random.Generator, case: Case) -> np.ndarray:
    """Means of v² over batches of one matrix (rows, columns, batches)."""
    log = case.spread * systems.matrix_of_share(rng, (case.rows, case.columns), case.share)
    own = systems.autoregression(rng, case.rows * case.columns, case.samples, case.rho, 1.0)
    common = systems.autoregression(rng, case.rows, case.samples, case.rho, 1.0)
    velocity = np.sqrt(1 - case.shared) * own.reshape(case.rows, case.columns, -1)
    velocity += np.sqrt(case.shared) * common[:, np.newaxis]
    squares = (velocity**2).reshape(case.rows, case.columns, case.batches, -1).mean(axis=3)
    return np.asarray(np.exp(log)[..., np.newaxis] * squares)


def measure(case: Case, count: int, seed: int = 0, resamples: int = 0) -> Outcome:
    """Judge `count` matrices of a case; with bootstraps of so many resamples, if any."""
    rng = np.random.default_rng(seed)
    lengths = np.full(case.batches, case.samples / case.batches)
    found, over_time, over_rows = [], 0, 0
    for _ in range(count):
        means = energies(rng, case)
        one = separability(lengths, means)
        found += [] if one.reason else [one]
        if resamples:
            over_time += _held(_over_time(rng, means, resamples), case.share)
            over_rows += _held(_over_rows(rng, means, resamples), case.share)
    share, low, high, measured = (
        np.array([getattr(one, name) for one in found]) for name in ("share", "low", "high", "measured")
    )
    below, above = high < case.share - 1e-12, low > case.share + 1e-12
    return Outcome(
        len(found),
        sum(one.unreliable for one in found),
        float(share.mean()),
        float(measured.mean()),
        int((~below & ~above).sum()),
        int(below.sum()),
        int(above.sum()),
        float((high - low).mean()),
        over_time,
        over_rows,
    )


def _share(tables: np.ndarray) -> np.ndarray:
    fit = fits(tables, layout(np.ones(tables.shape[-2:], dtype=bool)))
    return fit.explained / (fit.explained + fit.unexplained)


def _over_time(rng: np.random.Generator, means: np.ndarray, resamples: int) -> np.ndarray:
    """Shares as measured of matrices whose batches were drawn anew, all elements together."""
    batches = means.shape[-1]
    drawn = rng.multinomial(batches, np.full(batches, 1 / batches), size=resamples) / batches
    return _share(np.log(np.einsum("rcb,sb->src", means, drawn)))


def _over_rows(rng: np.random.Generator, means: np.ndarray, resamples: int) -> np.ndarray:
    """Shares as measured of matrices whose rows were drawn anew."""
    log = np.log(means.mean(axis=-1))
    return _share(log[rng.integers(len(log), size=(resamples, len(log)))])


def _held(shares: np.ndarray, truth: float) -> bool:
    low, high = np.percentile(shares, [2.5, 97.5])
    return bool(low <= truth <= high)


HEADING = (
    "rows × columns", "share", "spread", "velocities", "batches", "ρ", "common", "mean", "as measured", "held, %",
    "too low", "too high", "width", "flagged, %", "over time, %", "over rows, %",
)  # fmt: skip


def line(case: Case, found: Outcome, count: int) -> str:
    """A row of the table."""
    cells = [f"{case.rows} × {case.columns}", f"{case.share:g}", f"{case.spread:g}", f"{case.samples:,}"]
    cells += [f"{case.batches}", f"{case.rho:g}", f"{case.shared:g}", f"{found.share:.4f}", f"{found.measured:.4f}"]
    cells += [f"{100 * part / found.answered:.1f}" for part in (found.hits, found.below, found.above)]
    cells += [f"{found.width:.4f}", f"{100 * found.unreliable / found.answered:.1f}"]
    cells += [f"{100 * part / count:.0f}" for part in (found.over_time, found.over_rows)]
    return f"| {' | '.join(cells)} |"


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=1000, help="matrices of each kind (default: 1,000)")
    count = parser.parse_args(argv).count
    print(f"| {' | '.join(HEADING)} |\n|{'---|' * len(HEADING)}", flush=True)
    for case in CASES:
        print(line(case, measure(case, count, resamples=RESAMPLES), count), flush=True)


if __name__ == "__main__":
    main()
