"""Sweeps: several runs of one model that differ in their hyperparameters."""

from __future__ import annotations

import warnings
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr

from analyzer.errors import BranchWarning, SweepError, caller_level
from analyzer.query.changes import changes_of, setting_in
from analyzer.query.names import PREFIX, RESERVED, column_names
from analyzer.query.recorded import LEARNING_RATE
from analyzer.query.values import column_of, decoded, same
from analyzer.store.schema import read_store
from analyzer.store.together import Paths, branched_at, check_copies, check_models, listed, names_of
from analyzer.store.together import matching as matching
from analyzer.tree import build_tree, trajectory

KIND = "sweep"
ORIGIN = "hyperparameter"
"""Attribute of a coordinate that was renamed: the name that the user gave the hyperparameter."""
_RANGE = ("start_step", "stop_step")
"""First and last step of an answer: coordinates of its windows, or attributes."""
RECORDED_RATE = "recorded_learning_rate"
"""The learning rate of windows, in answers of sweeps whose coordinate `learning_rate` is the hyperparameter."""
WRITTEN = "written_as"
"""Attribute of a coordinate whose values are JSON (`analyzer.query.values.column_of`)."""


def open_sweep(paths: Paths) -> xr.DataTree:
    """Runs of one model, with their hyperparameters as coordinates.

    Parameters
    ----------
    paths
        A glob such as "runs/*.zarr", or paths and URLs. Paths keep their order; the matches of a glob are sorted by
        name.

    Returns
    -------
    xarray.DataTree
        The root has the dimension `run`, every recorded hyperparameter as a coordinate (run,), and
        `inverse_batch_size` if there is a `batch_size`. The value is NaN or None if a run did not record it. Values of
        several types, and integers beyond 64 bits, are written as JSON text. A hyperparameter whose name our answers
        use (`analyzer.query.names`) gets the prefix `hyperparameter_`; select it, and fit against it, by the name
        that the user gave it. The children are the runs by name, as `open_run` returns them. Only the root can be
        indexed by run, because the runs differ in length.

    Raises
    ------
    SweepError
        Nothing matches, two of the paths are copies of one run, or the runs are of different models; the message
        names two. Branches of one run are different runs; answers over steps that they share come with a
        `BranchWarning`, and fits refuse them.
    AnalyzerError
        A run cannot be opened; see `open_run`.

    Examples
    --------
    >>> sweep = open_sweep("runs/*.zarr")
    >>> sweep.thermo.select(batch_size=32).thermo.temperature(by="layer")["temperature"].dims
    ('run', 'group', 'window')
    """
    stores = [read_store(path) for path in listed(paths)]
    check_copies(stores)
    check_models(stores)
    names = names_of([store.location for store in stores])
    return assemble_sweep(dict(zip(names, map(build_tree, stores), strict=True)))


def assemble_sweep(runs: Mapping[str, xr.DataTree]) -> xr.DataTree:
    """Make a sweep of open runs, by name."""
    coords = hyperparameter_coords([hyperparameters_in(run.attrs.get("hyperparameters")) for run in runs.values()])
    names: list[str] = []
    for name in runs:
        names.append(_beside(name, {*coords, "run", *names}))
    coords["run"] = ("run", np.array(names, dtype=object))
    children = dict(zip(names, runs.values(), strict=True))
    return xr.DataTree(xr.Dataset(coords=coords, attrs={"kind": KIND}), children=children)


def hyperparameter_coords(known: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return hyperparameters as coordinates (run,). `known` has those of each run, by the users' names."""
    keys = dict.fromkeys(key for each in known for key in each)
    coords: dict[str, Any] = {}
    for key, name in column_names(keys).items():
        if any(isinstance(each.get(key), (list, dict)) for each in known):
            continue  # lists and objects cannot be coordinates; they stay in the run's attributes
        column, as_json = column_of([each.get(key) for each in known])
        attrs = {"long_name": name.removeprefix(PREFIX).replace("_", " ")} | ({ORIGIN: key} if name != key else {})
        coords[name] = ("run", column, attrs | ({WRITTEN: "json"} if as_json else {}))
    if "batch_size" in coords and "inverse_batch_size" not in coords:
        sizes = coords["batch_size"][1]
        if sizes.dtype.kind in "iuf":
            with np.errstate(divide="ignore"):  # a batch size of 0 gives infinity: a fit against it refuses the run
                inverse = 1 / sizes
            coords["inverse_batch_size"] = ("run", inverse, {"long_name": "inverse batch size"})
    return coords


def hyperparameters_in(found: object) -> dict[str, Any]:
    """Return the attribute `hyperparameters` by the names that its user gave them; nothing if it is no object."""
    return {str(key): value for key, value in found.items()} if isinstance(found, Mapping) else {}


def _recorded(run: xr.DataTree) -> dict[str, Any]:
    return hyperparameters_in(run.attrs.get("hyperparameters"))


def _beside(name: str, taken: Collection[str]) -> str:
    """Return the name of a run, with ".zarr" appended if it is taken: a tree cannot hold two of one name."""
    return name if name not in taken else _beside(f"{name}.zarr", taken)


def is_sweep(tree: xr.DataTree) -> bool:
    """Return whether a tree is a sweep (True) or a run (False)."""
    return tree.attrs.get("kind") == KIND and "run" in tree.dims


def runs_of(sweep: xr.DataTree, places: Iterable[int] | None = None) -> dict[str, xr.DataTree]:
    """Return the runs of a sweep by name, in the root's order, without the coordinates inherited from the root.

    They are copies, and copying a tree takes long: `children_of` and `run_names` do without, and `places` in the
    root's order choose some.
    """
    names = run_names(sweep)
    chosen = names if places is None else [names[place] for place in places]
    return {name: sweep.children[name].copy(inherit=False) for name in chosen}


def children_of(sweep: xr.DataTree) -> dict[str, xr.DataTree]:
    """Return the runs as the sweep has them: for their attributes and arrays. They inherit the coordinate `run`."""
    return {name: sweep.children[name] for name in run_names(sweep)}


def run_names(sweep: xr.DataTree) -> list[str]:
    """Return the names of the runs of a sweep, in the root's order."""
    return [str(name) for name in sweep.coords["run"].to_numpy()]


def select(sweep: xr.DataTree, /, **hyperparameters: Any) -> xr.DataTree:
    """Select the runs of a sweep that have given hyperparameters.

    Parameters
    ----------
    sweep
        A sweep, as `open_sweep` returns it.
    **hyperparameters
        For each hyperparameter, by the name that the user gave it, a value or a list of allowed values:
        learning_rate=1e-3, batch_size=[8, 32]. Integers must agree in all digits, other numbers in nine.

    Returns
    -------
    xarray.DataTree
        A sweep of those runs.

    Raises
    ------
    SweepError
        No run recorded the hyperparameter, or no run has the value; the message lists the known names or values.
    """
    keep = np.ones(sweep.sizes["run"], dtype=bool)
    for name, wanted in hyperparameters.items():
        column = hyperparameter(sweep, name, partial=True)
        attrs = sweep.coords[str(column_name(sweep, name))].attrs
        values = decoded(column, attrs.get(WRITTEN) == "json")
        choices = [wanted] if isinstance(wanted, str) or np.ndim(wanted) == 0 else list(wanted)
        found = np.array([any(same(value, choice) for choice in choices) for value in values])
        if not found.any():
            shown = ", ".join(map(str, dict.fromkeys(column.tolist())))
            raise SweepError(
                f"select({name}={wanted!r}): expected a value that a run has, got none. The runs have: {shown}.",
                available=tuple(values),
            )
        keep &= found
    if not keep.any():
        raise SweepError(f"select: expected a run with all of {hyperparameters}, got none. Ask for fewer of them.")
    return assemble_sweep(runs_of(sweep, np.flatnonzero(keep)))


def hyperparameter(sweep: xr.DataTree, name: str, *, partial: bool = False) -> np.ndarray[Any, Any]:
    """Return the values (run,) of a hyperparameter.

    Raises
    ------
    SweepError
        No run recorded it, or some runs did not and `partial` is False; the message names those runs.
    """
    column = column_name(sweep, name)
    if column is None:
        lists = [run for run, tree in children_of(sweep).items() if isinstance(_recorded(tree).get(name), (list, dict))]
        if lists:
            raise SweepError(
                f"Hyperparameter {name!r}: expected one value a run, got a list or an object in "
                f"{', '.join(lists[:5])}. It is no coordinate. It stands in the attributes of the runs: "
                f"sweep[{lists[0]!r}].attrs['hyperparameters'][{name!r}]",
                runs=tuple(lists),
            )
        known = [str(coord.attrs.get(ORIGIN, key)) for key, coord in sweep.coords.items() if key != "run"]
        parts = [part.strip() for part in name.split(",")]
        several = len(parts) > 1 and all(column_name(sweep, part) is not None for part in parts)
        remedy = (
            f"Name each by itself, as in {' '.join(f'--against {part}' for part in parts)}"
            if several
            else f"Record it: Recorder(..., hyperparameters={{{name!r}: ...}})"
        )
        raise SweepError(
            f"Hyperparameter {name!r}: expected one that the runs recorded ({', '.join(known) or 'they have none'}), "
            f"got {'several' if several else 'none of them'}. {remedy}",
            available=tuple(known),
        )
    values = sweep.coords[column].to_numpy()
    missing = [run for run, value in zip(run_names(sweep), values, strict=True) if value is None or value != value]
    if missing and not partial:
        raise SweepError(
            f"Hyperparameter {name!r}: expected every run to have recorded it, got {len(missing)} without: "
            f"{', '.join(missing[:5])}. Without a value, a run cannot be placed. Leave these runs out of the sweep.",
            runs=tuple(missing),
        )
    return values


def column_name(sweep: xr.DataTree, name: str) -> str | None:
    """Return the coordinate of a hyperparameter by the name that its user gave it; None if there is none."""
    own = [str(key) for key, coord in sweep.coords.items() if coord.attrs.get(ORIGIN) == name]
    return own[0] if own else name if name in sweep.coords and name != "run" else None


def over_runs(sweep: xr.DataTree, measures: Sequence[xr.Dataset]) -> xr.Dataset:
    """Join the answers of a sweep's runs into one, with dims (run, group, window). Windows that a run lacks are NaN.

    Warns
    -----
    BranchWarning
        Two of the runs share steps of their windows.
    """
    if told := shared_steps(sweep, measures):
        warnings.warn(told, BranchWarning, stacklevel=caller_level())
    by_window = [name for name, coord in measures[0].coords.items() if "window" in coord.dims and name != "window"]
    by_window += [name for name in ("steps_per_lag",) if name in measures[0].coords]  # runs may differ in an epoch's
    parts = [measure.reset_coords(by_window).drop_vars("weights") for measure in measures]
    joined = xr.concat(
        parts, dim="run", join="outer", coords="minimal", compat="override", combine_attrs="drop_conflicts"
    )
    joined = joined.assign(weights=measures[0]["weights"]).set_coords(by_window)
    joined = joined[[*measures[0].data_vars, *(n for n in joined.data_vars if n not in measures[0].data_vars)]]
    if LEARNING_RATE in joined.data_vars and LEARNING_RATE in sweep.coords:
        joined = joined.rename({LEARNING_RATE: RECORDED_RATE})
    theirs = {str(name): coord for name, coord in sweep.coords.items() if coord.dims == ("run",) and name != "run"}
    names = column_names(theirs, {*RESERVED, *map(str, joined.variables), *map(str, joined.dims)})
    coords: dict[str, Any] = {"run": ("run", sweep.coords["run"].values)}
    for name, coord in theirs.items():
        moved = {ORIGIN: coord.attrs.get(ORIGIN, name)} if names[name] != name else {}
        coords[names[name]] = ("run", coord.values, {**coord.attrs, **moved})
    return joined.assign_coords(coords)


def shared_steps(sweep: xr.DataTree, answers: Sequence[xr.Dataset], among: Collection[str] | None = None) -> str:
    """Return a sentence that names two branches of one run whose windows hold steps that both share; "" if none.

    Parameters
    ----------
    sweep, answers
        One answer for each of the runs.
    among
        Names of the runs that count; default: all.
    """
    seen: dict[str, list[tuple[str, xr.DataTree, int]]] = {}
    for (name, run), answer in zip(children_of(sweep).items(), answers, strict=True):
        start = int(answer["start_step"].min())
        run_id = str(run.attrs.get("run_id") or "") if among is None or name in among else ""
        others = seen.setdefault(run_id, []) if run_id else []
        for other, tree, begin in others:
            step = branched_at(tree.attrs, run.attrs)
            if step is not None and max(begin, start) < step:
                return (
                    f"{other} and {name}: expected different runs, got branches of one, which share their frames up to "
                    f"step {step}. The shared frames count twice. Choose a range after them: --start {step}"
                )
        others.append((name, run, start))
    return ""


def in_windows(sweep: xr.DataTree, answers: Sequence[xr.Dataset]) -> xr.DataTree:
    """Return the sweep with the hyperparameters that each run had in the steps of its answer.

    A run that was resumed with other hyperparameters is placed by those of the stretch that was measured. (Where an
    answer spans several, a `SettingsWarning` has said so.)
    """
    moved = {}
    for (name, run), answer in zip(children_of(sweep).items(), answers, strict=True):
        own = hyperparameters_of(run, answer)
        if own != _recorded(run):
            moved[name] = {**run.attrs, "hyperparameters": own}
    if not moved:
        return sweep
    runs = runs_of(sweep)
    for name, attrs in moved.items():
        runs[name].attrs = attrs
    return assemble_sweep(runs)


def hyperparameters_of(run: xr.DataTree, answer: xr.Dataset) -> dict[str, Any]:
    """Return the hyperparameters that a run had in the steps of its answer."""
    if not changes_of(run.attrs.get("segments")):
        return _recorded(run)
    known = {name: answer[name] if name in answer.variables else answer.attrs[name] for name in _RANGE}
    start, stop = int(np.min(known["start_step"])), int(np.max(known["stop_step"]))
    own = setting_in("hyperparameters", run.attrs, trajectory(run).line.steps, start, stop)
    return hyperparameters_in(own) if isinstance(own, Mapping) else _recorded(run)
