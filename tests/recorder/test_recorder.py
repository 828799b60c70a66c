"""What counts as a step, and how a recording begins and ends."""

from __future__ import annotations

import hashlib
import os

import numpy as np
import pytest
import torch
from torch import nn

import recorder.recorder
from recorder import Recorder
from recorder.errors import RecordingError, UsageError
from tests.recorder.runs import Scripted, assert_frames_are_scripted, open_tree, read_array, train


def test_without_an_optimizer_the_user_says_when(tmp_path):
    model = nn.Linear(3, 2)
    optimizer = Scripted(model.parameters())
    with Recorder(tmp_path / "run.zarr", model) as recorder:
        recorder.start()
        for _ in range(5):
            optimizer.step()
            recorder.step()
    assert_frames_are_scripted(tmp_path / "run.zarr", model, steps=np.arange(6))
    assert "learning_rate" not in open_tree(tmp_path / "run.zarr")


def test_several_optimizers_make_one_frame_together(tmp_path):
    first, second = nn.Linear(2, 2), nn.Linear(2, 2)
    model = nn.ModuleList([first, second])
    optimizers = [torch.optim.SGD(first.parameters(), lr=0.1), torch.optim.SGD(second.parameters(), lr=0.2)]
    with Recorder(tmp_path / "run.zarr", model, optimizers):
        for _ in range(4):
            loss = sum(p.square().sum() for p in model.parameters())
            loss.backward()
            for optimizer in optimizers:
                optimizer.step()
    rates = read_array(tmp_path / "run.zarr", "learning_rate")
    assert read_array(tmp_path / "run.zarr", "step").tolist() == [0, 1, 2, 3, 4]
    np.testing.assert_array_equal(rates[1:], np.tile([0.1, 0.2], (4, 1)))
    np.testing.assert_array_equal(
        read_array(tmp_path / "run.zarr", "parameters/1/weight")[..., -1], second.weight.detach()
    )


def test_gradient_accumulation_counts_updates_not_backward_passes(tmp_path):
    model = nn.Linear(2, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with Recorder(tmp_path / "run.zarr", model, optimizer):
        for batch in range(8):
            model(torch.ones(1, 2)).sum().backward()
            if batch % 4 == 3:
                optimizer.step()
    assert read_array(tmp_path / "run.zarr", "step").tolist() == [0, 1, 2]


def test_a_closure_is_evaluated_often_and_recorded_once(tmp_path):
    model = nn.Linear(2, 1)
    optimizer = torch.optim.LBFGS(model.parameters(), max_iter=5)
    calls = 0

    def closure():
        nonlocal calls
        calls += 1
        optimizer.zero_grad()
        loss = model(torch.ones(3, 2)).square().sum()
        loss.backward()
        return loss

    with Recorder(tmp_path / "run.zarr", model, optimizer):
        for _ in range(3):
            optimizer.step(closure)
    assert calls > 3
    assert read_array(tmp_path / "run.zarr", "step").tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize("fused", [False, True], ids=["hook not called", "found_inf rides along"])
def test_updates_that_a_gradient_scaler_skips_are_not_steps(tmp_path, fused):
    model = nn.Linear(2, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, fused=fused)
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0)
    truth = []
    with Recorder(tmp_path / "run.zarr", model, optimizer) as recorder:
        recorder.start()
        truth.append(model.weight.detach().clone())
        for batch in range(10):
            optimizer.zero_grad()
            scale = float("inf") if batch in (3, 4, 9) else 1.0
            scaler.scale(model(torch.ones(1, 2)).sum() * scale).backward()
            scaler.step(optimizer)
            scaler.update()
            if scale == 1.0:
                truth.append(model.weight.detach().clone())
                recorder.log(batch=batch)
    stored = read_array(tmp_path / "run.zarr", "parameters/weight")
    assert read_array(tmp_path / "run.zarr", "step").tolist() == list(range(8))
    assert stored.tobytes() == torch.stack(truth, -1).numpy().tobytes()
    assert read_array(tmp_path / "run.zarr", "batch")[1:].tolist() == [0, 1, 2, 5, 6, 7, 8]
    assert open_tree(tmp_path / "run.zarr").attrs["skipped_updates"] == (3 if fused else 0)


def test_skipped_updates_count_neither_as_steps_nor_for_the_stride(tmp_path):
    model = nn.Linear(2, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, fused=True)
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0)
    truth = [model.weight.detach().clone()]
    with Recorder(tmp_path / "run.zarr", model, optimizer, stride=2) as recorder:
        for batch in range(12):
            optimizer.zero_grad()
            scale = float("inf") if batch in (2, 4, 5, 9) else 1.0
            scaler.scale(model(torch.ones(1, 2)).sum() * scale).backward()
            scaler.step(optimizer)
            scaler.update()
            if scale == 1.0:
                truth.append(model.weight.detach().clone())
            recorder.log(batch=batch)
    steps = read_array(tmp_path / "run.zarr", "step")
    assert steps.tolist() == [0, 2, 4, 6, 8]
    found = read_array(tmp_path / "run.zarr", "parameters/weight")
    assert found.tobytes() == torch.stack(truth, -1).numpy()[..., steps].tobytes()
    assert read_array(tmp_path / "run.zarr", "batch")[1:].tolist() == [1, 6, 8, 11]
    assert open_tree(tmp_path / "run.zarr").attrs["skipped_updates"] == 4


@pytest.mark.parametrize("options", [{}, {"foreach": True}, {"fused": True}], ids=str)
@pytest.mark.parametrize("kind", ["Adam", "SGD"])
def test_every_implementation_of_an_optimizer_is_followed(tmp_path, kind, options):
    model = nn.Linear(4, 3)
    optimizer = getattr(torch.optim, kind)(model.parameters(), lr=0.01, **options)
    truth = [model.weight.detach().clone()]
    with Recorder(tmp_path / "run.zarr", model, optimizer):
        for _ in range(6):
            train(model, optimizer, 1)
            truth.append(model.weight.detach().clone())
    assert read_array(tmp_path / "run.zarr", "parameters/weight").tobytes() == torch.stack(truth, -1).numpy().tobytes()


def test_step_before_start_is_said_once(tmp_path, capfd):
    model = nn.Linear(2, 2)
    with Recorder(tmp_path / "run.zarr", model) as recorder:
        recorder.step()
        recorder.step()
    assert capfd.readouterr().err.count("step() came before start()") == 1
    assert read_array(tmp_path / "run.zarr", "step").tolist() == [0, 1, 2]


def test_an_exception_in_training_keeps_all_frames(tmp_path):
    model = nn.Linear(2, 2)
    optimizer = Scripted(model.parameters())
    with pytest.raises(ZeroDivisionError), Recorder(tmp_path / "run.zarr", model, optimizer):
        for _ in range(7):
            optimizer.step()
        1 / 0
    assert_frames_are_scripted(tmp_path / "run.zarr", model, steps=np.arange(8))
    assert open_tree(tmp_path / "run.zarr").attrs["status"] == "interrupted"


def test_on_error_warn_lets_the_training_go_on(tmp_path, capfd):
    model = nn.Linear(2, 2)
    optimizer = Scripted(model.parameters())
    with Recorder(tmp_path / "run.zarr", model, optimizer, on_error="warn") as recorder:
        optimizer.step()
        model.weight = nn.Parameter(torch.zeros(5, 5))
        for _ in range(3):
            optimizer.step()
            recorder.log(loss=1.0)
    assert capfd.readouterr().err.count("recording stops, training goes on: parameter weight") == 1
    assert read_array(tmp_path / "run.zarr", "step").tolist() == [0, 1]


def broken(*args, **kwargs):
    raise KeyError("from elsewhere")


@pytest.mark.parametrize("place", [("_feed", "push"), ("_scalars", "store"), ("_rates", "now")], ids=".".join)
def test_an_exception_from_elsewhere_ends_the_recording_alone(tmp_path, monkeypatch, capfd, place):
    model = nn.Linear(2, 2)
    optimizer = Scripted(model.parameters())
    with Recorder(tmp_path / "warn.zarr", model, optimizer, on_error="warn") as recorder:
        optimizer.step()
        monkeypatch.setattr(getattr(recorder, place[0]), place[1], broken)
        for _ in range(3):
            optimizer.step()
            recorder.log(loss=1.0)
    told = capfd.readouterr().err
    assert told.count("recording stops, training goes on: recording: expected to record after update") == 1
    assert told.count("got KeyError: 'from elsewhere'. Frames before it are kept.") == 1


def test_an_exception_from_elsewhere_is_raised_as_an_error_of_the_recorder(tmp_path, monkeypatch):
    model = nn.Linear(2, 2)
    optimizer = Scripted(model.parameters())
    with (
        pytest.raises(
            RecordingError, match=r"expected to record after update 2, got KeyError.*on_error='warn'"
        ) as found,
        Recorder(tmp_path / "raise.zarr", model, optimizer) as recorder,
    ):
        optimizer.step()
        monkeypatch.setattr(recorder, "_check_structure", broken)
        recorder._next_check = recorder._frames
        optimizer.step()
    assert isinstance(found.value.__cause__, KeyError)
    assert read_array(tmp_path / "raise.zarr", "step").tolist() == [0, 1]


def test_on_error_warn_keeps_step_and_close_from_raising(tmp_path, monkeypatch, capfd):
    model = nn.Linear(2, 2)
    recorder = Recorder(tmp_path / "run.zarr", model, on_error="warn")
    recorder.start()
    monkeypatch.setattr(recorder._feed, "push", broken)
    recorder.step()
    recorder.step()
    assert capfd.readouterr().err.count("recording stops, training goes on") == 1
    recorder = Recorder(tmp_path / "second.zarr", model, on_error="warn")
    recorder.start()
    monkeypatch.setattr(recorder._feed, "close", broken)
    recorder.close()
    assert "recording: expected to close, got KeyError" in capfd.readouterr().err
    assert read_array(tmp_path / "second.zarr", "step").tolist() == [0], "the writer takes what lies in the spool"


def test_a_start_that_fails_in_a_hook_ends_no_training_and_leaves_no_writer(tmp_path, monkeypatch, capfd):
    model = nn.Linear(2, 2)
    optimizer = Scripted(model.parameters())
    monkeypatch.setattr(recorder.trainer.ends, "Lookout", broken)
    with Recorder(tmp_path / "run.zarr", model, optimizer, on_error="warn"):
        optimizer.step()
        optimizer.step()
    told = capfd.readouterr().err
    assert told.count("recording stops, training goes on: recording: expected to start, got KeyError") == 1
    assert "nothing was recorded" not in told
    assert not (tmp_path / "run.zarr").exists()


def test_a_step_that_is_captured_ends_no_training_that_asked_for_a_warning(tmp_path, monkeypatch, capfd):
    """Nothing may be closed during a capture: that waits until `close`."""
    model = nn.Linear(2, 2)
    optimizer = Scripted(model.parameters())
    with Recorder(tmp_path / "run.zarr", model, optimizer, on_error="warn") as recorder:
        optimizer.step()
        recorder._is_on_gpu = True
        monkeypatch.setattr(torch.cuda, "is_current_stream_capturing", lambda: True)
        optimizer.step()
        assert recorder.report is None
        monkeypatch.undo()
        optimizer.step()
    assert capfd.readouterr().err.count("is being captured into a CUDA graph") == 1
    assert read_array(tmp_path / "run.zarr", "step").tolist() == [0, 1]


class Keyless(torch.optim.Optimizer):
    """An optimizer of one's own, whose groups have no learning rate."""

    def __init__(self, groups) -> None:
        super().__init__(groups, {"step_size": 0.1})

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            for parameter in group["params"]:
                parameter.add_(1.0)


def test_groups_without_a_learning_rate_have_nan_and_are_said_once(tmp_path, capfd):
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    rates = [{}, {"lr": None}, {"lr": torch.tensor([0.5])}, {"lr": 1}]
    groups = [{"params": [parameter]} | rate for parameter, rate in zip(model.parameters(), rates, strict=True)]
    optimizer = Keyless(groups)
    with Recorder(tmp_path / "run.zarr", model, optimizer, on_error="warn"):
        for _ in range(3):
            optimizer.step()
    np.testing.assert_array_equal(
        read_array(tmp_path / "run.zarr", "learning_rate")[1:], [[np.nan, np.nan, 0.5, 1.0]] * 3
    )
    told = capfd.readouterr().err
    assert (
        told.count("learning_rate is NaN for parameter groups whose 'lr' is no number: in Keyless it is missing") == 1
    )


def test_closing_twice_and_stepping_after(tmp_path):
    recorder = Recorder(tmp_path / "run.zarr", nn.Linear(1, 1))
    recorder.start()
    recorder.close()
    recorder.close()
    with pytest.raises(UsageError, match="it is closed"):
        recorder.step()


def test_nothing_is_left_behind(tmp_path):
    def spools():
        digest = hashlib.sha256(os.fsencode(tmp_path / "run.zarr")).hexdigest()[:8]
        return [name for name in os.listdir("/dev/shm") if digest in name]

    model = nn.Linear(2, 2)
    optimizer = Scripted(model.parameters())
    with Recorder(tmp_path / "run.zarr", model, optimizer):
        optimizer.step()
        assert len(spools()) == 1
    assert spools() == []
    assert os.listdir(tmp_path) == ["run.zarr"]
    assert not [path for path in (tmp_path / "run.zarr").rglob("*") if path.name.endswith(".tmp")]
