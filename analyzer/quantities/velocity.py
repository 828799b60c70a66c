"""Velocities: the displacement of each weight per lag, as a lazy tree, or as means over groups and windows."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from analyzer.engine.measure import Column, Measurement, measure, own_groups, result, unit_of, warn_of_empty
from analyzer.engine.sums import SQUARES, SUM
from analyzer.quantities.equilibration import from_equilibrium
from analyzer.query.groups import By, Globs
from analyzer.query.query import Query, query_of
from analyzer.query.windows import Bound, Lag, Sampling, Window, sample
from analyzer.tree import ENCODING, trajectory

Array = np.ndarray[Any, np.dtype[Any]]


def velocity(
    run: xr.DataTree,
    *,
    lag: Lag = None,
    start: Bound = None,
    stop: Bound = None,
    steps_per_epoch: int | None = None,
    unequal_epochs: bool = False,
) -> xr.DataTree:
    """Every velocity of every weight: v(t) = w(t) − w(t − lag), at step t.

    Parameters
    ----------
    run
        A run, or any tree derived from one.
    lag
        Steps, or "epoch"; default: the stride. Displacements do not overlap.
    start, stop
        Steps, or percent as in "50%".
    steps_per_epoch, unequal_epochs
        As for `temperature`.

    Returns
    -------
    xarray.DataTree
        The same tree, lazy where the run is. Frames at which no velocity ends are left out, also from root scalars: the
        first frame, and the first after each gap or resumption. If the spacing of frames changes, the coordinate
        `steps_per_lag` has the steps that each velocity spans. Parameters are float64, in weight lag⁻¹: the difference
        of two float32 numbers is exact only if they are close, so it is taken after widening.

    Raises
    ------
    TooFewFramesError, WindowError, EpochError, TreeError
        When called, before any frame is read.
    """
    known = trajectory(run)
    sampling = sample(
        known.line, start=start, stop=stop, lag=lag, steps_per_epoch=steps_per_epoch, unequal_epochs=unequal_epochs
    )
    before, after = pairs(sampling)
    earlier, later = _selector(before), _selector(after)
    units = f"weight {unit_of(sampling)}^-1"
    data: dict[str, xr.Dataset] = {}
    above = run.path.rstrip("/")  # a run of a sweep is a child of its root
    for node in run.subtree:
        path = node.path.removeprefix(above) or "/"
        dataset = node.to_dataset(inherit=False)
        if "step" in dataset.dims:
            dataset = dataset.isel(step=later)
        for name in dataset.data_vars:
            if path.startswith("/parameters") and "step" in dataset[name].dims:
                frames = node[str(name)].variable
                values = frames.isel(step=later).astype(np.float64) - frames.isel(step=earlier).astype(np.float64)
                dataset[name] = (values.dims, values.data, {**frames.attrs, "units": units})
        data[path] = dataset
    if sampling.steps_per_lag is None:
        taken = known.line.steps[after] - known.line.steps[before]
        title = "steps that the velocity spans"
        data["/"] = data["/"].assign_coords(steps_per_lag=("step", taken, {"units": "step", "long_name": title}))
    tree = xr.DataTree.from_dict(data, name=run.name)
    tree.attrs |= {"quantity": "velocity", "lag": sampling.lag}
    tree.attrs |= {} if sampling.steps_per_lag is None else {"steps_per_lag": sampling.steps_per_lag}
    tree.encoding.pop(ENCODING, None)
    return tree


def velocity_summary_of(run: xr.DataTree, query: Query) -> tuple[xr.Dataset, list[Measurement]]:
    """As `velocity_summary`, for a query; also returns the measurement behind it."""
    measurement = measure(run, from_equilibrium(run, query))
    per = unit_of(measurement.plan.sampling)
    columns = {
        "mean_velocity": Column(f"weight {per}^-1", "mean velocity"),
        "mean_squared_velocity": Column(f"weight^2 {per}^-2", "mean squared velocity", squares_only=True),
        "rms_velocity": Column(f"weight {per}^-1", "root mean squared velocity", squares_only=True),
    }
    dataset = result(measurement, "velocity", _columns, columns)
    dataset.attrs["units"] = f"weight {per}^-1"
    dataset.attrs |= own_groups(query.by)
    return dataset, [measurement]


def velocity_summary(
    run: xr.DataTree,
    *,
    by: By = "layer",
    window: Window = None,
    start: Bound = None,
    stop: Bound = None,
    lag: Lag = None,
    parameter: Globs = None,
    layer: Globs = None,
    exclude: Globs = None,
    frozen: bool = False,
    steps_per_epoch: int | None = None,
    unequal_epochs: bool = False,
) -> xr.Dataset:
    """Mean velocity, mean squared velocity and its root, by group and window, as `analyzer velocity` prints them.

    Parameters
    ----------
    run
        A run, or any tree derived from one.
    by, window, start, stop, lag, parameter, layer, exclude, frozen, steps_per_epoch, unequal_epochs
        As for `temperature`.

    Returns
    -------
    xarray.Dataset
        Dims (group, window), lazy where the run is: `mean_velocity` (of the group's centre of mass),
        `mean_squared_velocity` (in the paper's figure 4 for single elements), `rms_velocity`.
    """
    query = query_of(locals())
    answer, measured = velocity_summary_of(run, query)
    warn_of_empty(measured, "its mean velocity")
    return answer


@np.errstate(divide="ignore", invalid="ignore")  # for a group without weights, NaN is right
def _columns(table: Array, weights: Array, count: Array) -> tuple[Array, ...]:
    squared = table[SQUARES] / (weights * count)
    return table[SUM] / (weights * count), squared, np.sqrt(squared)


def pairs(sampling: Sampling) -> tuple[Array, Array]:
    """The frames (velocities,) at which the velocities of a sampling begin, and those at which they end."""
    length = sampling.count - 1
    place = np.arange(int(length.sum())) - np.repeat(np.cumsum(length) - length, length)
    spacing = np.repeat(sampling.spacing, length)
    before = np.repeat(sampling.first, length) + place * spacing
    return before, before + spacing


def _selector(frames: Array) -> slice | Array:
    """A slice if the frames are evenly spaced, since dask slices without copying; else the frames."""
    apart = np.diff(frames)
    if frames.size == 1 or (apart == apart[0]).all():
        step = int(apart[0]) if apart.size else 1
        return slice(int(frames[0]), int(frames[-1]) + 1, step)
    return frames
