"""A small GCN on small random graphs, trained by a plain loop and by Lightning: deterministic on the CPU."""

from __future__ import annotations

import os
import signal
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn
from torch_geometric.data import Batch, Data
from torch_geometric.nn import GCNConv, global_mean_pool

from tests.integrations.frames import State, Truth

BATCHES = 6  # of an epoch
SIZE = 4  # graphs of a batch


class GCN(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv1 = GCNConv(3, 8)
        self.conv2 = GCNConv(8, 8)
        self.out = nn.Linear(8, 2)

    def forward(self, batch: Batch) -> torch.Tensor:
        x = self.conv1(batch.x, batch.edge_index).tanh()
        x = self.conv2(x, batch.edge_index).tanh()
        return self.out(global_mean_pool(x, batch.batch, batch.num_graphs))


class EpochOrder(torch.utils.data.Sampler[int]):
    """Another order in each epoch, which the number of the epoch decides."""

    def __init__(self, count: int) -> None:
        self.count, self.epoch = count, 0

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __iter__(self):
        return iter(torch.randperm(self.count, generator=torch.Generator().manual_seed(self.epoch)).tolist())

    def __len__(self) -> int:
        return self.count


def make_loader(batches: int = BATCHES) -> torch.utils.data.DataLoader:
    chance = torch.Generator().manual_seed(7)
    graphs = [
        Data(
            x=torch.randn(5, 3, generator=chance),
            edge_index=torch.randint(5, (2, 12), generator=chance),
            y=torch.tensor([number % 2]),
        )
        for number in range(batches * SIZE)
    ]
    return torch.utils.data.DataLoader(graphs, SIZE, sampler=EpochOrder(len(graphs)), collate_fn=Batch.from_data_list)


def make_optimizer(model: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.Adam(model.parameters(), lr=1e-2)


def plain(steps: int, batches: int = BATCHES, accumulate: int = 1) -> tuple[list[State], list[float]]:
    """Train in a plain loop; return the weights before and after each step, and each step's loss."""
    torch.manual_seed(0)
    model, loader = GCN(), make_loader(batches)
    optimizer = make_optimizer(model)
    truth, losses, epoch = Truth(model, optimizer), [], 0
    while True:
        loader.sampler.set_epoch(epoch)
        for number, batch in enumerate(loader):
            if number % accumulate == 0:
                optimizer.zero_grad()
                losses.append(0.0)
            loss = F.cross_entropy(model(batch), batch.y)
            (loss / accumulate).backward()
            losses[-1] += loss.item() / accumulate
            if (number + 1) % accumulate == 0:
                optimizer.step()
            if len(truth.states) > steps:
                return truth.states, losses
        epoch += 1


def make_module(
    package: str,
    *,
    manual: bool = False,
    several: bool = False,
    raise_at: int = -1,
    kill_at: tuple[int, str] = (-1, ""),
) -> Any:
    """A LightningModule of that package.

    Parameters
    ----------
    manual
        It steps every second batch itself.
    several
        Two optimizers: one steps in every batch, the other in every second one.
    raise_at, kill_at
        The trainer's step at which the training raises, or at which and in which hook it kills its process.
    """
    library = import_module(package)

    class Module(library.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.save_hyperparameters({"learning_rate": 1e-2})
            self.net = GCN()
            self.automatic_optimization = not (manual or several)

        def _may_die(self, place: str) -> None:
            if kill_at == (self.trainer.global_step, place):
                os.kill(os.getpid(), signal.SIGKILL)

        def training_step(self, batch, number):
            self._may_die("training_step")
            if raise_at == self.trainer.global_step:
                raise RuntimeError("of the user")
            loss = F.cross_entropy(self.net(batch), batch.y)
            if manual:
                optimizer = self.optimizers()
                self.manual_backward(loss)
                if number % 2:
                    optimizer.step()
                    optimizer.zero_grad()
            elif several:
                first, second = self.optimizers()
                first.zero_grad()
                second.zero_grad()
                self.manual_backward(loss)
                first.step()
                if number % 2:
                    second.step()
            return loss

        def on_before_zero_grad(self, optimizer):
            self._may_die("on_before_zero_grad")

        def on_train_batch_end(self, outputs, batch, number):
            self._may_die("on_train_batch_end")

        def on_train_epoch_start(self):
            self._may_die("on_train_epoch_start")

        def configure_optimizers(self):
            if several:
                convs = [*self.net.conv1.parameters(), *self.net.conv2.parameters()]
                return [torch.optim.Adam(convs, lr=1e-2), torch.optim.SGD(self.net.out.parameters(), lr=1e-1)]
            return make_optimizer(self)

    return Module()


def make_witness(package: str, path: Path, *, by_batch: bool = False) -> Any:
    """A callback that clones the weights after each step, or each batch with a step, and saves them at the end."""

    class Witness(import_module(package).Callback):
        def on_train_start(self, trainer, module):
            self.seen = trainer.global_step
            self.truth = Truth(module, None if by_batch else trainer.optimizers[0])

        def on_train_batch_end(self, trainer, module, outputs, batch, number):
            if by_batch and trainer.global_step != self.seen:
                self.truth.take()
            self.seen = trainer.global_step

        def on_train_end(self, trainer, module):
            self.truth.save(path)

        def on_exception(self, trainer, module, exception):
            self.truth.save(path)

    return Witness()


def lightning(
    callbacks: Any,
    steps: int = -1,
    *,
    epochs: int = -1,
    package: str = "lightning",
    checkpoints: Path | None = None,
    resume: Path | None = None,
    batches: int = BATCHES,
    module: dict[str, Any] | None = None,
    **options: Any,
) -> Any:
    """Train by Lightning; with `checkpoints`, one is kept of each epoch's end. Returns the trainer.

    Only where `epochs`, not `steps`, tell the length does Lightning 2.6 go on after an epoch's end as if it had never
    stopped: with `max_steps` it takes the next batch for one of the epoch before, and orders the data otherwise.
    """
    library = import_module(package)
    if checkpoints is not None:
        keep = import_module(f"{package}.pytorch.callbacks" if package == "lightning" else f"{package}.callbacks")
        callbacks = [*callbacks, keep.ModelCheckpoint(checkpoints, "{step}", every_n_epochs=1, save_top_k=-1)]
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    trainer = library.Trainer(
        max_steps=steps, max_epochs=epochs, accelerator="cpu", callbacks=callbacks,
        enable_checkpointing=checkpoints is not None, **{"devices": 1} | quiet | options,
    )  # fmt: skip
    trainer.fit(make_module(package, **module or {}), make_loader(batches), ckpt_path=resume, weights_only=False)
    return trainer
