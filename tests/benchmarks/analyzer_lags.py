"""Five lags against one: what the other four cost when all are reduced from frames that are decoded once.

    python -m tests.benchmarks.analyzer_lags

By layer and by row, with error bars and without kept sums, two threads, the best of a few interleaved rounds. Lag epoch
counts twice, since it is reported at two phases: six samplings in all. Memory as in `analyzer_scale`.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from time import perf_counter

import analyzer
from tests.benchmarks.analyzer_workload import gcn_store, raw_bytes, table

LAGS: list[int | str] = [1, 3, 10, 30, "epoch"]

PROBE = """
import json, sys
import analyzer
from analyzer.query.query import Query
from analyzer.engine.plan import memory_together
from analyzer.quantities.temperature import temperature_of
lags = json.loads(sys.argv[2])
def status(field):
    return int(next(line for line in open("/proc/self/status") if line.startswith(field)).split()[1]) / 1024
run = analyzer.open_run(sys.argv[1])
analyzer.temperature(run, stop=3, cache=False).compute(num_workers=2)  # imported, warm
before = status("VmRSS")
answer, measured = temperature_of(run, Query(by="row", lags=lags, cache=False, batches=True))
answer.compute(scheduler="threads", num_workers=2)
projected = memory_together([one.plan for one in measured], 2) / 2**20
print(json.dumps([status("VmHWM"), status("VmHWM") - before, projected]))
"""


def memory(path: Path, lags: list[int | str]) -> tuple[float, float, float]:
    """Peak, what the question added to it, and the projection of that, by row, in MiB."""
    done = subprocess.run([sys.executable, "-c", PROBE, path, json.dumps(lags)], capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(done.stderr)
    peak, grown, projected = json.loads(done.stdout)
    return peak, grown, projected


def measure(folder: Path, steps: int, rounds: int, threads: int = 2) -> list[tuple[object, ...]]:
    """Rows of the table: question, seconds, times the question at lag 10."""
    path = gcn_store(folder / "run.zarr", steps)
    ways: dict[str, tuple[str, list[object]]] = {}
    for by in ("layer", "row"):
        ways[f"by {by}, lag 10"] = (by, [10])
        ways[f"by {by}, lags {', '.join(map(str, LAGS))}"] = (by, [LAGS])
        ways[f"by {by}, the same, one after the other"] = (by, list(LAGS))
    best = dict.fromkeys(ways, float("inf"))
    for _ in range(rounds):
        for title, (by, questions) in ways.items():
            began = perf_counter()
            for lag in questions:
                answer = analyzer.open_run(path).thermo.temperature(by=by, lag=lag, cache=False)
                answer.compute(scheduler="threads", num_workers=threads)
            best[title] = min(best[title], perf_counter() - began)
    return [(title, best[title], best[title] / best[f"by {by}, lag 10"]) for title, (by, _) in ways.items()]


def report(rows: list[tuple[object, ...]], steps: int) -> str:
    """The table."""
    title = f"Several lags in one pass over {raw_bytes(steps) / 1e6:.0f} MB of a GCN run (pcodec), two threads"
    return table(title, ("question", "s", "x one lag"), rows)


def main() -> None:
    """Print the tables."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--steps", type=int, default=16384)
    options.add_argument("--rounds", type=int, default=3)
    chosen = options.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        print(report(measure(Path(folder), chosen.steps, chosen.rounds), chosen.steps))
        rows = [(", ".join(map(str, lags)), *memory(Path(folder) / "run.zarr", lags)) for lags in ([10], LAGS)]
        print(table("By row, MiB", ("lags", "peak", "above import", "projected"), rows))


if __name__ == "__main__":
    main()
