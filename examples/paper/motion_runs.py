"""Record how the weights of the trained GCN move: plain SGD and Adam, one long run and two short ones of each.

python examples/data/build.py --idx DIR --output mnist-75sp.npz
python -m examples.paper.motion_runs --data mnist-75sp.npz
python -m examples.paper.motion

The network and Adam's state are those at the end of the paper's training (`trained/`). The graphs are those that it was
trained on, all 60,000: on the 2,000 that ship with the examples it would begin to learn them by heart. A finished run
is not made again.
"""

from __future__ import annotations

import argparse
import sys
import warnings
from collections.abc import Iterator, Sequence
from itertools import count, islice
from pathlib import Path
from time import process_time

import torch
from torch import Tensor

from recorder import Recorder, RecorderError

from ..data.build import DataError
from ..data.loader import dense, load
from .dense import Inputs, inputs
from .place import read_json, write_json
from .plan import BATCH, RATE, seed_of
from .train import tell
from .updates import update_of
from .weights import restored

OPTIMIZERS = ("sgd", "adam")
SEEDS = 3
"""Orders of minibatches: seed 0 is the long run."""
EPOCHS = 20
"""Of a long run. A section of its spectrum holds four epochs, and error bars take eight half-overlapping sections."""
SHORT, SETTLE = 4_000, 1_000
"""Steps of a short run, and those before each recording."""
FOLDER = Path("runs/motion")


def minibatches(graphs: int, *words: object) -> Iterator[tuple[int, Tensor]]:
    """Yield epoch and graphs of each minibatch, every graph once an epoch; a short last minibatch is left out."""
    order = torch.Generator().manual_seed(seed_of("motion", *words))
    whole = graphs // BATCH * BATCH
    for epoch in count():
        for batch in torch.randperm(graphs, generator=order)[:whole].view(-1, BATCH):
            yield epoch, batch


def record(graphs: Inputs, store: Path, optimizer_name: str, seed: int, settle: int, steps: int) -> None:
    """Go on from the trained network: `settle` steps that are not recorded, then `steps` that are."""
    model, state = restored("gcn")
    if optimizer_name == "sgd":
        optimizer: torch.optim.Optimizer = torch.optim.SGD(model.parameters(), lr=RATE)
    else:
        optimizer = torch.optim.Adam(model.parameters(), lr=RATE)
        optimizer.load_state_dict(state)
        for group in optimizer.param_groups:
            group["lr"] = RATE
    update = update_of(model, optimizer, graphs, BATCH)
    for _, batch in islice(minibatches(len(graphs), optimizer_name, seed, "settle"), settle):
        update.index.copy_(batch)
        update.make()
    hyperparameters = {"learning_rate": RATE, "batch_size": BATCH, "optimizer": optimizer_name, "model": "gcn"}
    with Recorder(store, model, optimizer, hyperparameters=hyperparameters | {"seed": seed}, mode="w") as recorder:
        for epoch, batch in islice(minibatches(len(graphs), optimizer_name, seed), steps):
            update.index.copy_(batch)
            update.make()  # calls optimizer.step(): recorded there
            recorder.log(loss=update.loss, epoch=epoch)


def main(argv: Sequence[str] | None = None) -> int:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="shipped", metavar="FILE", help="as for examples.paper.run")
    parser.add_argument("--output", type=Path, default=FOLDER, metavar="FOLDER", help="where the stores go")
    parser.add_argument("--epochs", type=int, default=EPOCHS, help=f"of the two long runs (default: {EPOCHS})")
    parser.add_argument("--short", type=int, default=SHORT, help=f"steps of the short runs (default: {SHORT:,})")
    parser.add_argument("--settle", type=int, default=SETTLE, help=f"steps before each (default: {SETTLE:,})")
    options = parser.parse_args(argv)
    torch.set_num_threads(1)  # minibatches this small gain nothing from more
    try:
        graphs = inputs("gcn", dense(load(options.data)[0]))
        for seed in range(SEEDS):
            steps = options.short if seed else options.epochs * (len(graphs) // BATCH)
            for name in OPTIMIZERS:
                store = options.output / f"{name}-{seed}.zarr"
                account = store.with_suffix(".json")
                if account.exists() and read_json(account)["steps"] == steps:
                    continue
                began = process_time()
                record(graphs, store, name, seed, options.settle, steps)
                told = {"optimizer": name, "seed": seed, "graphs": len(graphs), "settle": options.settle}
                write_json(account, told | {"steps": steps, "cpu_seconds": round(process_time() - began, 1)})
                tell(f"{store}: {steps:,} steps")
    except (DataError, RecorderError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    warnings.filterwarnings("ignore", message=".*torch.jit.*", category=DeprecationWarning)
    sys.exit(main())
