"""Runs with known weights: the oracle of every recorder test is a pure function of (step, parameter)."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import torch
import xarray as xr
from torch import nn


def weights_at(step: int, index: int, shape: tuple[int, ...], dtype: torch.dtype = torch.float32) -> torch.Tensor:
    """Return parameter number `index` after `step` updates: noise that differs for every (step, index)."""
    generator = torch.Generator().manual_seed(1_000_003 * (index + 1) + step)
    return torch.randn(shape, generator=generator, dtype=torch.float32).to(dtype)


class Scripted(torch.optim.Optimizer):
    """An optimizer whose update is `weights_at`: after `n` steps the weights are those of step `first + n`."""

    def __init__(self, parameters, lr: float = 0.1, first: int = 0) -> None:
        self.updates = first
        super().__init__(list(parameters), {"lr": lr})
        self.write()

    @torch.no_grad()
    def write(self) -> None:
        parameters = [p for group in self.param_groups for p in group["params"]]
        for index, parameter in enumerate(parameters):
            parameter.copy_(weights_at(self.updates, index, tuple(parameter.shape), parameter.dtype))

    def step(self, closure=None):
        self.updates += 1
        self.write()


class Zoo(nn.Module):
    """Every shape that the format knows, 0-d and empty ones too."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.zeros(()))
        self.empty = nn.Parameter(torch.zeros(0, 3))
        self.lin = nn.Linear(5, 7)
        self.conv = nn.Conv2d(2, 3, (2, 2))
        self.step = nn.Linear(2, 2)


def open_tree(store: Path | str) -> xr.DataTree:
    """Open a store without any code of this project."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return xr.open_datatree(store, engine="zarr", chunks={})


def read_array(store: Path | str, path: str) -> np.ndarray:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return open_tree(store)[path].to_numpy()


def store_path(name: str) -> str:
    """Return a parameter's path as FORMAT.md describes it, written here a second time on purpose."""
    parts = [f"%{ord(p[0]):02X}{p[1:]}" if p == "step" or p.startswith("__") else p for p in name.split(".")]
    return "parameters/" + "/".join(parts)


def assert_frames_are_scripted(store: Path | str, model: nn.Module, *, steps: np.ndarray | None = None) -> np.ndarray:
    """Compare every committed frame with `weights_at`, bit for bit; return the steps of the store."""
    tree = open_tree(store)
    found = tree["step"].to_numpy()
    if steps is not None:
        np.testing.assert_array_equal(found, steps)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for index, (name, parameter) in enumerate(model.named_parameters()):
            stored = tree[store_path(name)].to_numpy()
            assert stored.shape == (*parameter.shape, len(found))
            for frame, step in enumerate(found):
                expected = weights_at(int(step), index, tuple(parameter.shape), parameter.dtype)
                assert stored[..., frame].tobytes() == widened(expected).tobytes(), (name, int(step))
    return found


def widened(tensor: torch.Tensor) -> np.ndarray:
    return (tensor.float() if tensor.dtype == torch.bfloat16 else tensor).detach().cpu().numpy()


def train(model: nn.Module, optimizer: torch.optim.Optimizer, steps: int) -> None:
    """Make `steps` updates, each of which shrinks every parameter."""
    for _ in range(steps):
        optimizer.zero_grad()
        sum(p.square().sum() for p in model.parameters() if p.requires_grad).backward()
        optimizer.step()
