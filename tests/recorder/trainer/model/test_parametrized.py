"""Weights that torch keeps apart from their module, under weight_norm and the like: they are weights of the module."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn.utils import parametrizations, parametrize

from recorder import Recorder
from recorder.trainer.model.selection import select_parameters
from tests.recorder.runs import open_tree


def described(model: nn.Module) -> dict[str, tuple[str, str, str, tuple[str, ...]]]:
    parameters = select_parameters(model).schema.parameters
    return {p.name: (p.layer, p.module, p.layer_class, p.axes) for p in parameters}


def test_layers_under_weight_norm_hold_their_weights():
    model = nn.Sequential(parametrizations.weight_norm(nn.Linear(3, 4)), nn.Linear(4, 2))
    assert described(model) == {
        "0.bias": ("0", "0", "Linear", ("output",)),
        "0.parametrizations.weight.original0": ("0", "0", "Linear", ("output", "")),  # a length for each row
        "0.parametrizations.weight.original1": ("0", "0", "Linear", ("output", "input")),
        "1.weight": ("1", "1", "Linear", ("output", "input")),
        "1.bias": ("1", "1", "Linear", ("output",)),
    }


def test_layers_under_spectral_norm_and_orthogonal_hold_their_weights():
    model = nn.ModuleDict(
        {
            "spectral": parametrizations.spectral_norm(nn.Conv2d(3, 4, 2)),
            "orthogonal": parametrizations.orthogonal(nn.Linear(4, 4)),
        }
    )
    found = described(model)
    kernel = ("output", "input", "kernel", "kernel")
    assert found["spectral.parametrizations.weight.original"] == ("spectral", "spectral", "Conv2d", kernel)
    linear = ("orthogonal", "orthogonal", "Linear", ("output", "input"))
    assert found["orthogonal.parametrizations.weight.original"] == linear


def test_a_parametrization_of_the_model_itself_and_its_own_weights():
    class Scaled(nn.Module):
        def __init__(self):
            super().__init__()
            self.factor = nn.Parameter(torch.ones(()))

        def forward(self, weight):
            return self.factor * weight

    model = nn.Linear(3, 2)
    parametrize.register_parametrization(model, "weight", Scaled())
    found = described(model)
    assert found["parametrizations.weight.original"] == ("", "", "Linear", ("output", "input"))
    assert found["parametrizations.weight.0.factor"][0] == "parametrizations.weight.0"


def test_a_class_tells_its_axes_under_a_parametrization_too():
    class Product(nn.Module):
        def __init__(self, inputs, outputs):
            super().__init__()
            self.in_features, self.out_features = inputs, outputs
            self.weight = nn.Parameter(torch.randn(inputs, outputs))

    square = Product(4, 4)
    parametrizations.spectral_norm(square)
    model = nn.Sequential(Product(3, 4), square)
    assert described(model)["1.parametrizations.weight.original"] == ("1", "1", "Product", ("input", "output"))


def test_a_module_that_passes_messages_is_the_layer():
    class MessagePassing(nn.Module):
        def __init__(self):
            super().__init__()
            self.lin = parametrizations.weight_norm(nn.Linear(2, 3))

    found = described(nn.Sequential(MessagePassing()))
    assert {name: one[:2] for name, one in found.items()} == {
        "0.lin.bias": ("0", "0.lin"),
        "0.lin.parametrizations.weight.original0": ("0", "0.lin"),
        "0.lin.parametrizations.weight.original1": ("0", "0.lin"),
    }


def test_the_store_says_so(tmp_path):
    model = parametrizations.weight_norm(nn.Linear(3, 4))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with Recorder(tmp_path / "run.zarr", nn.Sequential(model), optimizer):
        for _ in range(3):
            optimizer.zero_grad()
            model(torch.ones(2, 3)).square().sum().backward()
            optimizer.step()
    nodes = open_tree(tmp_path / "run.zarr")["parameters"].subtree
    arrays = {a.attrs["name"]: a for node in nodes for a in node.data_vars.values()}
    directions = arrays["0.parametrizations.weight.original1"]
    assert (directions.attrs["layer"], directions.attrs["module"]) == ("0", "0")
    assert directions.shape == (4, 3, 4)
