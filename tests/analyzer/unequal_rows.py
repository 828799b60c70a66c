"""Rows whose temperatures are known and differ."""

from __future__ import annotations

import numpy as np

VARIANCE = 1.3 ** np.array([3.0, 0, 7, 5, 1, 6, 2, 4])
"""σ² of the steps of eight rows, each 1.3 times the one below it."""
RANK = [5, 8, 1, 3, 7, 2, 6, 4]


def walk(rng: np.random.Generator, variance: np.ndarray, columns: int, steps: int) -> np.ndarray:
    """Rows (rows, columns, steps + 1) of independent Gaussian steps: T = ½σ², ⟨v²⟩ = σ² (`oracles.random_walk`)."""
    kicks = np.sqrt(variance)[:, None, None] * rng.standard_normal((variance.size, columns, steps))
    return np.concatenate([rng.standard_normal((variance.size, columns, 1)), kicks], axis=2).cumsum(axis=2)
