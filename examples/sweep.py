"""Record a small sweep: branches of one trained GCN under plain SGD, at five learning rates and five batch sizes.

python examples/sweep.py --output runs/sweep
analyzer fit 'runs/sweep/rate-*.zarr' --against learning_rate --plot runs/rates.png
analyzer fit 'runs/sweep/batch-*.zarr' --against batch_size --model inverse_power --plot runs/batches.png
"""

import argparse
import copy
import sys
from collections.abc import Sequence
from itertools import islice
from pathlib import Path

import torch
from data.loader import load
from models import GCN
from torch.nn.functional import cross_entropy
from torch.optim import Optimizer
from torch_geometric.data import Data
from torch_geometric.loader import DataLoader

from recorder import Recorder, RecorderError

RATES = (7e-4, 1e-3, 1.5e-3, 2.1e-3, 3e-3)
BATCHES = (8, 16, 32, 64, 128)
RATE, BATCH = 1e-3, 32


def steps(
    model: GCN,
    optimizer: Optimizer,
    graphs: Sequence[Data],
    batch_size: int,
    seed: int,
    count: int,
    recorder: Recorder | None = None,
) -> None:
    """Make `count` updates in an order of graphs that the seed decides. A recorder, if given, records each of them."""
    order = torch.Generator().manual_seed(seed)
    loader = DataLoader(graphs, batch_size, shuffle=True, drop_last=True, generator=order)
    epochs = ((epoch, batch) for epoch in range(sys.maxsize) for batch in loader)
    for epoch, batch in islice(epochs, count):
        optimizer.zero_grad()
        loss = cross_entropy(model(batch), batch.y)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        if recorder is not None:
            recorder.log(loss=loss, epoch=epoch)


def branch(
    trained: GCN,
    graphs: Sequence[Data],
    store: Path,
    rate: float,
    batch_size: int,
    seed: int,
    options: argparse.Namespace,
) -> None:
    """Record one branch of the trained model, without its first steps."""
    model = copy.deepcopy(trained)
    optimizer = torch.optim.SGD(model.parameters(), lr=rate)
    steps(model, optimizer, graphs, batch_size, 2 * seed, options.discard)
    hyperparameters = {"learning_rate": rate, "batch_size": batch_size, "seed": seed, "optimizer": "sgd"}
    with Recorder(store, model, optimizer, hyperparameters=hyperparameters, mode="w") as recorder:
        steps(model, optimizer, graphs, batch_size, 2 * seed + 1, options.steps, recorder)


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("runs/sweep"), help="folder of the stores")
    parser.add_argument("--training", type=int, default=600, help="steps of Adam before the branches (default: 600)")
    parser.add_argument("--discard", type=int, default=100, help="first steps of a branch, not recorded (default: 100)")
    parser.add_argument("--steps", type=int, default=600, help="recorded steps of a branch (default: 600)")
    parser.add_argument("--seeds", type=int, default=3, help="orders of the graphs for each learning rate (default: 3)")
    options = parser.parse_args()
    torch.manual_seed(0)
    graphs, _ = load()
    model = GCN()
    steps(model, torch.optim.Adam(model.parameters(), lr=1e-3), graphs, BATCH, 0, options.training)
    points = [(f"rate-{rate:g}-{seed}", rate, BATCH, seed) for rate in RATES for seed in range(options.seeds)]
    points += [(f"batch-{batch}", RATE, batch, 0) for batch in BATCHES]
    try:
        for name, rate, batch, seed in points:
            branch(model, graphs, options.output / f"{name}.zarr", rate, batch, seed, options)
    except RecorderError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
