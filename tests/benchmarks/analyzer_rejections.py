"""How often equal rows are called different, a stationary series drifting, and how often the truth is found.

`python -m tests.benchmarks.analyzer_rejections` prints the tables.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator

import numpy as np

from analyzer.statistics.equilibrium import detect
from analyzer.statistics.heterogeneity import DIFFER, UNDECIDED, judge, rows_differ
from analyzer.statistics.inefficiency import statistical_inefficiency
from tests import systems

ROWS = (
    (2, 30, 0.0, 100),
    (10, 40, 0.5, 100),
    (64, 12, 0.5, 100),
    (64, 30, 0.5, 100),
    (64, 30, 0.5, 20),
    (64, 200, 0.5, 20),
)
WINDOWS = (
    (2, 1000, 0.0, 0.8, 0),
    (10, 1000, 0.5, 0.8, 0),
    (64, 1000, 0.5, 0.8, 0),
    (10, 200, 0.5, 0.8, 0),
    (64, 200, 0.5, 0.8, 0),
    (10, 20_000, 0.5, 0.8, 0),
    (10, 1000, 0.5, 0.95, 0),
    (10, 4000, 0.0, 0.98, 0),
    (64, 4000, 0.0, 0.98, 0),
    (10, 1000, 0.0, 0.98, 0),
    (10, 2000, 0.0, 0.0, 30),
    (10, 2000, 0.0, 0.0, 100),
    (10, 2000, 0.0, 0.0, 300),
    (10, 2000, 0.0, 0.0, 1000),
)
"""Rows, samples in the window, shared part, ρ of odd rows (of even ones at most 0.8), samples that rows wander over."""


def energies_of_units(rng: np.random.Generator, rows: int, blocks: int, shared: float, length: int) -> np.ndarray:
    """Means of 𝒯 over blocks of rows that all have T = ½, (rows, blocks).

    v = √(1 − shared)·(own signal) + √shared·(common signal), both AR(1) with ρ = 0.8 and variance 1, is the velocity of
    every weight of a row: a row is no better known than one weight.
    """
    own = systems.autoregression(rng, rows, length * blocks, 0.8, 1.0)
    common = systems.autoregression(rng, 1, length * blocks, 0.8, 1.0)
    velocity = np.sqrt(1 - shared) * own + np.sqrt(shared) * common
    return np.asarray(0.5 * (velocity**2).reshape(rows, blocks, length).mean(axis=2))


def of_rows(count: int, seed: int = 0) -> Iterator[tuple[int, int, float, int, float, float]]:
    """Rows, blocks, shared part, block length; how often equal rows, and rows of which half are 20 % hotter, differ."""
    rng = np.random.default_rng(seed)
    for rows, blocks, shared, length in ROWS:
        hotter = np.where(np.arange(rows) < rows / 2, 1.2, 1.0)[:, np.newaxis]
        found = np.zeros(2)
        for _ in range(count):
            means = energies_of_units(rng, rows, blocks, shared, length)
            found += [rows_differ(x).p_value < 0.05 for x in (means, hotter * means)]
        yield rows, blocks, shared, length, *(float(share) for share in found / count)


def of_windows(count: int, seed: int = 0) -> Iterator[tuple[int, int, float, float, int, list[float]]]:
    """The window; how often equal rows, and rows of which half are 20 % hotter, differ, and how often it is undecided.

    As `analyzer.rows` does it: batches of a power of two, 32 to 64 in a window, joined to blocks by the inefficiency
    that the series of all rows together has. Nobody tells the test how long the correlation is. Rows that wander have
    T times exp(s), s autoregressive with a standard deviation of 0.2, each row its own: equal in the long run.
    """
    rng = np.random.default_rng(seed)
    for rows, samples, shared, rho, wander in WINDOWS:
        length = 2 ** int(np.log2(samples / 32))
        whole = samples // length * length
        odds = np.arange(rows) % 2 == 1
        hotter = np.where(np.arange(rows) < rows / 2, 1.2, 1.0)[:, np.newaxis]
        found = np.zeros(3)
        for _ in range(count):
            own = np.empty((rows, whole))
            own[~odds] = systems.autoregression(rng, int((~odds).sum()), whole, min(rho, 0.8), 1.0)
            own[odds] = systems.autoregression(rng, int(odds.sum()), whole, rho, 1.0)
            common = systems.autoregression(rng, 1, whole, min(rho, 0.8), 1.0)
            energy = 0.5 * (np.sqrt(1 - shared) * own + np.sqrt(shared) * common) ** 2
            if wander:
                energy *= np.exp(systems.autoregression(rng, rows, whole, np.exp(-1 / wander), 0.2))
            counts = np.full(whole // length, length)
            verdicts = []
            for x in (energy, hotter * energy):
                g = float(statistical_inefficiency(x.mean(axis=0)))
                verdicts.append(judge(x.reshape(rows, -1, length).mean(axis=2), counts, 1, g).verdict)
            found += [verdicts[0] == DIFFER, verdicts[1] == DIFFER, verdicts[0] == UNDECIDED]
        yield rows, samples, shared, rho, wander, (found / count).tolist()


def of_series(count: int, seed: int = 0, samples: int = 2000) -> Iterator[tuple[str, str, np.ndarray, float]]:
    """System, what is added in standard deviations, quantiles of t0, and how often the series is called drifting."""
    rng, time = np.random.default_rng(seed), np.arange(samples) / samples
    added = {
        "nothing": 0 * time,
        "5 for the first fifth": 5.0 * (time < 0.2),
        "5 for three fifths": 5.0 * (time < 0.6),
        "10 exp(−20 t/N)": 10 * np.exp(-20 * time),
        "3 t/N": 3 * time,
        "10 t/N": 10 * time,
        "50 t/N": 50 * time,
    }
    for system in (systems.random_walk(1.0), systems.ar1(0.9, 1.0)):
        series = systems.kinetic(rng, system, count, 20, samples)
        for name, transient in added.items():
            answer = detect(series / series.std() + transient)
            start = np.quantile(answer.start, [0.05, 0.5, 0.95])
            yield system.name, name, start, float(np.mean(answer.verdict == "drifting"))


def of_starts(
    count: int, samples: int = 2000, seed: int = 1
) -> Iterator[tuple[str, str, int, np.ndarray, float, float]]:
    """Of transients whose end is known: quantiles of t0, the share of ranges that hold the end, their median width.

    A sudden change ends where it ends; one that fades, where the mean of what is left of it is no more than the
    standard error of the mean of all that follows.
    """
    rng, time = np.random.default_rng(seed), np.arange(samples)
    added = {
        "nothing": 0.0 * time,
        "2 for the first fifth": 2.0 * (time < 0.2 * samples),
        "5 for the first fifth": 5.0 * (time < 0.2 * samples),
        "5 for three fifths": 5.0 * (time < 0.6 * samples),
        "10 exp(−20 t/N)": 10 * np.exp(-20 * time / samples),
        "10 exp(−8 t/N)": 10 * np.exp(-8 * time / samples),
        "5 (1 − 2.5 t/N)": 5 * np.maximum(1 - 2.5 * time / samples, 0),
    }
    for system, rho in ((systems.random_walk(1.0), 0.0), (systems.ar1(0.9, 1.0), 0.9)):
        series = systems.kinetic(rng, system, count, 20, samples)
        series = (series - series.mean()) / series.std()
        for name, transient in added.items():
            if "for" in name or name == "nothing":
                end = int(np.count_nonzero(transient))
            else:
                rest = samples - time
                left = np.cumsum(transient[::-1])[::-1] / rest > np.sqrt((1 + rho**2) / (1 - rho**2) / rest)
                end = int(np.flatnonzero(left)[-1]) + 1
            answer = detect(series + transient)
            held = float(np.mean((answer.low <= end) & (end <= answer.high)))
            start = np.quantile(answer.start, [0.05, 0.5, 0.95])
            yield system.name, name, end, start, held, float(np.median(answer.high - answer.low))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--systems", type=int, default=500)
    arguments = parser.parse_args()
    print("| rows | blocks | shared | steps a block | equal rows differ, % | half 20 % hotter, % |")
    print("|---|---|---|---|---|---|")
    for *head, null, power in of_rows(arguments.systems):
        print("| " + " | ".join(map(str, head)) + f" | {100 * null:.1f} | {100 * power:.1f} |", flush=True)
    titles = ("rows", "samples", "shared", "ρ of odd rows", "wander", "equal rows differ, %", "half 20 % hotter, %")
    print(f"\n| {' | '.join(titles)} | undecided, % |\n{'|---' * 8}|")
    for *head, found in of_windows(arguments.systems):
        print("| " + " | ".join(map(str, head)) + "".join(f" | {100 * x:.1f}" for x in found) + " |", flush=True)
    print("\n| system | added | t0: 5, 50, 95 % | drifting, % |\n|---|---|---|---|")
    for system, name, start, share in of_series(arguments.systems):
        quantiles = ", ".join(f"{s:.0f}" for s in start)
        print(f"| {system} | {name} | {quantiles} | {100 * share:.1f} |", flush=True)
    print(
        "\n| system | added | its end | t0: 5, 50, 95 % | end in range, % | median width |\n|---|---|---|---|---|---|"
    )
    for system, name, end, start, held, width in of_starts(arguments.systems):
        quantiles = ", ".join(f"{s:.0f}" for s in start)
        print(f"| {system} | {name} | {end:,} | {quantiles} | {100 * held:.1f} | {width:.0f} |", flush=True)


if __name__ == "__main__":
    main()
