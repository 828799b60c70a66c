"""Temperatures of one run at several lags."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr

from analyzer.errors import OptionError
from analyzer.query.query import Query
from analyzer.query.windows import Lag, stride_in
from analyzer.tree import trajectory

Array = np.ndarray[Any, np.dtype[Any]]


def labels_of_lags(run: xr.DataTree, query: Query) -> list[str]:
    """The lags of a query as text, all different."""
    lags = query.lags or ()
    usual = stride_in(trajectory(run).line, query.start, query.stop) if None in lags else None
    labels = [str(usual if lag is None else lag) for lag in lags]
    if not labels or len(set(labels)) < len(labels):
        raise OptionError(
            f"--lag: expected different lags, got {', '.join(labels) or 'none'}. Each is one point of T against lag. "
            "Write, for example, --lag 1,3,10,epoch",
            lag=list(lags),
        )
    return labels


def along_lags(parts: Sequence[xr.Dataset], lags: Sequence[Lag], labels: Sequence[str]) -> xr.Dataset:
    """The temperatures of one run at several lags, with a further dimension `lag`."""
    windows = {(tuple(part["start_step"].values), tuple(part["stop_step"].values)) for part in parts}
    if len(windows) > 1:
        raise OptionError(
            "--lag: expected lags with the same windows, got different ones. T(L) compares one range of steps. Ask "
            "for one lag at a time, or leave --window out.",
            lag=list(lags),
        )
    names = list(dict.fromkeys(name for part in parts for name in part.data_vars))
    along = [name for name in names if name != "weights"]
    steps = [part.attrs.pop("steps_per_lag") for part in parts]
    half = [part.attrs.pop("half_phase_steps", None) for part in parts]
    for part in parts:
        del part.attrs["lag"]
        for name in along:
            units = "weight^2 lag^-2" if "units" in part.get(name, part["temperature"]).attrs else ""
            if name not in part:
                part[name] = xr.full_like(part["temperature"], np.nan)
            if str(part[name].attrs.get("units", "")).startswith("weight^2"):
                part[name].attrs["units"] = f"{units} learning_rate^-2" if "per_eta2" in str(name) else units
    joined = xr.concat(
        [part.reset_coords(["left_out", "partial"]) for part in parts],
        dim="lag",
        data_vars=[*along, "left_out", "partial"],
        coords="minimal",
        compat="override",
        join="override",
        combine_attrs="override",
    ).set_coords(["left_out", "partial"])
    joined = joined.assign_coords(
        lag=("lag", np.array(labels, dtype=object), {"long_name": "lag"}),
        steps_per_lag=("lag", np.array(steps, dtype=np.int64), {"units": "step", "long_name": "steps per lag"}),
    )
    attrs: dict[str, Any] = {"units": "weight^2 lag^-2"}
    for later in half:
        attrs |= {} if later is None else {"half_phase_steps": later}
    return joined.assign_attrs(attrs)
