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
) -> Mapping[str, np.ndarray]:
    """C, MSD and origins of (weights, frames), each (windows, lags); lags in steps."""
    answer = {name: np.full((len(windows), len(lags)), np.nan) for name in ("correlation", "displacement")}
    origins = np.zeros((len(windows), len(lags)), dtype=int)
    for n, (start, stop) in enumerate(windows):
        parts = [weights[:, s].astype(float) for s in stretches(steps, stride, breaks, start, stop)]
        for m, lag in enumerate(np.asarray(lags) // stride):
            products, squares = [], []
            for w in parts:
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
