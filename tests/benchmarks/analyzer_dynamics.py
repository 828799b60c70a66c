"""Dynamics, spectrum and modes: speed against decoding alone, the second question, memory against length.

    python -m tests.benchmarks.analyzer_dynamics             # 772 MB
    python -m tests.benchmarks.analyzer_dynamics --long      # also the second question on 8.8 GB, and memory to 65,536

Target: 40 lags by layer, one pass, at least 0.2 of decode-only throughput on two threads; a second question from kept
sums 100 times faster; memory flat from 4,096 to 65,536 steps. Every way runs with the same threads on the same store.
Speeds are by processor time of all threads, the shortest of a few interleaved rounds: other work on the machine then
matters less.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from time import perf_counter, process_time
from typing import Any

import dask
import xarray as xr

import analyzer
from analyzer.query.lags import default_lags
from tests.benchmarks.analyzer_throughput import decode
from tests.benchmarks.analyzer_workload import best, gcn_store, raw_bytes, table


def ask(path: Path, threads: int, quantity: str, **options: Any) -> None:
    """The engine's answer."""
    answer = getattr(analyzer.open_run(path).thermo, quantity)(**options)
    answer.compute(scheduler="threads", num_workers=threads)


def plain(path: Path, threads: int, lags: list[int]) -> None:
    """What a user of xarray would write: shift, subtract or multiply, mean; for every parameter and lag."""
    with xr.open_datatree(path, engine="zarr", chunks={}) as run, dask.config.set(num_workers=threads):
        means = []
        for node in run["parameters"].subtree:
            for array in node.data_vars.values():
                w = array.astype("f8")
                v = w.diff("step").drop_vars(["step", "epoch"], errors="ignore")
                w = w.drop_vars(["step", "epoch"], errors="ignore")
                steps = w.sizes["step"]
                for lag in lags:
                    late, early = v.isel(step=slice(lag, None)), v.isel(step=slice(None, steps - 1 - lag))
                    means.append((late * early).mean())
                    late, early = w.isel(step=slice(lag, None)), w.isel(step=slice(None, steps - lag))
                    means.append(((late - early) ** 2).mean())
        dask.compute(*means, scheduler="threads")


def measure(folder: Path, steps: int, rounds: int, threads: int = 2) -> list[tuple[object, ...]]:
    """Rows of the table: way, MB/s, share of decode-only."""
    path = gcn_store(folder / "run.zarr", steps)
    lags = default_lags(steps - 1)
    ways: dict[str, Callable[[], object]] = {"decode only": lambda: decode(path, threads)}
    for by in ("layer", "row"):
        title = f"dynamics by {by}, {lags.size} lags"
        ways[title] = lambda by=by: ask(path, threads, "dynamics", by=by, cache=False)  # type: ignore[misc]
    ways["spectrum by layer"] = lambda: ask(path, threads, "spectrum")
    ways["modes by layer"] = lambda: ask(path, threads, "modes")
    few = [0, 1, 10]
    ways["plain xarray, lags 0, 1, 10"] = lambda: plain(path, threads, few)
    shortest = dict.fromkeys(ways, float("inf"))
    for _ in range(rounds):
        for title, run in ways.items():
            began = process_time()
            run()
            shortest[title] = min(shortest[title], process_time() - began)
    speed = {title: raw_bytes(steps) / seconds / 1e6 for title, seconds in shortest.items()}
    return [(title, round(value), value / speed["decode only"]) for title, value in speed.items()]


def second(folder: Path, steps: int, threads: int = 2) -> list[tuple[object, ...]]:
    """Rows: question, seconds, times the first pass."""
    path = gcn_store(folder / "long.zarr", steps)
    began = perf_counter()
    ask(path, threads, "dynamics")
    first = perf_counter() - began
    rows: list[tuple[object, ...]] = [("first pass by layer (decodes, keeps sums)", first, 1.0)]
    middle = steps // 2 // 256 * 256
    questions: dict[str, dict[str, Any]] = {
        "by layer again": {},
        "by model": {"by": "model"},
        f"by layer, from step {middle:,} on": {"start": middle},
        "by parameter, windows of 16,384": {"by": "parameter", "window": min(16384, middle)},
    }
    for title, options in questions.items():
        seconds = best(lambda options=options: ask(path, threads, "dynamics", **options))  # type: ignore[misc]
        rows.append((title, seconds, first / seconds))
    return rows


_PROBE = """
import json, sys
import analyzer, numpy, dask.array, scipy.linalg
from analyzer.engine import compiled, pairs_compiled
peak = lambda: int(next(l for l in open("/proc/self/status") if l.startswith("VmHWM")).split()[1]) / 1024
before = peak()
quantity, path, by = sys.argv[1:]
module = __import__(f"analyzer.quantities.{quantity}", fromlist=["x"])
from analyzer.query.query import Query
function = {"dynamics": "dynamics_of", "spectrum": "spectrum_of", "modes": "modes_with"}[quantity]
run = analyzer.open_run(path)
answer, [passed] = getattr(module, function)(run, Query(by=by, cache=False, workers=2))
answer.compute(scheduler="threads", num_workers=2)
print(json.dumps([peak(), peak() - before, passed.plan.memory / 2**20]))
"""


def memory(path: Path, quantity: str, by: str = "layer") -> tuple[float, float, float]:
    """Peak, growth above the imports, and projection, MiB, of one question in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-c", _PROBE, quantity, str(path), by], capture_output=True, text=True, check=True
    )
    peak, grown, projected = json.loads(done.stdout)
    return peak, grown, projected


def main() -> None:
    """Print the tables."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--steps", type=int, default=16384)
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--long", action="store_true")
    options.add_argument("--second", type=int, default=187_500, help="steps of the run of the second question")
    chosen = options.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        title = f"One pass over {raw_bytes(chosen.steps) / 1e6:.0f} MB of a GCN run (pcodec), two threads"
        print(
            table(title, ("way", "MB/s of a core", "of decoding"), measure(folder, chosen.steps, chosen.rounds)),
            flush=True,
        )
        lengths = (4096, 16384, 65536) if chosen.long else (4096,)
        rows = []
        for steps in lengths:
            path = gcn_store(folder / f"{steps}.zarr", steps)
            rows += [(f"{name}, {steps:,} steps", *memory(path, name)) for name in ("dynamics", "spectrum", "modes")]
        print(table("Memory, two threads, MiB", ("question", "peak", "above import", "projected"), rows), flush=True)
        if chosen.long:
            rows = second(folder, chosen.second)
            title = f"Second question, {raw_bytes(chosen.second) / 1e9:.1f} GB"
            print(table(title, ("question", "s", "x first pass"), rows))


if __name__ == "__main__":
    main()
