"""Opening a run or a sweep: the accessor comes with it."""

from __future__ import annotations

from functools import wraps
from os import PathLike, fspath
from typing import TYPE_CHECKING, cast

import xarray as xr

from analyzer import accessor  # noqa: F401  (registers `run.thermo`)
from analyzer import sweep as _sweep
from analyzer.store.schema import read_store
from analyzer.store.together import Paths
from analyzer.tree import build_tree, trajectory

if TYPE_CHECKING:
    from analyzer.accessor import Run


def open_run(path: str | PathLike[str]) -> Run:
    """One recorded run, lazy.

    Parameters
    ----------
    path
        Directory of a store, or a URL that fsspec opens.

    Returns
    -------
    xarray.DataTree
        Root: coordinates `step` (int64) and, where it was logged, `epoch`; logged scalars; the store's attributes.
        `parameters/...`: one dask array a parameter, dims (..., step), chunked as stored. Chunks are checked when
        they are read: a missing or damaged one is an error that names the array and the steps. A run that is still
        being recorded opens with the frames committed so far.

    Raises
    ------
    StoreNotFoundError, NotATrajectoryError, FormatVersionError, DamagedStoreError
        There is nothing to open; see `analyzer.errors`.
    CorruptChunkError, MissingChunkError
        A chunk of `step` or of `epoch` is damaged or missing. Both arrays are read when the run is opened.

    Examples
    --------
    >>> run = open_run("runs/gcn.zarr")
    >>> answer = run.thermo.temperature(by="layer").compute()
    >>> [str(name) for name in answer["group"].values]
    ['conv1', 'conv2', 'out']
    """
    return cast("Run", build_tree(read_store(fspath(path))))


@wraps(_sweep.open_sweep)
def open_sweep(paths: Paths) -> Run:
    return cast("Run", _sweep.open_sweep(paths))


def as_run(tree: xr.DataTree) -> Run:
    """A tree that was built by hand, checked: `help(analyzer.tree)` says what it must carry.

    Parameters
    ----------
    tree
        With frames from anywhere, lazy or in memory.

    Returns
    -------
    xarray.DataTree
        The same object. It has `run.thermo`, and every function of this package takes it.

    Raises
    ------
    TreeError
        The tree is not a run. The message says what is missing.

    Examples
    --------
    >>> frames = np.cumsum(np.random.default_rng(0).normal(size=(4, 100)), axis=-1)
    >>> attrs = {"name": "out.bias", "layer": "out", "module": "out"}
    >>> bias = xr.Dataset({"bias": (("row", "step"), frames, attrs)})
    >>> tree = xr.DataTree.from_dict({"/": xr.Dataset(coords={"step": np.arange(100)}), "/parameters/out": bias})
    >>> as_run(tree).thermo.temperature()["weights"].values.tolist()
    [4]
    """
    trajectory(tree)
    return cast("Run", tree)
