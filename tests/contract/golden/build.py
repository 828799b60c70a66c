"""Makes the golden store of this format: `python -m tests.contract.golden.build`. Older ones are never made again."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import nn

from recorder import Recorder

HERE = Path(__file__).parent
STEPS = 40


def golden_weights(index: int, shape: tuple[int, ...], step: int) -> np.ndarray:
    """Return dyadic fractions that every type holds exactly: no library's rounding can change them."""
    k = np.arange(int(np.prod(shape, dtype=int)), dtype=np.float64) + 3 * index
    return ((k % 5) + step * (k % 3) / 8 + (step * step % 7) / 4).reshape(shape)


class Golden(nn.Module):
    """One of each: a plain layer, heads, half precision, 0-d, a module named `step`."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.zeros(()))
        self.lin = nn.Linear(3, 4)
        self.half = nn.Linear(2, 2).to(torch.bfloat16)
        self.step = nn.Linear(2, 1, dtype=torch.float64)

    def set(self, step: int) -> None:
        for index, parameter in enumerate(self.parameters()):
            parameter.data.copy_(torch.from_numpy(golden_weights(index, tuple(parameter.shape), step)))


def main() -> None:
    """Record the golden run."""
    model = Golden()
    model.set(0)
    with Recorder(
        HERE / "v1.zarr", model, chunk_steps=16, hyperparameters={"learning_rate": 0.5}, mode="w"
    ) as recorder:
        recorder.start()
        for step in range(1, STEPS + 1):
            model.set(step)
            recorder.step()
            recorder.log(loss=step / 4, epoch=(step - 1) // 10)


if __name__ == "__main__":
    main()
