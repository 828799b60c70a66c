"""The two networks of the paper (arXiv:2309.00699), as its figures 1 and 5 print them."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import Linear, Module
from torch_geometric.data import Batch
from torch_geometric.nn import GATConv, GCNConv, global_max_pool, global_mean_pool


class GCN(Module):
    """Four graph convolutions with tanh, mean and max of the nodes side by side, one dense layer: 11,786 parameters."""

    def __init__(self, features: int = 1) -> None:
        super().__init__()
        self.initial_conv = GCNConv(features, 32)
        self.conv1 = GCNConv(32, 64)
        self.conv2 = GCNConv(64, 64)
        self.conv3 = GCNConv(64, 64)
        self.out = Linear(128, 10)

    def forward(self, batch: Batch) -> Tensor:
        """Logits (graphs, 10) of a batch."""
        x = batch.x
        for conv in (self.initial_conv, self.conv1, self.conv2, self.conv3):
            x = conv(x, batch.edge_index).tanh()
        mean = global_mean_pool(x, batch.batch, batch.num_graphs)
        maximum = global_max_pool(x, batch.batch, batch.num_graphs)
        logits: Tensor = self.out(torch.cat([mean, maximum], dim=1))
        return logits


class GAT(Module):
    """Three attention layers of two heads with ReLU, mean of the nodes, three dense layers: 31,114 parameters."""

    def __init__(self, features: int = 1) -> None:
        super().__init__()
        self.initial_conv = GATConv(features, 32, heads=2)
        self.conv1 = GATConv(64, 64, heads=2)
        self.conv2 = GATConv(128, 64, heads=2)
        self.out = Linear(128, 32)
        self.out1 = Linear(32, 32)
        self.out2 = Linear(32, 10)

    def forward(self, batch: Batch) -> Tensor:
        """Logits (graphs, 10) of a batch."""
        x = batch.x
        for conv in (self.initial_conv, self.conv1, self.conv2):
            x = conv(x, batch.edge_index).relu()
        x = global_mean_pool(x, batch.batch, batch.num_graphs)
        logits: Tensor = self.out2(self.out1(self.out(x).relu()).relu())
        return logits
