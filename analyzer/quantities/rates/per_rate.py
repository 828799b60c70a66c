"""T/η²: the temperature over the learning rate squared, which a schedule leaves constant where T ∝ η².

Where the rate is constant in a window, T and its standard error are divided by η². Where the rate changes, T/η² is the
mean of 𝒯(t)/η(t)² over the window's steps, each weight with the rate of its own parameter group. That needs the series
of whole parameters at every step.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import dask.array as da
import numpy as np
import xarray as xr
from dask.base import tokenize
from dask.highlevelgraph import HighLevelGraph

from analyzer.engine.measure import Measurement, measure
from analyzer.errors import OptionError
from analyzer.quantities.errorbars import extents
from analyzer.quantities.rates.expectations import expectations_of
from analyzer.quantities.rates.schedule import Rates, parameter_groups, rate_by_step
from analyzer.query.epochs import labels_of
from analyzer.query.query import Query
from analyzer.query.windows import Sampling
from analyzer.statistics.uncertainty import from_series

Array = np.ndarray[Any, np.dtype[Any]]

COLUMNS = ("temperature_per_eta2", "temperature_per_eta2_error")
EXPECTED = ("expected_low", "expected_high", "expectation")


def check_per(per: str | None) -> None:
    """Refuse any `per` other than None and "eta2"."""
    if per not in (None, "eta2"):
        raise OptionError(
            f"per: expected 'eta2' or None, got {per!r}. Temperatures are divided by η², or by nothing. "
            "Write per='eta2'",
            per=per,
        )


def require_rate(rates: Rates) -> None:
    """Refuse a question over η² if no learning rate is known."""
    if np.isnan(rates.low).all():
        raise OptionError(
            "--per-eta2: expected a learning rate, recorded or among the hyperparameters, got none. T/η² needs it. "
            "Record with the optimizer, Recorder(store, model, optimizer), or name it: "
            "hyperparameters={'learning_rate': 1e-3}"
        )


def per_rate(
    run: xr.DataTree,
    dataset: xr.Dataset,
    measurement: Measurement,
    rates: Rates,
    query: Query,
    scale: float,
    drift_removed: bool,
) -> xr.Dataset:
    """Add T/η², its standard error and its expected range to a dataset.

    Parameters
    ----------
    run, dataset, measurement, rates
        The run, the answer so far, its measurement, and the learning rates of its groups.
    query
        The query of the measurement.
    scale
        Temperature of a weight with m v² = 1.
    drift_removed
        Whether the temperature is thermal, without the drift. Then there is no series.

    Raises
    ------
    OptionError
        No learning rate is known.
    """
    require_rate(rates)
    with np.errstate(divide="ignore", invalid="ignore"):
        square = np.where(rates.value > 0, rates.value, np.nan) ** 2
    value = dataset["temperature"].data / square
    bars = "standard_error" in dataset
    error = dataset["standard_error"].data / square if bars else np.full(square.shape, np.nan)
    loose = dataset["unreliable"].data if bars else np.ones(square.shape, dtype=bool)
    changing = np.isnan(square) & ~np.isnan(rates.low) & (not drift_removed)
    if changing.any() and (moving := _moving(run, measurement, query, scale)) is not None:
        own = np.isnan(square)
        value, error = da.where(own, moving[0], value), da.where(own, moving[1], error)
        loose = da.where(own, moving[2] == 1, loose)
    dims = ("group", "window")
    units = f"{dataset['temperature'].attrs['units']} learning_rate^-2"
    dataset = dataset.assign(
        temperature_per_eta2=(dims, value, {"units": units, "long_name": "temperature over learning rate squared"}),
        temperature_per_eta2_error=(dims, error, {"units": units, "long_name": "standard error of T/η²"}),
        temperature_per_eta2_unreliable=(dims, loose, {"long_name": "standard error of T/η² rests on too little"}),
    )
    return dataset.assign(expectations_of(run, measurement, rates))


def _moving(run: xr.DataTree, measurement: Measurement, query: Query, scale: float) -> Any:
    """The mean of 𝒯/η², its error and its flag, lazy (3, groups, windows); None if no series has every step."""
    line, grouping = measurement.run.line, measurement.plan.grouping
    if line.stride != 1 or measurement.plan.sampling.steps_per_lag != 1 or not grouping.is_whole:
        return None
    fine = measure(run, replace(query, by="parameter", batches=False))
    if fine.moments.series is None:
        return None
    owners = parameter_groups(run, fine)
    kinds = list(dict.fromkeys(owners))
    origin, names = fine.moments.origin, list(fine.plan.grouping.columns["parameter"])
    frames = np.arange(origin + 1, min(origin + 1 + fine.moments.series.shape[1], line.steps.size))
    rates = np.stack([rate_by_step(line.settings.recorded, kind, frames) for kind in kinds])
    call = partial(
        _of_series,
        parameters=_Parameters(
            rates=rates,
            kind=np.array([kinds.index(one) for one in owners]),
            owner=np.array([grouping.rules[name].base for name in names]),
        ),
        sampling=fine.plan.sampling,
        origin=origin,
        weights=grouping.weights,
        scale=scale,
        epoch=labels_of(line.epoch),
    )
    shape = (3, grouping.weights.size, measurement.plan.sampling.windows.velocities.size)
    key = f"per-eta2-{tokenize(fine.moments.table.name, scale)}"
    tasks: Any = {(key, 0, 0, 0): (call, (fine.moments.series.name, 0, 0))}
    parents: list[Any] = [fine.moments.series]
    graph = HighLevelGraph.from_collections(key, tasks, dependencies=parents)
    lazy = da.Array(graph, key, tuple((n,) for n in shape), dtype=np.float64)  # type: ignore[no-untyped-call]
    return lazy if measurement.run.lazy else lazy.compute(scheduler="synchronous")  # type: ignore[no-untyped-call]


@dataclass(frozen=True)
class _Parameters:
    """Rates and groups of parameters.

    Attributes
    ----------
    rates
        (kinds, steps) learning rates of each set of parameter groups.
    kind, owner
        (parameters,) its row of the rates, and the number of its group in the answer.
    """

    rates: Array
    kind: Array
    owner: Array


def _of_series(
    series: Array,
    *,
    parameters: _Parameters,
    sampling: Sampling,
    origin: int,
    weights: Array,
    scale: float,
    epoch: Array | None,
) -> Array:
    """Mean, standard error and flag of Σ_p 𝒯_p/η_p², from the series of parameters (parameters, steps)."""
    with np.errstate(divide="ignore", invalid="ignore"):
        rates = np.where(parameters.rates > 0, parameters.rates, np.nan)
        each = series[:, : rates.shape[1]] / rates[parameters.kind] ** 2
    whole = np.zeros((len(weights), each.shape[1]))
    np.add.at(whole, parameters.owner, each)
    whole *= scale / weights[:, np.newaxis]
    answer = np.full((3, len(weights), sampling.windows.velocities.size), np.nan)
    answer[2] = 1.0
    for window, low, high, present in extents(sampling, origin):
        labels = None if epoch is None else epoch[origin + low + 1 : origin + high + 1]
        found = from_series(whole[:, low:high], present=present, epoch=labels, weights=weights)
        answer[:, :, window] = found.mean, found.standard_error, found.unreliable
    return answer
