"""Runs of SGD under schedules of the learning rate, as recorders write them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from tests import oracles
from tests.stores import segment

STIFFNESS, NOISE = 2.0, 1.0
COSINE = 0.1 * 0.5 * (1 + np.cos(np.pi * np.arange(6000) / 6000)) + 1e-5
Make = Callable[..., Path]


def sgd(**group: Any) -> list[dict[str, Any]]:
    return [{"class": "torch.optim.sgd.SGD", "defaults": {}, "groups": [{"lr": 0.1, **group}]}]


def recorded(rates: np.ndarray) -> np.ndarray:
    """The array `learning_rate` of updates at given rates: frame 0 has none."""
    return np.concatenate([[np.nan], rates])[:, np.newaxis]


def scheduled(make: Make, rates: np.ndarray, name: str = "run.zarr", weights: int = 60, **more: Any) -> Path:
    frames = oracles.scheduled_sgd(np.random.default_rng(4), weights, rates, STIFFNESS, NOISE)
    given: dict[str, Any] = {
        "parameters": {"a.weight": frames.reshape(6, weights // 6, -1)},
        "scalars": {"learning_rate": recorded(rates)},
        "segments": [segment(0, 0, optimizer=sgd(), hyperparameters={}, stride=more.get("stride", 1))],
        "chunk_steps": 256,
    }
    return make(name, **(given | more))
