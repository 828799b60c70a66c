"""Sweeps: runs of one model that differ in their hyperparameters."""

from __future__ import annotations

import glob
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from os import PathLike, fspath
from pathlib import PurePath
from typing import Any

import numpy as np
import xarray as xr

from analyzer.errors import SweepError
from analyzer.schema import Store, is_url, read_store
from analyzer.tree import build_tree

KIND = "sweep"
Paths = str | PathLike[str] | Iterable[str | PathLike[str]]


def open_sweep(paths: Paths) -> xr.DataTree:
    """Runs of one model, with their hyperparameters as coordinates.

    Parameters
    ----------
    paths
        A glob such as "runs/*.zarr", or paths and URLs; the order is kept, that of a glob is by name.

    Returns
    -------
    xarray.DataTree
        Root: dimension `run`, with every recorded hyperparameter as a coordinate (run,) and `inverse_batch_size` where
        there is a `batch_size`; NaN or None where a run did not record one. Children: the runs, as `open_run` gives
        them, by name. Sweeps index their root only, since runs differ in length.

    Raises
    ------
    SweepError
        Nothing matches, or the runs are of different models: the message names two.
    AnalyzerError
        A run cannot be opened; see `open_run`.

    Examples
    --------
    >>> sweep = open_sweep("runs/*.zarr")
    >>> sweep.thermo.select(batch_size=32).thermo.temperature(by="layer")["temperature"].dims
    ('run', 'group', 'window')
    """
    stores = [read_store(path) for path in _listed(paths)]
    _check_models(stores)
    names = _names([store.location for store in stores])
    return assemble_sweep(dict(zip(names, map(build_tree, stores), strict=True)))


def assemble_sweep(runs: Mapping[str, xr.DataTree]) -> xr.DataTree:
    """The sweep of runs that are open, by name."""
    known = [dict(run.attrs.get("hyperparameters") or {}) for run in runs.values()]
    keys = list(dict.fromkeys(key for each in known for key in each))
    coords: dict[str, Any] = {"run": ("run", np.array(list(runs), dtype=object))}
    for key in keys:
        name = key.replace("/", "_")  # a tree takes a slash for a path
        if name in coords or any(isinstance(each.get(key), (list, dict)) for each in known):
            continue  # a list or an object is no coordinate; it stays in the run's attributes
        coords[name] = ("run", _column([each.get(key) for each in known]), {"long_name": name.replace("_", " ")})
    if "batch_size" in coords and "inverse_batch_size" not in coords:
        sizes = coords["batch_size"][1]
        if sizes.dtype.kind in "if":
            coords["inverse_batch_size"] = ("run", 1 / sizes, {"long_name": "inverse batch size"})
    coords["run"] = ("run", np.array([_beside(name, coords) for name in runs], dtype=object))
    children = dict(zip(coords["run"][1], runs.values(), strict=True))
    return xr.DataTree(xr.Dataset(coords=coords, attrs={"kind": KIND}), children=children)


def _beside(name: str, coords: Mapping[str, Any]) -> str:
    """The name of a run where no coordinate has it too: a tree cannot hold both (`run.zarr`, `seed.zarr`)."""
    return name if name not in coords else _beside(f"{name}.zarr", coords)


def is_sweep(tree: xr.DataTree) -> bool:
    """Whether a tree is a sweep, and not a run."""
    return tree.attrs.get("kind") == KIND and "run" in tree.dims


def runs_of(sweep: xr.DataTree) -> dict[str, xr.DataTree]:
    """The runs of a sweep by name, in the root's order, without what they inherit from it."""
    return {name: sweep.children[name].copy(inherit=False) for name in _labels(sweep)}


def _labels(sweep: xr.DataTree) -> list[str]:
    return [str(name) for name in sweep.coords["run"].to_numpy()]


def select(sweep: xr.DataTree, **hyperparameters: Any) -> xr.DataTree:
    """The runs with given hyperparameters: a value, or several to choose from. Numbers match to nine digits.

    Parameters
    ----------
    sweep
        As `open_sweep` gives it.
    **hyperparameters
        By name, as in learning_rate=1e-3, or batch_size=[8, 32].

    Returns
    -------
    xarray.DataTree
        A sweep of those runs.

    Raises
    ------
    SweepError
        No run recorded the hyperparameter, or none has the value: the message lists those there are.
    """
    keep = np.ones(sweep.sizes["run"], dtype=bool)
    for name, wanted in hyperparameters.items():
        values = hyperparameter(sweep, name, partial=True)
        choices = [wanted] if isinstance(wanted, str) or np.ndim(wanted) == 0 else list(wanted)
        found = np.array([any(_same(value, choice) for choice in choices) for value in values])
        if not found.any():
            shown = ", ".join(map(str, dict.fromkeys(values.tolist())))
            raise SweepError(
                f"select({name}={wanted!r}): expected a value that a run has, got none. The runs have: {shown}.",
                available=tuple(values.tolist()),
            )
        keep &= found
    if not keep.any():
        raise SweepError(f"select: expected a run with all of {hyperparameters}, got none. Ask for fewer of them.")
    return assemble_sweep({name: run for (name, run), kept in zip(runs_of(sweep).items(), keep, strict=True) if kept})


def hyperparameter(sweep: xr.DataTree, name: str, *, partial: bool = False) -> np.ndarray[Any, Any]:
    """Values (run,) of a hyperparameter.

    Raises
    ------
    SweepError
        No run recorded it or, unless `partial`, some did not: the message names them.
    """
    if name not in sweep.coords or name == "run":
        known = [str(key) for key in sweep.coords if key != "run"]
        raise SweepError(
            f"Hyperparameter {name!r}: expected one that the runs recorded ({', '.join(known) or 'they have none'}), "
            f"got none of them. Record it: Recorder(..., hyperparameters={{{name!r}: ...}})",
            available=tuple(known),
        )
    values = sweep.coords[name].to_numpy()
    missing = [run for run, value in zip(_labels(sweep), values, strict=True) if value is None or value != value]
    if missing and not partial:
        raise SweepError(
            f"Hyperparameter {name!r}: expected every run to have recorded it, got {len(missing)} without: "
            f"{', '.join(missing[:5])}. They have no place on the axis. Leave them out of the sweep.",
            runs=tuple(missing),
        )
    return values


def over_runs(sweep: xr.DataTree, measures: Sequence[xr.Dataset]) -> xr.Dataset:
    """The answers of a sweep's runs as one, dims (run, group, window); windows that a run has not are NaN."""
    by_window = [name for name, coord in measures[0].coords.items() if "window" in coord.dims and name != "window"]
    by_window += [name for name in ("steps_per_lag",) if name in measures[0].coords]  # an epoch's depend on the run
    parts = [measure.reset_coords(by_window).drop_vars("weights") for measure in measures]
    joined = xr.concat(
        parts, dim="run", join="outer", coords="minimal", compat="override", combine_attrs="drop_conflicts"
    )
    joined = joined.assign(weights=measures[0]["weights"]).set_coords(by_window)
    coords = {
        name: ("run", coord.values, coord.attrs) for name, coord in sweep.coords.items() if coord.dims == ("run",)
    }
    return joined.assign_coords(coords)


def _listed(paths: Paths) -> list[str]:
    given = [fspath(paths)] if isinstance(paths, (str, PathLike)) else [fspath(path) for path in paths]
    found: list[str] = []
    for path in given:
        matches = [path] if is_url(path) or not glob.has_magic(path) else sorted(glob.glob(path))  # noqa: PTH207
        if not matches:
            raise SweepError(
                f"{path}: expected at least one store that the pattern matches, got none. Quote the pattern, and check "
                f"it: ls -d {path}",
                pattern=path,
            )
        found += matches
    if not found:
        raise SweepError("Sweep: expected at least one path, got none. Give a pattern such as 'runs/*.zarr'")
    return list(dict.fromkeys(found))


def _check_models(stores: Sequence[Store]) -> None:
    first = stores[0]
    shapes = {p.name: p.shape for p in first.parameters}
    for other in stores[1:]:
        theirs = {p.name: p.shape for p in other.parameters}
        if theirs == shapes:
            continue
        odd = sorted(name for name in shapes | theirs if shapes.get(name) != theirs.get(name))[0]
        raise SweepError(
            f"Sweep: expected runs of one model, got two: {odd} is {_shown(shapes.get(odd))} in {first.location} and "
            f"{_shown(theirs.get(odd))} in {other.location}. They have no groups in common. Open them apart.",
            parameter=odd,
            runs=(first.location, other.location),
        )


def _shown(shape: tuple[int, ...] | None) -> str:
    return "absent" if shape is None else f"of shape {list(shape)}"


def _names(locations: Sequence[str]) -> list[str]:
    """The last part of each path without its suffix; more of the path where that is not unique."""
    parts = [PurePath(location.split("://")[-1]).parts for location in locations]
    names = [""] * len(parts)
    for depth in range(1, max(map(len, parts)) + 1):
        names = ["-".join(part.removesuffix(".moments").removesuffix(".zarr") for part in p[-depth:]) for p in parts]
        if max(Counter(names).values()) == 1:
            break
    return [name.replace("/", "_") for name in names]


def _column(values: Sequence[Any]) -> np.ndarray[Any, Any]:
    """Numbers as float64 (integers, where all are), all else as objects."""
    if all(isinstance(value, int) and not isinstance(value, bool) for value in values):
        return np.array(values, dtype=np.int64)
    if all(value is None or (isinstance(value, (int, float)) and not isinstance(value, bool)) for value in values):
        return np.array([np.nan if value is None else float(value) for value in values])
    column = np.empty(len(values), dtype=object)
    column[:] = values
    return column


def _same(value: Any, choice: Any) -> bool:
    numbers = (int, float, np.number)
    if isinstance(value, numbers) and isinstance(choice, numbers):
        return bool(np.isclose(float(value), float(choice), rtol=1e-9, atol=0))
    return bool(value == choice)
