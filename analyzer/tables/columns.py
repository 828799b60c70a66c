"""The rows of an answer: one for each place along some dimensions. First come columns that identify it, then values."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import pandas as pd
import xarray as xr

from analyzer.query.kinds import PLACES

ROWS = ("group", "lag", "window")
"""Dimensions of the rows of most answers, the slowest first."""
_FIRST = ("group", "layer", "module", "parameter", *PLACES)
LAST = ("partial", "left_out")
"""Columns that come last. They are left out if no row has a value other than 0."""
_PIECE = 1 << 14
"""Most rows of a piece of an answer. As Python objects they take 4 KiB each."""


def count_of(answer: xr.Dataset, along: Sequence[str]) -> int:
    """Return the number of rows of an answer, one for each place along these dimensions."""
    return math.prod(answer.sizes[name] for name in along if name in answer.sizes)


def pieces_of(answer: xr.Dataset, along: Sequence[str], most: int = _PIECE) -> Iterator[xr.Dataset]:
    """Yield parts of an answer of at most `most` rows each, in the order of its rows; at least one, which may be empty.

    Parameters
    ----------
    answer
        An answer in memory.
    along
        The dimensions of its rows, the slowest first; those that the answer lacks are ignored. Without any, the answer
        is one piece.
    most
        Most rows of a piece.
    """
    dims = [name for name in along if name in answer.sizes]
    if not dims or count_of(answer, dims) <= most:
        yield answer
        return
    length = max(most // max(count_of(answer, dims[1:]), 1), 1)
    for begin in range(0, answer.sizes[dims[0]], length):
        part = answer.isel({dims[0]: slice(begin, begin + length)})
        yield from pieces_of(part, dims[1:], most) if length == 1 else (part,)


def told(answer: xr.Dataset) -> xr.Dataset:
    """Return the answer without `partial` and `left_out`, if these are 0 in all windows."""
    return answer.drop_vars([name for name in LAST if name in answer.variables and not answer[name].any()])


def frame_of(answer: xr.Dataset, along: Sequence[str] = ROWS) -> pd.DataFrame:
    """Return one row for each group, lag and window: first the columns that identify it, then its values.

    `along` names the dimensions of the rows, the slowest first.
    """
    order = [name for name in along if name in answer.dims]
    table = answer.to_dataframe(dim_order=order).reset_index()
    user = answer.attrs.get("by") == "user"
    first = [name for name in _FIRST if name in table and (name != "group" or user)]
    first += [str(name) for name, c in answer.coords.items() if c.dims == ("group",) and name not in _FIRST]
    own = [name for name in order if name not in ("group", "window", "lag")]
    own += [str(name) for name, c in answer.coords.items() if name not in own and set(c.dims) & set(own)]
    first += [name for name in ("lag", "steps_per_lag", "epoch", "start_step", "stop_step", *own) if name in table]
    rest = [name for name in answer.data_vars if name in table]
    last = [name for name in LAST if name in table]
    return table[first + rest + last]
