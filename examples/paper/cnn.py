"""The CNN baseline of claim C18: plain and small. It sees pictures of the superpixels that the graphs are made of."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import Conv2d, Linear, Module
from torch.nn.functional import max_pool2d

from ..data.loader import Superpixels

SIDE = 28


class CNN(Module):
    """Two convolutions with ReLU and max pooling, two dense layers: 20,522 parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = Conv2d(1, 8, 5)
        self.conv2 = Conv2d(8, 16, 5)
        self.out1 = Linear(256, 64)
        self.out2 = Linear(64, 10)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (pictures, 10) of pictures (pictures, 1, 28, 28)."""
        x = max_pool2d(torch.relu(self.conv1(x)), 2)
        x = max_pool2d(torch.relu(self.conv2(x)), 2)
        logits: Tensor = self.out2(torch.relu(self.out1(x.flatten(1))))
        return logits


def pictures(graphs: Superpixels, at_once: int = 500) -> Tensor:
    """Paint each graph: every pixel takes the intensity of the superpixel whose centre is nearest.

    The CNN then sees what the graphs see, and differs in its architecture alone.

    Returns
    -------
    (N, 1, 28, 28) float32
    """
    y, x = torch.meshgrid(torch.arange(SIDE), torch.arange(SIDE), indexing="ij")
    pixels = torch.stack([x, y], dim=2).reshape(1, -1, 2).float()
    painted = []
    for start in range(0, len(graphs), at_once):
        part = slice(start, start + at_once)
        nearest = torch.cdist(pixels, graphs.position[part]).argmin(dim=2)  # (graphs, 784)
        painted.append(graphs.intensity[part, :, 0].gather(1, nearest))
    return torch.cat(painted).reshape(-1, 1, SIDE, SIDE)
