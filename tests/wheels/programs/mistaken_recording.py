"""A program with a mistake in each of its last two lines, which only types can show."""

import torch

from recorder import Recorder

recorder = Recorder("run.zarr", torch.nn.Linear(2, 1), strid=10)
recorder.temperature()
