"""A query from end to end: select, sample, group, plan, reduce. What it is a measure of, its caller decides."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path
from typing import Any

import dask.array as da
import numpy as np
import xarray as xr

from analyzer.cache import folder_of
from analyzer.engine import Moments, moments, moments_together
from analyzer.errors import MemoryLimitError, OptionError, SelectionError, TrajectoryMissingError
from analyzer.groups import By, Globs, Grouping, group, most_groups, select
from analyzer.plan import SPAN_FRAMES, Piece, Plan, check_memory, plan, plan_blocks, size_text
from analyzer.remains import Remains
from analyzer.schema import Parameter, Store
from analyzer.tree import Trajectory, source_of, trajectory
from analyzer.version import version
from analyzer.windows import BLOCK_FRAMES, Bound, Lag, Sampling, Window, in_batches, sample

Array = np.ndarray[Any, np.dtype[Any]]
_TITLES = {"output": "output unit", "input": "input unit", "index": "element (flat index, C order)"}
_GROUP_BYTES = 100
"""What identifies one group: its label, its columns, its number of weights."""
Mass = float | Mapping[str, float]


@dataclass(frozen=True)
class Column:
    """A column of an answer: its units and long name, and whether Σv² is all that it needs of the moments."""

    units: str
    title: str
    squares_only: bool = False


Columns = Mapping[str, Column]


@dataclass(frozen=True)
class Measurement:
    """A query and its lazy answer."""

    run: Trajectory
    plan: Plan
    moments: Moments


@dataclass(frozen=True)
class Query:
    """What is asked of a run, apart from the quantity.

    `cache` is whether the moments cache is used and filled, or its folder if that is not beside the store. `batches`
    cuts the velocities of groups that have no series into batches, for error bars; those of neighbouring frames are no
    shorter than `shortest_batch`, and kept sums answer only if that is the length of a block. `half_phase` shifts the
    displacements of lag "epoch" by half an epoch.
    """

    by: By = "layer"
    window: Window = None
    start: Bound = None
    stop: Bound = None
    lag: Lag = None
    parameter: Globs = None
    layer: Globs = None
    exclude: Globs = None
    steps_per_epoch: int | None = None
    unequal_epochs: bool = False
    workers: int = 1
    memory_limit: int | None = None
    cache: bool | str = True
    batches: bool = False
    half_phase: bool = False
    shortest_batch: int = BLOCK_FRAMES


def measure(tree: xr.DataTree, query: Query, mass: Mass = 1.0) -> Measurement:
    """The lazy moments of a query on a run; every fault of the query is raised here, before anything is read."""
    return measure_together(tree, [query], mass)[0]


def measure_together(tree: xr.DataTree, queries: Sequence[Query], mass: Mass = 1.0) -> list[Measurement]:
    """The lazy moments of queries that differ in their sampling alone, from one pass over the frames.

    Computed together, as variables of one Dataset, they decode every chunk once at most.
    """
    run = trajectory(tree)
    first = queries[0]
    chosen = select(run.parameters, first.parameter, first.layer, first.exclude)
    masses = masses_of(chosen, mass)
    check_groups(chosen, first.by, first.memory_limit)
    grouping = group(chosen, first.by)
    remains = None
    if run.opened is not None:
        store = run.opened.store
        folder = _folder(store, first)
        plans = [_planned(run, store, folder, query, grouping) for query in queries]
        if folder is not None and store.is_trajectory:
            remains = Remains(store.location, store.run_id, store.frames, store.status, str(folder))
        check_memory(plans, first.workers, first.memory_limit)
        if len(plans) > 1 and sum(plan.tasks > 0 for plan in plans) > 1:
            found = moments_together(plans, masses, remains)
        else:
            found = [moments(plan, masses, None, remains) for plan in plans]
        return [Measurement(run, plan, answer) for plan, answer in zip(plans, found, strict=True)]
    made = [_plan_tree(run, chosen, _drawn(run, query, grouping)[0], grouping) for query in queries]
    check_memory([plan for plan, _ in made], first.workers, first.memory_limit)
    return [Measurement(run, plan, moments(plan, masses, blocks)) for plan, blocks in made]


def _drawn(run: Trajectory, query: Query, grouping: Grouping) -> list[Sampling]:
    """The velocities of a query; where its error bars come from batches, in batches first."""
    sampling = sample(
        run.line,
        window=query.window,
        start=query.start,
        stop=query.stop,
        lag=query.lag,
        steps_per_epoch=query.steps_per_epoch,
        unequal_epochs=query.unequal_epochs,
        half_phase=query.half_phase,
    )
    if query.batches and not (grouping.is_whole and (sampling.spacing == 1).all()):
        return [in_batches(sampling, query.shortest_batch), sampling]
    return [sampling]


def _planned(run: Trajectory, store: Store, folder: Path | None, query: Query, grouping: Grouping) -> Plan:
    """The plan of a query on a store."""
    sources = {p.name: source_of(store, p.path) for p in store.parameters}
    known = replace(store, parameters=run.parameters)
    *in_parts, whole = _drawn(run, query, grouping)
    for sampling in in_parts:
        try:
            return plan(sampling, grouping, known, sources, run.line, folder)
        except TrajectoryMissingError:
            pass  # kept sums end at blocks: without batches they may do, and there is no error bar
    return plan(whole, grouping, known, sources, run.line, folder)


def check_groups(parameters: Sequence[Parameter], by: By, limit: int | None) -> None:
    """Refuses more groups than a limit in bytes has room for, before they are listed."""
    needed = most_groups(parameters, by) * _GROUP_BYTES
    if limit is not None and needed > limit:
        raise MemoryLimitError(
            f"Memory: expected at most {size_text(limit)} (--memory-limit), got a projected {size_text(needed)} for "
            f"the names of {needed // _GROUP_BYTES:,} groups. Nothing was read. Choose a coarser --by, fewer "
            "parameters (--parameter), or raise --memory-limit.",
            needed=needed,
            limit=limit,
        )


def _folder(store: Store, query: Query) -> Path | None:
    """The moments cache of a store; one that was kept without its trajectory is its own."""
    if not store.is_trajectory:
        return Path(store.location)
    chosen = query.cache if isinstance(query.cache, str) else None
    return folder_of(store.location, store.run_id, chosen) if query.cache is not False else None


def masses_of(parameters: Sequence[Parameter], mass: Mass) -> dict[str, float]:
    """Mass of the weights of each parameter: one number, or the first of a mapping's globs that matches, else 1.

    Raises
    ------
    OptionError
        A mass is not a positive finite number.
    SelectionError
        A glob matches nothing.
    """
    given = mass.values() if isinstance(mass, Mapping) else (mass,)
    for value in given:
        if not isinstance(value, (int, float)) or not math.isfinite(value) or value <= 0:
            raise OptionError(
                f"mass: expected a positive finite number, got {value!r}. A temperature is Σ ½ m v² / (k_B d). "
                "Leave it out for m = 1.",
                mass=mass,
            )
    if not isinstance(mass, Mapping):
        return {p.name: float(mass) for p in parameters}
    masses = {p.name: 1.0 for p in parameters}
    for glob, value in reversed(list(mass.items())):
        matched = [p.name for p in parameters if fnmatchcase(p.name, glob)]
        if not matched:
            raise SelectionError(
                f"mass {glob!r}: expected a pattern that matches one of: {', '.join(masses)}; got no match. "
                "The mass would be without effect. Mend the pattern.",
                pattern=glob,
            )
        masses |= {name: float(value) for name in matched}
    return masses


def result(
    measurement: Measurement,
    quantity: str,
    formula: Callable[[Array, Array, Array], Sequence[Array]],
    columns: Columns,
    extra: Mapping[str, Any] | None = None,
) -> xr.Dataset:
    """The tidy Dataset of a query: `weights`, `velocities` and columns (group, window).

    Parameters
    ----------
    quantity
        Name of what is measured.
    formula
        From moments (MOMENTS, groups, windows), weights of a group (groups, 1) and velocities of a weight
        (windows,), NaN where there are none, to the columns.
    columns
        By name, in the formula's order.
    extra
        Further variables, as xarray takes them.
    """
    sampling, grouping = measurement.plan.sampling, measurement.plan.grouping
    windows = sampling.windows
    coords: dict[str, Any] = {"group": ("group", grouping.label, {"long_name": f"group by {grouping.by}"})}
    coords |= {
        name: ("group", values, {"long_name": _TITLES.get(name, name)}) for name, values in grouping.columns.items()
    }
    coords |= {
        "window": ("window", np.arange(windows.velocities.size), {"long_name": "window"}),
        "start_step": ("window", windows.start_step, {"units": "step", "long_name": "window start (excluded)"}),
        "stop_step": ("window", windows.stop_step, {"units": "step", "long_name": "window end (included)"}),
        "partial": ("window", windows.partial, {"long_name": "window shorter than asked for"}),
        "left_out": (
            "window",
            windows.left_out,
            {"long_name": "velocities of each weight lost to gaps and resumptions"},
        ),
    }
    if windows.epoch is not None:
        coords["epoch"] = ("window", windows.epoch, {"long_name": "epoch"})
    weights, dims = grouping.weights[:, np.newaxis], ("group", "window")
    data: dict[str, Any] = {
        "weights": ("group", grouping.weights, {"units": "1", "long_name": "degrees of freedom"}),
        "velocities": (dims, weights * windows.velocities, {"units": "1", "long_name": "velocities averaged"}),
    }
    # All columns in one task, none derived from another: dask.compute on a Dataset loses such a variable (dask 2026.8).
    count = np.where(windows.velocities == 0, np.nan, windows.velocities)
    stacked = partial(_stacked, formula=formula, weights=weights, count=count)
    answers = {
        table.name: da.map_blocks(  # type: ignore[no-untyped-call]
            stacked, table, chunks=((len(columns),), *table.chunks[1:]), meta=np.empty((0, 0, 0))
        )
        for table in {t.name: t for t in (measurement.moments.table, measurement.moments.squares)}.values()
    }
    for n, (name, column) in enumerate(columns.items()):
        table = measurement.moments.squares if column.squares_only else measurement.moments.table
        data[name] = (dims, answers[table.name][n], {"units": column.units, "long_name": column.title})
    data |= extra or {}
    dataset = xr.Dataset(data, coords=coords, attrs=_attrs(measurement, quantity))
    return dataset if measurement.run.lazy else dataset.compute(scheduler="synchronous")


def _stacked(table: Array, *, formula: Any, weights: Array, count: Array) -> Array:
    return np.stack(list(formula(table, weights, count)))


def unit_of(sampling: Sampling) -> str:
    """Unit of time of a velocity: displacement per lag, which is per step only at lag 1."""
    return "step" if sampling.lag == 1 else "lag"


def _attrs(measurement: Measurement, quantity: str) -> dict[str, Any]:
    sampling, grouping = measurement.plan.sampling, measurement.plan.grouping
    attrs: dict[str, Any] = {
        "quantity": quantity,
        "by": grouping.by,
        "lag": sampling.lag,
        "steps_per_lag": sampling.steps_per_lag,
        "parameters_left_out": len(grouping.left_out),
        "thermotrace_version": version(),
    }
    if measurement.run.opened is not None:
        attrs |= {"run_id": measurement.run.opened.store.run_id, "store": measurement.run.opened.store.location}
    return attrs


def _plan_tree(
    run: Trajectory, chosen: Sequence[Parameter], sampling: Sampling, grouping: Grouping
) -> tuple[Plan, list[da.Array]]:
    """A plan over the tree's own arrays: their chunks become the tasks, the same kernels run over them."""
    low = int(sampling.first.min())
    high = int((sampling.first + (sampling.count - 1) * sampling.spacing).max()) + 1
    arrays = {}
    edges = {low, high}
    for p in chosen:
        if p.name not in grouping.rules or not p.weights:
            continue
        values = run.arrays[p.name].data
        if not isinstance(values, da.Array):
            chunks = (*(-1 for _ in p.shape), SPAN_FRAMES)
            values = da.from_array(values, chunks=chunks, name=False)  # type: ignore[no-untyped-call]
        arrays[p.name] = values[..., low:high]
        edges |= {low + int(edge) for edge in np.cumsum(arrays[p.name].chunks[-1])}
    ordered = sorted(edges)
    pieces, blocks = [], []
    for p in chosen:
        if p.name not in arrays:
            continue
        values = arrays[p.name].rechunk({len(p.shape): tuple(np.diff(ordered).tolist())})
        leading = [np.cumsum([0, *lengths]).tolist() for lengths in values.chunks[:-1]]
        regions = [tuple(itertools.pairwise(cuts)) for cuts in leading]
        for place in np.ndindex(*(len(r) for r in regions)):
            region = tuple(regions[axis][n] for axis, n in enumerate(place))
            pieces.append(Piece(p.name, p.shape, region, grouping.rules[p.name], str(values.dtype), p.original_dtype))
            cut = values.blocks[place] if place else values
            blocks.append(cut)
    return plan_blocks(sampling, grouping, pieces, ordered), blocks
