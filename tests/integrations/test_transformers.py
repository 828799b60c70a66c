"""transformers' trainer with a small GPT-2: every frame is a step's weights, bit for bit."""

from __future__ import annotations

import os
import re
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.faults.checks import wait_for_the_spool_to_go
from tests.integrations import children
from tests.integrations.frames import assert_frames, attributes
from tests.recorder.runs import read_array

pytestmark = pytest.mark.filterwarnings("ignore")
os.environ["HF_HUB_OFFLINE"] = "1"

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    pytest.importorskip("transformers")
    pytest.importorskip("accelerate")
    from recorder.errors import StoreExistsError, StoreMissingError
    from recorder.integrations.transformers import RecorderCallback
    from tests.integrations import texts


def record(folder: Path, steps: int, *, truth: str | None = None, witness=None, options=None, **training):
    callback = RecorderCallback(folder / "run.zarr", **options or {})
    seen = texts.Witness(None if truth is None else folder / truth, **witness or {})
    texts.train([callback, seen], steps, folder / "out", **training)
    return callback, seen


def test_frames_losses_and_epochs_are_those_of_the_training(tmp_path):
    """Ten batches of four, accumulated by three: the last step of an epoch has one batch."""

    def train():
        callback, seen = record(tmp_path, 9, truth="truth.pt", gradient_accumulation_steps=3)
        assert callback.recorder is None
        assert callback.report.frames == 10
        assert len(seen.losses) == 9
        torch.save(seen.losses, tmp_path / "losses.pt")

    assert children.run(train) == 0
    states = torch.load(tmp_path / "truth.pt")
    assert len(states) == 10
    assert "lm_head.weight" not in states[0], "tied"
    assert_frames(tmp_path / "run.zarr", states)
    assert read_array(tmp_path / "run.zarr", "epoch")[1:].tolist() == [0] * 4 + [1] * 4 + [2]
    losses = torch.load(tmp_path / "losses.pt")
    np.testing.assert_array_equal(read_array(tmp_path / "run.zarr", "train_loss")[1:], losses)
    rates = read_array(tmp_path / "run.zarr", "learning_rate")[1:]
    assert rates.shape == (9, 2)
    assert (np.diff(rates[:, 0]) < 0).all(), "the default schedule falls"
    found = attributes(tmp_path / "run.zarr")
    assert found["status"] == "complete"
    assert found["hyperparameters"] == {"learning_rate": 1e-3, "batch_size": 12, "weight_decay": 0.0, "seed": 42}
    assert found["optimizer"][0]["class"].startswith("torch.optim.adamw")


def test_loss_is_logged_where_the_trainer_logs_it(tmp_path):
    assert children.run(record, tmp_path, 7, logging_steps=3, options={"hyperparameters": {"seed": 1}}) == 0
    losses = read_array(tmp_path / "run.zarr", "train_loss")
    assert np.flatnonzero(np.isfinite(losses)).tolist() == [3, 6]
    assert attributes(tmp_path / "run.zarr")["hyperparameters"] == {"seed": 1}


def test_a_second_training_closes_what_an_exception_left_open(tmp_path, capfd):
    """As in a notebook: the trainer tells no callback of the exception."""

    def train():
        callback = RecorderCallback(tmp_path / "run.zarr", mode="w")
        with pytest.raises(RuntimeError, match="of the user"):
            texts.train([callback, texts.Witness(raise_at=4)], 8, tmp_path / "out")
        assert callback.recorder is not None
        texts.train([callback, texts.Witness(tmp_path / "truth.pt")], 3, tmp_path / "out")

    assert children.run(train) == 0
    assert "recorded 5 frames of 4 steps" in capfd.readouterr().err
    assert_frames(tmp_path / "run.zarr", torch.load(tmp_path / "truth.pt"))


def test_an_exception_that_ends_the_process_leaves_an_interrupted_run(tmp_path):
    done = children.script(SCRIPT, str(tmp_path), "raise")
    assert done.returncode == 1
    assert done.stderr.count("RuntimeError: of the user") == 1
    states = torch.load(tmp_path / "truth.pt")
    assert len(states) == 6
    assert_frames(tmp_path / "run.zarr", states)
    assert attributes(tmp_path / "run.zarr")["status"] == "interrupted"


@pytest.mark.parametrize("checkpoint", [10, 13], ids=["at an epoch's end", "inside an epoch"])
def test_killed_after_a_checkpoint_and_resumed_from_it(tmp_path, checkpoint):
    """The weights of the checkpoint are those of the last frame: the run goes on without a break."""
    whole = tmp_path / "whole"
    whole.mkdir()
    assert children.run(record, whole, 20, truth="truth.pt") == 0
    saving = {"save_strategy": "steps", "save_steps": checkpoint}
    dying = {"kill_at": (checkpoint, "on_save")}
    assert children.run(record, tmp_path, 20, witness=dying, **saving) == -9
    wait_for_the_spool_to_go(tmp_path / "run.zarr")
    resume = tmp_path / "out" / f"checkpoint-{checkpoint}"
    assert children.run(record, tmp_path, 20, resume=resume, **saving) == 0
    assert_frames(tmp_path / "run.zarr", torch.load(whole / "truth.pt"))
    segments = attributes(tmp_path / "run.zarr")["segments"]
    assert [segment["user_step"] for segment in segments] == [0, checkpoint]
    assert segments[1]["continuous"]
    assert read_array(tmp_path / "run.zarr", "epoch")[1:].tolist() == [0] * 10 + [1] * 10


def test_only_a_restored_training_goes_on_in_a_store(tmp_path):
    saving = {"save_strategy": "steps", "save_steps": 4}
    assert children.run(record, tmp_path, 4, **saving) == 0
    resume = tmp_path / "out" / "checkpoint-4"
    other = tmp_path / "other"
    other.mkdir()

    def refused(error, *args, **training):
        with pytest.raises(error, match=r"run\.zarr"):
            record(*args, **training)

    assert children.run(refused, StoreExistsError, tmp_path, 4) == 0
    assert children.run(refused, StoreMissingError, other, 6, resume=resume) == 0
    assert children.run(record, tmp_path, 6, resume=resume, options={"mode": "w"}) == 0
    assert read_array(tmp_path / "run.zarr", "step").tolist() == list(range(7))


SCRIPT = str(Path(__file__).with_name("transformers_script.py"))


def test_two_ranks(tmp_path):
    done = children.torchrun(SCRIPT, str(tmp_path), "train")
    assert done.returncode == 0, done.stderr
    assert_frames(tmp_path / "run.zarr", torch.load(tmp_path / "truth.pt"))
    assert attributes(tmp_path / "run.zarr")["hyperparameters"]["batch_size"] == 8
    assert done.stderr.count("recorder: ") == 2, done.stderr


def test_two_ranks_end_where_one_is_refused(tmp_path):
    (tmp_path / "run.zarr").mkdir()
    done = children.torchrun(SCRIPT, str(tmp_path), "train")
    assert done.returncode != 0
    # Of a rank that is ended since the other one failed, the sentence may be missing.
    sentence = rf"StoreExistsError: (rank 0: )?{re.escape(str(tmp_path))}/run\.zarr: expected no store there"
    assert re.search(sentence, done.stderr), done.stderr
    assert not (tmp_path / "truth.pt").exists()
