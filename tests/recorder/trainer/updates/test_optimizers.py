"""An optimizer's own count of its steps, which tells at which step a resumed training is if the weights do not."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from recorder.trainer.updates.optimizers import steps_of


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
