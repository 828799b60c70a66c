"""How long a command takes from the shell, and what its imports cost: whole processes, interleaved.

CPU time is that of the process in user and system mode. It is given as multiples of an empty Python's in the same
environment, of which an editable installation takes a large part: compare figures of one environment only.

python -m tests.benchmarks.analyzer_latency
"""

from __future__ import annotations

import argparse
import os
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
        "analyzer watch, a finished run": (*ANALYZER, "watch", str(store)),
        "analyzer temperature, nothing kept": (*ANALYZER, "temperature", str(store), "--no-cache"),
        "analyzer temperature, from kept sums": (*ANALYZER, "temperature", str(store)),
        "analyzer temperature --by row, from kept sums": (*ANALYZER, "temperature", str(store), "--by", "row"),
    }


def measure(folder: Path, steps: int, rounds: int) -> list[tuple[str, float, float, float, float]]:
    """Name, median seconds and times the floor, median seconds of CPU and times the floor, of each command."""
    timed = commands(gcn_store(folder / "run.zarr", steps))
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in timed}
    for command in timed.values():  # files in the page cache, kernels compiled, sums kept
        run(command)
    for _ in range(rounds):
        for name in random.Random(rounds).sample(list(timed), len(timed)):
            taken[name].append(run(timed[name]))
    middle = {name: tuple(median(column) for column in zip(*pairs, strict=True)) for name, pairs in taken.items()}
    wall, cpu = middle["python -c pass"]
    return [(name, seconds, seconds / wall, busy, busy / cpu) for name, (seconds, busy) in middle.items()]


def run(command: tuple[str, ...]) -> tuple[float, float]:
    """Seconds on the clock and seconds of CPU that a command takes."""
    began = perf_counter()
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    seconds = perf_counter() - began
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)
    return seconds, used.ru_utime + used.ru_stime


def report(rows: list[tuple[str, float, float, float, float]], steps: int) -> str:
    """The table."""
    header = ("command", "s", "x floor", "CPU s", "x floor's CPU")
    return table(f"Whole processes, a run of {steps:,} steps of the paper's GCN", header, rows)


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
