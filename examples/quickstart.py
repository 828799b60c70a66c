"""Train the paper's GCN on MNIST superpixels and record the weights after every optimizer step.

python examples/quickstart.py --output runs/demo.zarr
analyzer temperature runs/demo.zarr --by layer
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from itertools import count, islice
from time import perf_counter
from typing import Literal

import torch
from data.build import DataError
from data.loader import load
from models import GAT, GCN
from torch.nn.functional import cross_entropy
from torch_geometric.data import Data
from torch_geometric.loader import DataLoader

from recorder import Recorder, RecorderError

MODELS = {"gcn": GCN, "gat": GAT}
OPTIMIZERS = {"adam": torch.optim.Adam, "sgd": torch.optim.SGD}


def train(options: argparse.Namespace) -> None:
    """Train a model and record every step."""
    torch.manual_seed(options.seed)
    train_graphs, test_graphs = load(options.data)
    loader = DataLoader(train_graphs, options.batch_size, shuffle=True, drop_last=True)
    if not len(loader):
        raise DataError(
            f"--batch-size: expected at most {len(train_graphs):,}, got {options.batch_size:,}. "
            "No batch would be whole, and short ones are dropped. Choose a smaller one."
        )
    model = MODELS[options.model]()
    optimizer = OPTIMIZERS[options.optimizer](model.parameters(), lr=options.learning_rate)

    hyperparameters = {
        name: getattr(options, name) for name in ("learning_rate", "batch_size", "optimizer", "model", "data", "seed")
    }
    mode: Literal["w", "w-"] = "w" if options.overwrite else "w-"
    with Recorder(options.output, model, optimizer, hyperparameters=hyperparameters, mode=mode) as recorder:
        start = perf_counter()
        batches = ((epoch, batch) for epoch in count() for batch in loader)
        for step, (epoch, batch) in enumerate(islice(batches, options.steps), start=1):
            optimizer.zero_grad()
            loss = cross_entropy(model(batch), batch.y)
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()  # recorded here
            recorder.log(loss=loss, epoch=epoch)
            if step % 50 == 0 or step == options.steps:
                rate = step / (perf_counter() - start)
                progress(f"step {step}/{options.steps}  loss {loss.item():.3f}  {rate:.0f} steps/s")

    progress(f"test accuracy {accuracy(model, test_graphs):.1%} of {len(test_graphs):,} graphs")


@torch.no_grad()
def accuracy(model: torch.nn.Module, graphs: Sequence[Data]) -> float:
    """Return the share of graphs whose largest logit is that of their class."""
    return sum(int((model(batch).argmax(dim=1) == batch.y).sum()) for batch in DataLoader(graphs, 250)) / len(graphs)


def progress(text: str) -> None:
    """Tell the user; stdout is for data."""
    print(text, file=sys.stderr, flush=True)


def positive(number: type[float]) -> Callable[[str], float]:
    """Make a reader of positive numbers for the command line."""

    def read(text: str) -> float:
        if not (value := number(text)) > 0:
            raise ValueError
        return value

    read.__name__ = f"positive {number.__name__}"  # argparse prints it: "invalid positive int value"
    return read


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--model", choices=MODELS, default="gcn", help="network")
    parser.add_argument("--optimizer", choices=OPTIMIZERS, default="adam", help="torch's, with its defaults")
    parser.add_argument(
        "--learning-rate", type=positive(float), default=1e-3, metavar="RATE", help="constant learning rate"
    )
    parser.add_argument("--batch-size", type=positive(int), default=32, metavar="GRAPHS", help="graphs of one step")
    parser.add_argument("--steps", type=positive(int), default=500, metavar="STEPS", help="optimizer steps")
    parser.add_argument("--seed", type=int, default=0, help="seed of the first weights and of the order of graphs")
    parser.add_argument("--data", default="shipped", help="shipped, superpixels (downloads), idx:DIR, or FILE.npz")
    parser.add_argument("--output", default="runs/demo.zarr", metavar="STORE", help="where to record")
    parser.add_argument("--overwrite", action="store_true", help="replace the store if there is one")
    try:
        train(parser.parse_args())
    except (DataError, RecorderError) as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
