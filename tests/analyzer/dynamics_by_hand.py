"""Correlations and displacements as one would write them in numpy, with the whole array in memory."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np


def stretches(steps: np.ndarray, stride: int, breaks: Sequence[int], start: int, stop: int) -> Iterator[slice]:
    """The frames of a window, start <= step <= stop, cut at gaps and before the frames `breaks`."""
    inside = np.flatnonzero((steps >= start) & (steps <= stop))
    cuts = [
        n for n in range(1, inside.size) if steps[inside[n]] - steps[inside[n - 1]] != stride or inside[n] in breaks
    ]
    for part in np.split(inside, cuts):
        if part.size > 1:
            yield slice(int(part[0]), int(part[-1]) + 1)


def by_hand(
    weights: np.ndarray,
    steps: np.ndarray,
    lags: Sequence[int],
    windows: Sequence[tuple[int, int]],
    stride: int = 1,
    breaks: Sequence[int] = (),
    longest: int = 4096,
    without_drift: bool = False,
) -> Mapping[str, np.ndarray]:
    """C, MSD and origins of (weights, frames), each (windows, lags); lags in steps.

    Lags of more than `longest` frames from decimated ones.
    """
    answer = {name: np.full((len(windows), len(lags)), np.nan) for name in ("correlation", "displacement")}
    origins = np.zeros((len(windows), len(lags)), dtype=int)
    for n, (start, stop) in enumerate(windows):
        where = list(stretches(steps, stride, breaks, start, stop))
        parts = [weights[:, s].astype(float) for s in where]
        if without_drift and parts:
            mean = sum(w[:, -1] - w[:, 0] for w in parts) / sum(w.shape[1] - 1 for w in parts)
            parts = [w - mean[:, np.newaxis] * np.arange(w.shape[1]) for w in parts]
        for m, lag in enumerate(np.asarray(lags) // stride):
            products, squares = [], []
            for s, w in zip(where, parts, strict=True):
                if lag > longest:
                    far = decimated(w, s.start, int(lag))
                    products += [far[0]] if far[0].size else []
                    squares += [far[1]] if far[1].size else []
                    continue
                v = np.diff(w, axis=1)
                if v.shape[1] > lag:
                    products.append(v[:, lag:] * v[:, : v.shape[1] - lag])
                if w.shape[1] > lag:
                    squares.append((w[:, lag:] - w[:, : w.shape[1] - lag])[:, int(lag == 0) :] ** 2)
            if products:
                answer["correlation"][n, m] = np.concatenate(products, axis=1).mean()
            if squares:
                answer["displacement"][n, m] = np.concatenate(squares, axis=1).mean()
                origins[n, m] = sum(s.shape[1] for s in squares)
    return {**answer, "origins": origins}


def decimated(w: np.ndarray, first: int, lag: int) -> tuple[np.ndarray, np.ndarray]:
    """Products of mean velocities and squared displacements of one stretch (weights, frames) from frame `first` on.

    Later ends are the multiples of m, the greatest power of two up to lag/64; a mean velocity is over 4m frames.
    """
    m = 1
    while 2 * m <= lag / 64:
        m *= 2
    ends = np.array([t - first for t in range(first, first + w.shape[1]) if t % m == 0], dtype=int)
    far = ends[ends >= lag]
    both = ends[ends >= lag + 4 * m]
    squares = (w[:, far] - w[:, far - lag]) ** 2
    products = (w[:, both] - w[:, both - 4 * m]) * (w[:, both - lag] - w[:, both - lag - 4 * m]) / (4 * m) ** 2
    return products, squares
