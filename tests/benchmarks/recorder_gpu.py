"""Slowdown by recording every step on a GPU, eager and under CUDA graphs: target P2.

One batch of graphs, the same at every step, so that an update can be captured; the recorder's own comparison
(`compare_every`) alternates stretches with and without, and times them by events on the compute stream. That no step
and no `log` waits for the device is a test: `pytest tests/recorder/trainer/test_device_feed.py`, with a GPU.

    python -m tests.benchmarks.recorder_gpu
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable
from pathlib import Path
from time import perf_counter

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy
from torch_geometric.data import Batch
from torch_geometric.nn import GATConv, GCNConv
from torch_geometric.utils import add_remaining_self_loops

from examples.data.loader import load
from examples.models import GAT, GCN
from recorder import Recorder
from tests.benchmarks.recorder_workload import Row, table

STRETCH = 50
BATCH = 32


def eager(model: GCN | GAT, device: str) -> tuple[Callable[[], object], Tensor]:
    """Return an update of the model on one batch, and the tensor that then holds its loss."""
    batch = Batch.from_data_list(load()[0][:BATCH]).to(device)
    fix_edges(model, batch)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-4, capturable=device != "cpu")
    held = torch.zeros((), device=device)

    def update() -> None:
        optimizer.zero_grad(set_to_none=False)
        loss = cross_entropy(model(batch), batch.y)
        loss.backward()
        optimizer.step()
        held.copy_(loss.detach())

    return update, held


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


def captured(model: GCN | GAT, device: str) -> tuple[Callable[[], object], Tensor]:
    """Return the same update as the replay of a CUDA graph."""
    update, loss = eager(model, device)
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            update()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        update()
    return graph.replay, loss


def measure(device: str, steps: int, stretch: int = STRETCH) -> list[Row]:
    """Record every second stretch of `steps` steps; GCN and GAT, eager and (on a GPU) as a CUDA graph.

    Returns
    -------
    list of rows
        Steps a second, recorded stretches included; median and quartiles of the paired ratios; microseconds a step on
        the training thread, and the seconds of it that waited for a free block.
    """
    ways = {"eager": eager} | ({"CUDA graph": captured} if device != "cpu" else {})
    rows: list[Row] = []
    for kind in (GCN, GAT):
        for way, make in ways.items():
            torch.manual_seed(0)
            model = kind().to(device)
            update, loss = make(model, device)
            with tempfile.TemporaryDirectory() as folder:
                with Recorder(Path(folder, "run.zarr"), model, compare_every=stretch) as recorder:
                    recorder.start()
                    began = perf_counter()
                    for _ in range(steps):
                        update()
                        recorder.step()
                        recorder.log(loss=loss)
                    if device != "cpu":
                        torch.cuda.synchronize()
                    taken = perf_counter() - began
                report = recorder.report
            assert report is not None
            assert report.overhead is not None
            rows.append(
                {
                    "model": f"{kind.__name__}, {way}",
                    "steps/s": steps / taken,
                    "slowdown": f"{report.overhead.slowdown:.4f}",
                    "quartiles": f"{report.overhead.low:.4f}-{report.overhead.high:.4f}",
                    "pairs": report.overhead.pairs,
                    "host us/step": 1e6 * report.seconds / steps,
                    "waited s": report.stall_seconds,
                }
            )
    return rows


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
