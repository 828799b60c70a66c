"""Frozen weights are no degrees of freedom: what a fine-tuning holds fixed does not cool the layers that it trains."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import analyzer
from analyzer.errors import SelectionError, SweepError
from recorder import Recorder
from tests.analyzer.shell import invoke
from tests.stores import edit_root

STEPS = 40


def train(
    path: Path, model: nn.Module, optimizer: torch.optim.Optimizer, free_at: int | None = None, **options: object
) -> Path:
    """Train, and set all weights free at a step."""
    torch.manual_seed(0)
    with Recorder(path, model, optimizer, **options) as recorder:
        for step in range(STEPS):
            if step == free_at:
                for parameter in model.parameters():
                    parameter.requires_grad_(True)
            optimizer.zero_grad()
            model(torch.randn(8, 6)).square().mean().backward()
            optimizer.step()
        recorder.log(loss=1.0)
    return path


def network() -> nn.Sequential:
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(6, 5), nn.Linear(5, 4), nn.Linear(4, 3))


def frozen_backbone() -> nn.Sequential:
    """Layer 0 is frozen, of layer 1 the weight: 35 + 20 weights; 4 + 15 are trained."""
    model = network()
    for parameter in (*model[0].parameters(), model[1].weight):
        parameter.requires_grad_(False)
    return model


def test_a_temperature_is_of_the_weights_that_are_trained(tmp_path: Path) -> None:
    model = frozen_backbone()
    path = train(tmp_path / "run.zarr", model, torch.optim.SGD(model.parameters(), lr=0.1))
    run = analyzer.open_run(path)
    answer = run.thermo.temperature(by="layer").compute()
    assert dict(zip(answer["layer"].values, answer["weights"].values, strict=True)) == {"1": 4, "2": 15}
    assert answer.attrs["frozen_weights_left_out"] == 55
    bias = run.thermo.parameter("1.bias").values.astype(np.float64)
    T = 0.5 * (np.diff(bias, axis=-1) ** 2).mean()
    np.testing.assert_allclose(answer["temperature"].sel(group="1").item(), T, rtol=1e-12)

    whole = run.thermo.temperature(by="layer", frozen=True).compute()
    assert dict(zip(whole["layer"].values, whole["weights"].values, strict=True)) == {"0": 35, "1": 24, "2": 15}
    assert "frozen_weights_left_out" not in whole.attrs
    assert whole["temperature"].sel(group="0").item() == 0
    np.testing.assert_allclose(whole["temperature"].sel(group="1").item(), T * 4 / 24, rtol=1e-12)
    assert run.thermo.temperature(by="model")["weights"].values.tolist() == [19]
    assert run.thermo.dynamics(by="model", lags=[1])["weights"].values.tolist() == [19]
    assert run.thermo.velocity_summary(by="model", frozen=True)["weights"].values.tolist() == [74]


def test_what_no_optimizer_has_is_frozen_too(tmp_path: Path) -> None:
    """A linear probe: the backbone requires gradients, but no optimizer has its weights."""
    model = network()
    path = train(tmp_path / "run.zarr", model, torch.optim.SGD(model[2].parameters(), lr=0.1))
    assert analyzer.open_run(path).thermo.temperature()["layer"].values.tolist() == ["2"]


def test_weights_that_are_set_free_on_the_way_count(tmp_path: Path) -> None:
    """The store says what was frozen at the first frame; the newest temperatures show that it moves by now."""
    model = frozen_backbone()
    path = train(tmp_path / "run.zarr", model, torch.optim.SGD(model.parameters(), lr=0.1), free_at=STEPS // 2)
    answer = analyzer.open_run(path).thermo.temperature()
    assert answer["weights"].values.tolist() == [35, 24, 15]
    assert "frozen_weights_left_out" not in answer.attrs


def test_without_an_optimizer_only_gradients_tell(tmp_path: Path) -> None:
    model = network()
    model[0].weight.requires_grad_(False)
    with Recorder(tmp_path / "run.zarr", model) as recorder:
        for _ in range(5):
            with torch.no_grad():
                model[2].weight += 1
            recorder.step()
    run = analyzer.open_run(tmp_path / "run.zarr")
    assert run.thermo.temperature(by="parameter")["parameter"].values.tolist() == [
        "0.bias", "1.weight", "1.bias", "2.weight", "2.bias",
    ]  # fmt: skip


def test_the_shell_says_how_many_are_left_out(tmp_path: Path) -> None:
    model = frozen_backbone()
    path = train(tmp_path / "run.zarr", model, torch.optim.SGD(model.parameters(), lr=0.1))
    text = invoke("temperature", path).stdout
    assert "55 frozen weights left out (--frozen counts them)" in text
    assert "frozen" not in invoke("temperature", path, "--frozen").stdout
    document = json.loads(invoke("temperature", path, "--format", "json").stdout)
    assert document["attrs"]["frozen_weights_left_out"] == 55
    info = invoke("info", path).stdout
    assert "frozen weights   55" in info
    newest = json.loads(invoke("info", path, "--format", "json").stdout)["recent"]["layers"]
    assert {one["layer"]: one["weights"] for one in newest} == {"1": 4, "2": 15}
    several = json.loads(invoke("temperature", f"{tmp_path}/*.zarr", "--format", "json").stdout)
    assert several["attrs"]["frozen_weights_left_out"] == 55


def test_the_recorder_s_own_temperatures_leave_them_out_too(tmp_path: Path) -> None:
    model = frozen_backbone()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with Recorder(tmp_path / "run.zarr", model, optimizer) as recorder:
        for _ in range(STEPS):
            optimizer.zero_grad()
            model(torch.randn(8, 6)).square().mean().backward()
            optimizer.step()
    newest = json.loads(invoke("info", tmp_path / "run.zarr", "--format", "json").stdout)["recent"]["layers"]
    assert recorder.temperatures() == pytest.approx({one["layer"]: one["temperature"] for one in newest}, rel=1e-12)


def test_only_frozen_weights_are_an_error_with_a_remedy(tmp_path: Path) -> None:
    model = frozen_backbone()
    path = train(tmp_path / "run.zarr", model, torch.optim.SGD(model.parameters(), lr=0.1))
    run = analyzer.open_run(path)
    with pytest.raises(SelectionError, match=r"expected weights that are trained, got only frozen ones.*--frozen"):
        run.thermo.temperature(layer="0")
    assert run.thermo.temperature(layer="0", frozen=True)["temperature"].values.item() == 0


def test_runs_that_freeze_other_weights_make_no_sweep(tmp_path: Path) -> None:
    for name, model in (("all", network()), ("some", frozen_backbone())):
        train(tmp_path / f"{name}.zarr", model, torch.optim.SGD(model.parameters(), lr=0.1))
    sweep = analyzer.open_sweep(f"{tmp_path}/*.zarr")
    with pytest.raises(SweepError, match=r"0\.\w+ frozen in some and trained in all.*--frozen.*--exclude 0\."):
        sweep.thermo.temperature()
    assert sweep.thermo.temperature(frozen=True)["weights"].values.tolist() == [35, 24, 15]
    assert sweep.thermo.temperature(layer="2", exclude=["0.*", "1.*"], frozen=True).sizes["run"] == 2


def test_a_store_without_the_newest_temperatures_says_what_the_first_frame_said(tmp_path: Path) -> None:
    model = frozen_backbone()
    path = train(tmp_path / "run.zarr", model, torch.optim.SGD(model.parameters(), lr=0.1))

    def older(root: dict) -> None:
        root["attributes"].pop("recent")
        for optimizer in (root["attributes"]["optimizer"], *(s["optimizer"] for s in root["attributes"]["segments"])):
            for group in optimizer[0]["groups"]:
                group.pop("parameters")

    edit_root(path, older)
    assert analyzer.open_run(path).thermo.temperature()["weights"].values.tolist() == [4, 15]
