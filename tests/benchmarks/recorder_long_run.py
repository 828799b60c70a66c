"""A long run of a small model, and stores of many arrays: what grows, and what does not.

python -m tests.benchmarks.recorder_long_run --steps 1000000
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
import warnings
from collections.abc import Sequence
from pathlib import Path

import torch
import xarray as xr
from torch import nn

from recorder import Recorder
from tests.benchmarks.recorder_workload import Row, table

POINTS = 8


def resident(process: int | str) -> float:
    """Return the memory of a process that is its own, in MiB: mapped files (the spool) are not counted."""
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("RssAnon:")) / 1024


def files(store: Path) -> int:
    return sum(path.is_file() for path in store.rglob("*"))


def open_seconds(store: Path, repeats: int = 3) -> float:
    """Return the median time of a plain xarray open."""
    took = []
    for _ in range(repeats):
        began = time.perf_counter()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            xr.open_datatree(store, engine="zarr", chunks={}).close()
        took.append(time.perf_counter() - began)
    return statistics.median(took)


def long_run(steps: int) -> list[Row]:
    """Record `steps` steps of an 8-to-8 linear layer; look at both processes and the store at eight points."""
    model = nn.Linear(8, 8)
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as folder:
        store = Path(folder) / "run.zarr"
        with Recorder(store, model) as recorder:
            recorder.start()
            began = time.perf_counter()
            for step in range(1, steps + 1):
                model.weight.data.mul_(0.999)
                recorder.step()
                recorder.log(loss=1.0 / step)
                if step % (steps // POINTS) == 0:
                    rows.append(
                        {
                            "step": f"{step:,}",
                            "trainer MiB": resident("self"),
                            "writer MiB": resident(recorder._writer._process.pid),
                            "µs a step": (time.perf_counter() - began) / step * 1e6,
                        }
                    )
        report = recorder.report
        assert report is not None
        chunks = -(-report.frames // 1024)
        arrays = len(list(store.rglob("zarr.json"))) - 2  # the root and the group of parameters
        rows.append({"step": "files", "trainer MiB": files(store), "writer MiB": "", "µs a step": ""})
        rows.append({"step": "arrays × chunks", "trainer MiB": arrays * chunks, "writer MiB": "", "µs a step": ""})
        rows.append({"step": "open, s", "trainer MiB": open_seconds(store), "writer MiB": "", "µs a step": ""})
    return rows


def many_arrays(counts: Sequence[int]) -> list[Row]:
    """Open stores of many parameters with plain xarray."""
    rows: list[Row] = []
    for count in counts:
        model = nn.ModuleList(nn.Linear(2, 2) for _ in range(count // 2))
        with tempfile.TemporaryDirectory() as folder:
            store = Path(folder) / "run.zarr"
            with Recorder(store, model, chunk_steps=16) as recorder:
                recorder.start()
                for _ in range(20):
                    recorder.step()
            rows.append({"arrays": f"{count:,}", "open, s": open_seconds(store), "files": files(store)})
    return rows


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=1_000_000)
    parser.add_argument("--arrays", type=int, nargs="+", default=[10, 100, 400, 1000])
    options = parser.parse_args()
    torch.set_num_threads(1)
    print(table(f"A run of {options.steps:,} steps of 72 weights", long_run(options.steps)))
    print(table("Opening stores of many arrays", many_arrays(options.arrays)))


if __name__ == "__main__":
    main()
