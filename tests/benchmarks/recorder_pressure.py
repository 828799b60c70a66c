"""How fast a large model can be recorded, and what happens beyond that.

A model of ten million parameters makes a random walk: each step adds one of eight updates, drawn once, with a random
sign. So frames take next to no time to make, but no codec can guess them. First as fast as it goes, waiting for the
writer or dropping frames; then at half of the rate that was sustained, where nothing should wait.

    python -m tests.benchmarks.recorder_pressure
"""

from __future__ import annotations

import argparse
import random
import tempfile
from pathlib import Path
from time import perf_counter, sleep
from typing import Any

import torch
from torch import nn

from recorder import Recorder
from tests.benchmarks.recorder_workload import Row, table

WIDTH = 1_580  # four square layers of it: 9,991,920 parameters
UPDATE = 1e-4


class Walk:
    """A model that walks at random, so fast or at a given number of steps a second."""

    def __init__(self, width: int) -> None:
        torch.manual_seed(0)
        self.random = random.Random(0)
        self.model = nn.Sequential(*(nn.Linear(width, width) for _ in range(4)))
        self.parameters = [parameter.detach() for parameter in self.model.parameters()]
        self.updates = [[UPDATE * torch.randn_like(parameter) for parameter in self.parameters] for _ in range(8)]
        self.frame_bytes = sum(4 * parameter.numel() for parameter in self.parameters)

    def step(self) -> None:
        """Add an update."""
        torch._foreach_add_(self.parameters, self.random.choice(self.updates), alpha=self.random.choice((-1, 1)))


def run(walk: Walk, steps: int, pace: float | None = None, **options: Any) -> dict[str, Any]:
    """Record `steps` steps, at most `pace` a second."""
    with tempfile.TemporaryDirectory() as folder:
        with Recorder(Path(folder, "run.zarr"), walk.model, **options) as recorder:
            recorder.start()
            began = perf_counter()
            for step in range(steps):
                walk.step()
                recorder.step()
                if pace:
                    sleep(max(0.0, began + (step + 1) / pace - perf_counter()))
            trained = perf_counter() - began
        total = perf_counter() - began
        report = recorder.report
    recorded = report.frames - 1
    return {
        "steps/s": steps / trained,
        "frames": recorded,
        "dropped": report.dropped,
        "waited s": report.stall_seconds,
        "waited %": 100 * report.stall_seconds / trained,
        "stored MB/s": recorded * walk.frame_bytes / total / 1e6,
        "raw/stored": report.ratio,
    }


def measure(steps: int, width: int = WIDTH) -> list[Row]:
    """Record `steps` steps in each way.

    Returns
    -------
    list of rows
        Steps a second of the training loop, frames recorded and dropped, the wait for the writer, and the rate at which
        raw bytes reached the store, from the first step until `close` returned.
    """
    walk = Walk(width)
    began = perf_counter()
    for _ in range(steps):
        walk.step()
    alone = dict.fromkeys(("frames", "dropped", "waited s", "waited %", "stored MB/s", "raw/stored"), "")
    rows: list[Row] = [{"way": "not recorded", "steps/s": steps / (perf_counter() - began), **alone}]
    rows += [{"way": f"{name}, wait"} | run(walk, steps, compression=name) for name in ("pcodec", "lz4", "none")]
    sustained = float(rows[1]["stored MB/s"]) * 1e6 / walk.frame_bytes  # type: ignore[arg-type]
    rows.append({"way": "pcodec, drop"} | run(walk, steps, on_pressure="drop"))
    rows.append({"way": f"pcodec, {sustained / 2:.1f} steps/s"} | run(walk, steps, pace=sustained / 2))
    return rows


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=120, help="steps in each way (default: 120)")
    rows = measure(parser.parse_args().steps)
    print(
        table(
            f"Recording {4 * WIDTH * (WIDTH + 1):,} parameters ({16 * WIDTH * (WIDTH + 1) / 1e6:.0f} MB a frame)", rows
        )
    )


if __name__ == "__main__":
    main()
