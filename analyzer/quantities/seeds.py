"""Mean and scatter of any answer of a sweep, over runs that differ in their seed."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from analyzer.errors import SweepError
from analyzer.statistics.density import NORMAL

Array = np.ndarray[Any, np.dtype[Any]]

_ERROR = ("_error", "standard_error", "_scatter")


def over_seeds(answer: xr.Dataset, *, seed: str = "seed") -> xr.Dataset:
    """Mean and scatter of an answer over runs that differ only in their seed.

    The error bar of one run is for its average over time. How much another order of minibatches, or other initial
    weights, would change the answer shows only in other runs. For lags beyond a sixteenth of a run, they give the only
    error bar.

    Parameters
    ----------
    answer
        An answer of a sweep, with the dimension `run`, as `sweep.thermo.dynamics()` or `.temperature()` returns it.
    seed
        The hyperparameter in which runs of one set may differ.

    Returns
    -------
    xarray.Dataset
        The dimension `set` replaces `run`: a set for each combination of the other hyperparameters, which become its
        coordinates, in the order of their first runs. Each number is the mean over the runs of a set, in the same
        units. `..._scatter` is their standard deviation (n − 1), `..._error` the standard error of the mean: mean ±
        1.96 of it is a 95 % interval by Student's t with n − 1 degrees of freedom. `runs` is the number of runs in a
        set. Scatter and error are NaN where fewer than two runs have a value. The error bars of single runs are left
        out.

    Raises
    ------
    SweepError
        The answer has no dimension `run`, or no two of its runs differ only in the seed.

    Examples
    --------
    >>> sweep = analyzer.open_sweep("runs/*.zarr")
    >>> answer = over_seeds(sweep.thermo.dynamics(lags="1:16:log"), seed="learning_rate")
    >>> answer["exponent_error"].dims
    ('set', 'group', 'window', 'lag')
    """
    if "run" not in answer.dims:
        raise SweepError(
            "over_seeds: expected the answer of a sweep, with the dimension run, got the answer of a single run. Seeds "
            'are compared between runs. Ask the sweep: analyzer.open_sweep("runs/*.zarr").thermo.dynamics()'
        )
    others = [
        str(name) for name, coord in answer.coords.items() if coord.dims == ("run",) and name not in ("run", seed)
    ]
    keys = [tuple(repr(answer[name].values[n]) for name in others) for n in range(answer.sizes["run"])]
    sets = [[n for n, one in enumerate(keys) if one == key] for key in dict.fromkeys(keys)]
    if max(map(len, sets)) < 2:
        raise SweepError(
            f"over_seeds: expected runs that differ only in {seed!r}, got {len(keys)} runs of {len(sets)} settings "
            f"({', '.join(others) or 'no hyperparameters'}). One run has no scatter. Record more seeds, or "
            "name the hyperparameter in which the runs of a set differ: over_seeds(answer, seed=...)"
        )
    parts = [_of_set(answer.isel(run=members)) for members in sets]
    joined = xr.concat(parts, dim="set", coords="minimal", compat="override", combine_attrs="drop_conflicts")
    first = [members[0] for members in sets]
    coords = {name: ("set", answer[name].values[first], answer[name].attrs) for name in others}
    counts = ("set", np.array([len(members) for members in sets]), {"units": "1", "long_name": "runs"})
    return joined.assign_coords({**coords, "set": np.arange(len(sets))}).assign(runs=counts)


def _of_set(runs: xr.Dataset) -> xr.Dataset:
    """Mean, scatter and error of the numbers of some runs."""
    from scipy.special import stdtrit  # loaded here: only answers of sweeps need it

    data: dict[str, xr.DataArray] = {}
    for title, values in runs.data_vars.items():
        name = str(title)
        if "run" not in values.dims or values.dtype.kind != "f" or name.endswith(_ERROR):
            continue
        # Sums and counts: numpy warns of a mean over nothing but NaN.
        count = values.notnull().sum("run")
        mean = values.sum("run") / count.where(count > 0)
        scatter = (((values - mean) ** 2).sum("run") / (count - 1).where(count > 1)) ** 0.5
        quantile = xr.apply_ufunc(
            _quantile, count, dask="parallelized", kwargs={"stdtrit": stdtrit}, output_dtypes=[float]
        )
        text = values.attrs.get("long_name", name)
        data[name] = mean.assign_attrs(values.attrs)
        data[f"{name}_scatter"] = scatter.assign_attrs(values.attrs | {"long_name": f"{text}, scatter over runs"})
        error = scatter / np.sqrt(count) * quantile
        data[f"{name}_error"] = error.assign_attrs(values.attrs | {"long_name": f"{text}, standard error over runs"})
    kept = {str(name): values for name, values in runs.data_vars.items() if "run" not in values.dims}
    coords = {name: coord for name, coord in runs.coords.items() if "run" not in coord.dims}
    return xr.Dataset({**kept, **data}, coords=coords, attrs=runs.attrs)


def _quantile(count: Array, *, stdtrit: Any) -> Array:
    """Student's quantile 0.975, divided by the normal distribution's."""
    return np.asarray(stdtrit(np.maximum(count - 1, 1).astype(float), 0.975) / NORMAL)
