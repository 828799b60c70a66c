"""Trainings that crash and are resumed: each attempt has weights of its own after the step at which it was resumed."""

from __future__ import annotations

import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from analyzer.engine.verify.store import verify
from analyzer.store.schema import read_store
from recorder import Recorder
from tests.recorder.runs import open_tree, read_array, store_path, weights_at, widened

History = Sequence[tuple[int, int]]
"""Which attempt made the frames: (first step, attempt), in the order of steps."""


def attempt_at(history: History, step: int) -> int:
    return [attempt for first, attempt in history if first <= step][-1]


def weights_of(history: History, step: int, index: int, parameter: torch.Tensor) -> torch.Tensor:
    """Return a parameter after `step` updates of a history."""
    return weights_at(step + 1_000_000_000 * attempt_at(history, step), index, tuple(parameter.shape), parameter.dtype)


class Replayed(torch.optim.Optimizer):
    """An optimizer whose updates follow a history. It counts its own steps where `counts` is true, as Adam does."""

    def __init__(self, model: nn.Module, history: History, step: int = 0, *, counts: bool = False) -> None:
        super().__init__(list(model.parameters()), {"lr": 0.1})
        self.history, self.updates, self.counts = history, step, counts
        self._count()
        self.write()

    def _count(self) -> None:
        if self.counts and self.updates:
            for parameter in self.param_groups[0]["params"]:
                self.state[parameter] = {"step": torch.tensor(float(self.updates))}

    @torch.no_grad()
    def write(self) -> None:
        for index, parameter in enumerate(self.param_groups[0]["params"]):
            parameter.copy_(weights_of(self.history, self.updates, index, parameter))

    def step(self, closure=None):
        self.updates += 1
        self._count()
        self.write()


def train(store: Path, model: nn.Module, history: History, start: int, stop: int, **options: Any) -> None:
    """Record the steps of a history from `start` to `stop`; a start after 0 resumes. Each step logs its loss."""
    counts = options.pop("counts", False)
    logged = options.pop("logged", ("loss",))
    optimizer = Replayed(model, history, start, counts=counts)
    options = {"chunk_steps": 16, "mode": "a" if store.exists() else "w-"} | options
    with Recorder(store, model, optimizer, **options) as recorder:
        recorder.start()
        for step in range(start + 1, stop + 1):
            optimizer.step()
            recorder.log(**{name: loss_of(history, step) for name in logged})


def loss_of(history: History, step: int) -> float:
    return step + 0.001 * attempt_at(history, step)


def assert_history(store: Path, model: nn.Module, history: History, steps: Sequence[int]) -> None:
    """Every frame and every logged loss is that of the history, bit for bit; `step` is strictly increasing."""
    tree = open_tree(store)
    found = tree["step"].to_numpy()
    np.testing.assert_array_equal(found, np.asarray(steps))
    for index, (name, parameter) in enumerate(model.named_parameters()):
        stored = read_array(store, store_path(name))
        for frame, step in enumerate(found.tolist()):
            expected = widened(weights_of(history, step, index, parameter))
            assert stored[..., frame].tobytes() == expected.tobytes(), (name, step)
    if "loss" in tree:
        loss = read_array(store, "loss")
        logged = ~np.isnan(loss)
        np.testing.assert_array_equal(loss[logged], [loss_of(history, step) for step in found[logged].tolist()])
    assert_whole(store)


def assert_whole(store: Path) -> None:
    """`analyzer verify` finds no fault, and the arrays' own documents agree with the root's once nobody writes."""
    with ThreadPoolExecutor(1) as pool:
        *_, report = verify(read_store(str(store)), pool)
    assert report.faults == []
    root = json.loads((store / "zarr.json").read_text())
    if root["attributes"]["status"] == "running":
        return
    for path, member in root["consolidated_metadata"]["metadata"].items():
        own = json.loads((store / path / "zarr.json").read_text())
        assert own.get("shape") == member.get("shape"), path


def attributes_of(store: Path) -> dict[str, Any]:
    return json.loads((store / "zarr.json").read_text())["attributes"]
