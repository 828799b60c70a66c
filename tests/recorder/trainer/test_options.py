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
        ({"stride": 1.5}, "stride: expected a whole number of steps, got 1.5"),
        ({"expected_steps": -1}, "expected_steps: expected a positive number"),
        ({"compare_every": 0}, "compare_every: expected a positive number"),
        ({"spool_limit": "many"}, "size 'many': expected a number of bytes"),
        ({"optimizer": "adam"}, "optimizer: expected a torch.optim.Optimizer, got str"),
    ],
)
def test_wrong_arguments_say_what_is_expected(tmp_path, options, message):
    with pytest.raises(UsageError, match=message):
        Recorder(tmp_path / "run.zarr", nn.Linear(1, 1), **options)


@pytest.mark.parametrize("integer", [np.int64, torch.tensor])
def test_counts_may_be_integers_of_numpy_and_torch(tmp_path, integer):
    model = nn.Linear(1, 1)
    with Recorder(tmp_path / "run.zarr", model, stride=integer(2), chunk_steps=integer(16)) as recorder:
        recorder.start()
    held = json.loads((tmp_path / "run.zarr/zarr.json").read_text())["attributes"]
    assert (held["stride"], held["chunk_steps"]) == (2, 16)


def test_a_status_that_no_run_can_end_with_is_refused(tmp_path):
    recorder = Recorder(tmp_path / "run.zarr", nn.Linear(1, 1))
    recorder.start()
    with pytest.raises(UsageError, match="close: expected the status 'complete' or 'interrupted', got 'done'"):
        recorder.close("done")
    recorder.close()
