"""What a schedule had moved where a run is resumed is no change of settings. What a user changed still is one."""

from __future__ import annotations

import copy
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn
from torch.optim import lr_scheduler as schedules

from analyzer.query.changes import changes_of
from recorder import Recorder
from recorder.writer.format import learning_rate_spec
from recorder.writer.resuming.scheduled import scheduled
from tests.recorder.resumes import attributes_of

STEPS = 14


class ByHand:
    """A rate and a weight decay that a loop sets itself, warm-up first, as many trainings do."""

    def __init__(self, optimizer: torch.optim.Optimizer) -> None:
        self.optimizer, self.done = optimizer, 0
        self._set()

    def _set(self) -> None:
        for group in self.optimizer.param_groups:
            group["lr"] = 0.01 * min(self.done + 1, 2 * STEPS - self.done) / STEPS
            group["weight_decay"] = 0.001 * self.done

    def step(self) -> None:
        self.done += 1
        self._set()

    def state_dict(self) -> dict[str, int]:
        return {"done": self.done}

    def load_state_dict(self, state: dict[str, int]) -> None:
        self.done = state["done"]


class Plateau(schedules.ReduceLROnPlateau):
    """Lowers the rate every third step."""

    def __init__(self, optimizer: torch.optim.Optimizer) -> None:
        super().__init__(optimizer, patience=2)

    def step(self) -> None:  # type: ignore[override]
        super().step(1.0)


def made(kind: str) -> tuple[nn.Module, torch.optim.Optimizer, Any]:
    torch.manual_seed(0)
    model = nn.Linear(3, 1)
    adam = torch.optim.AdamW(model.parameters(), lr=0.01)
    sgd = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    if kind == "OneCycle":
        return model, adam, schedules.OneCycleLR(adam, 0.1, total_steps=3 * STEPS)
    if kind == "Cyclic":
        return model, sgd, schedules.CyclicLR(sgd, 0.01, 0.1, step_size_up=5)
    if kind == "Plateau":
        return model, sgd, Plateau(sgd)
    return model, sgd, ByHand(sgd)


def go(store: Path, parts: tuple[nn.Module, torch.optim.Optimizer, Any], mode: str, save_at: int = -1) -> Any:
    model, optimizer, schedule = parts
    saved = None
    with Recorder(store, model, optimizer, mode=mode) as recorder:  # type: ignore[arg-type]
        recorder.start()
        for done in range(1, STEPS + 1):
            optimizer.zero_grad()
            model(torch.ones(4, 3)).square().mean().backward()
            optimizer.step()
            schedule.step()
            if done == save_at:
                saved = copy.deepcopy([part.state_dict() for part in parts])
    return saved


def restored(kind: str, saved: Any) -> tuple[nn.Module, torch.optim.Optimizer, Any]:
    parts = made(kind)
    for part, state in zip(parts, saved, strict=True):
        part.load_state_dict(state)
    return parts


@pytest.mark.parametrize("kind", ["OneCycle", "Cyclic", "Plateau", "by hand"])
def test_a_run_under_a_schedule_is_resumed_without_a_word(tmp_path, capfd, kind):
    store, save_at = tmp_path / "run.zarr", 5
    saved = go(store, made(kind), "w-", save_at)
    go(store, restored(kind, saved), "a")
    said = capfd.readouterr().err
    assert f"resumed at step {save_at}; steps {save_at + 1} to {STEPS}" in said
    assert "differs" not in said
    assert changes_of(attributes_of(store)["segments"]) == ()


def test_what_the_user_changed_is_said_beside_what_the_schedule_moved(tmp_path, capfd):
    store = tmp_path / "run.zarr"
    parts = restored("by hand", go(store, made("by hand"), "w-", 6))
    parts[1].param_groups[0]["momentum"] = 0.5
    go(store, parts, "a")
    assert "the one that it resumes: momentum 0.9 → 0.5. The store keeps both" in capfd.readouterr().err
    segment = attributes_of(store)["segments"][-1]
    assert segment["scheduled"] == [
        {"param_group": 0, "setting": "lr"}, {"param_group": 0, "setting": "weight_decay"},
    ]  # fmt: skip
    (change,) = changes_of(attributes_of(store)["segments"])
    assert change.differences == ("optimizer momentum 0.9 → 0.5",)


def test_a_rate_that_the_run_never_had_is_a_change(tmp_path, capfd):
    store = tmp_path / "run.zarr"
    saved = go(store, made("Plateau"), "w-", 6)
    parts = restored("Plateau", saved)
    parts[1].param_groups[0]["lr"] = 0.5
    go(store, parts, "a")
    assert "lr 0.01 → 0.5." in capfd.readouterr().err


def test_settings_may_be_anything(tmp_path):
    store = tmp_path / "run.zarr"
    go(store, made("by hand"), "w-")
    attributes = attributes_of(store)
    rates = learning_rate_spec(attributes["chunk_steps"], 1)
    writer = SimpleNamespace(
        store=store, chunk_steps=attributes["chunk_steps"], frames=STEPS + 1, root_spec={"learning_rate": rates}.get
    )
    theirs = attributes["optimizer"]
    for value in ([0.1, 0.2], "text", None, {"a": 1}):
        ours = [{"groups": [dict.fromkeys(("lr", "momentum", "betas", "weight_decay"), value)]}]
        for before, now in ((theirs, ours), (ours, theirs), (value, theirs), (theirs, value)):
            assert scheduled(writer, 5, before, now) == []
