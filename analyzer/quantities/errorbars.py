"""Error bars of temperatures: from the series of a group if it has one, else from sums of its batches."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import dask.array as da
import numpy as np
from dask.base import tokenize
from dask.highlevelgraph import HighLevelGraph

from analyzer.engine.measure import Measurement
from analyzer.query.epochs import labels_of
from analyzer.query.windows import Sampling
from analyzer.statistics.inefficiency import statistical_inefficiency
from analyzer.statistics.uncertainty import RELIABLE_BATCHES, Uncertainty, from_batches, from_series, relative_variances

Array = np.ndarray[Any, np.dtype[Any]]

COLUMNS = ("standard_error", "n_eff", "unreliable")
_MOST_SAMPLES = 1 << 16
"""Longer series are averaged in bins before their inefficiency is computed."""


def of_series(
    series: Array, *, sampling: Sampling, origin: int, weights: Array, scale: float, epoch: Array | None = None
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
    (3, groups, windows): standard error in the units of the temperature, n_eff, and 1.0 if the error is unreliable.
    """
    temperature = scale * series / weights[:, np.newaxis]
    answer = np.full((3, len(weights), sampling.windows.velocities.size), np.nan)
    answer[2] = 1.0
    alike: dict[int, list[tuple[int, int]]] = {}
    for window, low, high, present in extents(sampling, origin):
        labels = None if epoch is None else epoch[origin + low + 1 : origin + high + 1]
        many = labels is not None and np.unique(labels).size >= RELIABLE_BATCHES
        if present.all() and not many:
            alike.setdefault(high - low, []).append((window, low))
        else:
            values = temperature[:, low:high]
            answer[:, :, window] = _rows(
                from_series(values, present=present, epoch=labels if many else None, weights=weights)
            )
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
) -> Array:
    """Error bars of groups that divide parameters, and of any group at a longer lag; as `of_series`.

    Error bar, n_eff and flag of a group come from its own batches. n_eff also needs the variance of single samples. The
    largest of these is taken: the variance of the batches; that of independent Gaussian weights; and, relative to T²,
    that of the parameter that the group belongs to, if its series is known.

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
    window_of = np.zeros(counts.size, dtype=np.int64)
    window_of[sampling.batch] = sampling.window
    means = scale * batches / weights[:, np.newaxis]
    answer = np.full((3, len(weights), sampling.windows.velocities.size), np.nan)
    answer[2] = 1.0
    variance = None if series is None else window_variances(series, sampling, origin)
    for window in np.unique(window_of).tolist():
        some = window_of == window
        known = None if variance is None else variance[owner, window]
        found = from_batches(counts[some], means[:, some], weights=weights, relative_variance=known)
        answer[:, :, window] = _rows(found)
    return answer


def window_variances(series: Array, sampling: Sampling, origin: int) -> Array:
    """Variance of 𝒯(t) over T² of every parameter and window (parameters, windows)."""
    answer = np.full((len(series), sampling.windows.velocities.size), np.nan)
    for window, low, high, present in extents(sampling, origin):
        answer[:, window] = relative_variances(series[:, low:high], present)
    return answer


def inefficiencies(series: Array | None, sampling: Sampling, origin: int) -> Array:
    """Statistical inefficiency of 𝒯 of every parameter and window, in lags (parameters, windows).

    At a longer lag there is no series: then it is 1 in every window, (1, windows).
    """
    answer = np.ones((1 if series is None else len(series), sampling.windows.velocities.size))
    if series is not None:
        for window, low, high, present in extents(sampling, origin):
            answer[:, window] = _inefficiency(series[:, low:high], present)
    return answer


def extents(sampling: Sampling, origin: int) -> list[tuple[int, int, int, Array]]:
    """For every window with velocities: number, first and last + 1 sample of the series, which samples are present."""
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
    width = -(-series.shape[1] // _MOST_SAMPLES)
    if width <= 1:
        return statistical_inefficiency(series, present=present)
    edges = np.arange(0, series.shape[1], width)
    counts = np.add.reduceat(present.astype(np.float64), edges)
    sums = np.add.reduceat(np.where(present, series, 0.0), edges, axis=1)
    means = sums / np.maximum(counts, 1)
    return np.asarray(width * statistical_inefficiency(means, present=counts == width))


def _rows(found: Uncertainty) -> Array:
    rows: Sequence[Array] = (found.standard_error, found.n_eff, found.unreliable.astype(np.float64))
    return np.stack(rows)


def error_bars(measurement: Measurement, scale: float, units: str) -> dict[str, Any]:
    """Standard error, n_eff and its verdict, as variables of a dataset, lazy."""
    grouping, answer = measurement.plan.grouping, measurement.moments
    known: dict[str, Any] = {
        "sampling": measurement.plan.sampling,
        "origin": answer.origin,
        "weights": grouping.weights,
        "scale": scale,
    }
    shape = (len(COLUMNS), grouping.weights.size, measurement.plan.sampling.windows.velocities.size)
    parents: list[Any] = [array for array in (answer.batches, answer.series) if array is not None]
    if answer.batches is not None:
        names = measurement.plan.parameters
        owners = grouping.columns.get("parameter", np.array(names[:1] * grouping.weights.size))
        order = {name: n for n, name in enumerate(names)}
        owner = np.array([order[name] for name in owners], dtype=np.int64)
        call: Any = partial(_found, of_batches, owner=owner, **known)
    elif answer.series is not None:
        epoch = labels_of(measurement.run.line.epoch)
        call = partial(_found, of_series, epoch=epoch, **known)
    else:
        call, parents = partial(np.full, shape, np.nan), []
    key = f"error-bars-{tokenize(answer.table.name, scale)}"
    tasks: Any = {(key, 0, 0, 0): (call, *((array.name, 0, 0) for array in parents))}
    graph = HighLevelGraph.from_collections(key, tasks, dependencies=parents)
    bars = da.Array(graph, key, tuple((n,) for n in shape), dtype=np.float64)  # type: ignore[no-untyped-call]
    dims = ("group", "window")
    return {
        "standard_error": (dims, bars[0], {"units": units, "long_name": "standard error of the temperature"}),
        "n_eff": (dims, bars[1], {"units": "1", "long_name": "independent samples of the temperature"}),
        "unreliable": (dims, bars[2] == 1, {"long_name": "too few independent samples for a reliable standard error"}),
    }


def _found(find: Any, *arrays: Array, **known: Any) -> Array:
    with np.errstate(invalid="ignore"):  # weights that are not finite have been named already
        return np.asarray(find(*arrays, **known))
