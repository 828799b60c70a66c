import pytest
import torch
from torch import Tensor
from torch_geometric.data import Batch

from examples.data.loader import Superpixels, load
from examples.models import GAT, GCN

FIGURE_1 = """\
GCN(
  (initial_conv): GCNConv(1, 32)
  (conv1): GCNConv(32, 64)
  (conv2): GCNConv(64, 64)
  (conv3): GCNConv(64, 64)
  (out): Linear(in_features=128, out_features=10, bias=True)
)"""

FIGURE_5 = """\
GAT(
  (initial_conv): GATConv(1, 32, heads=2)
  (conv1): GATConv(64, 64, heads=2)
  (conv2): GATConv(128, 64, heads=2)
  (out): Linear(in_features=128, out_features=32, bias=True)
  (out1): Linear(in_features=32, out_features=32, bias=True)
  (out2): Linear(in_features=32, out_features=10, bias=True)
)"""

MODELS = [pytest.param(GCN, FIGURE_1, 11_786, id="GCN"), pytest.param(GAT, FIGURE_5, 31_114, id="GAT")]


@pytest.mark.parametrize(("model", "figure", "parameters"), MODELS)
def test_models_print_as_in_the_paper(model: type[torch.nn.Module], figure: str, parameters: int) -> None:
    assert str(model()) == figure
    assert sum(parameter.numel() for parameter in model().parameters()) == parameters


@pytest.mark.parametrize("model", [GCN, GAT])
def test_no_model_sets_a_seed(model: type[torch.nn.Module]) -> None:
    weights = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        weights.append(torch.cat([parameter.flatten() for parameter in model().parameters()]))
        weights.append(torch.rand(100))  # what a later shuffle would draw
    assert not torch.equal(weights[0], weights[2])
    assert not torch.equal(weights[1], weights[3])


def graph_convolution(layer: torch.nn.Module, x: Tensor, neighbours: Tensor) -> Tensor:
    """GCNConv by its definition: where every in-degree is equal, the mean over a node and its neighbours."""
    total = x + sum(x[neighbours[:, j]] for j in range(neighbours.shape[1]))
    return total / (1 + neighbours.shape[1]) @ layer.lin.weight.T + layer.bias


def graph_attention(layer: torch.nn.Module, x: Tensor, neighbours: Tensor) -> Tensor:
    """GATConv by its definition (Veličković et al., 2018), head by head, each node among its own neighbours."""
    nodes = torch.arange(len(x))[:, None]
    sources = torch.cat([nodes, neighbours], dim=1)
    heads = []
    for head, weight in enumerate(layer.lin.weight.chunk(layer.heads)):
        h = x @ weight.T
        score = (h @ layer.att_src[0, head])[sources] + (h @ layer.att_dst[0, head])[:, None]
        attention = torch.nn.functional.leaky_relu(score, 0.2).softmax(dim=1)
        heads.append((attention[..., None] * h[sources]).sum(dim=1))
    return torch.cat(heads, dim=1) + layer.bias


def gcn(model: GCN, x: Tensor, neighbours: Tensor) -> Tensor:
    for layer in (model.initial_conv, model.conv1, model.conv2, model.conv3):
        x = torch.tanh(graph_convolution(layer, x, neighbours))
    return model.out(torch.cat([x.mean(dim=0), x.amax(dim=0)]))


def gat(model: GAT, x: Tensor, neighbours: Tensor) -> Tensor:
    for layer in (model.initial_conv, model.conv1, model.conv2):
        x = torch.relu(graph_attention(layer, x, neighbours))
    x = x.mean(dim=0)
    return model.out2(torch.relu(model.out1(torch.relu(model.out(x)))))


@pytest.mark.parametrize(("kind", "by_hand"), [(GCN, gcn), (GAT, gat)])
def test_forward_is_what_the_paper_says(kind: type[GCN | GAT], by_hand: object) -> None:
    torch.manual_seed(0)
    graphs, _ = load()
    assert isinstance(graphs, Superpixels)
    model = kind().double()
    batch = Batch.from_data_list([graphs[i] for i in range(3)])
    batch.x = batch.x.double()
    expected = [by_hand(model, graphs.intensity[i].double(), graphs.neighbours[i].long()) for i in range(3)]
    torch.testing.assert_close(model(batch), torch.stack(expected), rtol=1e-12, atol=1e-12)
