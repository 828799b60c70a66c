"""A resumed run: at which step it goes on, and what the user is told of settings that changed."""

from __future__ import annotations

import signal
import subprocess
import sys

import numpy as np
import pytest
import torch
from torch import nn

from analyzer import open_run
from recorder import Recorder
from recorder.errors import SchemaError, UsageError
from recorder.resumption import Witnesses, claimed_step, counted_step, notes, resumed_step, witnesses
from tests.recorder.runs import Scripted, assert_frames_are_scripted, open_tree, read_array


def segment(first_step: int, **known: object) -> dict[str, object]:
    return {"first_step": first_step, "user_step": None, "continuous": False, "stride": 3} | known


@pytest.mark.parametrize(
    ("segments", "last", "user_step", "skipped", "expected"),
    [
        ([], -1, 7, 0, 0),  # a new run begins at 0, whatever the user counts
        ([segment(0)], 9, None, 0, 12),  # nothing is known: numbered on
        ([segment(0, end_step=9)], 9, None, 0, 12),  # weights from before the end
        ([segment(0, end_step=10)], 9, None, 0, 10),  # from the end, one update after the last frame
        ([segment(0)], 9, 11, 0, 11),  # the writer was killed, the user knows
        ([segment(0)], 9, 20, 0, 20),  # updates that nobody recorded
        ([segment(0, end_step=10)], 9, 6, 0, 6),  # an older checkpoint
        ([segment(0, user_step=100, end_step=10)], 9, 110, 0, 10),  # the user's count is relative to the segment's
        ([segment(0, user_step=100), segment(12, user_step=106)], 21, 117, 0, 23),  # to the newest that has one
        ([segment(0), segment(12, continuous=True, user_step=9)], 21, 23, 0, 23),  # which began at step 9
        ([segment(0, end_step=10)], 9, 12, 2, 10),  # the user counts the two skipped updates, too
        ([segment(0, end_step=10)], 9, 13, 2, 13),
        ([{"first_step": 0}], 9, None, 0, 12),  # a store of an earlier recorder
        ([{"first_step": 0}], 9, 11, 0, 11),
    ],
)
def test_the_step_of_resumed_weights(segments, last, user_step, skipped, expected):
    attributes = {"segments": segments, "stride": 3, "skipped_updates": skipped}
    assert resumed_step(attributes, last, witnesses(attributes, None, user_step, last).first) == expected


def counted(first_step: int, counts: object, **known: object) -> dict[str, object]:
    return {"first_step": first_step, "stride": 1, "optimizer_step": counts} | known


@pytest.mark.parametrize(
    ("segments", "now", "expected"),
    [
        ([counted(0, [None])], [500], 500),  # a fresh Adam had no count yet
        ([counted(0, [None])], [None], None),  # SGD keeps none
        ([counted(0, [1000])], [1500], 500),  # it was trained before
        ([counted(0, [None]), counted(501, [500], continuous=True)], [700], 700),
        ([counted(0, [None]), counted(501, [500], continuous=True)], [300], 300),
        ([counted(0, [None]), counted(501, [None], continuous=True)], [300], None),  # it began anew: 300 or 800
        ([counted(0, [None, None])], [100, 500], 100),  # a generator, and a critic that steps five times
        ([counted(0, [0, 0]), counted(501, [500, 2500], continuous=True)], [300, 1500], 300),
        ([counted(0, [None, None])], [None, 500], 500),
        ([{"first_step": 0, "stride": 1}], [500], None),  # a store of an earlier recorder
        ([counted(0, [None])], [5, 5], None),  # other optimizers
        ([counted(0, "damaged"), counted(0, ["damaged"])], [5], None),
    ],
)
def test_what_the_optimizers_own_counts_say(segments, now, expected):
    assert counted_step({"segments": segments, "stride": 1}, now) == expected


def test_the_optimizers_count_comes_before_the_users():
    attributes = {"segments": [counted(0, [None], user_step=10)], "stride": 1}
    assert witnesses(attributes, [500], 600, 700) == Witnesses(500, 590)
    assert Witnesses(500, 590).first == 500
    assert witnesses(attributes, [None], 600, 700).first == 590
    assert witnesses(attributes, [None], 3, 700).first is None, "from before the run"
    assert claimed_step(attributes, None) is None


def record(store, model, optimizer, updates: int, **options) -> None:
    with Recorder(store, model, optimizer, **{"stride": 3} | options) as recorder:
        recorder.start()
        for _ in range(updates):
            optimizer.step()


def test_a_run_that_ended_between_two_frames_goes_on_at_its_true_step(tmp_path):
    model, store = nn.Linear(2, 2), tmp_path / "run.zarr"
    optimizer = Scripted(model.parameters())
    for mode, updates in (("w-", 10), ("a", 1), ("a", 4), ("a", 3)):
        record(store, model, optimizer, updates, mode=mode)
    found = assert_frames_are_scripted(store, model)
    assert found.tolist() == [0, 3, 6, 9, 10, 11, 14, 15, 18]
    segments = open_tree(store).attrs["segments"]
    assert [(s["first_step"], s["end_step"]) for s in segments] == [(0, 10), (10, 11), (11, 15), (15, 18)]
    assert len({s["session"] for s in segments}) == 4
    # The analyzer takes no velocity across the short distances: T is that of three updates.
    frames = read_array(store, "parameters/weight").astype(float)
    pairs = [(0, 1), (1, 2), (2, 3), (5, 6), (7, 8)]
    expected = np.mean([0.5 * (frames[..., b] - frames[..., a]) ** 2 for a, b in pairs])
    run = open_run(store)
    for tree in (run, run.map_over_datasets(lambda data: data.load())):
        answer = tree.thermo.temperature(by="parameter", parameter="weight", cache=False)
        assert answer["temperature"].item() == pytest.approx(expected, rel=1e-12)


def test_weights_that_are_the_last_frame_go_on_from_it(tmp_path):
    model, store = nn.Linear(2, 2), tmp_path / "run.zarr"
    optimizer = Scripted(model.parameters())
    record(store, model, optimizer, 10)
    optimizer.updates = 9
    optimizer.write()
    record(store, model, optimizer, 6, mode="a")
    assert assert_frames_are_scripted(store, model).tolist() == [0, 3, 6, 9, 12, 15]


def test_a_step_of_the_users_count_places_updates_that_were_not_recorded(tmp_path, capfd):
    model, store = nn.Linear(2, 2), tmp_path / "run.zarr"
    optimizer = Scripted(model.parameters())
    record(store, model, optimizer, 10)
    for _ in range(7):
        optimizer.step()
    record(store, model, optimizer, 3, mode="a", user_step=np.int64(17))
    assert assert_frames_are_scripted(store, model).tolist() == [0, 3, 6, 9, 17, 20]
    assert (
        "user_step=17 is step 17, and the store ends at step 10. The steps between are a gap" in capfd.readouterr().err
    )
    optimizer.updates = 5
    optimizer.write()
    record(store, model, optimizer, 6, mode="a", user_step=5)
    assert (
        "resumed at step 5, by user_step=5; no recorded frame equals the weights, so no velocity leads there; steps 6 "
        "to 20 of the first attempt are superseded and kept in attempts/1" in capfd.readouterr().err
    )
    assert assert_frames_are_scripted(store, model).tolist() == [0, 3, 5, 8, 11], "the phase is that of the witness"
    assert [s["continuous"] for s in open_tree(store).attrs["segments"]] == [False, False]
    assert assert_frames_are_scripted(store / "attempts/1", model).tolist() == [0, 3, 6, 9, 17, 20]
    with pytest.raises(UsageError, match=r"user_step: expected a whole number of steps, got 1\.5"):
        Recorder(store, model, mode="a", stride=3, user_step=1.5)


def test_another_stride_is_refused_with_the_one_to_take(tmp_path):
    model, store = nn.Linear(2, 2), tmp_path / "run.zarr"
    record(store, model, Scripted(model.parameters()), 3)
    with pytest.raises(SchemaError, match="the store has 3, this recording 1.*Resume with stride=3"):
        Recorder(store, model, mode="a").start()


class Scaled(Scripted):
    """An optimizer whose update a gradient scaler skips at some calls, as torch's fused ones say it."""

    def __init__(self, parameters, skips: set[int]) -> None:
        self.calls, self.skips = 0, skips
        super().__init__(parameters)

    def step(self, closure=None):
        self.calls += 1
        self.found_inf = torch.tensor(float(self.calls in self.skips))
        if self.calls not in self.skips:  # not by `super().step()`, which torch may have given hooks of its own
            self.updates += 1
            self.write()


def test_skipped_updates_between_frames_and_after_the_last_are_counted(tmp_path):
    model, store = nn.Linear(2, 2), tmp_path / "run.zarr"
    optimizer = Scaled(model.parameters(), skips={2, 6, 10, 13})
    record(store, model, optimizer, 10)
    attributes = open_tree(store).attrs
    assert (attributes["skipped_updates"], attributes["segments"][0]["end_step"]) == (3, 7)
    record(store, model, optimizer, 5, mode="a")
    assert 7 in assert_frames_are_scripted(store, model), "the weights that the run was resumed with"
    attributes = open_tree(store).attrs
    assert (attributes["skipped_updates"], attributes["segments"][1]["end_step"]) == (4, 11)
    record(store, model, optimizer, 3, mode="a", user_step=15)  # a count that includes the skipped ones
    found = assert_frames_are_scripted(store, model).tolist()
    assert {11, 14} <= set(found)


def test_updates_after_the_last_frame_outlive_the_trainer(tmp_path):
    body = (
        "import os, sys, signal, torch; from recorder import Recorder; from tests.recorder.runs import Scripted\n"
        "model = torch.nn.Linear(2, 2); optimizer = Scripted(model.parameters())\n"
        "recorder = Recorder(sys.argv[1], model, optimizer, stride=3); recorder.start()\n"
        "for _ in range(11): optimizer.step()\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    store = tmp_path / "run.zarr"
    ended = subprocess.run([sys.executable, "-c", body, str(store)], check=False, capture_output=True)
    assert ended.returncode == -signal.SIGKILL, ended.stderr.decode()
    model = nn.Linear(2, 2)
    record(store, model, Scripted(model.parameters(), first=11), 3, mode="a")
    assert assert_frames_are_scripted(store, model).tolist() == [0, 3, 6, 9, 11, 14]


def test_each_segment_has_its_hyperparameters_and_optimizer_and_a_change_is_said_once(tmp_path, capfd):
    model, store = nn.Linear(2, 2), tmp_path / "run.zarr"
    groups = [{"params": [model.weight], "weight_decay": 0.5}, {"params": [model.bias]}]
    optimizer = torch.optim.SGD(groups, lr=0.1, momentum=0.9)

    def go(**options: object) -> str:
        with Recorder(store, model, optimizer, **options) as recorder:
            recorder.start()
        return capfd.readouterr().err

    assert "differs" not in go(hyperparameters={"batch_size": 8, "seed": 1})
    assert "differs" not in go(mode="a", hyperparameters={"batch_size": 8, "seed": 1})
    optimizer.param_groups[1]["momentum"] = 0.8
    said = go(mode="a", hyperparameters={"batch_size": 32, "warm": True})
    assert said.count("this recording differs from the one that it resumes: ") == 1
    assert "batch_size 8 → 32, seed 1 → (none), warm (none) → True, parameter group 1 momentum 0.9 → 0.8." in said
    assert "differs" not in go(mode="a", hyperparameters={"batch_size": 32, "warm": True})
    assert "differs" not in go(mode="a"), "those that it had"
    attributes = open_tree(store).attrs
    first, _, third, _, last = attributes["segments"]
    assert attributes["hyperparameters"] == first["hyperparameters"] == {"batch_size": 8, "seed": 1}
    assert third["hyperparameters"] == last["hyperparameters"] == {"batch_size": 32, "warm": True}
    assert attributes["optimizer"] == first["optimizer"]
    (held,) = third["optimizer"]
    assert held["class"] == "torch.optim.sgd.SGD"
    assert held["defaults"]["lr"] == 0.1
    assert [(g["lr"], g["momentum"], g["weight_decay"]) for g in held["groups"]] == [(0.1, 0.9, 0.5), (0.1, 0.8, 0)]
    assert all("params" not in group for group in held["groups"])
    assert [s["stride"] for s in attributes["segments"]] == [1, 1, 1, 1, 1]
    assert all(len(s["session"]) == 32 for s in attributes["segments"])


def adam(**settings: object) -> list[dict[str, object]]:
    return [{"class": "Adam", "defaults": {"lr": 0.1}, "groups": [{"lr": 0.1, "eps": 1e-8} | settings]}]


@pytest.mark.parametrize(
    ("before", "ours", "said"),
    [
        (adam(initial_lr=0.1, lr=0.01), adam(initial_lr=0.1, lr=0.05), ""),  # a scheduler moves the rate
        (adam(lr=0.1), adam(initial_lr=0.1, lr=0.05), ""),
        (adam(), adam(lr=0.2), "lr 0.1 → 0.2"),
        ([{"class": "Adam", "defaults": {"lr": 0.1}}], adam(), ""),  # an earlier recorder kept no groups
        ([{"class": "SGD", "defaults": {}}], adam(), "optimizer SGD → Adam"),
        ([], adam(), "0 → 1 optimizers"),
        ([{"class": "\x1b[31mSGD"}], adam(), r"optimizer \x1b[31mSGD → Adam"),
        ("damaged", "damaged", ""),
    ],
)
def test_what_counts_as_another_optimizer(before, ours, said):
    attributes = {"segments": [{"session": "a", "optimizer": before}], "hyperparameters": {}}
    found = notes(attributes, "b", {"optimizer": ours, "hyperparameters": {}})
    assert (said in found[0]) if said else found == []
