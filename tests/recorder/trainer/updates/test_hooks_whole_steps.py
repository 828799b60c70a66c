"""A frame is a whole step: steps in wrappers and within each other, rounds of several optimizers, and what the user is
told of updates that no listed optimizer made.
"""

from __future__ import annotations

import copy
import weakref
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn
from torch.optim import SGD, Adam, Optimizer

from recorder import Recorder
from recorder.errors import UsageError
from recorder.trainer.feeds.ring import as_bytes
from recorder.trainer.model.selection import select_parameters
from recorder.trainer.updates.hooks import Rounds, attach
from recorder.trainer.updates.lookout import Lookout
from recorder.trainer.updates.optimizers import LearningRates, optimizers_of
from tests.recorder.runs import read_array, train


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


class Lightning:
    """A class made on the fly of wrapper and optimizer, whose instances take over what the optimizer has."""

    def __init__(self, inner) -> None:
        self.__dict__ = {key: value for key, value in inner.__dict__.items() if key != "step"}
        self.__class__ = type("LightningSGD", (Lightning, type(inner)), {})
        self._optimizer = inner

    @property
    def optimizer(self):
        return self._optimizer

    def step(self, closure=None):
        return self._optimizer.step(closure)


class Accelerated(Optimizer):
    """Never runs `Optimizer.__init__`."""

    def __init__(self, inner) -> None:
        self.optimizer = inner

    @property
    def param_groups(self):
        return self.optimizer.param_groups

    def step(self, closure=None):
        self.optimizer.step(closure)


class Private(Accelerated):
    """Keeps what it wraps under a name of its own."""

    def __init__(self, inner) -> None:
        self.original_optimizer = inner

    @property
    def param_groups(self):
        return self.original_optimizer.param_groups

    def step(self, closure=None):
        self.original_optimizer.step(closure)


class Twin(SGD):
    """Shares the `__dict__` of another optimizer, and has no attribute that leads to it."""

    def __init__(self, inner) -> None:
        self.__dict__ = inner.__dict__


@pytest.mark.parametrize("wrap", [Lightning, Accelerated, Private, Twin, lambda o: Accelerated(Lightning(o))])
def test_a_wrapper_is_followed_to_the_optimizer_whose_hooks_run(wrap):
    inner = SGD([weight()], lr=1.0)
    given = wrap(inner)
    ear = Ear(given)
    for _ in range(3):
        (inner if wrap is Twin else given).step()
    assert ear.places == [0, 0, 0]
    assert ear.seen == [-2, -4, -6]
    copy.deepcopy(inner).step()
    assert len(ear.places) == 3


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


class Zero1(Optimizer):
    """As DeepSpeed's: its step moves copies, which the model gets later."""

    __module__ = "deepspeed.runtime.zero.stage_1_and_2"

    def __init__(self, inner) -> None:
        self.optimizer = inner


class NoInit(Optimizer):
    def __init__(self) -> None:
        pass


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda o: torch.optim.lr_scheduler.StepLR(o, 1), "got StepLR, which holds one. Pass that one: .optimizer"),
        (lambda o: "adam", "expected a torch.optim.Optimizer, got str"),
        (lambda o: {"head": o}, "expected a torch.optim.Optimizer, got str"),
        (lambda o: [o, 3], "expected a torch.optim.Optimizer, got int"),
        (
            lambda o: NoInit(),
            r"got NoInit, which never ran Optimizer.__init__\. Pass the torch optimizer that it wraps",
        ),
        (lambda o: Zero1(o), r"got Zero1\. DeepSpeed .* call recorder\.start\(\) before the training"),
        (lambda o: Accelerated(SimpleNamespace()), "got Accelerated, which never ran"),
    ],
)
def test_what_cannot_be_followed_is_refused_with_the_remedy(make, told):
    with pytest.raises(UsageError, match=told):
        optimizers_of(make(SGD([weight()], lr=1.0)))


def test_an_optimizer_that_is_listed_twice_counts_once():
    inner = SGD([weight()], lr=1.0)
    assert optimizers_of([inner, Accelerated(inner), inner]) == [inner]


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


def test_learning_rates_keep_their_columns():
    """A group that one optimizer gets or loses does not move the rates of the next."""
    told = []
    first, second = (torch.optim.SGD(nn.Linear(1, 1).parameters(), lr=rate) for rate in (0.1, 0.2))
    rates = LearningRates([first, second], told.append)
    first.add_param_group({"params": [nn.Parameter(torch.zeros(1))], "lr": 0.3})
    assert rates.now() == [0.1, 0.2]
    first.param_groups.clear()
    found = rates.now()
    assert np.isnan(found[0])
    assert found[1] == 0.2
    assert len(told) == 1


# -- updates that nobody announces --------------------------------------------------------------


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


def test_a_recorder_that_nobody_holds_says_that_it_stops(tmp_path, capfd):
    model = nn.Linear(2, 2)
    optimizer = SGD(model.parameters(), lr=0.1)
    Recorder(tmp_path / "run.zarr", model, optimizer)
    assert "run.zarr: nothing holds the Recorder any more, so recording stops here" in capfd.readouterr().err
    Recorder(tmp_path / "run.zarr", model).close()
    assert "nothing holds" not in capfd.readouterr().err


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
