"""What the recorder's benchmarks share: real training to record, and a way to print what was found."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.optim import Optimizer
from torch_geometric.loader import DataLoader

from examples.data.loader import load

Row = Mapping[str, object]

OPTIMIZERS: dict[str, Callable[..., Optimizer]] = {"Adam": torch.optim.Adam, "SGD": torch.optim.SGD}


def training(model: nn.Module, optimizer: Optimizer, batch_size: int = 32) -> Iterator[Tensor]:
    """Steps of real training on the graphs that ship with the examples; each gives its loss."""
    graphs, _ = load()
    loader = DataLoader(graphs, batch_size, shuffle=True, drop_last=True)
    while True:
        for batch in loader:
            optimizer.zero_grad()
            loss = cross_entropy(model(batch), batch.y)
            loss.backward()
            optimizer.step()
            yield loss.detach()


class Gate(Optimizer):
    """An optimizer that changes nothing: its `step` runs the hooks, and so says when to record, and what that costs."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__(model.parameters(), {"lr": 0.0})

    def step(self, closure: None = None) -> None:
        """Run the hooks."""


def hardware() -> str:
    """Name the machine that a table was measured on."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return f"{(names or [platform.machine()])[0]}, {cores} cores, torch {torch.__version__}"


def table(title: str, rows: Sequence[Row]) -> str:
    """Format rows of equal keys as a table with a title."""

    def text(value: object) -> str:
        if not isinstance(value, float):
            return f"{value:,}" if isinstance(value, int) else str(value)
        return f"{value:,.0f}" if abs(value) >= 100 else f"{value:#.3g}"

    cells = [[*rows[0]], *([text(value) for value in row.values()] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = [
        "  ".join(
            cell.ljust(w) if i == 0 else cell.rjust(w) for i, (cell, w) in enumerate(zip(line, widths, strict=True))
        )
        for line in cells
    ]
    return "\n".join([title, hardware(), "", lines[0], "  ".join("-" * width for width in widths), *lines[1:], ""])
