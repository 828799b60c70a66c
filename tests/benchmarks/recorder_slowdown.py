"""Slowdown of real training by recording every step: many short stretches with and without, in turn, paired.

One training, one recorder. In stretches without recording the writer process is stopped (SIGSTOP), so all of its work
falls into stretches *with*: what it compresses, commits and publishes, and what its use of cores and caches does to the
training. (Its clocks go on while it is stopped, so it publishes twice as often per recorded step as in a real run: the
slowdown is overstated, not understated.)

Two figures of the same stretches, each with its 95 % interval: the median over stretches with recording of their time
as a ratio to the mean of their two neighbours without (target P2), and the ratio of the sums, which also counts the
rare stretch in which a whole chunk is compressed (bootstrap over stretches). Beside them a bound that no noise touches:
two chunks of steps more are recorded without a stop, and the processor time of recorder and writer for each of them is
taken as a share of the time of a step without: what the training loses if every core is the training's.

    python -m tests.benchmarks.recorder_slowdown --models GCN --threads 2 --pairs 250
"""

from __future__ import annotations

import argparse
import os
import signal
import tempfile
from itertools import islice
from math import comb
from pathlib import Path
from statistics import median
from time import perf_counter

import numpy as np
import torch

from examples.models import GAT, GCN
from recorder import Recorder
from recorder.budget import MOST_CHUNK_STEPS
from tests.benchmarks.recorder_workload import Gate, Row, table, training

STRETCH_SECONDS = 0.4
MODELS: dict[str, type[GCN | GAT]] = {"GCN": GCN, "GAT": GAT}


def measure(
    kind: type[GCN | GAT],
    pairs: int,
    *,
    threads: int,
    stretch: int | None = None,
    settled: int = 2 * MOST_CHUNK_STEPS,
    seed: int = 0,
) -> Row:
    """Train in `pairs` + 1 stretches without and `pairs` with recording.

    Parameters
    ----------
    kind : GCN or GAT
    pairs : int
    threads : int
        Torch's.
    stretch : int, optional
        Steps in a stretch; default: as many as take 0.4 s.
    settled : int
        Steps without a stop, for the bound: fewer than a chunk would see its drafts alone, or weigh it too heavily.
    seed : int
        Of the training.

    Returns
    -------
    row
        See the module's docstring; microseconds a step.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        return _measure(kind, pairs, threads, stretch, settled, seed)
    finally:
        torch.set_num_threads(before)


def _measure(kind: type[GCN | GAT], pairs: int, threads: int, stretch: int | None, settled: int, seed: int) -> Row:
    torch.manual_seed(seed)
    model = kind()
    losses = training(model, torch.optim.Adam(model.parameters(), lr=1e-3))
    next(losses)  # the first steps allocate
    began = perf_counter()
    for _ in islice(losses, 10):
        pass
    stretch = stretch or max(1, round(10 * STRETCH_SECONDS / (perf_counter() - began)))
    without, recorded = [], []
    with tempfile.TemporaryDirectory() as folder:
        gate = Gate(model)
        with Recorder(Path(folder, "run.zarr"), model, gate) as recorder:
            recorder.start()
            writer = recorder._writer._process.pid
            try:
                for number in range(2 * pairs + 1):
                    os.kill(writer, signal.SIGCONT if number % 2 else signal.SIGSTOP)
                    began = perf_counter()
                    for loss in islice(losses, stretch):
                        if number % 2:
                            gate.step()
                            recorder.log(loss=loss)
                    (recorded if number % 2 else without).append(perf_counter() - began)
            finally:
                os.kill(writer, signal.SIGCONT)
            worked, own = processor_seconds(writer), recorder._seconds
            for loss in islice(losses, settled):
                gate.step()
                recorder.log(loss=loss)
            worked, own = processor_seconds(writer) - worked, recorder._seconds - own
        report = recorder.report
    assert report is not None
    ratios = sorted(paired(without, recorded))
    margin = outside(pairs)
    low, high = bootstrap(without, recorded)
    alone = median(without) / stretch
    return {
        "model": kind.__name__,
        "threads": threads,
        "pairs": pairs,
        "steps": pairs * stretch,
        "ms/step": 1e3 * alone,
        "median": f"{median(ratios):.4f}",
        "95 %": f"{ratios[margin]:.4f}-{ratios[-1 - margin]:.4f}",
        "sums": f"{2 * sum(recorded) / (sum(without[:-1]) + sum(without[1:])):.4f}",
        "its 95 %": f"{low:.4f}-{high:.4f}",
        "recorder us": 1e6 * own / settled,
        "writer us": 1e6 * worked / settled,
        "bound": f"{1 + (own + worked) / settled / alone:.4f}",
        "waited s": report.stall_seconds,
    }


def paired(without: list[float], recorded: list[float]) -> list[float]:
    """Return for each stretch with recording its time over the mean of its two neighbours without."""
    return [2 * r / (a + b) for r, a, b in zip(recorded, without[:-1], without[1:], strict=True)]


def bootstrap(without: list[float], recorded: list[float], rounds: int = 4000) -> tuple[float, float]:
    """Return the 95 % interval of the ratio of sums, stretches drawn together with their two neighbours."""
    neighbours = (np.array(without[:-1]) + np.array(without[1:])) / 2
    drawn = np.random.default_rng(0).integers(0, len(recorded), (rounds, len(recorded)))
    ratios = np.array(recorded)[drawn].sum(axis=1) / neighbours[drawn].sum(axis=1)
    low, high = np.quantile(ratios, [0.025, 0.975])
    return float(low), float(high)


def processor_seconds(process: int) -> float:
    """Return the processor time that a process has used, all threads, in user and kernel."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def outside(count: int) -> int:
    """Count how many of the sorted values lie on each side outside the 95 % interval of the median."""
    tail, margin = 0.0, 0
    while (tail := tail + comb(count, margin) / 2**count) < 0.025:
        margin += 1
    return max(0, margin - 1)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=250, help="stretches with recording (default: 250)")
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS))
    parser.add_argument("--threads", nargs="+", type=int, default=[1, 2])
    parser.add_argument("--settled", type=int, default=2 * MOST_CHUNK_STEPS, help="steps of the bound (default: 2048)")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    rows = [
        measure(MODELS[name], options.pairs, threads=threads, settled=options.settled, seed=options.seed)
        for name in options.models
        for threads in options.threads
    ]
    print(table("Slowdown of training by recording every step (batch size 32, Adam)", rows))


if __name__ == "__main__":
    main()
