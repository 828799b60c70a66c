"""A script of a user who trains with accelerate: FOLDER."""

from __future__ import annotations

import sys
from pathlib import Path

import torch
import torch.nn.functional as F
from accelerate import Accelerator
from torch import nn

from recorder import Recorder
from tests.integrations.frames import Truth


def prepare() -> tuple:
    """Accelerator, model, optimizer, scheduler, loader."""
    accelerator = Accelerator(cpu=True, gradient_accumulation_steps=2)
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(5, 4), nn.Tanh(), nn.Linear(4, 2))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 1, 0.9)
    chance = torch.Generator().manual_seed(1)
    data = torch.utils.data.TensorDataset(torch.randn(80, 5, generator=chance), torch.arange(80) % 2)
    loader = torch.utils.data.DataLoader(data, 8 // accelerator.num_processes)
    return accelerator, *accelerator.prepare(model, optimizer, scheduler, loader)


def train(folder: Path) -> None:
    accelerator, model, optimizer, scheduler, loader = prepare()
    truth = Truth(accelerator.unwrap_model(model), optimizer.optimizer)
    with Recorder(folder / "run.zarr", model, optimizer) as recorder:
        for x, y in loader:
            with accelerator.accumulate(model):
                loss = F.cross_entropy(model(x), y)
                accelerator.backward(loss)
                optimizer.step()
                scheduler.step()
                optimizer.zero_grad()
            recorder.log(loss=loss)
    if accelerator.is_main_process:
        truth.save(folder / "truth.pt")
    accelerator.end_training()


if __name__ == "__main__":
    train(Path(sys.argv[1]))
