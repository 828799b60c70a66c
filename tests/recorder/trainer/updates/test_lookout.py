"""Updates that nobody listed, parameters that came later, weights that never change: each is said."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn
from torch.optim import SGD, Adam

from recorder import Recorder
from recorder.trainer.feeds.ring import as_bytes
from recorder.trainer.model.selection import select_parameters
from recorder.trainer.updates.lookout import Lookout
from tests.recorder.runs import read_array, train
from tests.recorder.trainer.updates.test_hooks_whole_steps import Own


class Held:
    """The newest frame of a feed."""

    def __init__(self, model) -> None:
        self.model = model
        self.take()

    def take(self) -> None:
        self.frame = [as_bytes(parameter).clone() for parameter in self.model.parameters()]

    def newest(self):
        return self.frame

    def catch_up(self) -> None:
        """No frame is still on its way from a device."""


def lookout(model, *optimizers, **patterns):
    told = []
    selection = select_parameters(model, **patterns)
    options = SimpleNamespace(include=patterns.get("include"), exclude=patterns.get("exclude"))
    return Lookout(model, optimizers, selection, options, told.append), Held(model), told


def test_weights_that_changed_without_a_step_are_named_once():
    model = nn.Linear(2, 2)
    looking, feed, told = lookout(model, SGD(model.parameters(), lr=0.1))
    assert not looking.compare(feed)
    model.bias.data[0] = torch.nan
    feed.take()
    assert not looking.compare(feed), "NaN is NaN"
    model.bias.data[1] = -0.0
    feed.take()
    model.bias.data[1] = 0.0
    assert looking.compare(feed)
    assert looking.compare(feed)
    assert len(told) == 1
    assert told[0].startswith(
        "bias: changed since the last frame without a step of the optimizer (SGD). No frame holds"
    )
    assert "Recorder(store, model, [a, b])" in told[0]


@pytest.mark.parametrize("patterns", [{}, {"exclude": "1.*"}], ids=str)
def test_parameters_that_came_later_are_named_once_unless_they_are_left_out(patterns):
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2) if patterns else nn.Identity())
    looking, feed, told = lookout(model, **patterns)
    model[1] = nn.Sequential(nn.Linear(2, 2))
    for _ in range(2):
        looking.check_structure(SimpleNamespace(revalidate=lambda: None))
    looking.finish(feed, None, 1, "interrupted", is_newest=True)
    named = [line for line in told if "came into the model after recording began" in line]
    assert len(named) == (0 if patterns else 1)
    assert patterns or named[0].startswith("1.0.weight, 1.0.bias: ")


def test_tied_parameters_that_were_parted_are_named_once():
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    model[1].weight = model[0].weight
    looking, feed, told = lookout(model)
    model[1].weight = nn.Parameter(model[0].weight.detach().clone())
    looking.check_structure(SimpleNamespace(revalidate=lambda: None))
    looking.finish(feed, None, 1, "interrupted", is_newest=True)
    named = [line for line in told if "is so no longer" in line]
    assert len(named) == 1
    assert named[0].startswith("1.weight: was the same tensor as 0.weight when recording began")


def test_optimizers_that_hold_nothing_of_the_model_are_named():
    model, other = nn.Linear(2, 2), nn.Linear(2, 2)
    whole, head, foreign = SGD(model.parameters(), lr=1.0), SGD([model.bias], lr=1.0), Adam(other.parameters())
    assert lookout(model, foreign)[2][0].startswith("the optimizer (Adam): holds none of the recorded parameters (wei")
    assert lookout(model, whole, foreign)[2][0].startswith("optimizers[1] (Adam): holds none")
    flat = torch.nn.utils.parameters_to_vector(model.parameters()).detach()
    torch.nn.utils.vector_to_parameters(flat, model.parameters())
    for optimizers in ([], [whole], [whole, head], [SGD([flat], lr=1.0)]):
        assert lookout(model, *optimizers)[2] == []
    assert lookout(model, whole, head, exclude="bias")[2] == []


def test_an_optimizer_that_is_left_with_the_old_parameters_is_named():
    model = nn.Linear(2, 2)
    looking, feed, told = lookout(model, SGD(model.parameters(), lr=0.1))
    model.load_state_dict({key: value.clone() for key, value in model.state_dict().items()}, assign=True)
    looking.check_structure(SimpleNamespace(revalidate=lambda: None))
    looking.finish(feed, None, 1, "complete", is_newest=True)
    assert len(told) == 1
    assert told[0].startswith("the optimizer (SGD): holds none of the recorded parameters")


def test_weights_that_never_change_are_said_at_the_end():
    model = nn.Linear(2, 2)
    looking, feed, told = lookout(model, SGD(model.parameters(), lr=0.0))
    looking.finish(feed, None, 0, "complete", is_newest=True)
    assert told == []
    looking.finish(feed, None, 7, "complete", is_newest=True)
    assert told[0].startswith("weight, bias: never changed in 7 steps of the optimizer (SGD): the temperature is 0.")
    looking, feed, told = lookout(model, Adam(nn.Linear(1, 1).parameters()))
    looking.finish(feed, None, 7, "complete", is_newest=True)
    assert len(told) == 1, "an optimizer of another model says it already"
    looking, feed, told = lookout(model)
    model.weight.data[0, 0] += 1
    feed.take()
    looking.finish(feed, None, 7, "complete", is_newest=True)
    assert told == []


def test_updates_beside_the_hooks_are_noticed_while_they_are_logged(tmp_path, capfd):
    model = nn.Linear(2, 2)
    optimizer = Own(model.parameters())
    with Recorder(tmp_path / "run.zarr", model, optimizer) as recorder:
        for number in range(12):
            optimizer.move()
            recorder.log(number=number)
            told = capfd.readouterr().err
            assert told.count("weight, bias: changed since the last frame without a step of the optimizer (Own)") == (
                number == 9
            )
    assert "changed since" not in capfd.readouterr().err


def test_an_optimizer_that_is_not_listed_is_noticed_at_the_second_step(tmp_path, capfd):
    first, second = nn.Linear(2, 2), nn.Linear(2, 2)
    model = nn.ModuleList([first, second])
    listed, other = SGD(first.parameters(), lr=0.1), SGD(second.parameters(), lr=0.1)
    with Recorder(tmp_path / "run.zarr", model, listed):
        for number in range(3):
            sum(p.square().sum() for p in model.parameters()).backward()
            listed.step()
            told = capfd.readouterr().err
            assert told.count("1.weight, 1.bias: changed since the last frame without a step of") == (number == 1)
            assert ("Frames hold the weights as steps leave them" in told) == (number == 1)
            other.step()
    assert "changed since" not in capfd.readouterr().err
    assert read_array(tmp_path / "run.zarr", "step").tolist() == [0, 1, 2, 3]


def test_the_last_update_of_an_optimizer_that_is_not_listed_is_noticed_at_the_end(tmp_path, capfd):
    model = nn.Linear(2, 2)
    optimizer = SGD(model.parameters(), lr=0.1)
    with Recorder(tmp_path / "run.zarr", model, optimizer, chunk_steps=16):
        train(model, optimizer, 40)
        model.append = nn.Linear(1, 1)
        model.weight.data.add_(1.0)
    told = capfd.readouterr().err
    assert told.count("weight: changed since the last frame") == 1
    assert told.count("append.weight, append.bias: came into the model after recording began") == 1
    np.testing.assert_array_equal(read_array(tmp_path / "run.zarr", "step"), np.arange(41))


def test_a_call_of_step_beside_a_hook_counts_nothing_and_is_said_once(tmp_path, capfd):
    model = nn.Linear(2, 1)
    optimizer = SGD(model.parameters(), lr=0.1)
    with Recorder(tmp_path / "run.zarr", model, optimizer) as recorder:
        for _ in range(5):
            train(model, optimizer, 1)
            recorder.step()
            recorder.log(loss=1.0)
    assert read_array(tmp_path / "run.zarr", "step").tolist() == list(range(6))
    told = capfd.readouterr().err
    assert told.count("recorder.step() counts nothing: each step of the optimizer (SGD) is recorded already") == 1


def test_a_call_of_step_within_a_round_of_optimizers_counts_nothing(tmp_path, capfd):
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 1))
    first, second = (SGD(part.parameters(), lr=0.1) for part in model)
    with Recorder(tmp_path / "run.zarr", model, [first, second]) as recorder:
        for _ in range(4):
            train(model, first, 1)
            recorder.step()
            train(model, second, 1)
            recorder.step()
    assert read_array(tmp_path / "run.zarr", "step").tolist() == list(range(5))
    assert capfd.readouterr().err.count("counts nothing") == 1


def test_a_call_of_step_counts_where_no_hook_of_the_optimizer_runs(tmp_path, capfd):
    """Something else makes the updates; the listed optimizer tells its learning rate."""
    model = nn.Linear(2, 1)
    with Recorder(tmp_path / "run.zarr", model, SGD(model.parameters(), lr=0.1)) as recorder:
        recorder.start()
        for _ in range(5):
            with torch.no_grad():
                model.weight += 1
            recorder.step()
    assert read_array(tmp_path / "run.zarr", "step").tolist() == list(range(6))
    assert "counts nothing" not in capfd.readouterr().err
