"""Stores of any length for the analyzer's benchmarks: the paper's GCN by shape, velocities like Adam's."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from tests.stores import write_store

GCN = {
    "initial_conv.lin.weight": (32, 1),
    "initial_conv.bias": (32,),
    "conv1.lin.weight": (64, 32),
    "conv1.bias": (64,),
    "conv2.lin.weight": (64, 64),
    "conv2.bias": (64,),
    "conv3.lin.weight": (64, 64),
    "conv3.bias": (64,),
    "out.weight": (10, 128),
    "out.bias": (10,),
}
"""Tensors of the paper's GCN: 11,786 weights."""


def gcn_store(path: Path, steps: int, *, epoch_steps: int = 1875, chunk_steps: int = 1024, **options: Any) -> Path:
    """A run of `steps` steps: float32, velocities with autocorrelation 0.9 at lag 1, as Adam's have."""
    rng = np.random.default_rng(0)
    parameters = {name: _walk(rng, (*shape, steps)) for name, shape in GCN.items()}
    epoch = np.maximum(np.ceil(np.arange(steps) / epoch_steps) - 1, 0)
    options = {"compression": "pcodec", "scalars": {"epoch": epoch}, "chunk_steps": chunk_steps} | options
    return write_store(path, parameters, **options)


def _walk(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    velocity = rng.standard_normal(shape, dtype=np.float32)
    velocity *= np.float32(1e-3 * np.sqrt(1 - 0.81))
    for step in range(1, shape[-1]):
        velocity[..., step] += np.float32(0.9) * velocity[..., step - 1]
    return np.cumsum(velocity, axis=-1, dtype=np.float64).astype(np.float32)


def raw_bytes(steps: int) -> int:
    """Uncompressed size of the parameters of a GCN run."""
    return sum(int(np.prod(shape)) for shape in GCN.values()) * 4 * steps


def best(measure: Callable[[], object], repeats: int = 3) -> float:
    """Shortest of a few durations, in seconds."""
    durations = []
    for _ in range(repeats):
        began = perf_counter()
        measure()
        durations.append(perf_counter() - began)
    return min(durations)


def table(title: str, header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """An aligned table."""
    cells = [tuple(header), *(tuple(_cell(value) for value in row) for row in rows)]
    widths = [max(len(row[n]) for row in cells) for n in range(len(header))]
    lines = ["  ".join(c.ljust(w) if n == 0 else c.rjust(w) for n, (c, w) in enumerate(zip(row, widths, strict=True)))
             for row in cells]  # fmt: skip
    return "\n".join([title, "", lines[0], "  ".join("-" * w for w in widths), *lines[1:], ""])


def _cell(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
