"""Show the temperature of each layer in TensorBoard, beside the loss, while a training goes on.

python examples/live_tensorboard.py --store runs/live.zarr --board runs/board
tensorboard --logdir runs/board
"""

import argparse

import torch
from torch import nn
from torch.nn.functional import cross_entropy
from torch.utils.tensorboard import SummaryWriter

from recorder import Recorder

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--store", default="runs/live.zarr", help="the store to write (default: %(default)s)")
parser.add_argument("--board", default="runs/board", help="TensorBoard's folder (default: %(default)s)")
parser.add_argument("--steps", type=int, default=20_000, help="steps of training (default: %(default)s)")
options = parser.parse_args()

model = nn.Sequential(nn.Linear(16, 64), nn.Tanh(), nn.Linear(64, 4))
optimizer = torch.optim.SGD(model.parameters(), lr=1e-2)
inputs, classes = torch.randn(512, 16), torch.randint(0, 4, (512,))

with Recorder(options.store, model, optimizer) as recorder, SummaryWriter(options.board) as board:
    for step in range(1, options.steps + 1):
        batch = torch.randint(0, 512, (32,))
        optimizer.zero_grad()
        loss = cross_entropy(model(inputs[batch]), classes[batch])
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        if step == options.steps:
            recorder.close()  # the last frames are committed, and so are the last temperatures
        if step % 500 == 0 or step == options.steps:
            board.add_scalar("loss", loss, step)
            for layer, temperature in recorder.temperatures().items():  # none yet in the first seconds
                board.add_scalar(f"temperature/{layer}", temperature, step)
