"""How often a fit's interval holds the true exponent, and how often a true hypothesis is rejected, on synthetic sweeps.

    python -m tests.benchmarks.fit_coverage

Target: 95 ± 2 % of at least 1,000 sweeps. Each row is one kind of sweep; ± is two binomial standard errors of a share.
Sweeps are those of `tests.sweeps.sweep`: seven learning rates from 7e-4 to 3e-3 or seven batch sizes from 8 to 128, or
the cross of both (13 settings), ln T with a normal deviation of each run and an error within runs of 1 to 3 %. "slopes"
is the standard deviation of the exponents between seeds: what all runs of a seed share.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import statsmodels.api as sm

from analyzer.fitting.fit import Fit, fit
from analyzer.fitting.hypotheses import NULLS, wald
from tests.benchmarks.analyzer_workload import table
from tests.sweeps import BATCHES, RATES, Sweep, cross, sweep

SETTINGS = {"power": RATES, "inverse_power": BATCHES, "joint": cross(), "square": RATES, "linear": 1 / BATCHES}
TRUTH = {"power": (2.0,), "inverse_power": (-1.0,), "joint": (2.0, -1.0), "square": (2.0,), "linear": (1.0,)}
TRUE = ("(1, 1)", "(2, 1)", "(2, 0)")
JOINT = {one.name: one for one in NULLS if len(one.values) == 2}


@dataclass(frozen=True)
class Case:
    """One kind of sweep, and how its intervals are asked for."""

    model: str
    seeds: int = 5
    scatter: float = 0.05
    missing: float = 0.0
    slopes: float = 0.0
    intervals: str = "auto"
    truth: tuple[float, ...] = field(default=())

    def sweeps(self, count: int, seed: int = 0) -> Iterator[Sweep]:
        """Independent sweeps of this kind."""
        kind = (self.seeds, self.scatter, self.missing, self.slopes, *(10 + value for value in self.truth))
        rng = np.random.default_rng([seed, *(round(1000 * value) for value in kind)])
        for _ in range(count):
            yield sweep(
                rng,
                self.truth or TRUTH[self.model],
                SETTINGS[self.model],
                seeds=self.seeds,
                scatter=self.scatter,
                missing=self.missing,
                slopes=self.slopes,
            )

    def fits(self, count: int, seed: int = 0) -> Iterator[Fit]:
        """Their fits."""
        for data in self.sweeps(count, seed):
            yield fit(
                self.model,
                data.x,
                data.temperature,
                seed=data.seed,
                within=data.within,
                leave_out=False,
                intervals=self.intervals,  # type: ignore[arg-type]
            )

    @property
    def words(self) -> tuple[object, ...]:
        """Columns that say what it is."""
        return (
            self.model,
            self.seeds,
            f"{self.scatter:.0%}",
            f"{self.missing:.0%}",
            f"{self.slopes:.2f}",
            self.intervals,
        )


CASES = [
    *(
        Case(model, seeds, scatter)
        for model in ("power", "inverse_power", "joint")
        for scatter in (0.05, 0.15)
        for seeds in (1, 2, 3, 5)
    ),
    *(Case(model, 5, scatter, 0.1) for model in ("power", "inverse_power", "joint") for scatter in (0.05, 0.15)),
    *(Case(model, 5, 0.15, intervals="weighted") for model in ("power", "joint")),
    *(Case("power", seeds, 0.0, intervals="weighted") for seeds in (1, 5)),
    *(Case("power", 1, scatter, intervals="weighted") for scatter in (0.05, 0.15)),
    *(Case(model, seeds, 0.15) for model in ("square", "linear") for seeds in (1, 5)),
    *(
        Case("power", 5, 0.05, missing, 0.1, intervals)
        for missing in (0.0, 0.1, 0.2)
        for intervals in ("pooled", "auto")
    ),
]


def truth_of(case: Case, found: Fit) -> dict[str, float]:
    """The true values of the coefficients whose intervals are judged."""
    exponents = case.truth or TRUTH[case.model]
    return {
        "power": lambda: {"b": exponents[0]},
        "inverse_power": lambda: {"q": -exponents[0]},
        "joint": lambda: {"p": exponents[0], "q": -exponents[1]},
        # The mean of T, which least squares in T finds, is that of a log-normal of the scatter and the error within.
        "square": lambda: {"a": 0.025 * _mean(case.scatter)},
        "linear": lambda: {"a": 0.025 * _mean(case.scatter), "c": 0.0},
    }[case.model]()


def _mean(scatter: float, within: tuple[float, float] = (0.01, 0.03)) -> float:
    low, high = within
    return float(np.exp(0.5 * (scatter**2 + (high**3 - low**3) / (3 * (high - low)))))


def held(case: Case, count: int, seed: int = 0) -> tuple[dict[str, float], dict[str, float], str]:
    """Share of the sweeps whose interval holds the truth, mean width of the interval, and the kinds that were used."""
    inside: dict[str, list[bool]] = {}
    width: dict[str, list[float]] = {}
    kinds: set[str] = set()
    for found in case.fits(count, seed):
        kinds.add(found.uncertainty.kind)
        for name, value in truth_of(case, found).items():
            inside.setdefault(name, []).append(found[name].low <= value <= found[name].high)
            width.setdefault(name, []).append(found[name].high - found[name].low)
    shares = {name: float(np.mean(values)) for name, values in inside.items()}
    return shares, {name: float(np.mean(values)) for name, values in width.items()}, "/".join(sorted(kinds))


def coverage(count: int, cases: list[Case] = CASES) -> list[tuple[object, ...]]:
    """Rows: the sweep, the kind of interval, the coefficient, how often it is held, the interval's mean width."""
    rows: list[tuple[object, ...]] = []
    for case in cases:
        shares, widths, kinds = held(case, count)
        for name, share in shares.items():
            error = 2 * np.sqrt(share * (1 - share) / count)
            rows.append((*case.words, kinds, name, f"{share:.1%}", f"{error:.1%}", float(widths[name])))
    return rows


def naive(count: int, scatter: float) -> float:
    """Coverage of weights from errors within runs alone, of one seed: why no such interval is offered."""
    inside = 0
    for data in Case("power", 1, scatter).sweeps(count):
        design = sm.add_constant(np.log(data.x))
        weights = (data.temperature / data.within) ** 2
        low, high = sm.WLS(np.log(data.temperature), design, weights=weights).fit(cov_type="fixed scale").conf_int()[1]
        inside += low <= 2.0 <= high
    return inside / count


def rejected(case: Case, name: str, count: int, seed: int = 0) -> float:
    """Share of the sweeps that reject the joint hypothesis `name` at 5 %."""
    return float(np.mean([wald(found, JOINT[name]).p_value < 0.05 for found in case.fits(count, seed)]))


def joint(count: int) -> list[tuple[object, ...]]:
    """Rows: seeds, scatter, kind of interval, share rejected of each true hypothesis, and of (2, 1) near it and far."""
    rows: list[tuple[object, ...]] = []
    for scatter in (0.05, 0.15):
        for seeds, missing, intervals in (
            (1, 0.0, "auto"),
            (2, 0.0, "auto"),
            (3, 0.0, "auto"),
            (3, 0.0, "pooled"),
            (5, 0.0, "auto"),
            (5, 0.1, "auto"),
            (5, 0.0, "pooled"),
            (5, 0.0, "weighted"),
        ):
            made = {"seeds": seeds, "scatter": scatter, "missing": missing, "intervals": intervals}
            shares = []
            for truth, name in (
                ((1.0, -1.0), "(p, q) = (1, 1)"),
                ((2.0, -1.0), "(p, q) = (2, 1)"),
                ((2.0, 0.0), "(p, q) = (2, 0)"),
                ((2.1, -1.0), "(p, q) = (2, 1)"),
                ((2.3, -1.0), "(p, q) = (2, 1)"),
                ((2.0, -0.9), "(p, q) = (2, 1)"),
                ((2.0, 0.0), "(p, q) = (2, 1)"),
            ):
                case = Case("joint", truth=truth, **made)  # type: ignore[arg-type]
                shares.append(f"{rejected(case, name, count):.1%}")
            rows.append((f"{scatter:.0%}", seeds, f"{missing:.0%}", intervals, *shares))
    return rows


def report(count: int, tests: int) -> str:
    """The tables."""
    header = ("model", "seeds", "scatter", "missing", "slopes", "asked for", "used", "of", "held", "±", "mean width")
    first = table(f"95 % intervals that hold the truth, of {count} sweeps a row", header, coverage(count))
    plain = [(f"{scatter:.0%}", f"{naive(count, scatter):.1%}") for scatter in (0.0, 0.05, 0.15)]
    title = "The same by errors within runs alone (power, one seed), which is not offered"
    second = table(title, ("scatter", "held"), plain)
    titles = ("scatter", "seeds", "missing", "asked for", *TRUE, "p = 2.1", "p = 2.3", "q = 0.9", "q = 0")
    title = (
        f"Joint hypotheses rejected at 5 %, of {tests} sweeps: three that are true, and (2, 1) where p or q is another"
    )
    return "\n".join([first, second, table(title, titles, joint(tests))])


def main() -> None:
    """Print the tables."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--sweeps", type=int, default=2000, help="of each row of the first table")
    options.add_argument("--tests", type=int, default=1000, help="of each cell of the last table")
    chosen = options.parse_args()
    print(report(chosen.sweeps, chosen.tests))


if __name__ == "__main__":
    main()
