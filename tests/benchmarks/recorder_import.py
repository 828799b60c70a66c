"""Import of series of checkpoints: MB/s beside plain reading of the files, and memory at its peak.

Every import is a process of its own, since a peak is that of a process.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import safetensors.torch
import torch
from torch import nn

from examples.models import GCN
from tests.benchmarks.recorder_workload import Row, table


def moving(model: nn.Module, count: int, apart: int) -> Iterator[tuple[int, dict[str, torch.Tensor]]]:
    """Yield checkpoints of a model that moves as under Adam at 1e-3: by running means of noise. No data is needed."""
    means = [torch.zeros_like(parameter) for parameter in model.parameters()]
    for number in range(count):
        yield number * apart, model.state_dict()
        with torch.no_grad():
            for parameter, mean in zip(model.parameters(), means, strict=True):
                mean.mul_(0.9).add_(torch.randn_like(mean), alpha=0.1)
                parameter.add_(mean, alpha=1e-3 * apart**0.5)


def gcn_series(count: int) -> Iterator[tuple[int, dict[str, torch.Tensor]]]:
    """Checkpoints of the paper's GCN, one after every step."""
    torch.manual_seed(0)
    return moving(GCN(), count, 1)


def large_series(count: int, weights: int = 10_000_000) -> Iterator[tuple[int, dict[str, torch.Tensor]]]:
    """Checkpoints of a perceptron, one every 100 steps."""
    torch.manual_seed(0)
    width = int((weights / 3) ** 0.5)
    return moving(nn.Sequential(*(nn.Linear(width, width) for _ in range(3))), count, 100)


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
    """Print what one import took, as JSON. Packages are loaded before."""
    from recorder.imports import safetensors_files, torch_files  # noqa: F401
    from recorder.imports.build import build
    from recorder.imports.series import look

    before, began = peak(), time.perf_counter()
    made = build(look([folder]), store)
    seconds = time.perf_counter() - began
    print(json.dumps({
        "seconds": seconds, "raw": made.raw_bytes, "stored": made.stored_bytes, "before": before, "peak": peak(),
    }))  # fmt: skip


def peak() -> float:
    """Return the most memory that this process has taken, in MiB; pages of mapped files count until they are let go."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024


def measure(name: str, counts: Sequence[int], folder: Path) -> list[Row]:
    """Return the rows of one model: its series, and its beginnings, in each format."""
    whole = {suffix: folder / f"{name} {suffix[1:]}" for suffix in SAVERS}
    for files in whole.values():
        files.mkdir()
    for step, state in SERIES[name](max(counts)):
        for suffix, files in whole.items():
            SAVERS[suffix](state, files / f"step_{step:07}{suffix}")
    rows: list[Row] = []
    for suffix, files in whole.items():
        for count in sorted(counts):
            part = folder / f"{count}{suffix}"
            part.mkdir()
            for path in sorted(files.iterdir())[:count]:
                (part / path.name).hardlink_to(path)
            plain = min(read_plainly(part) for _ in range(2))
            found = imported(part, folder / f"{count}{suffix}.zarr")
            rows.append(
                {
                    "model": f"{name}, {suffix}",
                    "files": count,
                    "MB": found["raw"] / 1e6,
                    "import MB/s": found["raw"] / 1e6 / found["seconds"],
                    "plain reading MB/s": found["raw"] / 1e6 / plain,
                    "raw ÷ stored": found["raw"] / found["stored"],
                    "MiB before": found["before"],
                    "MiB at the peak": found["peak"],
                }
            )
    return rows


def main(arguments: list[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--child", nargs=2, type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--gcn", type=int, nargs="*", default=[250, 1000], help="numbers of files of the GCN")
    parser.add_argument("--large", type=int, nargs="*", default=[25, 50], help="numbers of files of 10 M weights")
    given = parser.parse_args(arguments)
    if given.child:
        child(*given.child)
        return
    rows: list[Row] = []
    for name, counts in (("GCN", given.gcn), ("10 M weights", given.large)):
        with tempfile.TemporaryDirectory() as folder:
            rows += measure(name, counts, Path(folder)) if counts else []
    print(table("Import of checkpoints", rows))


if __name__ == "__main__":
    main()
