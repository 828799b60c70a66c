"""Fits as rows: one for each value that is held fixed, lag, group and coefficient."""

from __future__ import annotations

import pandas as pd
import xarray as xr

from analyzer.query.groups import titles_of

_OF_COEFFICIENTS = ("value", "standard_error", "low", "high", "without_low", "without_high")
_OF_GROUPS = ("runs", "left_out", "scatter", "between_seed", "r_squared", "aicc", "intervals")


def frame_of(answer: xr.Dataset) -> pd.DataFrame:
    """Return one row for each value that is held fixed, lag, group and coefficient."""
    for dim in ("held", "lag"):
        if dim in answer.dims:
            parts = [frame_of(answer.isel({dim: n}, drop=True)) for n in range(answer.sizes[dim])]
            for part, label in zip(parts, answer[dim].values, strict=True):
                part.insert(0, dim, label)
            return pd.concat(parts, ignore_index=True)
    rows = []
    identity = [name for name, coord in answer.coords.items() if coord.dims == ("group",) and name != "group"]
    for n, group in enumerate(titles_of(answer["group"].values)):
        who = {str(name): answer[name].values[n] for name in identity} or {"group": group}
        whole = {name: answer[name].values[n] for name in _OF_GROUPS}
        for m, coefficient in enumerate(answer["coefficient"].values):
            own = {name: answer[name].values[n, m] for name in _OF_COEFFICIENTS}
            rows.append(who | {"coefficient": str(coefficient)} | own | whole)
    return pd.DataFrame(rows)


def held_parts(answer: xr.Dataset) -> list[xr.Dataset]:
    """Return the fits of each value that is held fixed, each with its own runs only."""
    parts = [answer.isel(held=n, drop=True) for n in range(answer.sizes["held"])]
    found = []
    for part in parts:
        others = [dim for dim in part["temperature"].dims if dim != "run"]
        found.append(part.isel(run=part["temperature"].notnull().any(others).values.nonzero()[0]))
    return found
