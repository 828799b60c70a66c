"""Slowdown by recording every step on a GPU, eager and under CUDA graphs: target P2.

One batch of graphs, the same at every step, so that an update can be captured; the recorder's own comparison
(`compare_every`) alternates stretches with and without, and times them by events on the compute stream. That no step
and no `log` waits for the device is a test: `pytest tests/recorder/trainer/feeds/test_device_feed.py`, with a GPU.

Where the GPU is behind, each launch waits until its queue has room, the recorder's as well as the training's own. So
what a step costs the host is measured a second time with an empty queue: the device is waited for before each step.

    python -m tests.benchmarks.recorder_gpu
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy
from torch_geometric.data import Batch
from torch_geometric.nn import GATConv, GCNConv
from torch_geometric.utils import add_remaining_self_loops

from examples.data.loader import load
from examples.models import GAT, GCN
from examples.paper.driver import capture
from recorder import Recorder
from tests.benchmarks.recorder_workload import Row, table

STRETCH = 50
BATCH = 32


@dataclass(frozen=True)
class Work:
    """An update of a model on one batch.

    Attributes
    ----------
    make : callable
        Makes it, on the current stream.
    loss : () float32
        Its loss, once it is made.
    stream : torch.cuda.Stream, optional
        The one to make it on.
    """

    make: Callable[[], object]
    loss: Tensor
    stream: Any = None


def eager(model: GCN | GAT, device: str) -> Work:
    """Return an update of the model on one batch, made by torch call by call."""
    batch = Batch.from_data_list(load()[0][:BATCH]).to(device)
    fix_edges(model, batch)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-4, capturable=device != "cpu")
    held = torch.zeros((), device=device)

    def update() -> None:
        optimizer.zero_grad(set_to_none=True)
        loss = cross_entropy(model(batch), batch.y)
        loss.backward()
        optimizer.step()
        held.copy_(loss.detach())

    return Work(update, held)


def fix_edges(model: GCN | GAT, batch: Batch) -> None:
    """Do once what the layers do with the edges at every step: masks of unknown length cannot be captured.

    The model then computes the same for this one batch.
    """
    edges, _ = add_remaining_self_loops(batch.edge_index, num_nodes=batch.num_nodes)
    batch.edge_index = edges
    for layer in model.modules():
        if isinstance(layer, GCNConv):
            layer.cached = True  # filled by the first, eager, update
        elif isinstance(layer, GATConv):
            layer.add_self_loops = False


def captured(model: GCN | GAT, device: str) -> Work:
    """Return the same update as the replay of a CUDA graph."""
    work = eager(model, device)
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            work.make()
    for parameter in model.parameters():
        parameter.grad = None
    return Work(capture(work.make, side), work.loss, side)


WAYS = {"eager": eager, "CUDA graph": captured}


def measure(
    device: str, steps: int, stretch: int = STRETCH, ways: Sequence[str] = tuple(WAYS), seconds: float = float("inf")
) -> list[Row]:
    """Record every second stretch of `steps` steps; GCN and GAT, eager and (on a GPU) as a CUDA graph.

    Parameters
    ----------
    device : str
    steps, stretch : int
    ways : sequence of str
    seconds : float
        Each row ends after so long, at the end of a pair of stretches.

    Returns
    -------
    list of rows
        Steps a second, recorded stretches included; median and quartiles of the paired ratios. For each recorded
        frame, the microseconds of the training thread: the recorder's own, those of launches (waiting for the GPU's
        queue included), and both with an empty queue. The seconds of the thread that waited for a free block.
    """
    rows: list[Row] = []
    for kind in (GCN, GAT):
        for way in ways if device != "cpu" else ("eager",):
            torch.manual_seed(0)
            model = kind().to(device)
            work = WAYS[way](model, device)
            with nullcontext() if work.stream is None else torch.cuda.stream(work.stream):
                row = compared(model, work, steps, stretch, seconds)
                empty = with_an_empty_queue(model, work, steps=min(200, steps))
            rows.append({"model": f"{kind.__name__}, {way}"} | row | {"empty queue us": empty})
    return rows


def compared(model: GCN | GAT, work: Work, steps: int, stretch: int, seconds: float) -> Row:
    """Record every second stretch."""
    with tempfile.TemporaryDirectory() as folder:
        with Recorder(Path(folder, "run.zarr"), model, compare_every=stretch) as recorder:
            recorder.start()
            began, made = perf_counter(), 0
            while made < steps and (made < 8 * stretch or perf_counter() - began < seconds):
                for _ in range(min(2 * stretch, steps - made)):
                    work.make()
                    recorder.step()
                    recorder.log(loss=work.loss)
                    made += 1
            synchronize(model)
            taken = perf_counter() - began
        report = recorder.report
    assert report is not None
    assert report.overhead is not None
    own = report.seconds - report.launch_seconds - report.stall_seconds
    return {
        "steps/s": made / taken,
        "slowdown": f"{report.overhead.slowdown:.4f}",
        "quartiles": f"{report.overhead.low:.4f}-{report.overhead.high:.4f}",
        "pairs": report.overhead.pairs,
        "own us": 1e6 * own / report.frames,
        "launches us": 1e6 * report.launch_seconds / report.frames,
        "waited s": report.stall_seconds,
    }


def with_an_empty_queue(model: GCN | GAT, work: Work, steps: int) -> float:
    """Return the median microseconds of `step` and `log` when the device has nothing left to do."""
    times = []
    with tempfile.TemporaryDirectory() as folder, Recorder(Path(folder, "run.zarr"), model) as recorder:
        recorder.start()
        for _ in range(steps):
            work.make()
            synchronize(model)
            began = perf_counter()
            recorder.step()
            recorder.log(loss=work.loss)
            times.append(perf_counter() - began)
    return 1e6 * median(times)


def synchronize(model: GCN | GAT) -> None:
    """Wait for the device of a model."""
    if next(model.parameters()).is_cuda:
        torch.cuda.synchronize()


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--steps", type=int, default=20_000, help="steps of each way (default: 20,000)")
    options = parser.parse_args()
    name = torch.cuda.get_device_name() if options.device != "cpu" else "no GPU"
    print(
        table(f"Slowdown by recording every step, batch size {BATCH}, {name}", measure(options.device, options.steps))
    )


if __name__ == "__main__":
    main()
