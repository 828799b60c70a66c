"""Slowdown of real training by recording every step: alternating stretches with and without, paired.

The recorder lives through all stretches. With `chunk_steps=256` it hands segments of 64 frames to the writer. Stretches
are as long, so the writer's work on a segment falls into the next stretch *with* recording, not into one without. What
it does at other times (a commit of the unfinished chunk every few seconds) falls into both, so the table also tells the
writer's whole processor time, which bounds what the pairs may miss.

    python -m tests.benchmarks.recorder_slowdown
"""

from __future__ import annotations

import argparse
import resource
import tempfile
from itertools import islice
from math import comb
from pathlib import Path
from statistics import median
from time import perf_counter

import torch

from examples.models import GAT, GCN
from recorder import Recorder
from tests.benchmarks.recorder_workload import Gate, Row, table, training

STRETCH = 64
CHUNK_STEPS = 4 * STRETCH


def measure(kind: type[GCN | GAT], pairs: int, stretch: int = STRETCH) -> Row:
    """Train in `pairs` + 1 stretches without and `pairs` with recording.

    Returns
    -------
    row
        Milliseconds a step without recording. Slowdown: the median, over stretches with recording, of their time as a
        ratio to the mean of their two neighbours without; and the 95 % interval of that median (order statistics).
        What the recorder itself counted on the training thread, and the writer's processor time, start and end
        included, in microseconds a step.
    """
    torch.manual_seed(0)
    model = kind()
    losses = training(model, torch.optim.Adam(model.parameters(), lr=1e-3))
    for _ in islice(losses, 10):  # the first steps allocate
        pass
    without, recorded = [], []
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    with tempfile.TemporaryDirectory() as folder:
        gate = Gate(model)
        with Recorder(Path(folder, "run.zarr"), model, gate, chunk_steps=CHUNK_STEPS) as recorder:
            recorder.start()
            for number in range(2 * pairs + 1):
                began = perf_counter()
                for loss in islice(losses, stretch):
                    if number % 2:
                        gate.step()
                        recorder.log(loss=loss)
                (recorded if number % 2 else without).append(perf_counter() - began)
        report = recorder.report
    after = resource.getrusage(resource.RUSAGE_CHILDREN)

    ratios = sorted(2 * r / (a + b) for r, a, b in zip(recorded, without[:-1], without[1:], strict=True))
    margin = outside(pairs)
    writer = (after.ru_utime + after.ru_stime) - (before.ru_utime + before.ru_stime)
    steps = pairs * stretch
    return {
        "model": kind.__name__,
        "pairs": pairs,
        "ms/step": 1e3 * median(without) / stretch,
        "slowdown": median(ratios),
        "low": ratios[margin],
        "high": ratios[-1 - margin],
        "recorder us/step": 1e6 * report.seconds / steps,
        "stalled s": report.stall_seconds,
        "writer us/step": 1e6 * writer / steps,
    }


def outside(count: int) -> int:
    """Count how many of the sorted values lie on each side outside the 95 % interval of the median."""
    tail, margin = 0.0, 0
    while (tail := tail + comb(count, margin) / 2**count) < 0.025:
        margin += 1
    return max(0, margin - 1)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=30, help="stretches with recording (default: 30)")
    pairs = parser.parse_args().pairs
    rows = [measure(kind, pairs) for kind in (GCN, GAT)]
    print(
        table(f"Slowdown of training by recording every step (stretches of {STRETCH} steps, batch size 32, Adam)", rows)
    )


if __name__ == "__main__":
    main()
