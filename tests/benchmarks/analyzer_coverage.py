"""How often the true temperature lies inside the reported 95 % interval.

`python -m tests.benchmarks.analyzer_coverage` prints five tables: series and batches of many kinds of systems, kinds
at the thresholds of the flag, windows of few batches, rows whose batches scatter beside what peers say of them, and
lags.

Coverage is given twice: of all error bars, and of those that are not flagged. Which are flagged is decided by the
estimate, as a user sees it. "Misleads" is the share of all systems whose bar is not flagged and does not hold the
truth: for kinds of systems that are mostly flagged it says more than the coverage of the few that are left.
"""

from __future__ import annotations

import argparse
import logging
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields

import numpy as np

from analyzer.statistics.density import NORMAL
from analyzer.statistics.inefficiency import statistical_inefficiency
from analyzer.statistics.uncertainty import Uncertainty, from_batches, from_series, relative_variances
from tests import systems

BLOCK = 256
LAGS = (1, 2, 5, 10, 30, 100)
_AT_ONCE = 250
"""Series that are judged at once: 2,000 of 50,000 samples, with temporary copies, would take 3 GB."""
Case = tuple[systems.System, int, int]


@dataclass(frozen=True)
class Row:
    """One line of a table: `held` of `bars` intervals hold the truth, and `hits` of the `reliable` ones."""

    system: str
    weights: int
    samples: int
    estimator: str
    systems: int
    n_eff: float
    nan: int
    flagged: int
    bars: int
    held: int
    reliable: int
    hits: int
    width: float

    @property
    def misleads(self) -> int:
        """Bars that are not flagged and do not hold the truth."""
        return self.reliable - self.hits


CASES: tuple[Case, ...] = (
    (systems.random_walk(), 1, 8000),
    (systems.random_walk(), 20, 4000),
    (systems.sgd(0.01), 1, 8000),
    (systems.sgd(0.01), 20, 4000),
    (systems.sgd(0.5), 20, 4000),
    (systems.sgd(1.5), 1, 20_000),
    (systems.heavy_ball(0.9, 0.1), 1, 20_000),
    (systems.heavy_ball(0.9, 0.01), 20, 20_000),
    (systems.heavy_ball(0.5, 0.1), 20, 4000),
    (systems.ar1(0.5), 1, 8000),
    (systems.ar1(0.9), 1, 20_000),
    (systems.ar1(0.9), 20, 3000),
    (systems.ar1(0.9), 20, 10_000),
    (systems.ar1(0.99), 20, 50_000),
)
SCATTER: tuple[Case, ...] = (
    *((systems.wandering(fraction, 16_384), 5, 16_384) for fraction in (0.0025, 0.005, 0.01, 0.02, 0.05, 0.15, 0.5)),
    (systems.scattered(64), 5, 16_384),
    (systems.scattered(256), 5, 16_384),
    (systems.scattered(256), 5, 32_768),
    (systems.scattered(1024), 5, 16_384),
)
THRESHOLDS: tuple[Case, ...] = (
    *((systems.wandering(fraction, 8192), 5, 8192) for fraction in (0.0075, 0.01, 0.0125, 0.015, 0.02, 0.03, 0.05)),
    *((systems.scattered(block), 5, 8192) for block in (128, 256, 384, 512)),
    *((systems.random_walk(), 20, samples) for samples in (200, 240, 300)),
    *((systems.random_walk(), 1, samples) for samples in (500, 600)),
    *((systems.ar1(0.9), 20, samples) for samples in (1500, 2000, 3000)),
    *((systems.ar1(0.9), 1, samples) for samples in (3500, 4000, 5000, 6000)),
)
FEW: tuple[Case, ...] = (
    *((systems.random_walk(), weights, 2560) for weights in (1, 20)),
    *((systems.ar1(0.9), 20, samples) for samples in (2560, 4096)),
    *((systems.ar1(0.9), 1, samples) for samples in (2560, 4096, 5120)),
    *((systems.wandering(fraction, 2560), 5, 2560) for fraction in (0.01, 0.02, 0.03, 0.05)),
    *((systems.wandering(fraction, 4096), 5, 4096) for fraction in (0.01, 0.02, 0.03, 0.05, 0.15)),
    *((systems.scattered(block), 5, 4096) for block in (128, 256, 512)),
)
"""Windows of 10 to 20 batches."""
LAGGED: tuple[Case, ...] = (
    (systems.sgd(0.1), 20, 20_000),
    (systems.heavy_ball(0.9, 0.1), 20, 20_000),
    (systems.ar1(0.9), 5, 20_000),
)


def every_case() -> tuple[Case, ...]:
    """Adam's truth takes seconds to simulate, so it is not made on import."""
    return (*CASES, (systems.adam(), 1, 8000), (systems.adam(), 5, 4000))


def measure(cases: Sequence[Case], count: int, seed: int = 0, peers: bool = False) -> Iterator[Row]:
    """Rows for `count` systems of each kind, all estimators on the same series. Each has its own random numbers."""
    for system, weights, samples in cases:
        rng = np.random.default_rng([seed, weights, samples, *system.name.encode()])
        series = systems.kinetic(rng, system, count, weights, samples)
        answers: dict[str, list[Uncertainty]] = {}
        for low in range(0, count, _AT_ONCE):
            for name, answer in estimates(series[low : low + _AT_ONCE], weights, peers=peers):
                answers.setdefault(name, []).append(answer)
        for name, parts in answers.items():
            yield judged(system, weights, samples, name, joined(parts))


def estimates(series: np.ndarray, weights: int, *, peers: bool) -> Iterator[tuple[str, Uncertainty]]:
    """What each estimator says of series (groups, samples)."""
    samples = series.shape[1]
    edges = np.arange(0, samples, BLOCK)
    counts = np.diff(np.append(edges, samples))
    sums, squares = (np.add.reduceat(x, edges, axis=1) for x in (series, series**2))
    yield "series", from_series(series, weights=weights)
    yield "batches", from_batches(counts, sums, squares, weights=weights)
    known = relative_variances(series)
    yield "batches, no Σ𝒯²", from_batches(counts, sums, weights=weights, relative_variance=known)
    if peers:
        yield from judged_by_peers(series, weights)


def joined(parts: Sequence[Uncertainty]) -> Uncertainty:
    """The answers to several parts of all groups as one: a group does not see the others."""
    return Uncertainty(*(np.concatenate([getattr(part, one.name) for part in parts]) for one in fields(Uncertainty)))


def judged_by_peers(series: np.ndarray, weights: int) -> Iterator[tuple[str, Uncertainty]]:
    """Error bars of pymbar (its rule for g) and of arviz (its `mcse` of the mean), flagged below the same n_eff."""
    samples = series.shape[1]
    variance, mean = series.var(axis=1, ddof=1), series.mean(axis=1)
    g = statistical_inefficiency(series)  # equal to pymbar's to nine digits: tests/analyzer/statistics
    for name, n_eff in (("pymbar", samples / g), ("arviz", ess(series))):
        least = 500 if weights == 1 else 200
        yield name, Uncertainty(mean, np.sqrt(variance / n_eff), samples / n_eff, n_eff, n_eff < least)


def ess(series: np.ndarray) -> np.ndarray:
    """The effective sample size of the mean of each series, by arviz, (groups,)."""
    logging.disable(logging.WARNING)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from arviz_stats.base import array_stats

        return np.array([array_stats.ess(one[np.newaxis], chain_axis=0, draw_axis=1, method="mean") for one in series])


def over_lags(system: systems.System, weights: int, samples: int, count: int, seed: int = 0) -> Iterator[Row]:
    """Rows for T at several lags, from displacements that do not overlap; the truth is the mean over all systems."""
    rng = np.random.default_rng(seed)
    series = {lag: np.empty((count, samples // lag)) for lag in LAGS}
    for n in range(count):
        velocity = system.velocities(rng, weights, samples)
        for lag, found in series.items():
            whole = samples // lag
            moved = velocity[:, : whole * lag].reshape(weights, whole, lag).sum(axis=2)
            found[n] = 0.5 * (moved**2).mean(axis=0)
    for lag, found in series.items():
        whole = samples // lag
        length = max(1 << int(np.log2(max(whole / 1024, 1))), 1)
        edges = np.arange(0, whole, length)
        counts = np.diff(np.append(edges, whole))
        answer = from_batches(counts, np.add.reduceat(found, edges, axis=1), weights=weights)
        exact = systems.System(system.name, system.velocities, float(found.mean()))
        yield judged(exact, weights, whole, f"lag {lag}", answer)


def judged(system: systems.System, weights: int, samples: int, estimator: str, answer: Uncertainty) -> Row:
    """How the error bars of many systems of one kind fared."""
    there = np.isfinite(answer.standard_error)
    reliable = ~answer.unreliable
    inside = np.abs(answer.mean - system.truth) <= NORMAL * answer.standard_error
    return Row(
        system=system.name,
        weights=weights,
        samples=samples,
        estimator=estimator,
        systems=there.size,
        n_eff=float(np.median(answer.n_eff)),
        nan=int((~there).sum()),
        flagged=int((answer.unreliable & there).sum()),
        bars=int(there.sum()),
        held=int(inside.sum()),
        reliable=int(reliable.sum()),
        hits=int((inside & reliable).sum()),
        width=float(np.nanmean(np.where(there, answer.standard_error, np.nan)) / np.std(answer.mean))
        if there.any()
        else float("nan"),
    )


def line(row: Row) -> str:
    """A row of the table."""
    covers = [f"{100 * n / of:.1f}" if of else "–" for n, of in ((row.held, row.bars), (row.hits, row.reliable))]
    shares = [f"{100 * n / row.systems:.1f}" for n in (row.misleads, row.nan, row.flagged)]
    head = [row.system, row.weights, f"{row.samples:,}", row.estimator, f"{row.n_eff:,.0f}"]
    return "| " + " | ".join(map(str, [*head, *covers, *shares, f"{row.width:.2f}"])) + " |"


HEADER = """| system | weights | samples | estimator | median n_eff | all bars hold, % | unflagged hold, % | misleads, % | NaN, % | flagged, % | bar ÷ scatter |
|---|---|---|---|---|---|---|---|---|---|---|"""  # noqa: E501


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--systems", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--table", choices=["temperatures", "thresholds", "few", "scatter", "lags"], help="only this table"
    )
    parser.add_argument("--kind", default="", metavar="TEXT", help="only kinds of systems with this text in their name")
    arguments = parser.parse_args()
    tables = {
        "temperatures": ("Temperatures", lambda kinds: measure(kinds, arguments.systems, arguments.seed)),
        "thresholds": (
            "Kinds at the thresholds of the flag",
            lambda kinds: measure(kinds, arguments.systems, arguments.seed),
        ),
        "few": ("Few batches", lambda kinds: measure(kinds, arguments.systems, arguments.seed)),
        "scatter": (
            "Rows whose batches scatter, and peers",
            lambda kinds: measure(kinds, arguments.systems, arguments.seed, peers=True),
        ),
        "lags": (
            "Lags",
            lambda kinds: (row for kind in kinds for row in over_lags(*kind, arguments.systems, arguments.seed)),
        ),
    }
    for name, (title, rows) in tables.items():
        if arguments.table not in (None, name):
            continue
        print(f"\n## {title}\n\n{HEADER}", flush=True)
        cases = {
            "temperatures": CASES,
            "thresholds": THRESHOLDS,
            "few": FEW,
            "scatter": SCATTER,
            "lags": LAGGED,
        }[name]
        if name == "temperatures" and arguments.kind in "Adam, white noise":
            cases = every_case()
        for row in rows([case for case in cases if arguments.kind in case[0].name]):
            print(line(row), flush=True)


if __name__ == "__main__":
    main()
