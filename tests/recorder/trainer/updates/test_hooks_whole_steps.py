"""A frame is a whole step: steps in wrappers and within each other, rounds of several optimizers, and what the user is
told of updates that no listed optimizer made.
"""

from __future__ import annotations

import copy
import weakref

import pytest
import torch
from torch import nn
from torch.optim import SGD, Adam, Optimizer

from recorder import Recorder
from recorder.trainer.updates.hooks import Rounds, attach
from recorder.trainer.updates.optimizers import optimizers_of
from tests.recorder.runs import read_array


class Ear:
    """Notes steps as a recorder does: the place of the optimizer that stepped, and the weight each time."""

    def __init__(self, given) -> None:
        self.optimizers = optimizers_of(given)
        self.begun, self.places, self.seen = 0, [], []
        self.weight = self.optimizers[0].param_groups[0]["params"][0]
        attach(self.optimizers, weakref.ref(self), Ear.before, Ear.after)

    def before(self) -> None:
        self.begun += 1

    def after(self, optimizer, place) -> None:
        self.places.append(place)
        self.seen.append(float(self.weight.detach().sum()))


def weight() -> nn.Parameter:
    parameter = nn.Parameter(torch.zeros(2))
    parameter.grad = torch.ones(2)
    return parameter


class Sharp(Optimizer):
    """SAM: two calls a step, or one with a closure; the update itself is made by an optimizer that it holds."""

    def __init__(self, parameters, **options) -> None:
        super().__init__(parameters, options)
        self.base = SGD(self.param_groups, **options)

    def ascend(self) -> None:
        for parameter in self.param_groups[0]["params"]:
            self.state[parameter]["old"] = parameter.detach().clone()
            parameter.data.add_(0.25)

    def descend(self) -> None:
        for parameter in self.param_groups[0]["params"]:
            parameter.data.copy_(self.state[parameter]["old"])
        self.base.step()

    def step(self, closure=None) -> None:
        self.ascend()
        self.descend()


class Ahead(Optimizer):
    """Lookahead: goes on after the step of the optimizer that it wraps."""

    def __init__(self, inner) -> None:
        super().__init__(inner.param_groups, {})
        self.optimizer = inner

    def step(self, closure=None) -> None:
        self.optimizer.step(closure)
        for group in self.param_groups:
            for parameter in group["params"]:
                parameter.data.mul_(0.5)


class Projected(SGD):
    """Goes on after `super().step()`, of which torch runs the hooks as well."""

    def step(self, closure=None) -> None:
        super().step(closure)
        self.param_groups[0]["params"][0].data.round_()


def test_a_step_in_two_calls_is_heard_through_the_optimizer_inside():
    sharp = Sharp([weight()], lr=1.0)
    ear = Ear(sharp)
    for _ in range(2):
        sharp.ascend()
        sharp.descend()
    sharp.step()
    assert ear.seen == [-2, -4, -6]
    assert ear.begun == 3


def test_a_step_inside_a_step_is_not_the_end_of_it():
    ahead = Ahead(SGD([weight()], lr=1.0))
    ear = Ear(ahead)
    for _ in range(3):
        ahead.step()
    assert ear.seen == [-1, -1.5, -1.75]
    SGD([weight()], lr=1.0)  # torch wraps the step of a class at its first instance
    projected = Projected([weight()], lr=0.75)
    ear = Ear(projected)
    for _ in range(2):
        projected.step()
    assert ear.seen == [-2, -4]


def test_a_step_that_failed_does_not_silence_those_that_follow():
    sharp = Sharp([weight()], lr=1.0)
    ear = Ear(sharp)
    parameter = sharp.param_groups[0]["params"].pop()
    sharp.param_groups[0]["params"].append("no tensor")
    for call in (sharp.step, sharp.base.step):
        with pytest.raises(AttributeError):
            call()
    sharp.param_groups[0]["params"][:] = [parameter]
    sharp.step()
    sharp.base.step()
    assert len(ear.seen) == 2


def rounds(*kinds):
    told = []
    optimizers = [kind([weight()], lr=0.1) for kind in kinds]
    return Rounds(optimizers, told.append), optimizers, told


@pytest.mark.parametrize(
    ("order", "whole"),
    [
        ([0, 1, 0, 1], [1, 3]),
        ([1, 0, 1, 0], [1, 3]),
        ([1, 1, 1, 1, 1, 0, 1, 1, 1, 1, 1, 0], [5, 11]),
        ([0, 0, 1], [2]),
        ([0, 0], []),
    ],
)
def test_an_update_is_whole_once_each_optimizer_has_stepped(order, whole):
    together, optimizers, _ = rounds(SGD, Adam)
    found = [index for index, place in enumerate(order) if together.completes(place, optimizers[place])]
    assert found == whole
    assert together.is_whole == (whole[-1:] == [len(order) - 1])


def test_an_optimizer_that_is_waited_for_is_named_once():
    together, optimizers, told = rounds(SGD, Adam)
    for _ in range(300):
        together.completes(0, optimizers[0])
    assert len(told) == 1
    assert told[0].startswith("optimizers[0] (SGD) has stepped 101 times, and optimizers[1] (Adam) has not: a frame is")
    assert together.partial.startswith(
        "after the last frame came steps of optimizers[0] (SGD) (300), but none of optim"
    )


@pytest.mark.parametrize(("found", "expected"), [((1.0, 2.0), 1.0), ((1.0, 0.0), 0.0), ((1.0, None), None)])
def test_an_update_is_skipped_only_where_every_optimizer_skipped_it(found, expected):
    together, optimizers, _ = rounds(SGD, SGD)
    for place, value in enumerate(found):
        if value is not None:
            optimizers[place].found_inf = torch.tensor(value)
        together.completes(place, optimizers[place])
    assert (None if together.found_inf is None else float(together.found_inf)) == expected


def test_one_optimizer_for_each_parameter_stepped_inside_backward(tmp_path):
    model = nn.Sequential(nn.Linear(3, 3), nn.Tanh(), nn.Linear(3, 2))
    optimizers = {parameter: SGD([parameter], lr=0.1) for parameter in model.parameters()}

    def update(parameter):
        optimizers[parameter].step()
        optimizers[parameter].zero_grad()

    for parameter in model.parameters():
        parameter.register_post_accumulate_grad_hook(update)
    truth = [copy.deepcopy(model.state_dict())]
    with Recorder(tmp_path / "run.zarr", model, list(optimizers.values())):
        for _ in range(5):
            model(torch.randn(4, 3)).square().mean().backward()
            truth.append(copy.deepcopy(model.state_dict()))
    for name in truth[0]:
        found = read_array(tmp_path / "run.zarr", f"parameters/{name.replace('.', '/')}")
        assert found.tobytes() == torch.stack([state[name] for state in truth], -1).numpy().tobytes(), name


def test_a_list_in_another_order_than_the_steps_gives_whole_frames_and_the_rest_is_said(tmp_path, capfd):
    model = nn.ModuleDict({"generator": nn.Linear(2, 2), "critic": nn.Linear(2, 2)})
    generator, critic = (SGD(model[name].parameters(), lr=0.1) for name in ("generator", "critic"))
    truth = [model["generator"].weight.detach().clone()]
    with Recorder(tmp_path / "run.zarr", model, [generator, critic], stride=2) as recorder:
        for number in range(4):
            sum(p.square().sum() for p in model.parameters()).backward()
            critic.step()
            critic.step()
            generator.step()
            recorder.log(number=number)
            if number % 2:
                truth.append(model["generator"].weight.detach().clone())
        critic.step()
    found = read_array(tmp_path / "run.zarr", "parameters/generator/weight")
    assert found.tobytes() == torch.stack(truth, -1).numpy().tobytes()
    assert read_array(tmp_path / "run.zarr", "step").tolist() == [0, 2, 4]
    assert read_array(tmp_path / "run.zarr", "number")[1:].tolist() == [1, 3]
    told = capfd.readouterr().err
    assert (
        told.count("after the last frame came steps of optimizers[1] (SGD) (1), but none of optimizers[0] (SGD)") == 1
    )
    assert "changed since" not in told


# -- updates that nobody announces --------------------------------------------------------------


def test_a_recorder_that_nobody_holds_says_that_it_stops(tmp_path, capfd):
    model = nn.Linear(2, 2)
    optimizer = SGD(model.parameters(), lr=0.1)
    Recorder(tmp_path / "run.zarr", model, optimizer)
    assert "run.zarr: nothing holds the Recorder any more, so recording stops here" in capfd.readouterr().err
    Recorder(tmp_path / "run.zarr", model).close()
    assert "nothing holds" not in capfd.readouterr().err


class Own(Optimizer):
    """Makes its updates in a method that torch knows nothing of."""

    def __init__(self, parameters) -> None:
        super().__init__(parameters, {"lr": 0.1})

    def move(self) -> None:
        for parameter in self.param_groups[0]["params"]:
            parameter.data.add_(1.0)


def test_a_recording_that_never_began_is_said_with_the_remedy(tmp_path, capfd):
    model = nn.Linear(2, 2)
    optimizer = Own(model.parameters())
    with Recorder(tmp_path / "run.zarr", model, optimizer):
        optimizer.move()
    told = capfd.readouterr().err
    assert "nothing was recorded in" in told
    assert "no step of the optimizer (Own) was seen" in told
    assert "leave the optimizer out and call recorder.step() after each update" in told
    Recorder(tmp_path / "run.zarr", model).close()
    assert "recorder.step() was never called" in capfd.readouterr().err
    with pytest.raises(ZeroDivisionError), Recorder(tmp_path / "run.zarr", model, optimizer):
        1 / 0
    assert capfd.readouterr().err == ""
    assert not (tmp_path / "run.zarr").exists()
