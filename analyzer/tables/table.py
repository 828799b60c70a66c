"""Any answer as a pandas frame: the rows and columns of the command's csv."""

from __future__ import annotations

import pandas as pd
import xarray as xr

from analyzer.errors import OptionError
from analyzer.quantities.answers import Tables, whole_of
from analyzer.tables.columns import told
from analyzer.tables.layouts import Layout, layout_of
from analyzer.tables.sweeps import of_run, runs_in


def table(answer: xr.Dataset | Tables) -> pd.DataFrame:
    """An answer as a pandas frame, one row a record, with the columns of the csv that its command writes.

    Parameters
    ----------
    answer
        What any function of this package returned, or a part of it. One that is lazy is computed. Of an answer of two
        tables the records are its rows, as those of `rows` with the test of their parameter; each table alone is
        `answer.tests` or `answer.points`.

    Returns
    -------
    pandas.DataFrame
        First the columns that identify a group (and of a sweep: `run` and each hyperparameter), then lag and window,
        then values in the units of the answer, whose attributes are in `.attrs`. `partial` and `left_out` are there
        where a window is either.

    Raises
    ------
    OptionError
        The object is no answer.

    Examples
    --------
    >>> run = analyzer.open_run("runs/gcn.zarr")
    >>> list(table(run.thermo.temperature(by="layer")).columns[:4])
    ['layer', 'start_step', 'stop_step', 'weights']
    """
    if not isinstance(answer, (xr.Dataset, Tables)):
        raise OptionError(
            f"table: expected an answer, which is a Dataset or a tuple of Datasets, got {type(answer).__name__}. Only "
            "answers have records. Give what temperature(), rows() or fit() returned."
        )
    whole = whole_of(answer).compute()
    layout = layout_of(whole)
    if layout.along:
        whole = told(whole)
    of_runs = "run" in whole.dims and bool(layout.along)
    frame = _of_sweep(whole, layout) if of_runs else layout.frame(whole)
    frame.attrs = dict(whole.attrs)
    return frame


def _of_sweep(whole: xr.Dataset, layout: Layout) -> pd.DataFrame:
    """The rows of all runs of a sweep, run by run."""
    parts = [of_run(layout.frame(one), facts) for facts, one in runs_in(whole)]
    return pd.concat(parts, ignore_index=True)
