"""What the recorded frames are held against: clones of the weights, taken in the same training or in a plain loop."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import nn

from tests.recorder.runs import open_tree, read_array, store_path

State = dict[str, torch.Tensor]


def weights(model: nn.Module) -> State:
    """Clones of the parameters, a tied one once."""
    return {name: parameter.detach().clone() for name, parameter in model.named_parameters()}


class Truth:
    """Clones taken after each step of an optimizer. `save` writes them to a file for another process."""

    def __init__(self, model: nn.Module, optimizer: torch.optim.Optimizer | None = None) -> None:
        self.model, self.states = model, [weights(model)]
        if optimizer is not None:
            optimizer.register_step_post_hook(lambda *_: self.take())

    def take(self) -> None:
        self.states.append(weights(self.model))

    def save(self, path: Path) -> None:
        torch.save(self.states, path)


def attributes(store: Path) -> dict:
    return json.loads((store / "zarr.json").read_text())["attributes"]


def assert_frames(store: Path, states: Sequence[State], steps: Sequence[int] | None = None) -> None:
    """The store holds these states, bit for bit, at these steps; 0, 1, 2, … by default."""
    expected = list(range(len(states))) if steps is None else list(steps)
    assert read_array(store, "step").tolist() == expected
    names = {node.attrs["name"] for node in _arrays(store)}
    assert names == set(states[0])
    for name in states[0]:
        found = read_array(store, store_path(name))
        truth = torch.stack([state[name] for state in states], -1).numpy()
        assert found.tobytes() == np.ascontiguousarray(truth).tobytes(), name


def _arrays(store: Path) -> list:
    return [
        array
        for node in open_tree(store)["parameters"].subtree
        for array in node.data_vars.values()
    ]  # fmt: skip
