"""Which parameter is in which group, and the settings that a schedule moves, are recorded with the frames."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.optim.lr_scheduler import OneCycleLR, StepLR

import analyzer
from recorder import Recorder
from recorder.trainer.updates.schedules import MovedSettings


def trained(path: Path, optimizer: Any, model: torch.nn.Module, schedule: Any = None, steps: int = 40) -> Path:
    with Recorder(path, model, optimizer, mode="a" if path.exists() else "w-") as recorder:
        for _ in range(steps):
            optimizer.zero_grad()
            model(torch.ones(1, 3)).square().sum().backward()
            optimizer.step()
            recorder.log(loss=1.0)
            if schedule is not None:
                schedule.step()
    return path


def model_of() -> torch.nn.Sequential:
    return torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Linear(4, 2))


def test_groups_list_their_parameters(tmp_path: Path) -> None:
    model = model_of()
    groups = [{"params": [model[0].weight, model[1].weight]}, {"params": [model[1].bias], "lr": 0.5}]
    other = torch.optim.Adam([model[0].bias], lr=1e-3)
    path = tmp_path / "run.zarr"
    optimizers = [torch.optim.SGD(groups, lr=0.01), other]
    with Recorder(path, model, optimizers, exclude="1.weight") as recorder:
        for _ in range(3):
            model(torch.ones(1, 3)).sum().backward()
            for optimizer in optimizers:
                optimizer.step()
        recorder.log(loss=1.0)
    run = analyzer.open_run(path)
    for described in (run.attrs["optimizer"], run.attrs["segments"][0]["optimizer"]):
        assert [[group["parameters"] for group in one["groups"]] for one in described] == [
            [["0.weight"], ["1.bias"]],
            [["0.bias"]],
        ]
    assert run["learning_rate"].values[1].tolist() == [0.01, 0.5, 1e-3]


def test_parameters_of_a_wrapped_model_have_their_own_names(tmp_path: Path) -> None:
    wrapped = torch.nn.DataParallel(model_of())
    path = trained(tmp_path / "run.zarr", torch.optim.SGD(wrapped.parameters(), lr=0.01), wrapped, steps=3)
    run = analyzer.open_run(path)
    names = ["0.weight", "0.bias", "1.weight", "1.bias"]
    assert run.attrs["optimizer"][0]["groups"][0]["parameters"] == names
    assert run.thermo.temperature(by="parameter")["parameter"].values.tolist() == names


@pytest.mark.parametrize("kind", ["SGD", "AdamW"])
def test_what_a_schedule_moves_is_a_scalar(tmp_path: Path, kind: str) -> None:
    model = model_of()
    moving = "momentum" if kind == "SGD" else "beta1"
    options = {"momentum": 0.9} if kind == "SGD" else {}
    optimizer = getattr(torch.optim, kind)(model.parameters(), lr=0.01, **options)
    schedule = OneCycleLR(optimizer, max_lr=0.02, total_steps=50)
    used = []
    optimizer.register_step_post_hook(lambda o, *_: used.append(o.param_groups[0]))
    seen: list[float] = []
    optimizer.register_step_post_hook(
        lambda o, *_: seen.append(o.param_groups[0]["momentum" if kind == "SGD" else "betas"])
    )
    run = analyzer.open_run(trained(tmp_path / "run.zarr", optimizer, model, schedule))
    values = [value if kind == "SGD" else value[0] for value in seen]
    names = {str(array.attrs["long_name"]): array for array in run.data_vars.values()}
    assert [name for name in names if name.startswith("param_group")] == [f"param_group/0/{moving}"]
    recorded = names[f"param_group/0/{moving}"].values
    assert np.isnan(recorded[:2]).all(), "frame 0, and the first update, which had the settings of the start"
    assert recorded[2:].tolist() == values[1:]


def test_what_stays_is_no_scalar(tmp_path: Path) -> None:
    model = model_of()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    run = analyzer.open_run(trained(tmp_path / "run.zarr", optimizer, model, StepLR(optimizer, 10)))
    assert set(run.data_vars) == {"learning_rate", "loss"}


def test_a_setting_that_returns_goes_on_and_replaced_groups_are_seen() -> None:
    parameter = torch.nn.Parameter(torch.zeros(2))
    optimizer = torch.optim.SGD([parameter], lr=0.1, momentum=0.9)
    moved = MovedSettings([optimizer])
    assert moved.now() == {}
    optimizer.param_groups[0]["momentum"] = float("0.9")  # another object, the same number
    assert moved.now() == {}
    optimizer.param_groups[0]["momentum"] = 0.8
    assert moved.now() == {"param_group/0/momentum": 0.8}
    optimizer.param_groups[0]["momentum"] = float("0.90")
    assert moved.now() == {"param_group/0/momentum": 0.9}
    optimizer.load_state_dict(optimizer.state_dict() | {"param_groups": [{**optimizer.param_groups[0], "params": [0]}]})
    optimizer.param_groups[0]["weight_decay"] = 0.5
    assert moved.now() == {"param_group/0/momentum": 0.9, "param_group/0/weight_decay": 0.5}


def test_a_setting_that_the_resumed_run_recorded_goes_on_from_the_first_frame() -> None:
    parameter = torch.nn.Parameter(torch.zeros(2))
    optimizer = torch.optim.Adam([parameter], betas=(0.8, 0.999))
    moved = MovedSettings([optimizer], {"loss", "param_group/0/beta1"})
    assert moved.now() == {"param_group/0/beta1": 0.8}


def test_a_store_without_lists_of_parameters_is_resumed_without_a_word(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    from tests.stores import edit_root

    model = model_of()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    path = trained(tmp_path / "run.zarr", optimizer, model)

    def earlier(document: dict[str, Any]) -> None:
        attributes = document["attributes"]
        for described in (attributes["optimizer"], attributes["segments"][0]["optimizer"]):
            del described[0]["groups"][0]["parameters"]

    edit_root(path, earlier)
    trained(path, optimizer, model)
    assert "differs from the one" not in capfd.readouterr().err
    assert analyzer.open_run(path).thermo.temperature().sizes["window"] == 1
