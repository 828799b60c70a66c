"""Error bars of temperatures: from the series of a group where there is one, else from sums of its batches."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from analyzer.query.windows import BIN_FRAMES, Sampling
from analyzer.statistics.uncertainty import Uncertainty, from_batches, from_series

Array = np.ndarray[Any, np.dtype[Any]]

COLUMNS = ("standard_error", "n_eff", "unreliable")
BLOCK_SAMPLES = BIN_FRAMES
"""Of series too long to be transformed whole: longer than any momentum remembers."""
_MOST_SAMPLES = 1 << 16


def of_series(
    series: Array, *, sampling: Sampling, origin: int, weights: Array, scale: float, epoch: Array | None
) -> Array:
    """Error bars of groups of whole parameters.

    Parameters
    ----------
    series
        (groups, frames - 1) Σ m v² of every pair of neighbouring frames, from frame `origin` on.
    weights
        (groups,) weights of each group.
    scale
        Temperature of a weight with m v² = 1.
    epoch
        (frames,) label of the epoch of every frame of the run, or None.

    Returns
    -------
    (3, groups, windows): standard error in the units of the temperature, n_eff, and 1.0 where it is unreliable.
    """
    temperature = scale * series / weights[:, np.newaxis]
    answer = np.full((3, len(weights), sampling.windows.velocities.size), np.nan)
    answer[2] = 1.0
    alike: dict[int, list[tuple[int, int]]] = {}
    for window, low, high, present in _extents(sampling, origin):
        labels = None if epoch is None else epoch[origin + low + 1 : origin + high + 1]
        many = labels is not None and np.unique(labels).size >= 10
        if present.all() and not many and high - low <= _MOST_SAMPLES:
            alike.setdefault(high - low, []).append((window, low))
            continue
        values = temperature[:, low:high]
        if high - low <= _MOST_SAMPLES:
            answer[:, :, window] = _rows(from_series(values, present=present, epoch=labels, weights=weights))
        else:
            answer[:, :, window] = _rows(_from_long_series(values, present, labels, weights))
    for length, found in alike.items():  # windows of one length are one call
        values = np.concatenate([temperature[:, low : low + length] for _, low in found])
        rows = _rows(from_series(values, weights=np.tile(weights, len(found))))
        answer[:, :, [window for window, _ in found]] = rows.reshape(3, len(found), len(weights)).swapaxes(1, 2)
    return answer


def of_batches(
    batches: Array,
    series: Array | None = None,
    *,
    sampling: Sampling,
    origin: int,
    weights: Array,
    owner: Array,
    scale: float,
    epoch: Array | None,
) -> Array:
    """Error bars of groups that divide parameters, and of any group at a longer lag; as `of_series`.

    The scatter is that of the group's own batches. How many of its samples are worth an independent one (n_eff) is
    taken from the parameter that it belongs to, whose series is known; at a longer lag displacements are taken for
    independent, unless the batches show otherwise.

    Parameters
    ----------
    batches
        (groups, batches) Σ m v² of the batches of the sampling.
    series
        (parameters, frames - 1) Σ m v² of every pair of neighbouring frames, or None at a longer lag.
    owner
        (groups,) number of the parameter of each group.
    """
    assert sampling.batch is not None
    counts = np.bincount(sampling.batch, weights=sampling.count - 1)
    window_of, first_of = np.zeros((2, counts.size), dtype=np.int64)
    window_of[sampling.batch], first_of[sampling.batch[::-1]] = sampling.window, sampling.first[::-1]
    means = scale * batches / weights[:, np.newaxis]
    answer = np.full((3, len(weights), sampling.windows.velocities.size), np.nan)
    answer[2] = 1.0
    inefficiency = inefficiencies(series, sampling, origin)
    for window in np.unique(window_of).tolist():
        some = window_of == window
        labels = None if epoch is None else epoch[first_of[some] + 1]
        g = inefficiency[owner if series is not None else np.zeros(len(weights), dtype=np.int64), window]
        answer[:, :, window] = _rows(
            from_batches(counts[some], means[:, some], epoch=labels, weights=weights, inefficiency=g)
        )
    return answer


def inefficiencies(series: Array | None, sampling: Sampling, origin: int) -> Array:
    """Statistical inefficiency of 𝒯 of every parameter and window, in lags (parameters, windows).

    Without series, at a longer lag: 1 of every window (1, windows).
    """
    answer = np.ones((1 if series is None else len(series), sampling.windows.velocities.size))
    if series is not None:
        for window, low, high, present in _extents(sampling, origin):
            answer[:, window] = _inefficiency(series[:, low:high], present)
    return answer


def _extents(sampling: Sampling, origin: int) -> list[tuple[int, int, int, Array]]:
    """Of every window with velocities: its number, its part of the series, and which samples of it are there."""
    found = []
    edges = np.searchsorted(sampling.window, np.arange(sampling.windows.velocities.size + 1))
    begin, end = sampling.first - origin, sampling.first + sampling.count - 1 - origin
    for window, (low, high) in enumerate(zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True)):
        if low == high:
            continue
        first, last = int(begin[low]), int(end[high - 1])
        present = np.zeros(last - first, dtype=bool)
        for a, b in zip(begin[low:high].tolist(), end[low:high].tolist(), strict=True):
            present[a - first : b - first] = True
        found.append((window, first, last, present))
    return found


def _inefficiency(series: Array, present: Array) -> Array:
    if series.shape[1] <= _MOST_SAMPLES:
        return from_series(series, present=present).inefficiency
    return _from_long_series(series, present, None, None).inefficiency


def _from_long_series(values: Array, present: Array, epoch: Array | None, weights: Array | None) -> Uncertainty:
    """The uncertainty of a long series, from batches of it."""
    starts = np.arange(0, values.shape[1], BLOCK_SAMPLES)
    there = np.where(present, values, 0.0)
    counts = np.add.reduceat(present.astype(np.float64), starts)
    sums, squares = np.add.reduceat(there, starts, axis=1), np.add.reduceat(there**2, starts, axis=1)
    return from_batches(counts, sums, squares, epoch=None if epoch is None else epoch[starts], weights=weights)


def _rows(found: Uncertainty) -> Array:
    rows: Sequence[Array] = (found.standard_error, found.n_eff, found.unreliable.astype(np.float64))
    return np.stack(rows)
