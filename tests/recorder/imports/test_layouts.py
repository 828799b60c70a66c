"""Folders as trainers write them: Lightning, transformers, shards."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import safetensors.torch
import torch

import analyzer
from recorder.errors import CheckpointError
from recorder.imports.build import import_checkpoints
from recorder.imports.layouts import find
from recorder.imports.series import look

STATE = {"a.weight": torch.ones(2, 3), "b.weight": torch.ones(3)}


def labels(*paths: object) -> list[str]:
    return sorted(place.path.name for place in find([str(path) for path in paths], {}))


def sharded(folder: Path, value: float) -> None:
    folder.mkdir(parents=True)
    names = {"a.weight": "model-00001-of-00002.safetensors", "b.weight": "model-00002-of-00002.safetensors"}
    for name, file in names.items():
        safetensors.torch.save_file({name: STATE[name] * value}, folder / file)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": names}))


def test_a_folder_of_transformers(tmp_path: Path) -> None:
    model = torch.nn.Linear(3, 2)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    for step in (500, 1000, 1500):
        folder = tmp_path / f"out/checkpoint-{step}"
        folder.mkdir(parents=True)
        safetensors.torch.save_file({"a": torch.full((2,), float(step))}, folder / "model.safetensors")
        torch.save(optimizer.state_dict(), folder / "optimizer.pt")
        torch.save({"any": 1}, folder / "scheduler.pt")
        (folder / "training_args.bin").write_bytes(b"a pickle")
        history = [{"step": step, "loss": step / 1e3, "learning_rate": 0.1}, {"step": 1, "loss": 9.0}]
        state = {"global_step": step, "epoch": step / 500, "log_history": history, "train_batch_size": 8}
        (folder / "trainer_state.json").write_text(json.dumps(state))
    series = look([tmp_path / "out"])
    assert series.steps == [500, 1000, 1500]
    assert series.notes.hyperparameters == {"batch_size": 8}
    assert series.notes.optimizer[0]["groups"][0]["lr"] == 0.01
    import_checkpoints([tmp_path / "out"], tmp_path / "run.zarr")
    run = analyzer.open_run(tmp_path / "run.zarr")
    assert run["loss"].values.tolist() == [0.5, 1.0, 1.5]
    assert run["epoch"].values.tolist() == [1, 2, 3]
    assert run.attrs["hyperparameters"] == {"batch_size": 8}


def test_shards_with_an_index(tmp_path: Path) -> None:
    for step in (1, 2):
        sharded(tmp_path / f"checkpoint-{step}", float(step))
    assert labels(tmp_path) == ["model.safetensors.index.json"] * 2
    import_checkpoints([tmp_path], tmp_path / "run.zarr")
    run = analyzer.open_run(tmp_path / "run.zarr")
    assert run.thermo.parameter("b.weight").values.tolist() == [[1, 2]] * 3


@pytest.mark.parametrize(
    ("listed", "message"),
    [
        ({"a": "../secret.safetensors"}, "no trainer writes such a name"),
        ({"a": "/etc/passwd"}, "no trainer"),
        ({"a": 3}, "an object 'weight_map'"),
        ({}, "an object 'weight_map'"),
        ({"c": "model-00001-of-00002.safetensors"}, "as the index says, but it is not there"),
        ({"a": "gone.safetensors"}, r"gone\.safetensors"),
    ],
)
def test_an_index_is_a_claim(tmp_path: Path, listed: dict[str, object], message: str) -> None:
    for step in (1, 2):
        sharded(tmp_path / f"checkpoint-{step}", 1.0)
        index = tmp_path / f"checkpoint-{step}/model.safetensors.index.json"
        index.write_text(json.dumps({"weight_map": listed}))
    with pytest.raises(CheckpointError, match=message):
        look([tmp_path])


def test_files_folders_and_patterns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("a/1.pt", "a/2.pt", "b/version_0/3.ckpt", "a/notes.txt", "a/optimizer.pt", "c[1]/4.pt"):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        torch.save(STATE, name)
    assert labels("a") == ["1.pt", "2.pt"]
    assert labels("a/*.pt", "a/1.pt") == ["1.pt", "2.pt", "optimizer.pt"]
    assert labels("b/**/*.ckpt") == ["3.ckpt"]
    assert labels("c[1]") == ["4.pt"]
    for wrong in ("a/notes.txt", "nowhere", "nowhere/*.pt"):
        with pytest.raises(CheckpointError, match="expected checkpoint files"):
            labels(wrong)
    (tmp_path / "d/x").mkdir(parents=True)
    (tmp_path / "d/x/__0_0.distcp").write_bytes(b"")
    with pytest.raises(CheckpointError, match="dcp_to_torch"):
        labels("d")


@pytest.mark.filterwarnings("ignore")  # Lightning's own, of what it uses of torch
def test_a_real_training_by_lightning(tmp_path: Path) -> None:
    lightning = pytest.importorskip("lightning")
    from lightning.pytorch.callbacks import ModelCheckpoint
    from torch.utils.data import DataLoader, TensorDataset

    class Net(lightning.LightningModule):
        def __init__(self, rate: float = 0.1) -> None:
            super().__init__()
            self.save_hyperparameters()
            self.layer = torch.nn.Linear(3, 1)

        def training_step(self, batch: list[torch.Tensor], _: int) -> torch.Tensor:
            return self.layer(batch[0]).square().mean()

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.SGD(self.parameters(), lr=self.hparams["rate"])

    seen = {}

    class Keep(lightning.Callback):
        def on_train_batch_end(self, trainer, module, *_):
            seen[trainer.global_step] = module.layer.weight.detach().clone()

    torch.manual_seed(0)
    saving = ModelCheckpoint(tmp_path / "ckpt", every_n_train_steps=4, save_top_k=-1, save_last=True)
    trainer = lightning.Trainer(
        max_steps=20, accelerator="cpu", logger=False, callbacks=[saving, Keep()], enable_progress_bar=False,
        enable_model_summary=False, default_root_dir=tmp_path,
    )  # fmt: skip
    trainer.fit(Net(), DataLoader(TensorDataset(torch.randn(16, 3)), batch_size=4))
    import_checkpoints([tmp_path / "ckpt"], tmp_path / "run.zarr")
    run = analyzer.open_run(tmp_path / "run.zarr")
    assert run["step"].values.tolist() == [4, 8, 12, 16, 20]
    assert run.attrs["hyperparameters"] == {"rate": 0.1}
    assert run.attrs["optimizer"][0]["groups"][0]["lr"] == 0.1
    stored = run.thermo.parameter("layer.weight").values
    assert all(torch.equal(torch.from_numpy(stored[..., n]), seen[step]) for n, step in enumerate((4, 8, 12, 16, 20)))
