"""Series of checkpoint files of known weights, in every format that is imported."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import safetensors.numpy
import torch

Frames = dict[str, np.ndarray]


def walk(steps: Sequence[int], seed: int = 0) -> Frames:
    """Weights (…, frames) of two layers that diffuse: the displacement over s steps has the variance s."""
    rng, shapes = np.random.default_rng(seed), {"conv.weight": (3, 4), "conv.bias": (3,), "out.weight": (2, 3)}
    total = max(steps) + 1
    whole = {name: np.cumsum(rng.normal(size=(*shape, total)), axis=-1).astype("f4") for name, shape in shapes.items()}
    return {name: values[..., list(steps)] for name, values in whole.items()}


def save_safetensors(path: Path, frame: Frames) -> None:
    safetensors.numpy.save_file({name: np.ascontiguousarray(values) for name, values in frame.items()}, path)


def save_torch(path: Path, frame: Frames) -> None:
    torch.save({name: torch.from_numpy(values.copy()) for name, values in frame.items()}, path)


def save_old_torch(path: Path, frame: Frames) -> None:
    state = {name: torch.from_numpy(values.copy()) for name, values in frame.items()}
    torch.save(state, path, _use_new_zipfile_serialization=False)


def save_numpy(path: Path, frame: Frames) -> None:
    np.savez_compressed(path, **frame)


SAVERS: dict[str, tuple[str, Callable[[Path, Frames], None]]] = {
    "safetensors": (".safetensors", save_safetensors),
    "torch": (".pt", save_torch),
    "torch before 1.6": (".pth", save_old_torch),
    "numpy": (".npz", save_numpy),
}


def save_series(
    folder: Path, steps: Sequence[int], kind: str = "safetensors", name: str = "ckpt_{}", seed: int = 0
) -> Frames:
    """Write one file for each step; return the weights (…, frames)."""
    folder.mkdir(parents=True, exist_ok=True)
    frames, (suffix, save) = walk(steps, seed), SAVERS[kind]
    for n, step in enumerate(steps):
        save(folder / (name.format(step) + suffix), {key: values[..., n] for key, values in frames.items()})
    return frames


def temperature(frames: Frames, layer: str) -> float:
    """T of a layer by plain numpy: ½⟨v²⟩ over all weights and displacements."""
    own = [values for name, values in frames.items() if name.startswith(layer)]
    squares = sum((np.diff(values.astype("f8"), axis=-1) ** 2).sum() for values in own)
    return 0.5 * squares / sum(values[..., 1:].size for values in own)
