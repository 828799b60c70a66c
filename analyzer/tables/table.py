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
        An answer of any function of this package, or a part of it. A lazy one is computed. An answer of `rows` gives a
        record for each row, with the test of its parameter; one of `fit` gives a record for each coefficient. Pass
        `answer.tests` or `answer.points` for the other table.

    Returns
    -------
    pandas.DataFrame
        First the columns that identify a group (for a sweep, before them `run` and each hyperparameter), then lag and
        window, then values in the units of the answer. `.attrs` has the attributes of the answer. The columns
        `partial` and `left_out` exist only if a window is partial or has velocities left out.

    Raises
    ------
    OptionError
        The object is not an answer.

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
