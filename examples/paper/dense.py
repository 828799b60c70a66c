"""The networks of the paper on graphs of one shape: dense, with the PyG layers' own parameters.

Every graph has 75 nodes, so a batch is one array (graphs, 75, features). Its edges are an array (graphs, 75, 75),
whatever edges there are; for attention on a CPU, if all nodes have 20, an array (graphs, 75, 20). PyG works on lists of
edges. Here the same work is a few operations of fixed shape, which is several times faster on a CPU and fits a CUDA
graph. A test compares logits and gradients with PyG's own forward.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import leaky_relu, linear
from torch_geometric.nn import GATConv, GCNConv

from ..data.loader import Superpixels
from ..models import GAT, GCN
from .attention import attend
from .cnn import CNN, pictures

AT_A_TIME = 1_000
"""Graphs whose edges are made at once: all 60,000 take 1.35 GB, and intermediate arrays would take as much again."""

Model = GCN | GAT | CNN
KINDS: dict[str, type[Model]] = {"gcn": GCN, "gat": GAT, "cnn": CNN}


@dataclass(frozen=True)
class Inputs:
    """The arrays that a model reads and the classes that it should find, all on one device.

    Attributes
    ----------
    x : (N, 75, features) float32, or (N, 1, 28, 28) for the CNN
        The features. The first layer of the GCN begins by averaging them over neighbours: here they are averages.
    edges : (N, 75, 75) float32, (N, 75, 20) int64, or (N, 0) for the CNN
        Row i says what reaches node i. For the GCN it is a row of the normalised adjacency. For the GAT it lists the
        nodes that i listens to, or holds what is added to their scores (0 for them and for i itself, −inf for others).
    y : (N,) int64
        Classes.
    """

    x: Tensor
    edges: Tensor
    y: Tensor

    def __len__(self) -> int:
        return len(self.y)

    def take(self, index: Tensor | slice) -> Inputs:
        """Return the graphs with these numbers, in that order."""
        return Inputs(self.x[index], self.edges[index], self.y[index])

    def to(self, device: str | torch.device) -> Inputs:
        """Move them to a device."""
        return Inputs(self.x.to(device), self.edges.to(device), self.y.to(device))


def inputs(kind: str, graphs: Superpixels, *, position: bool = False, device: str = "cpu") -> Inputs:
    """Make the arrays that a model reads, in the form that is fastest on a device, and move them there.

    Parameters
    ----------
    kind : {"gcn", "gat", "cnn"}
    graphs : Superpixels
    position : bool
        Give the centre of each node (x, y, scaled to 0…1) as two more features.
    device : str
    """
    if kind == "cnn":
        return Inputs(pictures(graphs), torch.empty(len(graphs), 0), graphs.label).to(device)
    x = torch.cat([graphs.intensity, graphs.position / 27.0], dim=2) if position else graphs.intensity
    if kind == "gat":
        edges = listed(graphs.neighbours) if device == "cpu" else None
        return Inputs(x, mask(graphs.neighbours) if edges is None else edges, graphs.label).to(device)
    nodes = x.shape[1]
    averaged, edges = torch.empty_like(x), torch.empty(len(graphs), nodes, nodes)
    for start in range(0, len(graphs), AT_A_TIME):
        part = slice(start, start + AT_A_TIME)
        edges[part] = normalised_adjacency(graphs.neighbours[part])
        averaged[part] = edges[part] @ x[part]
    return Inputs(averaged, edges, graphs.label).to(device)


def listed(neighbours: Tensor) -> Tensor | None:
    """(N, nodes, neighbours + 1) int64: the nodes that a node listens to, and itself; None if one is listed twice.

    A node with fewer neighbours than others lists itself in their place, and is then listed twice: these lists are for
    graphs whose nodes all have the same number of neighbours.
    """
    count, nodes, most = neighbours.shape
    found = torch.empty(count, nodes, most + 1, dtype=torch.long)
    for start in range(0, count, AT_A_TIME):
        part = neighbours[start : start + AT_A_TIME].long()
        own = torch.arange(nodes)[None, :, None].expand(len(part), nodes, 1)
        some = torch.cat([part, own], dim=2).sort(dim=2).values
        if (some.diff(dim=2) == 0).any():
            return None
        found[start : start + AT_A_TIME] = some
    return found


def adjacency(neighbours: Tensor) -> Tensor:
    """(N, nodes, nodes) float32: 1 where an edge from node j reaches node i, and on the diagonal, else 0."""
    count, nodes, _ = neighbours.shape
    edges = torch.eye(nodes).repeat(count, 1, 1)
    return edges.scatter_(2, neighbours.long(), 1.0)


def normalised_adjacency(neighbours: Tensor) -> Tensor:
    """D^−½ (A + I) D^−½ of each graph, D the in-degrees with the node itself (Kipf & Welling, 2017, eq. 2)."""
    edges = adjacency(neighbours)
    scale = edges.sum(dim=2).rsqrt()
    return scale[:, :, None] * edges * scale[:, None, :]


def mask(neighbours: Tensor) -> Tensor:
    """Return what is added to the scores of attention: 0 where there is an edge or the node itself, else −inf."""
    return adjacency(neighbours).log()


def forward(model: Model, batch: Inputs) -> Tensor:
    """Logits (graphs, 10) of a batch, from the parameters of the model's own layers."""
    if isinstance(model, GCN):
        return gcn(model, batch.x, batch.edges)
    if isinstance(model, GAT):
        return gat(model, batch.x, batch.edges)
    logits: Tensor = model(batch.x)
    return logits


def gcn(model: GCN, averaged: Tensor, edges: Tensor) -> Tensor:
    """GCN's logits; `averaged` is edges @ x, the features as the first layer averages them before its weights."""
    x = torch.tanh(linear(averaged, model.initial_conv.lin.weight, model.initial_conv.bias))
    for layer in (model.conv1, model.conv2, model.conv3):
        x = torch.tanh(convolution(layer, x, edges))
    logits: Tensor = model.out(torch.cat([x.mean(dim=1), x.amax(dim=1)], dim=1))
    return logits


def convolution(layer: GCNConv, x: Tensor, edges: Tensor) -> Tensor:
    """GCNConv: average over neighbours, then weights and bias. No layer has fewer features after its weights."""
    return linear(torch.bmm(edges, x), layer.lin.weight, layer.bias)


def product(x: Tensor, weight: Tensor) -> Tensor:
    """Multiply features by weights on a CPU: x Wᵀ, by oneDNN where it can.

    MKL, torch's own choice for float32, leaves half of an AMD core's vectors idle. The product of (2400, 128) and
    (128, 128) with its gradients takes 2.55 ms by MKL and 1.31 ms by oneDNN, copies included (one core of an AMD EPYC,
    torch 2.13, best of 7). The GCN's smaller products gain less than the copies take.
    """
    has_onednn = torch.backends.mkldnn.enabled and torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    if x.shape[-1] == 1 or x.dtype != torch.float32 or not has_onednn:
        return linear(x, weight)
    result: Tensor = linear(x.to_mkldnn(), weight).to_dense()
    return result


def gat(model: GAT, x: Tensor, edges: Tensor) -> Tensor:
    """GAT's logits."""
    for layer in (model.initial_conv, model.conv1, model.conv2):
        x = attention(layer, x, edges)
    logits: Tensor = model.out2(torch.relu(model.out1(torch.relu(model.out(x.mean(dim=1))))))
    return logits


def attention(layer: GATConv, x: Tensor, edges: Tensor) -> Tensor:
    """GATConv (Veličković et al., 2018) and a ReLU, along listed edges or with all heads as one batched product.

    Node i weighs node j by softmax_j of LeakyReLU(a_src·W x_j + a_dst·W x_i), j among its neighbours and itself. In the
    product the scores are taken as (Wᵀa)·x, and a layer with fewer features than channels mixes the features and
    applies W after: the same sums with fewer products.
    """
    graphs, nodes, features = x.shape
    heads, channels = layer.heads, layer.out_channels
    if not edges.is_floating_point():
        values = product(x, layer.lin.weight).view(graphs, nodes, heads, channels)
        bias = layer.bias.view(heads, channels)
        out = attend(values, layer.att_src[0], layer.att_dst[0], bias, edges, layer.negative_slope)
        return out.view(graphs, nodes, heads * channels)
    weight = layer.lin.weight.view(heads, channels, features)
    source, target = (torch.matmul(a.view(heads, 1, channels), weight) for a in (layer.att_src, layer.att_dst))
    scores = linear(x, torch.cat([source, target]).view(2 * heads, features)).transpose(
        1, 2
    )  # (graphs, 2 heads, nodes)
    score = scores[:, heads:, :, None] + scores[:, :heads, None, :] + edges[:, None]
    attention = torch.softmax(leaky_relu(score, layer.negative_slope), dim=3)  # −inf stays −inf
    if features < channels:
        mixed = attention.view(graphs, heads * nodes, nodes) @ x
        out = mixed.view(graphs, heads, nodes, features) @ weight.transpose(1, 2)
    else:
        out = attention @ linear(x, layer.lin.weight).view(graphs, nodes, heads, channels).transpose(1, 2)
    joined = out.transpose(1, 2).reshape(graphs, nodes, heads * channels) + layer.bias
    return torch.relu(joined)
