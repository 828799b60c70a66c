"""All weights of a run in one array: for correlations, spectra and other methods that take a matrix."""

from __future__ import annotations

from typing import Any

import dask.array as da
import numpy as np
import xarray as xr

from analyzer.errors import TreeError
from analyzer.query.groups import Globs, select
from analyzer.store.schema import Parameter
from analyzer.sweep import is_sweep
from analyzer.tree import trajectory


def stack(run: xr.DataTree, *, parameter: Globs = None, layer: Globs = None, exclude: Globs = None) -> xr.DataArray:
    """All weights of a run as one array (weight, step).

    Parameters
    ----------
    run
        A run, or a tree derived from one. The tree that `velocity` returns gives all velocities, (weight, step).
    parameter, layer, exclude
        Globs over parameter names and layers.

    Returns
    -------
    xarray.DataArray
        Dims (weight, step), lazy where the run is. Coordinates along `weight`: `layer`, `parameter`, and `index`, the
        flat index (C order) in the parameter. Coordinates along `step`: those of the run. Parameters are in the order
        of the run. The dtype is the widest of the parameters' dtypes. Frames are read, chunk by chunk, when the array
        is computed.

    Raises
    ------
    SelectionError
        A pattern matches nothing.
    TreeError
        The object is not a run, or it is a sweep, whose runs may differ in length.

    Examples
    --------
    >>> run = analyzer.open_run("runs/gcn.zarr")
    >>> weights = stack(run, layer="conv1")
    >>> weights.dims, str(weights["parameter"].values[0])
    (('weight', 'step'), 'conv1.lin.weight')
    """
    if isinstance(run, xr.DataTree) and is_sweep(run):
        raise TreeError(
            "stack: expected one run, got a sweep. Its runs may differ in length. Stack each run: "
            "for name in sweep.children: sweep[name].thermo.stack()"
        )
    known = trajectory(run)
    chosen = [p for p in select(known.parameters, parameter, layer, exclude) if p.weights]
    arrays = [known.arrays[p.name] for p in chosen]
    dtype = np.result_type(*(array.dtype for array in arrays))
    flat = [_flat(array.data, p).astype(dtype, copy=False) for array, p in zip(arrays, chosen, strict=True)]
    lazy = any(isinstance(values, da.Array) for values in flat)
    joined = da.concatenate(flat) if lazy else np.concatenate(flat)  # type: ignore[no-untyped-call]
    counts = [p.weights for p in chosen]
    titles = {"layer": "layer", "parameter": "parameter", "index": "element (flat index, C order)"}
    along = {
        "layer": np.repeat(np.array([p.layer for p in chosen], dtype=object), counts),
        "parameter": np.repeat(np.array([p.name for p in chosen], dtype=object), counts),
        "index": np.concatenate([np.arange(count) for count in counts]),
    }
    coords: dict[str, Any] = {name: ("weight", values, {"long_name": titles[name]}) for name, values in along.items()}
    root = run.to_dataset(inherit=False)
    coords |= {str(name): coord.variable for name, coord in root.coords.items() if coord.dims == ("step",)}
    units = {array.attrs.get("units", "weight") for array in arrays}
    attrs: dict[str, Any] = {"long_name": str(run.attrs.get("quantity", "weights"))} | known.identity
    attrs |= {"units": units.pop()} if len(units) == 1 else {}
    return xr.DataArray(joined, dims=("weight", "step"), coords=coords, attrs=attrs, name=attrs["long_name"])


def _flat(values: Any, p: Parameter) -> Any:
    """The frames of a parameter (weight, step), in C order."""
    return values.reshape(p.weights, values.shape[-1])
