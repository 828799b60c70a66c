"""What axes mean. The judge is the layer itself: without the weights of one output, no other output changes."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from recorder.trainer.model.selection import select_parameters


def axes_of(model: nn.Module) -> dict[str, tuple[str, ...]]:
    return {p.name: p.axes for p in select_parameters(model).schema.parameters}


class Product(nn.Module):
    """A layer as GCN scripts write it: x @ W."""

    def __init__(self, inputs: int, outputs: int, *, sizes: bool = True, bias: bool = False) -> None:
        super().__init__()
        if sizes:
            self.in_features, self.out_features = inputs, outputs
        self.weight = nn.Parameter(torch.randn(inputs, outputs))
        self.bias = nn.Parameter(torch.zeros(outputs)) if bias else None

    def forward(self, x):
        return x @ self.weight


class Other(Product):
    """Another class with the same shapes."""


def test_a_square_matrix_has_the_axes_of_its_siblings():
    found = axes_of(nn.Sequential(Product(5, 4), Product(4, 4), Product(4, 3), nn.Linear(3, 3)))
    assert [found[f"{n}.weight"] for n in range(3)] == [("input", "output")] * 3
    assert found["3.weight"] == ("output", "input")


def test_a_bias_tells_as_well_as_recorded_sizes():
    found = axes_of(nn.Sequential(Product(5, 4, sizes=False, bias=True), Product(4, 4, sizes=False, bias=True)))
    assert found["0.weight"] == found["1.weight"] == ("input", "output")


def test_nothing_is_guessed_where_no_sibling_of_the_class_tells():
    found = axes_of(nn.Sequential(Product(4, 4), Other(5, 4), Other(5, 4, sizes=False), Product(4, 3, sizes=False)))
    assert found["0.weight"] == ("", "")
    assert found["1.weight"] == found["2.weight"] == ("input", "output")
    assert found["3.weight"] == ("", "")


def test_siblings_that_contradict_each_other_tell_nothing():
    turned = Product(5, 4)
    turned.weight = nn.Parameter(torch.zeros(4, 5))
    found = axes_of(nn.Sequential(Product(5, 4), turned, Product(4, 4)))
    assert [found[f"{n}.weight"] for n in range(3)] == [("input", "output"), ("output", "input"), ("", "")]


@pytest.mark.parametrize(
    ("module", "key"),
    [
        (nn.Linear(4, 4), "weight"),
        (nn.LSTM(4, 4), "weight_hh_l0"),
        (nn.LSTM(16, 4), "weight_ih_l0"),
        (nn.GRUCell(4, 4), "weight_ih"),
        (nn.MultiheadAttention(4, 2), "in_proj_weight"),
        (nn.MultiheadAttention(4, 2), "out_proj.weight"),
        (nn.utils.parametrizations.weight_norm(nn.Linear(4, 4)), "parametrizations.weight.original1"),
        (nn.utils.parametrizations.orthogonal(nn.Linear(4, 4)), "parametrizations.weight.original"),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
def test_layers_of_torch_have_outputs_first(module, key):
    assert axes_of(module)[key] == ("output", "input")


def test_matrices_that_are_no_layers_have_no_meaning():
    model = nn.ModuleDict({"a": nn.Embedding(4, 4), "b": nn.EmbeddingBag(5, 4), "c": nn.LayerNorm((5, 4))})
    assert set(axes_of(model).values()) == {("", "")}


def graph_layers():
    geometric = pytest.importorskip("torch_geometric.nn")
    return {
        "GCN2Conv": (geometric.GCN2Conv(4, alpha=0.1, theta=0.5, layer=1, shared_weights=False), "weight1"),
        "GCN2Conv, shared": (geometric.GCN2Conv(4, alpha=0.1, theta=0.5, layer=1), "weight1"),
        "GCN2Conv, second": (geometric.GCN2Conv(4, alpha=0.1, theta=0.5, layer=1, shared_weights=False), "weight2"),
        "RGCNConv": (geometric.RGCNConv(4, 4, num_relations=2), "root"),
        "GCNConv": (geometric.GCNConv(4, 4), "lin.weight"),
        "SAGEConv": (geometric.SAGEConv(4, 4), "lin_r.weight"),
        "GraphConv": (geometric.GraphConv(4, 4), "lin_rel.weight"),
        "GMMConv": (geometric.GMMConv(4, 4, dim=1, kernel_size=1), "g"),
    }


@pytest.mark.parametrize("kind", list(graph_layers()))
def test_graph_layers_have_the_axes_that_they_multiply_by(kind):
    torch.manual_seed(0)
    layer, key = graph_layers()[kind]
    x, edges = torch.randn(6, 4), torch.randint(0, 6, (2, 12))
    arguments = {
        "GCN2Conv": (x, x, edges),
        "RGCNConv": (x, edges, torch.randint(0, 2, (12,))),
        "GMMConv": (x, edges, torch.rand(12, 1)),
    }.get(kind.partition(",")[0], (x, edges))
    before = layer(*arguments)
    axis = axes_of(layer)[key].index("output")
    with torch.no_grad():
        layer.get_parameter(key).select(axis, 2).mul_(3.0)
    changed = (layer(*arguments) - before).abs().amax(0) > 1e-6
    assert changed.tolist() == [False, False, True, False]


def test_a_square_matrix_of_a_graph_layer_that_tells_nothing_has_no_meaning():
    geometric = pytest.importorskip("torch_geometric.nn")
    assert axes_of(geometric.AntiSymmetricConv(4))["W"] == ("", "")
    assert axes_of(geometric.RGCNConv(4, 3, num_relations=4, num_bases=3))["comp"] == ("", "")


def test_heads_lie_along_the_axis_of_outputs():
    class Attention(Product):
        def __init__(self) -> None:
            super().__init__(5, 4)
            self.heads, self.out_channels, self.out_features = 2, 2, 4

    (parameter,) = select_parameters(Attention()).schema.parameters
    assert (parameter.axes, parameter.heads, parameter.head_axis) == (("input", "output"), 2, 1)
