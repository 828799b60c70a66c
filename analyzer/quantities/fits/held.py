"""The hyperparameters that a fit holds fixed, and learning rates that were recorded with the frames."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from analyzer.errors import FitError
from analyzer.query.recorded import LEARNING_RATE
from analyzer.sweep import ORIGIN, assemble_sweep, column_name, run_names, runs_of

Array = np.ndarray[Any, np.dtype[Any]]

_INVERSE = "inverse_batch_size"
_MOST_NAMED = 6


@dataclass(frozen=True)
class Held:
    """Runs of a sweep that agree in all hyperparameters except those that a fit is against.

    Attributes
    ----------
    label
        The values that are held fixed, as in "batch_size=16"; empty if nothing else varies.
    places
        Places of the runs in the sweep.
    """

    label: str
    places: tuple[int, ...]


def held_fixed(sweep: xr.DataTree, against: Sequence[str], pool: Sequence[str], fewest: int) -> list[Held]:
    """Divide the runs of a sweep by the hyperparameters that vary, other than those that a fit is against.

    Not counted are seeds, texts that differ in every run, such as names, and the hyperparameters in `pool`.

    Parameters
    ----------
    sweep
        A sweep of two runs or more.
    against, pool
        Names as the user gave them.
    fewest
        Fewest runs of a fit.

    Returns
    -------
    list of Held
        The parts with enough runs, in the order of the sweep.

    Raises
    ------
    FitError
        No part has enough runs, although the sweep has.
    """
    runs = run_names(sweep)
    columns = _varying(sweep, against, pool)
    if not columns:
        return [Held("", tuple(range(len(runs))))]
    parts: dict[str, list[int]] = {}
    for n in range(len(runs)):
        label = ", ".join(f"{name}={_shown(values[n])}" for name, values in columns.items())
        parts.setdefault(label, []).append(n)
    enough = [Held(label, tuple(places)) for label, places in parts.items() if len(places) >= fewest]
    if enough or len(runs) < fewest:
        return enough or [Held("", tuple(range(len(runs))))]
    names = list(columns)
    raise FitError(
        f"Fit against {' and '.join(against)}: expected {fewest} runs or more with one value of "
        f"{' and '.join(names)}, got {_sizes(parts)}. In one fit, their effect would appear as scatter. Record more "
        f"runs at one value, fit against it, or pool the runs: {' '.join(f'--pool {name}' for name in names)}",
        varying=tuple(names),
    )


def _sizes(parts: Mapping[str, list[int]]) -> str:
    shown = [f"{len(places)} with {label}" for label, places in list(parts.items())[:_MOST_NAMED]]
    return ", ".join(shown) + (f" and {len(parts) - _MOST_NAMED} more" if len(parts) > _MOST_NAMED else "")


def _varying(sweep: xr.DataTree, against: Sequence[str], pool: Sequence[str]) -> dict[str, list[Any]]:
    """The values of the other hyperparameters that vary between runs, by the name that the user gave."""
    same = {"batch_size", _INVERSE}
    fixed = {*against, *pool, *(same if same & {*against, *pool} else ())}
    found: dict[str, list[Any]] = {}
    for key, coord in sweep.coords.items():
        name = str(coord.attrs.get(ORIGIN, key))
        if key == "run" or coord.dims != ("run",) or name in fixed or name == _INVERSE or _is_seed(name):
            continue
        values = [None if value != value else value for value in coord.to_numpy().tolist()]
        distinct = {repr(value) for value in values if value is not None}  # a value that was not recorded may be equal
        is_label = len(distinct) == len(values) and all(isinstance(value, str) for value in values)
        if len(distinct) > 1 and not is_label:
            found[name] = values
    return found


def _is_seed(name: str) -> bool:
    return name == "seed" or name.endswith("_seed")


def _shown(value: Any) -> str:
    return "none" if value is None else f"{value:.6g}" if isinstance(value, float) else str(value)


def with_recorded_rates(sweep: xr.DataTree, answers: Sequence[xr.Dataset]) -> xr.DataTree:
    """Give each run without the hyperparameter `learning_rate` the rate that it recorded in its window.

    Raises
    ------
    FitError
        A run recorded no rate in its window, or several.
    """
    name = column_name(sweep, LEARNING_RATE)
    values = [None] * len(answers) if name is None else sweep.coords[name].to_numpy().tolist()
    if all(value is not None and value == value for value in values):
        return sweep
    moved = {}
    for (run, tree), answer, value in zip(runs_of(sweep).items(), answers, values, strict=True):
        moved[run] = tree
        if value is not None and value == value:
            continue
        rates = np.unique(answer["learning_rate"].values)
        if rates.size != 1 or np.isnan(rates).any():
            said = next((str(text) for text in answer["remark"].values.reshape(-1) if text), "")
            found = said or ("none" if np.isnan(rates).all() else f"{rates.size} of them, by parameter group")
            raise FitError(
                f"{run}: expected one recorded learning rate in the window, or one among the hyperparameters, got "
                f"{found}. Without it, the run cannot be placed. Choose a range with one rate (--start, --stop, or "
                "--start auto), one parameter group (--layer), or leave the run out.",
                run=run,
            )
        moved[run] = tree.copy()
        known = tree.attrs.get("hyperparameters")
        own = dict(known) if isinstance(known, Mapping) else {}
        moved[run].attrs = {**tree.attrs, "hyperparameters": {**own, LEARNING_RATE: float(rates[0])}}
    return assemble_sweep(moved)


def part_of(sweep: xr.DataTree, held: Held) -> xr.DataTree:
    """Return the sweep of the runs of one part."""
    return sweep if len(held.places) == sweep.sizes["run"] else assemble_sweep(runs_of(sweep, held.places))
