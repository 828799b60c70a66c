"""An optimizer's own count of its steps, which tells at which step a resumed training is if the weights do not."""

from __future__ import annotations

import copy
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn
from torch.optim import SGD, Optimizer

from recorder.errors import UsageError
from recorder.trainer.updates.optimizers import LearningRates, optimizers_of, steps_of
from tests.recorder.trainer.updates.test_hooks_whole_steps import Ear, weight


def stepped(optimizer: torch.optim.Optimizer, model: nn.Module, steps: int) -> torch.optim.Optimizer:
    for _ in range(steps):
        optimizer.zero_grad()
        model(torch.ones(1, 2)).sum().backward()
        optimizer.step()
    return optimizer


@pytest.mark.parametrize("options", [{}, {"foreach": True}, {"fused": True}, {"amsgrad": True}])
@pytest.mark.parametrize("kind", [torch.optim.Adam, torch.optim.AdamW])
def test_adam_counts(kind, options):
    model = nn.Linear(2, 2)
    optimizer = kind(model.parameters(), **options)
    assert steps_of(optimizer) is None, "no step yet"
    assert steps_of(stepped(optimizer, model, 7)) == 7
    restored = kind(model.parameters(), **options)
    restored.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    assert steps_of(restored) == 7


@pytest.mark.parametrize("options", [{}, {"momentum": 0.9}])
def test_sgd_counts_nothing(options):
    model = nn.Linear(2, 2)
    assert steps_of(stepped(torch.optim.SGD(model.parameters(), lr=0.1, **options), model, 3)) is None


def test_a_parameter_without_a_gradient_is_behind():
    model = nn.ModuleList([nn.Linear(2, 2), nn.Linear(2, 2)])
    optimizer = torch.optim.Adam(model.parameters())
    stepped(optimizer, model[0], 5)
    stepped(optimizer, model[1], 2)
    assert steps_of(optimizer) == 5, "since the gradients of the first are None again"


class Counting(torch.optim.SGD):
    """Keeps its count in the parameter group, as some do."""

    def step(self, closure=None):
        self.param_groups[0]["step"] = self.param_groups[0].get("step", 0) + 1


class Around(torch.optim.SGD):
    """Holds the optimizer that steps."""

    def __init__(self, parameters, inner: torch.optim.Optimizer) -> None:
        super().__init__(parameters, lr=0.1)
        self.inner = inner


def test_counts_elsewhere():
    model = nn.Linear(2, 2)
    assert steps_of(stepped(Counting(model.parameters(), lr=0.1), model, 4)) == 4
    inner = torch.optim.Adam(model.parameters())
    outer = Around(model.parameters(), inner)
    stepped(inner, model, 6)
    assert steps_of(outer) == 6


@pytest.mark.parametrize("count", ["7", None, True, torch.ones(2), torch.tensor(1j), torch.tensor(float("nan"))])
def test_what_is_no_count(count):
    model = nn.Linear(2, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    optimizer.state[model.weight]["step"] = count
    assert steps_of(optimizer) is None


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
        (lambda o: {"head": o}, r"got dict\. Pass the optimizers in a list"),
        (lambda o: [o, 3], r"got int\. Pass the torch optimizer, or leave it out and call recorder\.step\(\)"),
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


def test_the_users_own_optimizer_inside_an_engine_of_deepspeed_is_refused():
    own = SGD([weight()], lr=1.0)
    engine = type("DeepSpeedEngine", (), {"optimizer": Zero1(own)})()
    with pytest.raises(UsageError, match=r"got Zero1\. DeepSpeed copies them"):
        optimizers_of(own, engine)
    engine.optimizer = own  # without shards and in full precision the engine steps it as it is
    assert optimizers_of(own, engine) == [own]


def test_an_optimizer_that_is_listed_twice_counts_once():
    inner = SGD([weight()], lr=1.0)
    assert optimizers_of([inner, Accelerated(inner), inner]) == [inner]


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
