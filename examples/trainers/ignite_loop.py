"""Record an ignite training: the recorder follows the optimizer, and one handler logs.

python examples/trainers/ignite_loop.py --store runs/ignite.zarr
"""

from __future__ import annotations

import argparse

import torch
from ignite.engine import Engine, Events, create_supervised_trainer
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from recorder import Recorder


def main() -> None:
    """Train a small network on a line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--store", default="runs/ignite.zarr")
    parser.add_argument("--epochs", type=int, default=3)
    arguments = parser.parse_args()

    torch.manual_seed(0)
    x = torch.randn(256, 4)
    loader = DataLoader(TensorDataset(x, x.sum(1, keepdim=True)), batch_size=16, shuffle=True)
    model = nn.Sequential(nn.Linear(4, 16), nn.Tanh(), nn.Linear(16, 1))
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    trainer = create_supervised_trainer(model, optimizer, nn.MSELoss())

    with Recorder(arguments.store, model, optimizer, hyperparameters={"learning_rate": 1e-3}) as recorder:

        def log(engine: Engine) -> None:
            recorder.log(loss=engine.state.output, epoch=engine.state.epoch - 1)

        trainer.add_event_handler(Events.ITERATION_COMPLETED, log)
        trainer.run(loader, max_epochs=arguments.epochs)


if __name__ == "__main__":
    main()
