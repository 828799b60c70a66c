"""A run as an `xarray.DataTree`: built from a store, and read back, modified or not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import dask.array as da
import numpy as np
import xarray as xr
from dask.base import tokenize

from analyzer.errors import DamagedStoreError, TreeError
from analyzer.reading import Source, check_length, read
from analyzer.schema import Parameter, Store, parameter_of, segments_of
from analyzer.windows import Timeline, timeline

Array = np.ndarray[Any, np.dtype[Any]]

ENCODING = "trajectory"
"""Key of the root's encoding under which a tree remembers the store that it was opened from."""


@dataclass(frozen=True)
class Opened:
    """What a tree was at opening: it is untouched as long as it still holds exactly this."""

    store: Store
    steps: Array
    epoch: Array | None
    names: Mapping[str, str]


@dataclass(frozen=True)
class Trajectory:
    """What a tree says about its run.

    Attributes
    ----------
    parameters
        In the tree's order.
    arrays
        By parameter name, step last.
    line
        The steps.
    opened
        Set only for an untouched tree: then the store may be read in the tree's place.
    lazy
        Whether any array is a dask array.
    """

    parameters: tuple[Parameter, ...]
    arrays: Mapping[str, xr.DataArray]
    line: Timeline
    opened: Opened | None
    lazy: bool


class StoredArray:
    """An array of a store with the part of numpy's interface that dask needs to slice it; every read is checked."""

    def __init__(self, source: Source, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
        self.source, self.shape, self.dtype, self.ndim = source, shape, dtype, len(shape)

    def __getitem__(self, key: tuple[Any, ...]) -> Array:
        region, rest = [], []
        for index, length in zip(key, self.shape, strict=True):
            places = range(length)[index] if isinstance(index, slice) else range(length)[index : index + 1]
            low, high = (min(places[0], places[-1]), max(places[0], places[-1]) + 1) if places else (0, 0)
            region.append((low, high))
            rest.append(slice(None, None, places.step) if isinstance(index, slice) else 0)
        values = read(self.source, tuple(region))
        return np.asarray(values[tuple(rest)])

    def __dask_tokenize__(self) -> Any:
        return self.source


def source_of(store: Store, path: str) -> Source:
    """Where an array of a store lies."""
    return Source(store.location, store.run_id, store.frames, path)


def build_tree(store: Store) -> xr.DataTree:
    """The lazy tree of a store: `step` and `epoch` are coordinates of the root, inherited by every parameter."""
    names: dict[str, str] = {}

    def lazy(path: str, shape: tuple[int, ...], dtype: str, chunks: tuple[int, ...]) -> da.Array:
        source = source_of(store, path)
        check_length(source, shape)
        names[path] = f"frames-{tokenize(source)}"
        values = StoredArray(source, shape, np.dtype(dtype))
        meta = np.empty((0,) * len(shape), dtype=dtype)
        array: da.Array = da.from_array(  # type: ignore[no-untyped-call]
            values, chunks=chunks, name=names[path], asarray=False, meta=meta
        )
        return array

    def eager(path: str) -> Array:
        return read(source_of(store, path), ((0, store.frames),))

    steps = eager("step")
    if steps.size and (steps.min() < 0 or (np.diff(steps) <= 0).any()):
        place = int(np.argmax(np.append(np.diff(steps) <= 0, True)))
        raise DamagedStoreError(
            f"{store.location}: step: expected strictly increasing steps, got {steps[place : place + 2].tolist()} "
            "at frame "
            f"{place}. Velocities would have no time between them. Restore the store from a copy.",
            location=store.location,
            frame=place,
        )
    scalars = {scalar.name: scalar for scalar in store.scalars}
    epoch = eager("epoch") if "epoch" in scalars else None
    coords: dict[str, Any] = {"step": ("step", steps, {"long_name": "applied updates", "units": "step"})}
    if epoch is not None:
        coords["epoch"] = ("step", epoch, {"long_name": "epoch"})
    root = xr.Dataset(
        {
            name: (s.dims, lazy(name, s.shape, s.dtype, (store.chunk_steps, *s.shape[1:])), {"long_name": name})
            for name, s in scalars.items()
            if name != "epoch"
        },
        coords=coords,
        attrs=dict(store.attrs),
    )
    groups: dict[str, dict[str, Any]] = {"parameters": {}}
    for p in store.parameters:
        path, _, name = p.path.rpartition("/")
        values = lazy(p.path, (*p.shape, store.frames), p.dtype, p.chunks)
        groups.setdefault(path, {})[name] = (_dims(p), values, _attrs(p))
    try:
        tree = xr.DataTree.from_dict({"/": root, **{f"/{path}": xr.Dataset(v) for path, v in groups.items()}})
    except (KeyError, ValueError, TypeError) as error:
        raise DamagedStoreError(
            f"{store.location}: expected arrays that form one tree, got: {' '.join(str(error).split())}. The metadata "
            "is damaged. Restore zarr.json from a copy of the store, or record the run again.",
            location=store.location,
        ) from error
    tree.encoding[ENCODING] = Opened(store, steps, epoch, names)
    return tree


def trajectory(tree: xr.DataTree) -> Trajectory:
    """What a tree says about its run, from its own arrays and attributes.

    Raises
    ------
    TreeError
        The object is no tree of a run, or its arrays lost the attributes that name their layers.
    """
    if not isinstance(tree, xr.DataTree) or "parameters" not in tree.children or "step" not in tree.coords:
        raise TreeError(
            f"Run: expected a DataTree with a coordinate 'step' and a group 'parameters', got {type(tree).__name__}. "
            "Temperatures are defined for a whole run. Open one: analyzer.open_run(path)"
        )
    arrays: dict[str, xr.DataArray] = {}
    parameters = []
    above = tree.path.rstrip("/")  # a run of a sweep hangs below its root
    for node in tree["parameters"].subtree:
        for name, array in node.data_vars.items():
            path = f"{node.path.removeprefix(above).strip('/')}/{name}"
            if "step" not in array.dims:
                raise TreeError(
                    f"{path}: expected an array with the dimension 'step', got {array.dims}. Without it there is no "
                    "velocity. Give the tree before the reduction, or drop this variable.",
                    path=path,
                )
            last = array if array.dims[-1] == "step" else array.transpose(..., "step")
            try:
                p = parameter_of(path, array.attrs, last.shape[:-1], str(array.dtype))
            except KeyError as error:
                raise TreeError(
                    f"{path}: expected the attribute {error}, got an array without it. It names the layer whose "
                    "temperature "
                    "this is. Keep attributes: with xarray.set_options(keep_attrs=True): ...",
                    path=path,
                ) from error
            arrays[p.name] = last
            parameters.append(p)
    origin = tree.encoding.get(ENCODING)
    if isinstance(origin, Opened):
        order = {p.path: n for n, p in enumerate(origin.store.parameters)}
        parameters.sort(key=lambda p: order.get(p.path, len(order)))
    opened = _untouched(origin, tree, {p.path: arrays[p.name] for p in parameters})
    steps = np.asarray(tree["step"].values)
    if opened is not None:
        stride = opened.store.stride
        # Only the chunks are the store's; all else is as the tree says it.
        chunks = {p.path: p.chunks for p in opened.store.parameters}
        parameters = [replace(p, chunks=chunks[p.path]) for p in parameters]
    else:
        stride = int(np.diff(steps).min()) if steps.size > 1 else 1
    if stride < 1:
        raise TreeError(
            "Run: expected strictly increasing steps, got steps out of order. Sort them: run.sortby('step')"
        )
    epoch = np.asarray(tree["epoch"].values, dtype=np.float64) if "epoch" in tree.variables else None
    return Trajectory(
        parameters=tuple(parameters),
        arrays={p.name: arrays[p.name] for p in parameters},
        line=timeline(steps, stride, segments_of("run", tree.attrs.get("segments", [])), epoch),
        opened=opened,
        lazy=any(array.chunks is not None for array in arrays.values()),
    )


def _untouched(opened: object, tree: xr.DataTree, arrays: Mapping[str, xr.DataArray]) -> Opened | None:
    """The store behind a tree that still holds exactly what was opened: every array by its dask name, every step."""
    if not isinstance(opened, Opened) or set(arrays) != {p.path for p in opened.store.parameters}:
        return None
    if not np.array_equal(tree.coords["step"].values, opened.steps):
        return None
    for p in opened.store.parameters:
        array = arrays[p.path]
        if getattr(array.data, "name", None) != opened.names[p.path] or array.dims != _dims(p):
            return None
    return opened


def _dims(p: Parameter) -> tuple[str, ...]:
    axes = ("row", "col", *(str(n) for n in range(2, len(p.shape))))
    return (*(f"{p.name}_{axis}" for axis in axes[: len(p.shape)]), "step")


def _attrs(p: Parameter) -> dict[str, Any]:
    attrs: dict[str, Any] = {
        "name": p.name,
        "layer": p.layer,
        "module": p.module,
        "layer_class": p.layer_class,
        "module_class": p.module_class,
        "axes": list(p.axes),
        "original_dtype": p.original_dtype,
        "requires_grad": p.requires_grad,
        "aliases": list(p.aliases),
        "long_name": p.name,
    }
    if p.heads is not None:
        attrs |= {"heads": p.heads, "head_axis": p.head_axis}
    return attrs
