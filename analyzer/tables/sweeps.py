"""Answers of several runs as rows: the run and its hyperparameters first."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr


def of_run(frame: pd.DataFrame, facts: Mapping[str, Any]) -> pd.DataFrame:
    """Put columns that identify a run before its rows. `facts` has an array of length one for each column."""
    first = {name: np.repeat(value, len(frame)) for name, value in facts.items()}
    return pd.DataFrame({**first, **{str(name): frame[name].to_numpy() for name in frame.columns}})


def runs_in(answer: xr.Dataset) -> Iterator[tuple[dict[str, Any], xr.Dataset]]:
    """Yield each run of a sweep: its name and hyperparameters, each in an array of length one, and its answer.

    The answer has only the run's own windows: if runs differ in length, the joined answer has NaN for the others.
    """
    known = [str(name) for name, coord in answer.coords.items() if coord.dims == ("run",) and name != "run"]
    for n in range(answer.sizes["run"]):
        facts = {name: answer[name].values[n : n + 1] for name in ("run", *known)}
        yield facts, _of_its_windows(answer.isel(run=n).drop_vars(["run", *known]))


def _of_its_windows(one: xr.Dataset) -> xr.Dataset:
    """Drop the windows that a run does not have; turn columns that NaN made floats back into integers and booleans."""
    if "window" in one.dims and "start_step" in one.variables:
        one = one.isel(window=np.isfinite(one["start_step"].values.astype(np.float64)))
    for name in _WHOLE:
        if name in one.variables and one[name].dtype.kind in "fO":
            one[name] = one[name].astype(np.int64)
    for name in _TRUTH:
        if name in one.variables and one[name].dtype.kind in "fO":
            one[name] = one[name].astype(bool)
    return one


_WHOLE = ("start_step", "stop_step", "left_out", "velocities", "velocities_half_phase", "rank")
_TRUTH = ("partial", "unreliable")
"""Columns of whole numbers and of booleans."""
