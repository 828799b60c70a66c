"""The recorder's arguments: what is refused before anything is touched, and in which words."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from torch import nn

from recorder import Recorder
from recorder.errors import UsageError


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mode": "x"}, "mode: expected one of 'w-', 'w', 'a', got 'x'"),
        ({"compression": "zip"}, "compression: expected one of"),
        ({"on_pressure": "panic"}, "on_pressure: expected one of"),
        ({"on_error": "panic"}, "on_error: expected one of"),
        ({"stride": 0}, "stride: expected a positive number of steps, got 0"),
        ({"expected_steps": -1}, "expected_steps: expected a positive number"),
        ({"compare_every": 0}, "compare_every: expected a positive number"),
        ({"spool_limit": "many"}, "size 'many': expected a number of bytes"),
        ({"optimizer": "adam"}, "optimizer: expected a torch.optim.Optimizer, got str"),
    ],
)
def test_wrong_arguments_say_what_is_expected(tmp_path, options, message):
    with pytest.raises(UsageError, match=message):
        Recorder(tmp_path / "run.zarr", nn.Linear(1, 1), **options)


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
