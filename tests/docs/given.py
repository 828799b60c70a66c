"""A small training, for blocks that take a model, its optimizer and its data as given."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


def given(wanted: Iterable[str]) -> dict[str, Any]:
    """Return the names that a block takes as given, each with its value."""
    torch.manual_seed(0)
    points = torch.randn(1024, 8)
    labels = (points[:, :4].prod(dim=1) > 0).long()
    model = nn.Sequential(nn.Linear(8, 32), nn.Tanh(), nn.Linear(32, 2))
    known: dict[str, Any] = {
        "model": model,
        "optimizer": torch.optim.SGD(model.parameters(), lr=0.1),
        "loader": DataLoader(TensorDataset(points, labels), 32, shuffle=True),
        "loss_fn": nn.functional.cross_entropy,
        "epochs": 10,
    }
    return {name: known[name] for name in wanted}
