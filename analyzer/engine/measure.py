"""Run a query: select parameters, sample velocities, group weights, plan, reduce.

It returns moments. The quantities (`analyzer.quantities`) turn them into temperatures and velocities.
"""

from __future__ import annotations

import itertools
import json
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import dask.array as da
import numpy as np
import xarray as xr

from analyzer.engine.frames import Arrays, Frames
from analyzer.engine.graph import Moments, moments, moments_together
from analyzer.engine.kept.homes import base_of
from analyzer.engine.kept.remains import Remains
from analyzer.engine.makers import check_default_workers
from analyzer.engine.masses import Mass, masses_of
from analyzer.engine.memory import require_memory
from analyzer.engine.pieces import Piece
from analyzer.engine.plan import SPAN_FRAMES, Plan, check_memory, plan, plan_arrays
from analyzer.errors import (
    KeptSumsWarning,
    SettingsWarning,
    TrajectoryMissingError,
    caller_level,
)
from analyzer.query.batches import in_batches
from analyzer.query.changes import told, within
from analyzer.query.groups import By, Grouping, group, most_groups, select, weights_of
from analyzer.query.kinds import KINDS
from analyzer.query.query import Query
from analyzer.query.windows import Sampling, sample
from analyzer.store.reading import source_of
from analyzer.store.roots import check_same
from analyzer.store.schema import Parameter, Store
from analyzer.tree import Trajectory, trajectory
from analyzer.version import version

Array = np.ndarray[Any, np.dtype[Any]]
_TITLES = {kind.column: kind.title for kind in KINDS.values()}
_GROUP_BYTES = 100
"""Memory of one group's label, columns and number of weights."""
_BATCH_SUMS = 1 << 21
"""Most sums of batches at a longer lag (16 MiB). There are at least 32 batches, even if those take more."""


@dataclass(frozen=True)
class Column:
    """A column of an answer: its units, its long name, and whether it needs only Σv² of the moments."""

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


def measure(tree: xr.DataTree, query: Query, mass: Mass = 1.0) -> Measurement:
    """The lazy moments of a query on a run. Every fault of the query is raised here, before anything is read."""
    return measure_together(tree, [query], mass)[0]


def measure_together(tree: xr.DataTree, queries: Sequence[Query], mass: Mass = 1.0) -> list[Measurement]:
    """The lazy moments of queries that differ only in their sampling, from one pass over the frames.

    Computed together, as variables of one Dataset, they decode each chunk at most once.
    """
    check_default_workers()
    run = trajectory(tree)
    first = queries[0]
    chosen, grouping = grouped(run, first)
    masses = masses_of(chosen, mass)
    remains: list[Remains | None] = [None for _ in queries]
    if run.opened is None:
        shared = False
        plans = [_plan_of_tree(run, chosen, _drawn(run, query, grouping)[0], grouping) for query in queries]
    else:
        store, base = run.opened.store, base_for(run.opened.store, first.cache)
        listings: dict[str, Any] = {}
        plans = [_plan_of_store(run, store, base, listings, query, grouping) for query in queries]
        step = source_of(store, "step")
        check_same(step)
        remains = [Remains.of(store, step, plan.home) for plan in plans]
        shared = sum(plan.tasks > 0 for plan in plans) > 1
    check_memory(plans, first.workers, first.memory_limit)
    warn_of_changes(run, [plan.sampling for plan in plans])
    if shared:
        found = moments_together(plans, masses, remains)
    else:
        found = [moments(plan, masses, kept) for plan, kept in zip(plans, remains, strict=True)]
    return [Measurement(run, plan, answer) for plan, answer in zip(plans, found, strict=True)]


def _drawn(run: Trajectory, query: Query, grouping: Grouping) -> list[Sampling]:
    """The velocities of a query, best choice first: cut into batches if error bars need these, then uncut."""
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
        # At a longer lag the variance of a single sample also comes from batches. More and shorter ones give a better
        # n_eff.
        each = _BATCH_SUMS // max(grouping.weights.size * sampling.windows.velocities.size, 1)
        return [in_batches(sampling, query.shortest_batch, min(max(each, 32), 1024)), sampling]
    return [sampling]


def _plan_of_store(
    run: Trajectory, store: Store, base: Path | None, listings: dict[str, Any], query: Query, grouping: Grouping
) -> Plan:
    """The plan of a query on a store."""
    sources = {p.name: source_of(store, p.path) for p in store.parameters}
    known = replace(store, parameters=run.parameters)
    *in_parts, whole = _drawn(run, query, grouping)
    for sampling in in_parts:
        try:
            return plan(sampling, grouping, known, sources, run.line, base, listings)
        except TrajectoryMissingError:
            pass  # kept sums are cut at bins: they may answer without batches, and then without an error bar
    return plan(whole, grouping, known, sources, run.line, base, listings)


def warn_of_changes(run: Trajectory, samplings: Sequence[Sampling]) -> None:
    """Warn once if the settings of a run changed within the steps that are measured.

    Warns
    -----
    SettingsWarning
        The message lists the stretches with equal settings.
    """
    if not run.line.changes:
        return
    start = min(int(one.windows.start_step[0]) for one in samplings)
    stop = max(int(one.windows.stop_step[-1]) for one in samplings)
    if found := within(run.line.changes, run.line.steps, start, stop):
        where = run.identity.get("store", "Run")
        text = f"{where}: {told(found, run.line.changes, run.line.steps)}"
        warnings.warn(text, SettingsWarning, stacklevel=caller_level())


def grouped(run: Trajectory, query: Query) -> tuple[tuple[Parameter, ...], Grouping]:
    """The chosen parameters of a query, and their groups; more than its memory has room for are refused."""
    selected = select(run.parameters, query.parameter, query.layer, query.exclude)
    chosen = select(selected, frozen=query.frozen)
    _check_groups(chosen, query.by, query.memory_limit)
    return chosen, replace(group(chosen, query.by), frozen=weights_of(selected) - weights_of(chosen))


def _check_groups(parameters: Sequence[Parameter], by: By, limit: int | None) -> None:
    """Refuse groups whose names alone would take more than a limit in bytes, before they are made."""
    needed = most_groups(parameters, by) * _GROUP_BYTES
    names = f"the names of {needed // _GROUP_BYTES:,} groups"
    require_memory(needed, limit, names, "Choose a coarser --by, fewer parameters (--parameter)")


def base_for(store: Store, cache: bool | str) -> Path | None:
    """The folder in which the sums of a store are kept. Where only kept sums are left, that is the store itself."""
    if not store.is_trajectory:
        return Path(store.location)
    chosen = cache if isinstance(cache, str) else None
    return base_of(store.location, store.run_id, chosen) if cache is not False else None


def result(
    measurement: Measurement,
    quantity: str,
    formula: Callable[[Array, Array, Array], Sequence[Array]],
    columns: Columns,
    extra: Mapping[str, Any] | None = None,
) -> xr.Dataset:
    """The answer of a query as a Dataset: `weights`, `velocities` and columns (group, window).

    Parameters
    ----------
    quantity
        Name of what is measured.
    formula
        Makes the columns from moments (MOMENTS, groups, windows), weights of a group (groups, 1) and velocities of a
        weight (windows,), NaN where there are none.
    columns
        Columns by name, in the formula's order.
    extra
        Further variables, as xarray takes them.
    """
    sampling, grouping = measurement.plan.sampling, measurement.plan.grouping
    windows = sampling.windows
    coords = coords_of(sampling, grouping)
    weights, dims = grouping.weights[:, np.newaxis], ("group", "window")
    data: dict[str, Any] = {
        "weights": ("group", grouping.weights, {"units": "1", "long_name": "degrees of freedom"}),
        "velocities": (dims, weights * windows.velocities, {"units": "1", "long_name": "velocities averaged"}),
    }
    # One task makes all columns. dask.compute on a Dataset would lose a column derived from another (dask 2026.8).
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
    dataset = xr.Dataset(data, coords=coords, attrs=attrs_of(measurement.run, sampling, grouping, quantity))
    return in_memory_as(measurement.run, dataset)


def coords_of(sampling: Sampling, grouping: Grouping) -> dict[str, Any]:
    """The coordinates of an answer by group and window, as xarray takes them."""
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
    if windows.steps_per_lag is not None:
        title = "steps that a velocity spans"
        coords["steps_per_lag"] = ("window", windows.steps_per_lag, {"units": "step", "long_name": title})
    if windows.epoch is not None:
        coords["epoch"] = ("window", windows.epoch, {"long_name": "epoch"})
    return coords


def _stacked(table: Array, *, formula: Any, weights: Array, count: Array) -> Array:
    return np.stack(list(formula(table, weights, count)))


def warn_of_empty(measured: Sequence[Measurement], columns: str) -> None:
    """Warn of columns that are NaN because kept sums hold only Σv² for a question and the frames are missing.

    Warns
    -----
    KeptSumsWarning
    """
    if all(one.plan.squares_only for one in measured):
        warnings.warn(
            f"Kept sums: expected the frames of the run for {columns} in this window, got only sums. Those columns are "
            "NaN, the others are complete. Ask for the whole run or epochs, or restore the trajectory.",
            KeptSumsWarning,
            stacklevel=caller_level(),
        )


def unit_of(sampling: Sampling) -> str:
    """Unit of time of a velocity: displacement per lag, which is per step only at lag 1."""
    return "step" if sampling.lag == 1 else "lag"


def attrs_of(run: Trajectory, sampling: Sampling, grouping: Grouping, quantity: str) -> dict[str, Any]:
    """The attributes of an answer: what was asked, of which run, by which version."""
    attrs: dict[str, Any] = {
        "quantity": quantity,
        "by": grouping.by,
        "lag": sampling.lag,
        **({} if sampling.steps_per_lag is None else {"steps_per_lag": sampling.steps_per_lag}),
        "parameters_left_out": len(grouping.left_out),
        **({"frozen_weights_left_out": grouping.frozen} if grouping.frozen else {}),
        "thermotrace_version": version(),
    }
    return attrs | run.identity


def own_groups(by: By) -> dict[str, str]:
    """The attribute of an answer that says what the user's own groups hold; none for a kind of group."""
    return {"groups": json.dumps(dict(by))} if isinstance(by, Mapping) else {}


def in_memory_as(run: Trajectory, answer: xr.Dataset) -> xr.Dataset:
    """An answer, computed where the arrays of its run are in memory, else lazy as they are."""
    return answer if run.lazy else answer.compute(scheduler="synchronous")


def _plan_of_tree(run: Trajectory, chosen: Sequence[Parameter], sampling: Sampling, grouping: Grouping) -> Plan:
    """A plan over the tree's own arrays: the same kernels run over their chunks."""
    low = int(sampling.first.min())
    high = int((sampling.first + (sampling.count - 1) * sampling.spacing).max())
    return plan_arrays(sampling, grouping, *pieces_of_tree(run, chosen, low, high, grouping))


def pieces_of_tree(
    run: Trajectory, chosen: Sequence[Parameter], low: int, high: int, grouping: Grouping
) -> tuple[dict[Piece, Frames], list[int]]:
    """The pieces of a tree's own arrays over frames low to high, and the frames at which all are cut along step."""
    high += 1
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
    pieces: dict[Piece, Frames] = {}
    for p in chosen:
        if p.name not in arrays:
            continue
        values = arrays[p.name].rechunk({len(p.shape): tuple(np.diff(ordered).tolist())})
        leading = [np.cumsum([0, *lengths]).tolist() for lengths in values.chunks[:-1]]
        regions = [tuple(itertools.pairwise(cuts)) for cuts in leading]
        for place in np.ndindex(*(len(r) for r in regions)):
            region = tuple(regions[axis][n] for axis, n in enumerate(place))
            piece = Piece(p.name, p.shape, region, grouping.rules[p.name], str(values.dtype), p.original_dtype)
            pieces[piece] = Arrays(values.blocks[place] if place else values, low)
    return pieces, ordered
