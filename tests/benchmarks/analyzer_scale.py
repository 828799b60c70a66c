"""What grows with a trajectory and what does not: memory, graph, the second question, worker processes.

    python -m tests.benchmarks.analyzer_scale

Targets P5 (peak memory at most 600 MB, whatever the length), P6 (a question that kept sums can answer at least 100
times faster than the first pass, on 8 GB or more), P7 (two worker processes at least 1.7 times one). Long runs are
made from a short one by linking its chunk files again and again: every link is decoded anew, as any chunk would be.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

import analyzer
from tests.benchmarks.analyzer_workload import gcn_store, raw_bytes, table
from tests.stores import edit_root

CHUNK = 1024
EPOCH = 1875

PROBE = """
import json, resource, sys, time
import analyzer
from analyzer.engine.measure import measure
from analyzer.query.query import Query
from analyzer.quantities.temperature import temperature_of
options = json.loads(sys.argv[2])
threads = options.pop("threads", 2)
scheduler = options.pop("scheduler", "threads")
if cap := options.pop("cap", None):
    resource.setrlimit(resource.RLIMIT_DATA, (cap, cap))
def status(field):  # not ru_maxrss: a child inherits its parent's
    return int(next(line for line in open("/proc/self/status") if line.startswith(field)).split()[1]) / 1024
run = analyzer.open_run(sys.argv[1])
analyzer.temperature(run, stop=3, cache=False).compute(scheduler=scheduler, num_workers=threads)  # imported, warm
before = status("VmRSS")
began = time.perf_counter()
answer, [measurement] = temperature_of(run, Query(**{"batches": False} | options))
planned = time.perf_counter()
answer.compute(scheduler=scheduler, num_workers=threads)
ended = time.perf_counter()
graph = len(measurement.moments.table.__dask_graph__())
print(json.dumps({"base": before, "peak": status("VmHWM"), "plan": planned - began, "seconds": ended - began,
"graph": graph,
                  "projected": measurement.plan.memory(threads) / 2**20, "bytes": measurement.plan.bytes}))
"""


def lengthen(short: Path, path: Path, steps: int) -> Path:
    """A run of `steps` steps whose chunks are links to those of a short run, over and over."""
    root = json.loads((short / "zarr.json").read_text())
    nodes = root["consolidated_metadata"]["metadata"]
    path.mkdir()
    for name, node in nodes.items():
        if node["node_type"] == "array" and name.startswith("parameters/"):
            sources = sorted((short / name / "c").rglob("[0-9]*"), key=lambda file: int(file.name))
            sources = [file for file in sources if file.is_file()]
            folder = path / name / sources[0].parent.relative_to(short / name)
            folder.mkdir(parents=True)
            for chunk in range(-(-steps // CHUNK)):
                os.link(sources[chunk % len(sources)], folder / str(chunk))
    scalars = {"step": np.arange(steps), "epoch": np.maximum(np.ceil(np.arange(steps) / EPOCH) - 1, 0)}
    one = gcn_scalars(path.with_suffix(".scalars"), scalars)
    for name in scalars:
        (one / name).rename(path / name)
    (path / "zarr.json").write_text((short / "zarr.json").read_text())

    def change(document: dict[str, Any]) -> None:
        document["attributes"]["run_id"] = os.urandom(16).hex()
        made = json.loads((one / "zarr.json").read_text())["consolidated_metadata"]["metadata"]
        for name, node in document["consolidated_metadata"]["metadata"].items():
            if name in scalars:
                node |= made[name]
            elif node["node_type"] == "array":
                node["shape"][-1] = steps

    edit_root(path, change)
    return path


def gcn_scalars(path: Path, scalars: dict[str, np.ndarray]) -> Path:
    """A store with the scalars of a run and one small parameter."""
    from tests.stores import write_store

    steps = scalars["step"]
    tiny = {"x.weight": np.zeros((1, steps.size), dtype=np.int8)}
    return write_store(path, tiny, scalars={"epoch": scalars["epoch"]}, chunk_steps=CHUNK, compression="none")


def probe(path: Path, **options: Any) -> dict[str, float]:
    """Durations and peak memory of one question, in a process of its own."""
    command = [sys.executable, "-W", "ignore", "-c", PROBE, str(path), json.dumps(options)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr[-2000:])
    answer: dict[str, float] = json.loads(done.stdout)
    return answer


def memory(
    folder: Path, short: Path, steps: int, factors: Sequence[int], capped: int = 1 << 30
) -> list[tuple[object, ...]]:
    """Peak memory against length: by row, whole run and epochs; the longest also where the system allows no more.

    The last row ran under RLIMIT_DATA, interpreter and libraries included: beyond it the kernel refuses memory.
    """
    rows: list[tuple[object, ...]] = []
    asked: list[tuple[int, str | None, int | None]] = [(f, window, None) for f in factors for window in (None, "epoch")]
    for factor, window, cap in [*asked, (factors[-1], None, capped)]:
        path = folder / f"x{factor}.zarr"
        if not path.exists():
            lengthen(short, path, factor * steps)
        seen = probe(path, by="row", window=window, cache=False, batches=True, cap=cap)
        title = f"{factor * steps:,} steps, {'whole run' if window is None else 'epochs'}"
        title += f", {cap >> 20:,} MiB allowed" if cap else ""
        grown = seen["peak"] - seen["base"]
        rows.append(
            (title, raw_bytes(factor * steps) >> 20, round(seen["peak"]), round(grown), round(seen["projected"]))
        )
    return rows


def second_question(path: Path) -> list[tuple[object, ...]]:
    """First pass, and later questions that kept sums answer."""
    first = probe(path, by="layer")
    rows: list[tuple[object, ...]] = [("by layer, first pass (sums kept)", first["seconds"], 1.0)]
    questions: list[tuple[str, str | None, bool]] = [
        *((by, None, False) for by in ("layer", "row", "element")),
        ("layer", "epoch", False),
        ("row", "epoch", False),
        *((by, None, True) for by in ("layer", "row", "element")),
    ]
    for by, window, batches in questions:
        best = min(probe(path, by=by, window=window, batches=batches)["seconds"] for _ in range(5))
        title = f"by {by}, {'whole run' if window is None else 'epochs'}{', error bars' if batches else ''}"
        rows.append((f"{title}, from kept sums", best, first["seconds"] / best))
    return rows


def workers(path: Path, rounds: int = 2) -> list[tuple[object, ...]]:
    """One against two worker processes of one thread each, on dask.distributed; interleaved, the best of each."""
    from distributed import Client, LocalCluster

    run = analyzer.open_run(path)
    seconds = dict.fromkeys((1, 2), float("inf"))
    for _ in range(rounds):
        for n in seconds:
            with (
                LocalCluster(n_workers=n, threads_per_worker=1, dashboard_address=None) as cluster,
                Client(cluster) as client,
            ):
                client.run(analyzer.temperature, run, stop=3, cache=False)  # numba, xarray: imported once
                began = perf_counter()
                analyzer.temperature(run, by="layer", cache=False, errors=False).compute()
                seconds[n] = min(seconds[n], perf_counter() - began)
    return [(f"{n} worker process{'es' if n > 1 else ''}", seconds[n], seconds[1] / seconds[n]) for n in seconds]


def planning(path: Path) -> list[tuple[object, ...]]:
    """Tasks and seconds before the first chunk is read."""
    rows = []
    for options in ({"by": "layer"}, {"by": "row", "window": "epoch"}, {"by": "layer", "window": 100}):
        code = PROBE.replace("answer.compute(scheduler=scheduler, num_workers=threads)", "")
        command = [sys.executable, "-W", "ignore", "-c", code, str(path), json.dumps({**options, "cache": False})]
        seen = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
        rows.append((str(options), seen["graph"], seen["plan"], round(seen["peak"])))
    return rows


def report(folder: Path, steps: int, factors: Sequence[int], large: int, million: int) -> str:
    """All tables."""
    short = gcn_store(folder / "short.zarr", steps, epoch_steps=EPOCH, chunk_steps=CHUNK)
    big = lengthen(short, folder / "big.zarr", large)
    long = lengthen(short, folder / "million.zarr", million)
    shown = [
        table(
            "Peak memory (MiB), two threads",
            ("run", "raw", "peak", "above import", "projected"),
            memory(folder, short, steps, factors),
        ),
        table(
            f"The second question, {raw_bytes(large) / 1e9:.1f} GB", ("question", "s", "x first"), second_question(big)
        ),
        table("Worker processes", ("workers", "s", "x one"), workers(big)),
        table(f"Before the first chunk, {million:,} steps", ("question", "tasks", "s", "peak MiB"), planning(long)),
    ]
    return "\n".join(shown)


def main() -> None:
    """Print the tables."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--steps", type=int, default=4096, help="of the run that the others are made from")
    options.add_argument("--large", type=int, default=187_500, help="steps of the run that is asked twice")
    options.add_argument("--million", type=int, default=1_000_000, help="steps of the run that is only planned")
    chosen = options.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        print(report(Path(folder), chosen.steps, (1, 4, 16), chosen.large, chosen.million))


if __name__ == "__main__":
    main()
