"""Send the temperature of each layer to Weights & Biases, beside the loss, while a training goes on.

python examples/live_wandb.py --store runs/live.zarr --folder runs --mode offline
wandb sync runs/wandb/offline-run-*
"""

import argparse

import torch
import wandb
from torch import nn
from torch.nn.functional import cross_entropy

from recorder import Recorder

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--store", default="runs/live.zarr", help="the store to write (default: %(default)s)")
parser.add_argument("--folder", default="runs", help="where wandb keeps its files (default: %(default)s)")
parser.add_argument("--mode", choices=["online", "offline"], default="offline", help="default: %(default)s")
parser.add_argument("--steps", type=int, default=20_000, help="steps of training (default: %(default)s)")
options = parser.parse_args()

model = nn.Sequential(nn.Linear(16, 64), nn.Tanh(), nn.Linear(64, 4))
optimizer = torch.optim.SGD(model.parameters(), lr=1e-2)
inputs, classes = torch.randn(512, 16), torch.randint(0, 4, (512,))

with (
    wandb.init(project="thermotrace", dir=options.folder, mode=options.mode) as run,
    Recorder(options.store, model, optimizer) as recorder,
):
    for step in range(1, options.steps + 1):
        batch = torch.randint(0, 512, (32,))
        optimizer.zero_grad()
        loss = cross_entropy(model(inputs[batch]), classes[batch])
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        if step == options.steps:
            recorder.close()  # the last frames are committed, and so are the last temperatures
        if step % 500 == 0 or step == options.steps:
            temperatures = recorder.temperatures()  # none yet in the first seconds
            run.log({"loss": loss.item()} | {f"temperature/{name}": T for name, T in temperatures.items()}, step=step)
