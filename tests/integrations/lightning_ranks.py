"""A script of a user who trains on two ranks with Lightning: FOLDER STRATEGY."""

from __future__ import annotations

import sys
from pathlib import Path

import lightning
import torch

from recorder.integrations.lightning import RecorderCallback
from tests.integrations import graphs
from tests.integrations.frames import Truth


class Witness(lightning.Callback):
    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def on_train_start(self, trainer, module):
        self.truth = Truth(module, trainer.optimizers[0])

    def on_train_end(self, trainer, module):
        self.truth.save(self.folder / f"truth-{trainer.global_rank}.pt")


class Module(lightning.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.net = graphs.GCN()

    def training_step(self, batch, number):
        return torch.nn.functional.cross_entropy(self.net(batch), batch.y)

    def configure_optimizers(self):
        return graphs.make_optimizer(self)


def main() -> None:
    folder, strategy = Path(sys.argv[1]), sys.argv[2]
    lightning.Trainer(
        max_steps=7, accelerator="cpu", devices=2, strategy=strategy, logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False,
        callbacks=[RecorderCallback(folder / "run.zarr"), Witness(folder)],
    ).fit(Module(), graphs.make_loader())  # fmt: skip


if __name__ == "__main__":
    main()
