"""Models and optimizers that accelerate prepared go straight to the recorder."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest
import torch

from recorder import Recorder
from recorder.errors import UsageError
from tests.integrations import children
from tests.integrations.frames import assert_frames
from tests.recorder.runs import read_array

pytestmark = pytest.mark.filterwarnings("ignore")

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    pytest.importorskip("accelerate")
    from tests.integrations import accelerate_script

SCRIPT = str(Path(__file__).with_name("accelerate_script.py"))


def test_one_process_with_accumulated_gradients(tmp_path):
    assert children.run(accelerate_script.train, tmp_path) == 0
    states = torch.load(tmp_path / "truth.pt")
    assert len(states) == 6
    assert_frames(tmp_path / "run.zarr", states)
    assert np.diff(read_array(tmp_path / "run.zarr", "learning_rate")[1:, 0]).max() < 0


def test_two_ranks_have_the_names_of_one(tmp_path):
    done = children.torchrun(SCRIPT, str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert_frames(tmp_path / "run.zarr", torch.load(tmp_path / "truth.pt"))
    assert done.stderr.count("recorder: ") == 2, done.stderr


def test_a_prepared_scheduler_is_no_optimizer(tmp_path):
    def train():
        model, _, scheduler, _ = accelerate_script.prepare()[1:]
        with pytest.raises(UsageError, match=r"got AcceleratedScheduler, which schedules .* Pass the optimizer"):
            Recorder(tmp_path / "run.zarr", model, scheduler)

    assert children.run(train) == 0
