"""`analyzer velocity --raw`: write every velocity of every weight to a file or folder, never all in memory."""

from __future__ import annotations

import json
import math
import os
import shutil
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
import numpy as np
import xarray as xr
from click.core import ParameterSource

from analyzer.cli import execution
from analyzer.cli.files import check_folder
from analyzer.cli.netcdf import storable_dataset
from analyzer.cli.progress import bar
from analyzer.cli.query import settled
from analyzer.cli.text import printable, say
from analyzer.errors import AnalyzerError, OptionError, TrajectoryMissingError
from analyzer.quantities.velocity import velocity
from analyzer.query.groups import select
from analyzer.query.query import Query
from analyzer.run import open_run
from analyzer.store.files import temporary_file, temporary_folder
from analyzer.text import size_text
from analyzer.tree import trajectory
from analyzer.version import version

_FORMS = {".nc": "netcdf", ".zarr": "zarr"}
_OF_MEANS = {
    "by": "--by",
    "groups": "--group",
    "window": "--window",
    "plot": "--plot",
    "scheduler": "--scheduler",
    "cache": "--cache",
    "memory_limit": "--memory-limit",
}
"""Options that raw velocities do not have: for groups and windows, and for answers small enough to keep or draw."""


def write_raw(options: execution.Options) -> None:
    """Write the raw velocities that a command's options ask for; say where."""
    store, form = options["store"], _form_of(options["format_"], options["output"])
    _refuse_options_of_means()
    with written(options["output"]) as part:
        run = open_run(store)
        tree = raw_velocities(run, settled(run, options), store)
        size = sum(array.nbytes for node in tree.subtree for array in node.data_vars.values())
        with (
            bar("Writing", size) as show,
            execution.in_threads(execution.workers_of(options["workers"]), lambda share: show(share * size)),
        ):
            if form == "zarr":
                with warnings.catch_warnings():
                    # zarr warns each time that consolidated metadata is an extension. Readers can do without it.
                    warnings.filterwarnings("ignore", message="Consolidated metadata", module="zarr")
                    tree.to_zarr(part, zarr_format=3, consolidated=True)
            else:
                _write_netcdf(tree, part)
    say(f"Wrote {printable(options['output'])}: {size_text(size)} of velocities", err=True)


def raw_velocities(run: xr.DataTree, query: Query, location: str) -> xr.DataTree:
    """Return the lazy velocities of selected parameters, in chunks as stored, with attributes that every format holds.

    Parameters
    ----------
    run
        A run, as `open_run` gives it.
    query
        Its selection, range and lag count.
    location
        What the run is called.

    Returns
    -------
    xarray.DataTree
        As from `analyzer.velocity`: float64, weight lag⁻¹. Its attributes are those of velocities, not of a store, so
        that no reader takes the values for weights.
    """
    known = trajectory(run)
    chosen = {p.path: p for p in select(known.parameters, query.parameter, query.layer, query.exclude)}
    if known.kept_alone:
        raise TrajectoryMissingError(
            f"{location}: expected the frames of a run, got only sums of them. Velocities are differences of frames, "
            "which cannot be made again. Restore the trajectory, or ask for means: leave out --raw",
            location=location,
        )
    moving = velocity(
        run,
        lag=query.lag,
        start=query.start,
        stop=query.stop,
        steps_per_epoch=query.steps_per_epoch,
        unequal_epochs=query.unequal_epochs,
    )
    nodes: dict[str, xr.Dataset] = {}
    for node in moving.subtree:
        dataset = node.to_dataset(inherit=False)
        if node.path == "/":
            dataset = dataset.load()  # logged scalars: a few numbers a step
        else:
            paths = {str(name): f"{node.path.strip('/')}/{name}" for name in dataset.data_vars}
            dataset = dataset[[name for name, path in paths.items() if path in chosen]]
            for name in dataset.data_vars:
                p, array = chosen[paths[str(name)]], dataset[name]
                dataset[name] = (
                    array.chunk(dict(zip(array.dims, p.chunks, strict=True))) if array.size else array.load()
                )
        if node.path == "/" or dataset.data_vars:
            nodes[node.path] = _plain(dataset)
    tree = xr.DataTree.from_dict(nodes)
    units = next(array.attrs["units"] for n in tree["parameters"].subtree for array in n.data_vars.values())
    tree.attrs = {
        "quantity": "velocity",
        "units": units,
        "lag": moving.attrs["lag"],
        **{name: moving.attrs[name] for name in ("steps_per_lag",) if name in moving.attrs},
        "store": location,
        "run_id": str(run.attrs.get("run_id", "")),
        "hyperparameters": json.dumps(run.attrs.get("hyperparameters") or {}),
        "thermotrace_version": version(),
    }
    return tree


def _plain(dataset: xr.Dataset) -> xr.Dataset:
    """The dataset with attributes that netCDF allows: text and numbers; others become JSON."""
    plain = dataset.copy()
    plain.attrs = _texts(dataset.attrs)
    for name in plain.variables:
        plain[name].attrs = _texts(dataset[name].attrs)
    return plain


def _texts(attrs: Mapping[Any, Any]) -> dict[str, Any]:
    def text(value: Any) -> Any:
        if isinstance(value, (bool, np.bool_)):
            return int(value)
        return value if isinstance(value, (str, int, float)) else json.dumps(value)

    return {str(name): text(value) for name, value in attrs.items() if value is not None}


def _write_netcdf(tree: xr.DataTree, part: Path) -> None:
    """Write a netCDF file into space that is reserved first: on a full disk, HDF5 would crash the process."""
    tree = xr.DataTree.from_dict({node.path: storable_dataset(node.to_dataset(inherit=False)) for node in tree.subtree})
    room = _room(tree)
    _keep_room(part, room)
    writes: Any = tree.to_netcdf(part, engine="h5netcdf", encoding=_chunked(tree), compute=False)
    _keep_room(part, room)  # opening the file freed the space; closing frees what is not needed
    writes.compute()


def _keep_room(path: Path, room: int) -> None:
    with path.open("ab") as file:
        length = file.tell()
        try:
            os.posix_fallocate(file.fileno(), 0, room)
        except OSError:
            file.truncate(length)
            raise


def _room(tree: xr.DataTree) -> int:
    """Most bytes of the HDF5 file: every chunk in full, also at the edges, and its index."""
    whole = count = 0
    for array in (array for node in tree.subtree for array in node.variables.values()):
        chunks = [array.chunksizes.get(dim, (length,)) for dim, length in array.sizes.items()]
        places = math.prod(map(len, chunks))
        whole += places * math.prod(sizes[0] for sizes in chunks) * array.dtype.itemsize
        count += places
    return whole + 256 * count + (1 << 20)


def _chunked(tree: xr.DataTree) -> dict[str, dict[str, dict[str, Any]]]:
    """Chunks of the netCDF file: those of its arrays, so that each is written once, in one piece."""
    return {
        node.path: {
            str(name): {"chunksizes": tuple(sizes[0] for sizes in array.chunks)}
            for name, array in node.data_vars.items()
            if array.chunks is not None and array.ndim
        }
        for node in tree.subtree
    }


def _form_of(asked: str | None, output: str | None) -> str:
    if output is None:
        raise click.UsageError("--raw: expected --output FILE.nc or DIR.zarr, got none. Give --output.")
    check_folder(output)
    form = _FORMS.get(Path(output).suffix.lower())
    if form is None or asked not in (None, form):
        raise click.UsageError(
            f"--raw: expected --output FILE.nc or DIR.zarr, got {output}{f' as {asked}' if asked else ''}. No other "
            "format holds raw velocities. Choose the name accordingly, and leave out --format."
        )
    return form


def _refuse_options_of_means() -> None:
    context = click.get_current_context()
    for name, option in _OF_MEANS.items():
        if context.get_parameter_source(name) not in (None, ParameterSource.DEFAULT):
            raise click.UsageError(
                f"--raw: expected a selection (--parameter, --layer, --exclude, --start, --stop, --lag) and --workers, "
                f"got {option}. Every velocity is written, and none is averaged. Leave out {option} or --raw."
            )


@contextmanager
def written(output: str) -> Iterator[Path]:
    """Yield the path of a temporary file or folder: renamed to `output` if the block succeeds, else deleted.

    Raises
    ------
    OptionError
        The name exists already: gigabytes are never replaced without being asked.
    """
    target = Path(output).absolute()
    if os.path.lexists(target):
        raise OptionError(
            f"--output {output}: expected a name that is free, got one that exists. Raw velocities replace nothing. "
            "Choose another name, or remove what is there.",
            path=output,
        )
    part: Path | None = None
    try:
        part = temporary_file(target) if target.suffix.lower() == ".nc" else temporary_folder(target)
        yield part
        part.rename(target)
    except AnalyzerError:
        raise
    except (OSError, RuntimeError) as error:  # HDF5 reports a full disk as either
        raise click.ClickException(
            f"--output {output}: expected room for all velocities, got: {_reason(error)}. Nothing is kept. Choose "
            "another place, make room, or write fewer: --parameter, --start, --stop"
        ) from error
    finally:
        with execution.undisturbed():
            if part is not None and part.is_dir():
                shutil.rmtree(part, ignore_errors=True)
            elif part is not None:
                part.unlink(missing_ok=True)


def _reason(error: BaseException) -> str:
    if isinstance(error, OSError) and error.errno:
        return os.strerror(error.errno)
    return " ".join(str(error).split()) or type(error).__name__
