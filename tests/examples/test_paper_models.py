"""The dense forward is PyG's, in logits and gradients; the CNN sees what the graphs see."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy, linear
from torch_geometric.data import Batch

from examples.data.build import POSITION_SCALE
from examples.data.edges import within
from examples.data.loader import Superpixels, dense, load
from examples.models import GAT, GCN
from examples.paper.cnn import CNN, pictures
from examples.paper.dense import Inputs, adjacency, forward, inputs, mask, normalised_adjacency, product


@pytest.fixture(scope="module")
def graphs() -> Superpixels:
    found = load()[0][:6]
    assert isinstance(found, Superpixels)
    return found


def signed(graphs: Superpixels) -> Superpixels:
    """Features of both signs: where all scores of a softmax have one sign, a_dst shifts them alike, to no effect."""
    intensity = torch.randn(graphs.intensity.shape, generator=torch.Generator().manual_seed(1))
    return replace(graphs, intensity=intensity)


def uneven(graphs: Superpixels) -> Superpixels:
    """Edges whose in-degrees differ: some of each node's neighbours are named twice, or are the node itself."""
    neighbours = graphs.neighbours.clone()
    neighbours[:, ::2, 5:] = neighbours[:, ::2, :1]
    return replace(graphs, neighbours=neighbours)


def as_batch(graphs: Superpixels) -> Batch:
    """PyG's batch in float64, each edge once."""
    batch = Batch.from_data_list([graphs[i].coalesce() for i in range(len(graphs))])
    batch.x = batch.x.double()
    return batch


def within_a_radius(graphs: Superpixels) -> Superpixels:
    """Edges between all superpixels within five pixels, as a file of `build.py --edges radius` gives them."""
    eighths = np.rint(graphs.position.numpy() * POSITION_SCALE).astype(np.int64)
    return replace(graphs, neighbours=within(eighths, (5 * POSITION_SCALE) ** 2), edges="radius")


def own_edges(graphs: Superpixels) -> Superpixels:
    """Edges that graphs of PyG had, as the original dataset's have: each leaves out others."""
    some = torch.Generator().manual_seed(2)
    kept = [graph.clone() for graph in (graphs[i] for i in range(len(graphs)))]
    for graph in kept:
        graph.edge_index = graph.edge_index[:, torch.rand(graph.edge_index.shape[1], generator=some) < 0.6]
    return dense(kept)


def few(graphs: Superpixels) -> Superpixels:
    """Six neighbours of each node: with itself 7, which is no multiple of the 4 that attention takes at a time."""
    return replace(graphs, neighbours=graphs.neighbours[:, :, :6])


EDGES = {"nearest": lambda graphs: graphs, "few": few, "uneven": uneven, "radius": within_a_radius, "own": own_edges}


@pytest.mark.parametrize("edges", EDGES)
@pytest.mark.parametrize(("kind", "model"), [("gcn", GCN), ("gat", GAT), ("gat, as products", GAT)])
def test_dense_forward_and_gradients_are_pygs(
    graphs: Superpixels, kind: str, model: type[GCN | GAT], edges: str
) -> None:
    chosen = signed(EDGES[edges](graphs))
    degrees = torch.cat([torch.bincount(chosen[i].coalesce().edge_index[1], minlength=75) for i in range(len(chosen))])
    assert (len(set(degrees.tolist())) == 1) == (edges in {"nearest", "few"})
    data = inputs(kind[:3], chosen)
    assert data.edges.is_floating_point() == (kind == "gcn" or edges not in {"nearest", "few"})
    if kind == "gat, as products":
        data = Inputs(data.x, mask(chosen.neighbours), data.y)
    if data.edges.is_floating_point():
        data = Inputs(data.x, data.edges.double(), data.y)
    data = Inputs(data.x.double(), data.edges, data.y)
    if kind == "gcn":  # the scale of 1/√(d_i d_j) in float32 is not that in float64
        exact = adjacency(chosen.neighbours).double()
        scale = exact.sum(dim=2).rsqrt()
        exact = scale[:, :, None] * exact * scale[:, None, :]
        torch.testing.assert_close(normalised_adjacency(chosen.neighbours).double(), exact, rtol=1e-6, atol=0)
        data = Inputs(exact @ chosen.intensity.double(), exact, data.y)
    torch.manual_seed(0)
    net = model().double()
    names = ["logits", *(name for name, _ in net.named_parameters())]
    largest = dict.fromkeys(names, 0.0)
    for _ in range(5):  # in any one draw, a layer's scores may all have one sign
        for parameter in net.parameters():  # biases begin at 0, which would hide one that is left out
            torch.nn.init.normal_(parameter, std=0.3)
        answers = []
        for logits in (net(as_batch(chosen)), forward(net, data)):
            gradients = torch.autograd.grad(cross_entropy(logits, data.y), list(net.parameters()))
            answers.append((logits.detach(), *gradients))
        for name, theirs, ours in zip(names, *answers, strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-12, msg=lambda text, name=name: name + text)
            largest[name] = max(largest[name], float(theirs.abs().max()))
    assert min(largest.values()) > 1e-6, f"a gradient is zero, nothing was compared: {largest}"


@pytest.mark.parametrize("features", [1, 128])
def test_products_of_the_gat_are_torchs(features: int) -> None:
    some = torch.Generator().manual_seed(3)
    x, weight = torch.randn(4, 75, features, generator=some), torch.randn(64, features, generator=some)
    upstream = torch.randn(4, 75, 64, generator=some)
    answers = []
    for function, kind in ((product, torch.float32), (linear, torch.float64)):
        a, b = (tensor.to(kind, copy=True).requires_grad_() for tensor in (x, weight))
        result = function(a, b)
        answers.append((result, *torch.autograd.grad(result, (a, b), upstream.to(kind))))
    for ours, exact in zip(*answers, strict=True):
        assert ours.dtype == torch.float32
        torch.testing.assert_close(ours.double(), exact, rtol=0, atol=2e-6 * float(exact.detach().abs().max()))


def test_position_adds_two_features(graphs: Superpixels) -> None:
    data = inputs("gat", graphs, position=True)
    assert data.x.shape == (6, 75, 3)
    assert torch.equal(data.x[..., :1], graphs.intensity)
    assert float(data.x[..., 1:].min()) >= 0
    assert float(data.x[..., 1:].max()) <= 1


def test_a_picture_shows_each_superpixel_at_its_centre(graphs: Superpixels) -> None:
    painted = pictures(graphs)
    assert painted.shape == (6, 1, 28, 28)
    centre = graphs.position.round().long().clamp(0, 27)
    shown = torch.stack([painted[i, 0, centre[i, :, 1], centre[i, :, 0]] for i in range(6)])
    # Rounding moves a centre by up to half a pixel, over the border of a small superpixel at most.
    assert float((shown == graphs.intensity[..., 0]).float().mean()) > 0.9
    assert sum(parameter.numel() for parameter in CNN().parameters()) == 20_522
    assert CNN()(painted).shape == (6, 10)
