"""Dynamics, spectrum and modes: speed against decoding alone, the second question, memory against length.

    python -m tests.benchmarks.analyzer_dynamics             # 772 MB
    python -m tests.benchmarks.analyzer_dynamics --long      # also the second question on 8.8 GB, and memory to 262,144
    python -m tests.benchmarks.analyzer_dynamics --only modes --rounds 1

Target: 40 lags by layer, one pass, at least 0.2 of decode-only throughput on two threads; a second question from kept
sums 100 times faster; memory flat from 4,096 to 65,536 steps. Every way runs with the same threads on the same store.
Speeds are by processor time of all threads, the shortest of a few interleaved rounds: other work on the machine then
matters less. Modes run in processes whose linear algebra has one thread and two. Long runs are made from a short one by
linking its chunk files (`analyzer_scale.lengthen`).
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from time import perf_counter, process_time
from typing import Any

import dask
import numpy as np
import xarray as xr

import analyzer
from analyzer.quantities.motion.modes import FRAMES, MODES
from analyzer.query.lags import default_lags
from analyzer.statistics.modes import modes_of
from analyzer.store.reading import read, source_of
from analyzer.store.schema import read_store
from tests.benchmarks.analyzer_scale import lengthen
from tests.benchmarks.analyzer_throughput import decode
from tests.benchmarks.analyzer_workload import best, gcn_store, raw_bytes, table
from tests.stores import write_store


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


def gram_by_hand(path: Path) -> list[np.ndarray]:
    """Load every layer whole, take its frames, and multiply: what a user of numpy would write."""
    store = read_store(path)
    apart = -(-(store.frames - 1) // (FRAMES - 1))
    layers: dict[str, list[np.ndarray]] = {}
    for p in store.parameters:
        values = read(source_of(store, p.path), (*((0, n) for n in p.shape), (0, store.frames)))
        layers.setdefault(p.name.partition(".")[0], []).append(values.reshape(p.weights, -1)[:, ::apart])
    grams = []
    for several in layers.values():
        x = np.concatenate(several).astype(np.float64)
        x -= x[:, :1]
        grams.append(x.T @ x)
    return grams


def modes_here(path: str, rounds: int, threads: int = 2) -> None:
    """Print processor and wall-clock seconds of each way to modes, in this process; the shortest of a few rounds."""
    at = Path(path)
    grams = gram_by_hand(at)
    ways: dict[str, Callable[[], object]] = {
        "decode only": lambda: decode(at, threads),
        "modes by layer": lambda: ask(at, threads, "modes"),
        "numpy: load, Gram, eigh": lambda: [modes_of(gram, MODES) for gram in gram_by_hand(at)],
        "of these, eigh": lambda: [modes_of(gram, MODES) for gram in grams],
    }
    shortest = {title: [float("inf")] * 2 for title in ways}
    for _ in range(rounds):
        for title, run in ways.items():
            began = process_time(), perf_counter()
            run()
            took = process_time() - began[0], perf_counter() - began[1]
            shortest[title] = [min(pair) for pair in zip(shortest[title], took, strict=True)]
    print(json.dumps(shortest))


def modes(path: Path, rounds: int) -> list[tuple[object, ...]]:
    """Rows: way, threads of the linear algebra, processor seconds, wall-clock seconds."""
    rows: list[tuple[object, ...]] = []
    for count in (1, 2):
        fixed = {f"{library}_NUM_THREADS": str(count) for library in ("OMP", "OPENBLAS", "MKL")}
        code = f"from tests.benchmarks import analyzer_dynamics as b; b.modes_here({str(path)!r}, {rounds})"
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=os.environ | fixed
        )
        rows += [(title, count, *seconds) for title, seconds in json.loads(done.stdout).items()]
    return rows


def second(path: Path, steps: int, threads: int = 2) -> list[tuple[object, ...]]:
    """Rows: question, seconds, times the first pass."""
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
import analyzer
from analyzer.query.query import Query
quantity, path, tiny, by, workers, more = sys.argv[1:]
workers = int(workers)
more = json.loads(more)
module = __import__(f"analyzer.quantities.motion.{quantity}", fromlist=["x"])
function = getattr(module, {"dynamics": "dynamics_of", "spectrum": "spectrum_of", "modes": "modes_with"}[quantity])
def status(field):
    return int(next(line for line in open("/proc/self/status") if line.startswith(field)).split()[1]) / 1024
def ask(path):
    answer, [passed] = function(analyzer.open_run(path), Query(by=by, cache=False, workers=workers), **more)
    answer.compute(scheduler="threads", num_workers=workers)
    return passed
ask(tiny)  # all is imported
before = status("VmRSS")
open("/proc/self/clear_refs", "w").write("5")  # the peak of the imports is forgotten
passed = ask(path)
peak = status("VmHWM")
print(json.dumps([peak, peak - before, passed.plan.memory / 2**20]))
"""


QUESTIONS: Mapping[str, tuple[str, dict[str, Any]]] = {
    "dynamics": ("dynamics", {}),
    "dynamics, lags to 256": ("dynamics", {"lags": default_lags(4096).tolist()}),
    "spectrum": ("spectrum", {}),
    "spectrum, sections of 512": ("spectrum", {"sections": 512}),
    "modes": ("modes", {"frames": 1025}),  # 1,024 are taken of a run of 2ⁿ frames, however long
}
"""Names of questions, their quantity and options. By default lags and sections are longer in longer runs, up to 4,096
and 8,192 frames; with the options the question is the same at every length."""


def memory(path: Path, question: str, by: str = "layer", workers: int = 2) -> tuple[float, float, float]:
    """Peak, growth above the imports, and projection, MiB, of one question in a process of its own."""
    quantity, more = QUESTIONS[question]
    tiny = path.with_name(f"{path.name}.tiny")
    write_store(tiny, {"x.weight": np.arange(600, dtype=np.float32)[np.newaxis] ** 2}, compression="pcodec")
    done = subprocess.run(
        [sys.executable, "-c", _PROBE, quantity, str(path), str(tiny), by, str(workers), json.dumps(more)],
        capture_output=True,
        text=True,
        check=True,
    )
    peak, grown, projected = json.loads(done.stdout)
    return peak, grown, projected


def _memories(folder: Path, lengths: Sequence[int]) -> list[tuple[object, ...]]:
    """Rows: question and steps, workers, peak, growth above the imports, and projection."""
    short = gcn_store(folder / "short.zarr", 4096)
    rows: list[tuple[object, ...]] = []
    for steps in lengths:
        path = lengthen(short, folder / f"{steps}.zarr", steps)
        for workers in (1, 2):
            rows += [(f"{name}, {steps:,} steps", workers, *memory(path, name, workers=workers)) for name in QUESTIONS]
    return rows


PARTS = ("speed", "modes", "memory", "second")


def main() -> None:
    """Print the tables."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--steps", type=int, default=16384)
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--long", action="store_true")
    options.add_argument("--second", type=int, default=187_500, help="steps of the run of the second question")
    options.add_argument("--only", choices=PARTS, action="append", help="tables that are made; default: all")
    chosen = options.parse_args()
    parts = chosen.only or (PARTS if chosen.long else PARTS[:3])
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if "speed" in parts:
            title = f"One pass over {raw_bytes(chosen.steps) / 1e6:.0f} MB of a GCN run (pcodec), two threads"
            rows = measure(folder, chosen.steps, chosen.rounds)
            print(table(title, ("way", "MB/s of a core", "of decoding"), rows), flush=True)
        if "modes" in parts:
            rows = modes(gcn_store(folder / "modes.zarr", chosen.steps), chosen.rounds)
            print(table("Modes by layer", ("way", "threads", "processor s", "wall-clock s"), rows), flush=True)
        if "memory" in parts:
            rows = _memories(folder, (4096, 65536, 262144) if chosen.long else (4096,))
            header = ("question", "workers", "peak", "above import", "projected")
            print(table("Memory, MiB", header, rows), flush=True)
        if "second" in parts:
            short = gcn_store(folder / "begin.zarr", 4096)
            rows = second(lengthen(short, folder / "long.zarr", chosen.second), chosen.second)
            title = f"Second question, {raw_bytes(chosen.second) / 1e9:.1f} GB"
            print(table(title, ("question", "s", "x first pass"), rows))


if __name__ == "__main__":
    main()
