"""Columns that the factors of rows and columns add to the rows of an answer."""

from __future__ import annotations

from typing import Any

import pandas as pd
import xarray as xr

ADDED = ("factor_row", "factor_column", "element")
"""Dimensions of factors, which a table of rows leaves out."""
SHARES = ("separable_share", "separable_share_low", "separable_share_high", "chance_share")
"""Columns that describe a whole matrix."""
_ENDS = ("", "_low", "_high")


def with_factors(frame: pd.DataFrame, answer: xr.Dataset) -> pd.DataFrame:
    """Return the frame of rows, with the factor of each row and the share of its parameter."""
    keys = ["parameter", "row"]
    found = factors_table(answer, "row").rename(columns={f"factor{end}": f"row_factor{end}" for end in _ENDS})
    shares = answer[list(SHARES)].to_dataframe()[list(SHARES)]
    joined = pd.merge(frame, found, on=keys, how="left", sort=False).set_index(frame.index)
    return joined.join(shares, on="parameter")


def columns_of(frame: pd.DataFrame) -> list[str]:
    """Return the columns of a frame that `with_factors` added."""
    return [name for name in (*(f"row_factor{end}" for end in _ENDS), *SHARES) if name in frame]


def factors_table(answer: xr.Dataset, kind: str) -> pd.DataFrame:
    """Return one line for each row, or each column, of every matrix, with its factor and the factor's interval."""
    columns: dict[str, Any] = {"parameter": answer[f"{kind}_of"].values, kind: answer[f"{kind}_number"].values}
    columns |= {f"factor{end}": answer[f"{kind}_factor{end}"].values for end in _ENDS}
    return pd.DataFrame(columns)
