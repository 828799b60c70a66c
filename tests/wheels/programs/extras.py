"""One small recording for each extra that is a library's: EXTRA STORE."""

import importlib
import sys
from pathlib import Path

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from recorder import Recorder

STEPS = 8


def loader() -> DataLoader:
    """Batches of inputs and targets."""
    return DataLoader(TensorDataset(torch.randn(4 * STEPS, 4), torch.zeros(4 * STEPS, 1)), batch_size=4)


def by_lightning(package: str, store: str) -> None:
    """Train a LightningModule."""
    lightning = importlib.import_module("lightning" if package == "lightning" else "pytorch_lightning")
    from recorder.integrations.lightning import RecorderCallback

    class Line(lightning.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.out = nn.Linear(4, 1)

        def training_step(self, batch, index):
            return (self.out(batch[0]) - batch[1]).square().mean()

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), lr=0.1)

    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    callback = RecorderCallback(store)
    trainer = lightning.Trainer(
        max_epochs=1, accelerator="cpu", callbacks=[callback], enable_checkpointing=False, **quiet
    )
    trainer.fit(Line(), loader())


def by_transformers(_: str, store: str) -> None:
    """Train with the Trainer of transformers."""
    import transformers

    from recorder.integrations.transformers import RecorderCallback

    class Line(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.out = nn.Linear(4, 1)

        def forward(self, inputs, labels):
            return {"loss": (self.out(inputs) - labels).square().mean()}

    samples = [{"inputs": torch.randn(4), "labels": torch.zeros(1)} for _ in range(4 * STEPS)]
    arguments = transformers.TrainingArguments(
        output_dir=f"{store}-output", max_steps=STEPS, per_device_train_batch_size=4, use_cpu=True, report_to=[],
        save_strategy="no", disable_tqdm=True,
    )  # fmt: skip
    transformers.Trainer(Line(), arguments, train_dataset=samples, callbacks=[RecorderCallback(store)]).train()


def by_accelerate(_: str, store: str) -> None:
    """Train what accelerate prepared."""
    from accelerate import Accelerator

    accelerator = Accelerator(cpu=True)
    model = nn.Sequential(nn.Linear(4, 1))
    model, optimizer, batches = accelerator.prepare(model, torch.optim.SGD(model.parameters(), lr=0.1), loader())
    with Recorder(store, model, optimizer):
        for inputs, targets in batches:
            optimizer.zero_grad()
            accelerator.backward((model(inputs) - targets).square().mean())
            optimizer.step()


def by_ignite(_: str, store: str) -> None:
    """Train with an engine of ignite."""
    from ignite.engine import create_supervised_trainer

    model = nn.Sequential(nn.Linear(4, 1))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with Recorder(store, model, optimizer):
        create_supervised_trainer(model, optimizer, nn.functional.mse_loss).run(loader(), max_epochs=1)


def imported(_: str, store: str) -> None:
    """Write checkpoints of safetensors, and make a store of them."""
    from safetensors.torch import save_file

    from recorder.__main__ import main

    folder = Path(f"{store}-checkpoints")
    folder.mkdir()
    for step in range(STEPS + 1):
        save_file({"out.weight": torch.full((2, 3), float(step))}, folder / f"step-{step}.safetensors")
    main(["import", str(folder), "-o", store], standalone_mode=False)


def live(_: str, store: str) -> None:
    """Write a board of TensorBoard, and know wandb."""
    import wandb
    from torch.utils.tensorboard import SummaryWriter

    assert callable(wandb.init)
    model = nn.Sequential(nn.Linear(4, 1))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with Recorder(store, model, optimizer) as recorder, SummaryWriter(f"{store}-board") as board:
        for step, (inputs, targets) in enumerate(loader()):
            optimizer.zero_grad()
            loss = (model(inputs) - targets).square().mean()
            loss.backward()
            optimizer.step()
            for layer, temperature in recorder.temperatures().items():
                board.add_scalar(f"temperature/{layer}", temperature, step)


def with_graphs(_: str, store: str) -> None:
    """Train a layer of torch_geometric, and find what the examples import."""
    import skimage
    from torch_geometric.nn import GCNConv

    import analyzer

    assert skimage.__version__
    model = GCNConv(4, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    edges = torch.tensor([[0, 1, 2, 3], [1, 2, 3, 0]])
    with Recorder(store, model, optimizer):
        for inputs, _targets in loader():
            optimizer.zero_grad()
            model(inputs, edges).square().mean().backward()
            optimizer.step()
    assert analyzer.open_run(store).thermo.temperature(by="model")["temperature"].values.item() > 0


PROGRAMS = {
    "import": imported,
    "lightning": by_lightning,
    "pytorch-lightning": by_lightning,
    "transformers": by_transformers,
    "accelerate": by_accelerate,
    "ignite": by_ignite,
    "live": live,
    "examples": with_graphs,
}

if __name__ == "__main__":
    PROGRAMS[sys.argv[1]](sys.argv[1], sys.argv[2])
