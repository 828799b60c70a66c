"""Import of series of checkpoints: MB/s beside plain reading of the files, and memory at its peak.

Every import is a process of its own, since a peak is that of a process. `--cores 1` keeps all of it on one core.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import safetensors.torch
import torch
from torch import nn

from examples.models import GCN
from tests.benchmarks.recorder_workload import Row, table, training


def gcn_series(count: int, apart: int = 10) -> Iterator[tuple[int, dict[str, torch.Tensor]]]:
    """Checkpoints of the paper's GCN in real training."""
    torch.manual_seed(0)
    model = GCN()
    steps = training(model, torch.optim.Adam(model.parameters(), lr=1e-3))
    for number in range(count):
        yield number * apart, model.state_dict()
        for _ in range(apart):
            next(steps)


def large_series(count: int, weights: int = 10_000_000) -> Iterator[tuple[int, dict[str, torch.Tensor]]]:
    """Checkpoints of a perceptron whose weights move as under Adam at 1e-4, 100 steps apart."""
    torch.manual_seed(0)
    width = int((weights / 3) ** 0.5)
    model = nn.Sequential(*(nn.Linear(width, width) for _ in range(3)))
    for number in range(count):
        yield number * 100, model.state_dict()
        with torch.no_grad():
            for parameter in model.parameters():
                parameter += 1e-3 * torch.randn_like(parameter)


SERIES = {"GCN": gcn_series, "10 M weights": large_series}
SAVERS = {".safetensors": safetensors.torch.save_file, ".pt": torch.save}


def read_plainly(folder: Path) -> float:
    """Return the seconds in which every file is read as its library reads it, and each byte is looked at once."""
    began = time.perf_counter()
    for path in sorted(folder.iterdir()):
        state = (
            safetensors.torch.load_file(path)
            if path.suffix == ".safetensors"
            else torch.load(path, weights_only=True, mmap=True)
        )
        for tensor in state.values():
            np.add.reduce(tensor.numpy().reshape(-1).view(np.uint8)[::64])  # one byte of each cache line
    return time.perf_counter() - began


def imported(folder: Path, store: Path) -> dict[str, float]:
    """Import in a process of its own; return its seconds, its bytes, and its memory before and at the peak."""
    command = [sys.executable, "-m", "tests.benchmarks.recorder_import", "--child", str(folder), str(store)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return dict(json.loads(done.stdout.splitlines()[-1]))


def child(folder: Path, store: Path) -> None:
    """Print what one import took, as JSON."""
    from recorder.imports.build import build
    from recorder.imports.series import look
    from recorder.writer.store import StoreWriter  # noqa: F401 - loaded before memory is looked at

    began = time.perf_counter()
    series = look([folder])
    looked = time.perf_counter() - began
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    made = build(series, store)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(json.dumps({
        "seconds": looked + made.seconds, "raw": made.raw_bytes, "stored": made.stored_bytes, "before": before / 1024,
        "peak": peak / 1024,
    }))  # fmt: skip


def measure(name: str, suffix: str, count: int, folder: Path) -> Row:
    """Return one row of the table: a series of `count` files."""
    files = folder / f"{count}{suffix}"
    files.mkdir()
    for step, state in SERIES[name](count):
        SAVERS[suffix](state, files / f"step_{step}{suffix}")
    plain = min(read_plainly(files) for _ in range(3))
    found = imported(files, folder / f"{count}{suffix}.zarr")
    return {
        "model, files": f"{name}, {suffix}",
        "files": count,
        "MB": found["raw"] / 1e6,
        "import MB/s": found["raw"] / 1e6 / found["seconds"],
        "plain reading MB/s": found["raw"] / 1e6 / plain,
        "raw ÷ stored": found["raw"] / found["stored"],
        "memory before, MiB": found["before"],
        "peak, MiB": found["peak"],
    }


def main(arguments: list[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--child", nargs=2, type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--gcn", type=int, nargs="*", default=[1000, 4000], help="numbers of files of the GCN")
    parser.add_argument("--large", type=int, nargs="*", default=[50, 100], help="numbers of files of 10 M weights")
    parser.add_argument("--cores", type=int, help="cores to run on; default: all")
    given = parser.parse_args(arguments)
    if given.child:
        child(*given.child)
        return
    if given.cores:
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: given.cores])
    rows = []
    cases = [("GCN", count) for count in given.gcn] + [("10 M weights", count) for count in given.large]
    for name, count in cases:
        for suffix in SAVERS:
            with tempfile.TemporaryDirectory() as folder:
                rows.append(measure(name, suffix, count, Path(folder)))
    print(table("Import of checkpoints", rows))


if __name__ == "__main__":
    main()
