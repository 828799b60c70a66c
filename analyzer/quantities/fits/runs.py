"""The runs of a sweep in a fit: their temperatures, seeds and settings, and reasons to refuse a run."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr

from analyzer.errors import (
    EquilibriumWarning,
    FitError,
    NonFiniteWarning,
    SettingsWarning,
)
from analyzer.quantities.fits.settled import with_changes
from analyzer.quantities.temperature import temperature_from
from analyzer.query.changes import told, within
from analyzer.sweep import (
    column_name,
    hyperparameter,
    runs_of,
)
from analyzer.tree import trajectory

Array = np.ndarray[Any, np.dtype[Any]]


_SAME = 1e-6
"""Largest relative difference at which a recorded learning rate counts as equal to the run's hyperparameter."""


def measured_lazily(sweep: xr.DataTree, options: dict[str, Any]) -> tuple[list[xr.Dataset], dict[str, list[str]]]:
    """The lazy temperature of every run, and notes on runs, gathered from warnings, by what they say.

    Where runs do not begin at their own equilibrium, the temperatures carry what `settled.remark` needs.
    """
    lazy = []
    said: dict[str, list[str]] = {}
    for name, run in runs_of(sweep).items():
        with warnings.catch_warnings(record=True) as heard:
            warnings.simplefilter("always")
            answer, measured = temperature_from(run, **options)
            lazy.append(answer if options.get("start") == "auto" else with_changes(answer, measured[0]))
        for one in heard:
            if issubclass(one.category, EquilibriumWarning):
                drifting = str(one.message).partition("still drift: ")[2].partition(". Their")[0]
                first, comma, _ = drifting.partition(", ")  # all of them: `equilibration` of the run
                said.setdefault("still drift after their t0", []).append(f"{name}: {first}" + ", …" * bool(comma))
            elif not issubclass(one.category, SettingsWarning):  # a range with several settings is refused
                warnings.warn_explicit(one.message, one.category, one.filename, one.lineno)
    return lazy, said


def computed(name: str, lazy: xr.Dataset) -> xr.Dataset:
    """Compute the answer of a run. Warnings, such as those of weights that are not finite, get the run's name."""
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always", NonFiniteWarning)
        answer = lazy.compute()
    for one in heard:
        warnings.warn(f"{name}: {one.message}", one.category, stacklevel=2)
    return answer


def numbers_of(sweep: xr.DataTree, name: str) -> Array:
    values = hyperparameter(sweep, name)
    try:
        return np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError, OverflowError) as error:
        raise FitError(
            f"Hyperparameter {name!r}: expected numbers, got {', '.join(map(str, dict.fromkeys(values.tolist())))}. "
            "Nothing can be fitted against words. Choose another.",
        ) from error


def seeds_of(sweep: xr.DataTree) -> Array | None:
    """The seed of every run; None unless all have one, since runs of unknown seeds cannot be told to be replicates."""
    name = column_name(sweep, "seed")
    values = None if name is None else sweep.coords[name].to_numpy()
    return None if values is None or any(value is None or value != value for value in values) else values


def check_settings(runs: dict[str, xr.DataTree], answers: Sequence[xr.Dataset], unfinished: bool) -> None:
    """Refuse a run that had several settings in the window: it has no place on the curve."""
    used = [unfinished] * len(runs) if unfinished else finished_of(runs).tolist()
    for (name, run), answer, fitted in zip(runs.items(), answers, used, strict=True):
        line = trajectory(run).line
        if not fitted:
            continue
        start, stop = int(answer["start_step"].min()), int(answer["stop_step"].max())
        if found := within(line.changes, line.steps, start, stop):
            raise FitError(
                f"{name}: {told(found, line.changes, line.steps)}", run=name, steps=[c.first_step for c in found]
            )


def check_rates(runs: dict[str, xr.DataTree], answers: Sequence[xr.Dataset], rates: Array) -> None:
    """Refuse a run whose learning rate, as recorded in the window, differs from its hyperparameter at any step."""
    for (name, run), answer, rate in zip(runs.items(), answers, rates, strict=True):
        if "learning_rate" not in run.data_vars:
            continue
        steps = run["step"].values
        inside = (steps > answer["start_step"].values[0]) & (steps <= answer["stop_step"].values[0])
        recorded = np.asarray(run["learning_rate"].values)[inside]
        recorded = recorded[np.isfinite(recorded)]
        if recorded.size and not np.allclose(recorded, rate, rtol=_SAME, atol=0):
            raise FitError(
                f"{name}: expected the learning rate {rate:g} of its hyperparameters at every step, got recorded rates "
                f"from {recorded.min():g} to {recorded.max():g} in the window. The run would lie at a wrong place of "
                "the curve. Choose a range with one rate (--start, --stop), or leave the run out.",
                run=name,
            )


def finished_of(runs: dict[str, xr.DataTree]) -> Array:
    return np.array([is_finished(run) for run in runs.values()])


def is_finished(run: xr.DataTree) -> bool:
    return bool(run.attrs.get("status") == "complete")
