"""Record the training loop of PyTorch Geometric's own examples: `train()` steps, and the recorder follows it.

python examples/trainers/pyg_loop.py --store runs/pyg.zarr
"""

from __future__ import annotations

import argparse

import torch
import torch.nn.functional as F
from torch import Tensor
from torch_geometric.datasets import FakeDataset
from torch_geometric.nn import GCN

from recorder import Recorder


def main() -> None:
    """Train a GCN on the nodes of one random graph; nothing is downloaded."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--store", default="runs/pyg.zarr")
    parser.add_argument("--epochs", type=int, default=50)
    arguments = parser.parse_args()

    torch.manual_seed(0)
    data = FakeDataset(num_graphs=1, avg_num_nodes=200, num_classes=4, task="node")[0]
    model = GCN(data.num_features, hidden_channels=16, num_layers=2, out_channels=4)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01, weight_decay=5e-4)

    def train() -> Tensor:
        model.train()
        optimizer.zero_grad()
        loss = F.cross_entropy(model(data.x, data.edge_index), data.y)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        return loss.detach()

    with Recorder(arguments.store, model, optimizer, hyperparameters={"learning_rate": 0.01}) as recorder:
        for epoch in range(arguments.epochs):  # one step an epoch: the whole graph is the batch
            recorder.log(loss=train(), epoch=epoch)


if __name__ == "__main__":
    main()
