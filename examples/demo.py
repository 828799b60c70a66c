"""Record a network at equilibrium: the trained GCN that ships with the examples, and short branches of it.

python -m examples.demo --output runs/demo.zarr --rates runs/demo-rates
analyzer temperature runs/demo.zarr --by layer
analyzer fit 'runs/demo-rates/*.zarr' --against learning_rate --model power

A training that has just begun has no temperature: its weights still run downhill. So this one starts where the paper's
training ends (`examples/paper/trained`) and goes on with plain SGD. `quickstart.py` trains from the first step.

The equilibrium of SGD is not that of Adam, and slow directions take a time that is inverse to the learning rate. At its
own rate the long run would drift for thousands of steps. So the weights first go on at the largest rate of the
branches, and every run starts from there.
"""

from __future__ import annotations

import argparse
import sys
import warnings
from collections.abc import Iterable, Iterator, Sequence
from copy import deepcopy
from itertools import count, islice
from pathlib import Path
from time import perf_counter

import torch
from torch import Tensor

from recorder import Recorder, RecorderError

from .data.loader import dense, load
from .paper.dense import Inputs, Model, inputs
from .paper.plan import BATCH, RATE, seed_of
from .paper.updates import Update, update_of
from .paper.weights import restored

RATES = (7e-4, 1e-3, 1.5e-3, 2.1e-3, 3e-3)


def batches_of(graphs: Inputs, name: str) -> Iterator[tuple[int, Tensor]]:
    """Yield the epoch and the numbers of the graphs of each minibatch, in an order that depends on `name`."""
    order = torch.Generator().manual_seed(seed_of("demo", name))
    whole = len(graphs) // BATCH * BATCH
    for epoch in count():
        for batch in torch.randperm(len(graphs), generator=order)[:whole].view(-1, BATCH):
            yield epoch, batch


def trained(model: Model, update: Update, batches: Iterable[tuple[int, Tensor]]) -> Model:
    """Return the model after an update on each minibatch."""
    for _, batch in batches:
        update.index.copy_(batch)
        update.make()
    return model


def settled(graphs: Inputs, steps: int) -> Model:
    """Return the trained network after `steps` steps of plain SGD at the largest learning rate."""
    model, _ = restored("gcn")
    update = update_of(model, torch.optim.SGD(model.parameters(), lr=max(RATES)), graphs, BATCH)
    return trained(model, update, islice(batches_of(graphs, "settle"), steps))


def record(graphs: Inputs, start: Model, store: Path, rate: float, settle: int, steps: int) -> None:
    """Go on from a network with plain SGD: `settle` steps that are not recorded, then `steps` that are."""
    model = deepcopy(start)
    optimizer = torch.optim.SGD(model.parameters(), lr=rate)
    update = update_of(model, optimizer, graphs, BATCH)
    batches = batches_of(graphs, store.stem)
    trained(model, update, islice(batches, settle))
    hyperparameters = {"learning_rate": rate, "batch_size": BATCH, "optimizer": "sgd", "model": "gcn", "seed": 0}
    with Recorder(store, model, optimizer, hyperparameters=hyperparameters, mode="w") as recorder:
        for epoch, batch in islice(batches, steps):
            update.index.copy_(batch)
            update.make()  # calls optimizer.step(): recorded there
            recorder.log(loss=update.loss, epoch=epoch)


def main(argv: Sequence[str] | None = None) -> int:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("runs/demo.zarr"), metavar="STORE", help="the long run")
    parser.add_argument(
        "--rates", type=Path, metavar="FOLDER", help="also record a short branch at five learning rates"
    )
    parser.add_argument("--steps", type=int, default=4_000, help="recorded steps of the long run (default: 4,000)")
    parser.add_argument(
        "--branch-steps", type=int, default=1_000, help="recorded steps of each branch (default: 1,000)"
    )
    parser.add_argument("--settle", type=int, default=500, help="steps before each recording (default: 500)")
    parser.add_argument(
        "--before", type=int, default=4_000, help="steps at the largest rate before all recordings (default: 4,000)"
    )
    options = parser.parse_args(argv)
    torch.set_num_threads(1)  # such small minibatches gain nothing from more threads
    train_graphs, _ = load()
    graphs = inputs("gcn", dense(train_graphs))
    runs = [(options.output, RATE, options.steps)]
    if options.rates is not None:
        runs += [(options.rates / f"rate-{rate:g}.zarr", rate, options.branch_steps) for rate in RATES]
    began = perf_counter()
    start = settled(graphs, options.before)
    try:
        for store, rate, steps in runs:
            record(graphs, start, store, rate, options.settle, steps)
    except RecorderError as error:
        print(error, file=sys.stderr)
        return 1
    print(f"{len(runs)} run{'s' if len(runs) > 1 else ''} in {perf_counter() - began:.0f} s", file=sys.stderr)
    return 0


if __name__ == "__main__":
    warnings.filterwarnings("ignore", message=".*torch.jit.*", category=DeprecationWarning)
    sys.exit(main())
