"""Which frame a resumed session goes on from: bits first, then witnesses; with strides, types, attempts of attempts."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from recorder import Recorder
from recorder.errors import SchemaError
from tests.recorder.resumes import Replayed, assert_history, attributes_of, train
from tests.recorder.runs import open_tree, read_array

FIRST = [(0, 0)]


def model_of(dtype: torch.dtype = torch.float32) -> nn.Module:
    return nn.Sequential(nn.Linear(3, 2), nn.Linear(2, 2)).to(dtype)


@pytest.mark.parametrize(
    ("dtype", "at"),
    [
        *((torch.float32, at) for at in (0, 15, 16, 59, 60)),
        (torch.bfloat16, 40),
        (torch.float16, 47),
        (torch.float64, 32),
    ],
)
def test_every_place_and_type(tmp_path, dtype, at, capfd):
    model, store, second = model_of(dtype), tmp_path / "run.zarr", [(0, 0), (at + 1, 1)]
    train(store, model, FIRST, 0, 60)
    run_id = attributes_of(store)["run_id"]
    train(store, model, second, at, 75)
    assert_history(store, model, second, range(76))
    said = capfd.readouterr().err
    assert f"resumed at step {at}" in said
    assert ("superseded" in said) == (at < 60) == (attributes_of(store)["run_id"] != run_id)
    if at < 60:
        assert_history(store / "attempts/1", model, FIRST, range(at // 16 * 16, 61))
    assert all(segment["continuous"] for segment in attributes_of(store)["segments"][1:])


@pytest.mark.parametrize("stride", [3, 7])
def test_with_a_stride_the_steps_stay_true(tmp_path, stride, capfd):
    """A checkpoint at a frame is found by its bits. One between two frames is found by the count; frames follow it."""
    model, store = model_of(), tmp_path / "run.zarr"
    train(store, model, FIRST, 0, 10 * stride, stride=stride, counts=True)
    second = [(0, 0), (6 * stride + 1, 1)]
    train(store, model, second, 6 * stride, 12 * stride, stride=stride, counts=True)
    assert_history(store, model, second, range(0, 12 * stride + 1, stride))
    at = 4 * stride + 2
    third = [(0, 0), (at, 0), (at + 1, 2)]
    train(store, model, third, at, at + 3 * stride, stride=stride, counts=True)
    steps = [*range(0, at, stride), *range(at, at + 3 * stride + 1, stride)]
    assert_history(store, model, third, steps)
    assert "by the optimizer's own count; no recorded frame equals the weights" in capfd.readouterr().err
    assert_history(store / "attempts/2", model, second, range(0, 12 * stride + 1, stride))
    last = attributes_of(store)["segments"][-1]
    assert (last["first_step"], last["continuous"], last["optimizer_step"]) == (at, False, [at])


def test_resumed_twice_from_the_same_and_from_older_frames(tmp_path):
    model, store = model_of(), tmp_path / "run.zarr"
    histories = [FIRST, [(0, 0), (51, 1)], [(0, 0), (51, 2)], [(0, 0), (21, 3)], [(0, 0), (21, 3), (61, 4)]]
    ends = [100, 80, 75, 90, 110]
    for history, end in zip(histories, ends, strict=True):
        train(store, model, history, history[-1][0] - 1 if history != FIRST else 0, end)
    assert_history(store, model, histories[-1], range(111))
    for number, (history, begin) in enumerate(zip(histories[:-1], (48, 48, 16, 48), strict=True), start=1):
        assert_history(store / f"attempts/{number}", model, history, range(begin, ends[number - 1] + 1))
    assert [entry["path"] for entry in attributes_of(store)["attempts"]] == [f"attempts/{n}" for n in (1, 2, 3, 4)]
    # The run ended at 110; going on from there supersedes nothing.
    train(store, model, histories[-1], 110, 115)
    assert_history(store, model, histories[-1], range(116))


def test_restarted_from_a_checkpoint_of_an_attempt(tmp_path, capfd):
    """Resumed at 500, crashed at 600, then restarted from the first attempt's checkpoint at 700: the tails swap."""
    model, store = model_of(), tmp_path / "run.zarr"
    second, third = [(0, 0), (501, 1)], [(0, 0), (701, 2)]
    train(store, model, FIRST, 0, 730)
    train(store, model, second, 500, 600)
    capfd.readouterr()
    train(store, model, third, 700, 760)
    assert (
        "resumed at step 700 of the first attempt; steps 501 to 600 of the second attempt are superseded and kept in "
        "attempts/2" in capfd.readouterr().err
    )
    assert_history(store, model, third, range(761))
    attributes = attributes_of(store)
    assert [(a["path"], a["first_step"], a["last_step"]) for a in attributes["attempts"]] == [
        ("attempts/1", 701, 730),
        ("attempts/2", 501, 600),
    ]
    _, second_segment = attributes["segments"]
    assert (second_segment["first_step"], second_segment["continuous"]) == (701, True)
    assert second_segment["from_attempt"] == 1
    assert second_segment["supersedes"] == {"attempt": 2, "first_step": 501, "last_step": 600}
    assert_history(store / "attempts/1", model, FIRST, range(496, 731))
    assert attributes_of(store / "attempts/1")["superseded_from"] == 701 - 496
    assert_history(store / "attempts/2", model, second, range(496, 601))
    # And back: the second attempt's checkpoint at 550.
    fourth = [*second, (551, 3)]
    train(store, model, fourth, 550, 770)
    assert_history(store, model, fourth, range(771))
    assert_history(store / "attempts/3", model, third, range(496, 761))


def test_restarted_from_the_end_of_an_attempt(tmp_path):
    """No frame of it is left, so the attempt is gone."""
    model, store = model_of(), tmp_path / "run.zarr"
    train(store, model, FIRST, 0, 100)
    train(store, model, [(0, 0), (51, 1)], 50, 60)
    train(store, model, FIRST, 100, 110)
    assert_history(store, model, FIRST, range(111))
    assert [entry["path"] for entry in attributes_of(store)["attempts"]] == ["attempts/2"]
    assert not (store / "attempts/1").exists()


def test_restarted_from_an_attempt_that_another_attempt_leads_to(tmp_path):
    """The first attempt's checkpoint 80 comes after frames 0 to 50, of which the run has only 0 to 20 by now."""
    model, store = model_of(), tmp_path / "run.zarr"
    second, third = [(0, 0), (51, 1)], [(0, 0), (21, 2)]
    train(store, model, FIRST, 0, 100)
    train(store, model, second, 50, 70)
    train(store, model, third, 20, 40)
    train(store, model, FIRST, 80, 105)
    assert_history(store, model, FIRST, range(106))
    left = {entry["path"]: (entry["first_step"], entry["last_step"]) for entry in attributes_of(store)["attempts"]}
    assert left == {"attempts/1": (81, 100), "attempts/2": (51, 70), "attempts/3": (21, 40)}
    for number, history, first in ((1, FIRST, 48), (2, second, 16), (3, third, 16)):
        assert_history(store / f"attempts/{number}", model, history, range(first, (0, 100, 70, 40)[number] + 1))


def test_a_replay_that_makes_the_same_bits_again_supersedes_nothing_twice(tmp_path):
    """A deterministic training: restarted from the first attempt's end, the run is a part of that attempt already."""
    model, store = model_of(), tmp_path / "run.zarr"
    train(store, model, FIRST, 0, 100)
    train(store, model, FIRST, 50, 70)
    train(store, model, FIRST, 90, 120)
    assert_history(store, model, FIRST, range(121))
    assert [(a["first_step"], a["last_step"]) for a in attributes_of(store)["attempts"]] == [(91, 100)]


class Frozen(Replayed):
    """Updates from step 20 to 40 change nothing."""

    @torch.no_grad()
    def write(self) -> None:
        step, self.updates = self.updates, self.updates if not 20 <= self.updates <= 40 else 20
        super().write()
        self.updates = step


def frozen(store, model, start, stop, **options) -> None:
    counts = options.pop("counts", False)
    optimizer = Frozen(model, FIRST, start, counts=counts)
    with Recorder(store, model, optimizer, chunk_steps=16, mode="a" if store.exists() else "w-", **options) as recorder:
        recorder.start()
        while optimizer.updates < stop:
            optimizer.step()


@pytest.mark.parametrize("witness", ["counts", "user_step", "none"])
def test_of_equal_frames_a_witness_takes_one_else_the_newest(tmp_path, witness, capfd):
    """T = 0: every frame from 20 to 40 has the same bits."""
    model, store = model_of(), tmp_path / "run.zarr"
    frozen(store, model, 0, 60, counts=witness == "counts")
    options = {"counts": {"counts": True}, "user_step": {"user_step": 26}, "none": {}}[witness]
    frozen(store, model, 26, 50, **options)
    at = 40 if witness == "none" else 26
    assert f"resumed at step {at} (the weights are equal from step 20 to 40); steps {at + 1} to 60" in (
        capfd.readouterr().err
    )
    steps = read_array(store, "step").tolist()
    assert steps == list(range(at + 24 + 1))
    if witness != "none":
        whole = tmp_path / "whole.zarr"
        frozen(whole, model, 0, 50)
        for name in ("0/weight", "1/bias"):
            assert (
                read_array(store, f"parameters/{name}").tobytes() == read_array(whole, f"parameters/{name}").tobytes()
            )


def test_the_bits_decide_against_the_users_count_in_one_line(tmp_path, capfd):
    model, store = model_of(), tmp_path / "run.zarr"
    train(store, model, FIRST, 0, 60)
    train(store, model, [(0, 0), (31, 1)], 30, 50, user_step=45)
    said = capfd.readouterr().err
    assert said.count("user_step=45 is step 45, but the weights are those of step 30. The weights decide") == 1
    assert_history(store, model, [(0, 0), (31, 1)], range(51))


def test_of_a_model_recorded_in_part_the_part_decides(tmp_path):
    """The part decides. If it was frozen, the count does."""
    model, store = model_of(), tmp_path / "run.zarr"
    train(store, model, FIRST, 0, 60, include="0.*")
    train(store, model, [(0, 0), (31, 1)], 30, 70, include="0.*")
    steps = read_array(store, "step")
    np.testing.assert_array_equal(steps, np.arange(71))
    assert "parameters/1" not in open_tree(store)
    assert attributes_of(store)["attempts"][0]["last_step"] == 60


def test_without_an_equal_frame_and_without_a_witness_it_is_said(tmp_path, capfd):
    """Weights that were cast to another precision and back end here."""
    model, store = model_of(), tmp_path / "run.zarr"
    train(store, model, FIRST, 0, 60)
    run_id = attributes_of(store)["run_id"]
    train(store, model, [(0, 7)], 30, 40)
    said = capfd.readouterr().err
    assert "no recorded frame equals the weights, so no velocity leads there: the run goes on at step 61" in said
    assert read_array(store, "step").tolist() == list(range(72))
    last = attributes_of(store)["segments"][-1]
    assert (last["first_step"], last["continuous"]) == (61, False)
    assert attributes_of(store)["run_id"] == run_id
    assert "attempts" not in attributes_of(store)


def test_a_count_from_before_the_first_frame_is_no_place_and_is_named(tmp_path, capfd):
    model, store = model_of(), tmp_path / "run.zarr"
    train(store, model, FIRST, 0, 20)
    train(store, model, [(0, 7)], 30, 32, user_step=0)
    said = capfd.readouterr().err
    assert "goes on at step 21, one stride after its last frame. user_step=0 is step 0, and" in said
    assert read_array(store, "step").tolist() == list(range(24))


def test_a_damaged_chunk_of_an_attempt_is_named(tmp_path, capfd):
    model, store = model_of(), tmp_path / "run.zarr"
    train(store, model, FIRST, 0, 60)
    train(store, model, [(0, 0), (31, 1)], 30, 35)
    (store / "attempts/1/parameters/0/weight/c/0/0/2").write_bytes(b"damaged")
    train(store, model, FIRST, 55, 56)
    said = capfd.readouterr().err
    assert "attempts/1: frames 32 to 44 cannot be read and were not compared" in said
    assert "no recorded frame equals the weights" in said


def test_another_length_of_chunks_is_refused(tmp_path):
    model, store = model_of(), tmp_path / "run.zarr"
    train(store, model, FIRST, 0, 3)
    with (
        Recorder(store, model, mode="a", chunk_steps=32) as recorder,
        pytest.raises(SchemaError, match="chunk_steps: the store has 16, this recording 32"),
    ):
        recorder.start()


def test_a_lost_tail_leaves_a_gap_at_the_witnessed_step(tmp_path, capfd):
    model, store = model_of(), tmp_path / "run.zarr"
    train(store, model, FIRST, 0, 60, counts=True)
    train(store, model, FIRST, 75, 90, counts=True)
    assert_history(store, model, FIRST, [*range(61), *range(75, 91)])
    assert "is step 75, and the store ends at step 60. The steps between are a gap" in capfd.readouterr().err


@pytest.mark.parametrize("at", [60, 30])
def test_a_store_whose_steps_are_damaged_is_compared_at_its_end_alone(tmp_path, at, capfd):
    """And nothing is cut from it."""
    model, store = model_of(), tmp_path / "run.zarr"
    train(store, model, FIRST, 0, 60)
    (store / "step/c/1").write_bytes(b"damaged")
    train(store, model, FIRST, at, at + 10)
    said = "the steps of the store cannot be read, so the weights were compared with its last frame alone"
    assert f"resumed at step {60 if at == 60 else 61}; {said}" in capfd.readouterr().err
    attributes = attributes_of(store)
    assert attributes["last"]["step"] == (70 if at == 60 else 71)
    assert attributes["segments"][1]["continuous"] == (at == 60)
    assert "attempts" not in attributes


class Gan:
    """A generator, and a critic that steps five times for each of its steps; both count with Adam."""

    def __init__(self) -> None:
        torch.manual_seed(0)
        self.model = nn.ModuleDict({"g": nn.Linear(2, 2), "c": nn.Linear(2, 1)})
        self.optimizers = [torch.optim.Adam(self.model[name].parameters(), lr=0.01) for name in "gc"]

    def step(self, update: int) -> None:
        torch.manual_seed(update)
        g, c = self.optimizers
        for _ in range(5):
            c.zero_grad()
            (self.model["c"](self.model["g"](torch.randn(4, 2)).detach()).mean() - torch.randn(())).square().backward()
            c.step()
        g.zero_grad()
        self.model["c"](self.model["g"](torch.randn(4, 2))).mean().backward()
        g.step()

    def state(self) -> dict:
        import copy

        return copy.deepcopy({"model": self.model.state_dict(), "opt": [o.state_dict() for o in self.optimizers]})

    def load(self, state: dict) -> None:
        self.model.load_state_dict(state["model"])
        for optimizer, held in zip(self.optimizers, state["opt"], strict=True):
            optimizer.load_state_dict(held)


@pytest.mark.parametrize("stride", [1, 4])
def test_a_gan_with_two_optimizers(tmp_path, stride):
    """With stride 4 the checkpoint at 18 lies between two frames: the count of the slower optimizer tells the step."""
    store, whole, saved = tmp_path / "run.zarr", tmp_path / "whole.zarr", {}

    def go(place, start: int, stop: int, mode: str) -> None:
        gan = Gan()
        if start:
            gan.load(saved[start])
        with Recorder(place, gan.model, gan.optimizers, chunk_steps=16, mode=mode, stride=stride) as recorder:
            recorder.start()
            for update in range(start + 1, stop + 1):
                gan.step(update)
                saved.setdefault(update, gan.state())

    go(store, 0, 30, "w-")
    go(store, 18, 40, "a")
    go(whole, 0, 40, "w-")
    steps = read_array(store, "step").tolist()
    assert steps == (list(range(41)) if stride == 1 else [0, 4, 8, 12, 16, 18, 22, 26, 30, 34, 38])
    assert attributes_of(store)["segments"][1]["optimizer_step"] == [18, 90]
    if stride == 1:
        for path in ("g/weight", "c/weight"):
            assert (
                read_array(store, f"parameters/{path}").tobytes() == read_array(whole, f"parameters/{path}").tobytes()
            )
    gan = Gan()  # begun anew, with no count: its weights are frame 0
    with Recorder(store, gan.model, gan.optimizers, mode="a", stride=stride) as recorder:
        recorder.start()
    assert attributes_of(store)["segments"][-1]["supersedes"]["first_step"] == stride
