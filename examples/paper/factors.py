"""Record the trained networks while they go on training, and ask whether ⟨v²⟩ factorises (FACTORS.md).

python -m examples.paper.factors --data mnist-75sp.npz --output runs/factors --results examples/paper/results/factors

Each run starts from trained weights (`examples/paper/trained`), makes 1,000 updates that are not recorded, then 4,096
that are, at η = 1e-3 and 32 graphs a minibatch: plain SGD, or Adam with the state of the training. A complete run is
not made again. Then come the answers: a JSON file and a figure for each network and optimizer, and the tables of
FACTORS.md on stdout.
"""

from __future__ import annotations

import argparse
import sys
import warnings
from collections.abc import Iterator, Sequence
from itertools import count, islice
from pathlib import Path

import torch
from torch import Tensor

from recorder import Recorder, RecorderError

from ..data.loader import dense, load
from .dense import KINDS, Inputs, inputs
from .factor_answers import of_runs, read, tables
from .factor_answers import save as save_answers
from .plan import BATCH, RATE, seed_of
from .train import optimizer_of, tell
from .updates import accuracy, update_of
from .weights import restored

OPTIMIZERS = ("sgd", "adam")
SETTLE, STEPS = 1_000, 4_096


def batches(name: str, graphs: int) -> Iterator[Tensor]:
    """Endless minibatches, epoch after epoch, in an order that the name decides."""
    order = torch.Generator().manual_seed(seed_of("factors", name))
    whole = graphs // BATCH * BATCH
    for _ in count():
        yield from torch.randperm(graphs, generator=order)[:whole].view(-1, BATCH)


def record(kind: str, optimizer_name: str, seed: int, steps: int, train: Inputs, test: Inputs, folder: Path) -> None:
    """Record one run, if it is not there yet."""
    store = folder / f"{kind}-{optimizer_name}-{seed}.zarr"
    done = store.with_suffix(".done")
    if done.exists():
        return
    model, state = restored(kind)
    optimizer = optimizer_of(optimizer_name, model, RATE, "cpu")
    if optimizer_name == "adam":
        optimizer.load_state_dict(state)
        for group in optimizer.param_groups:
            group["lr"] = RATE
    update = update_of(model, optimizer, train, BATCH)
    minibatches = batches(store.stem, len(train))
    for batch in islice(minibatches, SETTLE):
        update.index.copy_(batch)
        update.make()
    hyperparameters = {"learning_rate": RATE, "batch_size": BATCH, "seed": seed, "optimizer": optimizer_name,
                       "model": kind}  # fmt: skip
    with Recorder(store, model, optimizer, hyperparameters=hyperparameters, mode="w") as recorder:
        recorder.start()
        for batch in islice(minibatches, steps):
            update.index.copy_(batch)
            update.make()  # calls optimizer.step(): recorded there
            recorder.log(loss=update.loss)
    done.touch()
    tell(f"{store.name}: test accuracy {accuracy(model, test):.1%}")


def main(argv: Sequence[str] | None = None) -> int:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="shipped", help="as for examples.paper.run; the trained weights saw 60,000")
    parser.add_argument("--output", type=Path, default=Path("runs/factors"), metavar="FOLDER")
    parser.add_argument("--models", nargs="+", choices=list(KINDS), default=list(KINDS))
    parser.add_argument("--optimizers", nargs="+", choices=OPTIMIZERS, default=OPTIMIZERS)
    parser.add_argument("--steps", type=int, default=STEPS, help="recorded steps of each run (default: 4,096)")
    parser.add_argument("--seeds", type=int, default=3, help="runs of each network and optimizer (default: 3)")
    parser.add_argument(
        "--results", type=Path, metavar="FOLDER", help="answers; without it, the runs are made and no more"
    )
    options = parser.parse_args(argv)
    torch.set_num_threads(1)  # minibatches this small gain nothing from more
    parts = [dense(part) for part in load(options.data)]
    options.output.mkdir(parents=True, exist_ok=True)
    try:
        for kind in options.models:
            train, test = (inputs(kind, part) for part in parts)
            for seed in range(options.seeds):
                for optimizer in options.optimizers:
                    record(kind, optimizer, seed, options.steps, train, test, options.output)
            for optimizer in options.optimizers if options.results is not None else ():
                stores = [options.output / f"{kind}-{optimizer}-{seed}.zarr" for seed in range(options.seeds)]
                model, _ = restored(kind)
                name = f"{kind}-{optimizer}"
                save_answers(of_runs(stores, model, train, tell), stores[0], options.results, name)
    except RecorderError as error:
        print(error, file=sys.stderr)
        return 1
    if options.results is not None:
        print(tables(read(options.results)), end="")
    return 0


if __name__ == "__main__":
    warnings.filterwarnings("ignore", message=".*torch.jit.*", category=DeprecationWarning)
    sys.exit(main())
