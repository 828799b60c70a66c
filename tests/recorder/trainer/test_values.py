"""Values of users become JSON."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType, SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from recorder import Recorder
from recorder.errors import UsageError


def test_hyperparameters_of_any_kind_become_json(tmp_path):
    given = {
        "lr": np.float32(0.5),
        "beta": float("inf"),
        "dtype": torch.float32,
        "nested": {"seeds": (1, 2)},
        "t": torch.tensor(3),
    }
    with Recorder(tmp_path / "run.zarr", nn.Linear(1, 1), hyperparameters=given) as recorder:
        recorder.start()
    held = json.loads((tmp_path / "run.zarr/zarr.json").read_text())["attributes"]["hyperparameters"]
    assert held == {"lr": 0.5, "beta": "inf", "dtype": "torch.float32", "nested": {"seeds": [1, 2]}, "t": 3}


@dataclass
class Settings:
    lr: float
    layers: tuple[int, ...] = (8, 8)


class Configuration:
    """Like those of libraries that have the methods of a mapping, but are no subclass of `Mapping`."""

    def __init__(self, **members) -> None:
        self._members = members

    def keys(self):
        return self._members.keys()

    def __getitem__(self, key):
        return self._members[key]


@pytest.mark.parametrize(
    ("given", "held"),
    [
        (None, {}),
        (argparse.Namespace(lr=0.1, name=None), {"lr": 0.1, "name": None}),
        (SimpleNamespace(lr=0.1), {"lr": 0.1}),
        (Settings(0.1), {"lr": 0.1, "layers": [8, 8]}),
        (MappingProxyType({"lr": 0.1}), {"lr": 0.1}),
        (Configuration(lr=0.1), {"lr": 0.1}),
        ({"args": argparse.Namespace(lr=0.1, inner=Settings(1.0, ()))},
         {"args": {"lr": 0.1, "inner": {"lr": 1.0, "layers": []}}}),
    ],
    ids=lambda value: type(value).__name__,
)  # fmt: skip
def test_hyperparameters_are_what_holds_values_by_name(tmp_path, given, held):
    with Recorder(tmp_path / "run.zarr", nn.Linear(1, 1), hyperparameters=given) as recorder:
        recorder.start()
    assert json.loads((tmp_path / "run.zarr/zarr.json").read_text())["attributes"]["hyperparameters"] == held


@pytest.mark.parametrize("given", [0.1, "lr=0.1", ["lr", 0.1], Settings, object()])
def test_hyperparameters_without_names_are_refused(tmp_path, given):
    with pytest.raises(UsageError, match=r"hyperparameters: expected a mapping, a dataclass or a namespace, got \w+\."):
        Recorder(tmp_path / "run.zarr", nn.Linear(1, 1), hyperparameters=given)
    assert not (tmp_path / "run.zarr").exists()


def test_hyperparameters_that_fail_when_they_are_read_are_named(tmp_path):
    class Broken(Mapping):
        def __len__(self):
            return 1

        def __iter__(self):
            return iter(["lr"])

        def __getitem__(self, key):
            raise RuntimeError("no connection")

    with pytest.raises(UsageError, match="hyperparameters: expected values by name, got RuntimeError: no conn"):
        Recorder(tmp_path / "run.zarr", nn.Linear(1, 1), hyperparameters=Broken())
