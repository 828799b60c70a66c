"""How long a command takes from the shell, and what its imports cost: whole processes, interleaved.

python -m tests.benchmarks.analyzer_latency
"""

from __future__ import annotations

import argparse
import random
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median
from time import perf_counter

from tests.benchmarks.analyzer_workload import gcn_store, table

ANALYZER = (sys.executable, "-m", "analyzer")


def commands(store: Path) -> dict[str, tuple[str, ...]]:
    """What is timed, by name; the first is the floor."""
    python = (sys.executable, "-c")
    return {
        "python -c pass": (*python, "pass"),
        "import recorder": (*python, "import recorder"),
        "import torch": (*python, "import torch"),
        "import analyzer": (*python, "import analyzer"),
        "import xarray": (*python, "import xarray"),
        "analyzer --help": (*ANALYZER, "--help"),
        "analyzer temperature --help": (*ANALYZER, "temperature", "--help"),
        "analyzer info": (*ANALYZER, "info", str(store)),
        "analyzer temperature, nothing kept": (*ANALYZER, "temperature", str(store), "--no-cache"),
        "analyzer temperature, from kept sums": (*ANALYZER, "temperature", str(store)),
        "analyzer temperature --by row, from kept sums": (*ANALYZER, "temperature", str(store), "--by", "row"),
    }


def measure(folder: Path, steps: int, rounds: int) -> list[tuple[str, float, float]]:
    """Name, median seconds and times the floor, of each command."""
    timed = commands(gcn_store(folder / "run.zarr", steps))
    seconds: dict[str, list[float]] = {name: [] for name in timed}
    for command in timed.values():  # files in the page cache, kernels compiled, sums kept
        subprocess.run(command, check=True, capture_output=True)
    for _ in range(rounds):
        for name in random.Random(rounds).sample(list(timed), len(timed)):
            began = perf_counter()
            subprocess.run(timed[name], check=True, capture_output=True)
            seconds[name].append(perf_counter() - began)
    floor = median(seconds["python -c pass"])
    return [(name, median(taken), median(taken) / floor) for name, taken in seconds.items()]


def report(rows: list[tuple[str, float, float]], steps: int) -> str:
    """The table."""
    return table(f"Whole processes, a run of {steps:,} steps of the paper's GCN", ("command", "s", "x floor"), rows)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=16_384)
    parser.add_argument("--rounds", type=int, default=9)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        print(report(measure(Path(folder), options.steps, options.rounds), options.steps))


if __name__ == "__main__":
    main()
