"""A reader of a store that is being written: it always opens, and every frame that it counts is exact."""

from __future__ import annotations

import os
import signal
import warnings

import numpy as np
import pytest
import zarr

from tests.faults.trainers import Trainer, make_model
from tests.patience import wait_until
from tests.recorder.runs import assert_frames_are_scripted, open_tree, weights_at

OPENS = int(os.environ.get("LIVE_OPENS", "60"))


def test_thousands_of_opens_while_a_run_is_written(tmp_path):
    trainer = Trainer(tmp_path / "run.zarr", pause=0.005)
    trainer.wait_for_step(0)
    lengths = []
    names = [name for name, _ in make_model().named_parameters()]
    while len(lengths) < OPENS or len(set(lengths)) < 5:
        tree = open_tree(tmp_path / "run.zarr")
        steps = tree["step"].to_numpy()
        lengths.append(len(steps))
        np.testing.assert_array_equal(steps, np.arange(len(steps)))
        index = len(lengths) % len(names)
        path = "parameters/" + names[index].replace(".", "/")
        array = tree[path]
        assert array.shape[-1] == len(steps)
        for frame in {0, len(steps) // 2, len(steps) - 1} if len(steps) else ():
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                stored = array[..., frame].to_numpy()
            assert stored.tobytes() == weights_at(frame, index, stored.shape).numpy().tobytes()
    assert lengths == sorted(lengths), "a committed frame never disappears"
    os.kill(trainer.pid, signal.SIGTERM)
    trainer.wait()


def test_a_slow_training_can_be_analysed_while_it_runs(tmp_path, monkeypatch):
    """Fewer frames than a spool file holds: they are handed over and committed by the clock."""
    monkeypatch.setattr("recorder.trainer.feeds.spool.HAND_OVER_SECONDS", 0.3)
    trainer = Trainer(tmp_path / "run.zarr", pause=0.1, chunk_steps=4096)
    wait_until(lambda: len(open_frames(tmp_path)) >= 5, "nothing is committed", every=0.1)
    assert trainer.returned < 1024, "no segment was full"
    assert open_tree(tmp_path / "run.zarr").attrs["status"] == "running"
    assert_frames_are_scripted(tmp_path / "run.zarr", make_model())
    trainer.kill()


def open_frames(tmp_path):
    if not (tmp_path / "run.zarr/zarr.json").exists():
        return []
    return open_tree(tmp_path / "run.zarr")["step"].to_numpy()


def test_readers_without_consolidated_metadata_see_a_closed_run(tmp_path):
    trainer = Trainer(tmp_path / "run.zarr", steps=50)
    assert trainer.wait() == 0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        group = zarr.open_group(tmp_path / "run.zarr", mode="r", use_consolidated=False)
        assert group["step"].shape == (51,)
        assert group["parameters/0/weight"].shape == (5, 6, 51)
        with pytest.raises(KeyError):
            group["nothing"]
