"""Principal modes of a trajectory from the Gram matrix of its frames, and whether they look like a random walk's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]

WALK, NO_WALK = 0.7, 0.2
"""There is a verdict at cosine contents of at least the first and of at most the second. In 200 random walks of 500
frames in 100 dimensions the first mode had 0.95 or more; in 200 Ornstein-Uhlenbeck processes a hundred relaxation times
long it had 0.06 on average, and 0.38 at most (frames and dimensions as in tests/analyzer/statistics/test_modes.py)."""
VERDICTS = (
    "unlike a random walk",
    "undecided",
    "not distinguishable from a random walk by this criterion",
)


@dataclass(frozen=True)
class Modes:
    """The first modes of one group, the largest first.

    Attributes
    ----------
    share
        (modes,) share of the variance of all weights over time.
    participation_ratio
        () (Σ λ)²/Σ λ² over all modes: the number of modes, if all had equal variance.
    projection
        (modes, frames) p of the trajectory on each mode, in units of weights; its mean is 0, and it ends no lower than
        it begins.
    cosine_content
        (modes,) see `cosine_content`.
    update_angle
        (modes,) degrees between a mode and the displacement from one frame to the next, from the mean of cos².
    factors
        (modes, frames) coefficients with which the frames add up to each mode's unit vector of weights.
    """

    share: Array
    participation_ratio: float
    projection: Array
    cosine_content: Array
    update_angle: Array
    factors: Array


def modes_of(gram: Array, count: int) -> Modes:
    """Return the first modes of a trajectory, from the Gram matrix (frames, frames) of its frames, from any origin.

    The covariance of weights over frames and the centred Gram matrix have the same eigenvalues λ. A mode's projection
    is √λ times its eigenvector. Modes beyond those that the frames span are NaN.
    """
    from scipy.linalg import eigh  # loaded here, since it takes half a second

    frames = gram.shape[0]
    empty = np.full((count, frames), np.nan)
    nothing = Modes(empty[:, 0], np.nan, empty, empty[:, 0], empty[:, 0], empty)
    if not np.isfinite(gram).all():
        return nothing
    mean = gram.mean(axis=0)
    centred = gram - mean[:, np.newaxis] - mean + mean.mean()
    total = float(np.trace(centred))
    if not total > 0:  # nothing moves
        return nothing
    most = min(count, frames - 1)
    values, vectors = eigh(centred, subset_by_index=[frames - most, frames - 1])
    values, vectors = np.maximum(values[::-1], 0), vectors[:, ::-1].T
    spanned = values > frames * np.finfo(float).eps * values[0]
    values, vectors = values[spanned], vectors[spanned]
    vectors = vectors * np.where(vectors[:, -1] >= vectors[:, 0], 1.0, -1.0)[:, np.newaxis]
    projection = np.sqrt(values)[:, np.newaxis] * vectors
    steps = np.diff(projection, axis=1)
    diagonal = np.diag(centred)
    moved = diagonal[1:] + diagonal[:-1] - 2 * np.diag(centred, 1)
    moves = moved > 0
    squared = (steps[:, moves] ** 2 / moved[moves]).mean(axis=1) if moves.any() else np.full(values.size, np.nan)
    factors = vectors / np.sqrt(values)[:, np.newaxis]
    factors -= factors.mean(axis=1, keepdims=True)  # then Σ factor × frame does not depend on the origin of the weights
    return Modes(
        _padded(values / total, count),
        float(total**2 / (centred * centred).sum()),
        _padded(projection, count),
        _padded(cosine_content(projection), count),
        _padded(np.degrees(np.arccos(np.sqrt(np.clip(squared, 0, 1)))), count),
        _padded(factors, count),
    )


def _padded(values: Array, count: int) -> Array:
    return np.concatenate([values, np.full((count - values.shape[0], *values.shape[1:]), np.nan)])


def cosine_content(projection: Array) -> Array:
    """Return (2/N)(Σ cos(iπ(t + ½)/N) p_i(t))² / Σ p_i², of projections (modes, frames) in order: 0 to 1.

    The modes of a random walk in many dimensions are cosines of i half periods, whatever the walk (B. Hess, Phys. Rev.
    E 62:8438, 2000; 65:031910, 2002).

    Examples
    --------
    >>> cosine_content(np.cos(np.pi * (np.arange(100) + 0.5) / 100)[np.newaxis])
    array([1.])
    """
    modes, frames = projection.shape
    number = np.arange(1, modes + 1)[:, np.newaxis]
    waves = np.cos(number * np.pi * (np.arange(frames) + 0.5) / frames)
    squares = (projection * projection).sum(axis=1)
    content = 2 / frames * (waves * projection).sum(axis=1) ** 2 / np.where(squares > 0, squares, np.nan)
    return np.asarray(np.minimum(content, 1.0))


def verdict_of(content: Array) -> Array:
    """Return the verdict for a cosine content; "" where it is NaN."""
    found = np.array(VERDICTS, dtype=object)[np.digitize(content, [NO_WALK, WALK], right=False).clip(0, 2)]
    return np.where(np.isnan(content), "", found)
