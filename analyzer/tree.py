r"""A run as an `xarray.DataTree`: build one from a store, and read one back, even if a user has modified it.

Every question is asked of such a tree. Frames from elsewhere can be made into one by hand. A tree must carry:

- at its root the coordinate `step` (step): integers that increase, the number of updates before each frame;
- a group `parameters`, with as many groups below it as are wanted, of arrays of numbers that have the dimension `step`,
  numpy's or dask's. The names of the other dimensions are free, but each stands for one length in a group and above it;
- on each array the attributes `name` (the parameter's dotted name, once in the tree), `layer` and `module` (the names
  of the layer and of the module that it belongs to; `""` is the whole model).

All else is optional. On an array: `axes`, a list with the meaning of each axis (`output`, `input`, or `""`), which `by=
"input"` and `by="output"` need; `heads` and `head_axis` for `by="head"`, and `head_blocks` where queries, keys and
values follow each other along that axis; `original_dtype`, the type whose rounding sets the floor; `frozen`, True for
weights that are held where they are. At the root: logged scalars (step); the coordinate `epoch` (step), for windows by
epoch; the attributes `hyperparameters`, which a sweep needs, `stride`, the steps between frames, and `segments`, as
`recorder/FORMAT.md` describes them: no velocity leads into a segment that is not `continuous`. Without `stride` and
`segments`, each stretch of equal spacing counts as a segment and has a window of its own.

`analyzer.as_run` checks a tree and says what is missing.

Examples
--------
Frames from files of safetensors:

>>> import re
>>> from pathlib import Path
>>> from safetensors.numpy import load_file
>>> files = {int(re.findall(r"\d+", file.name)[0]): file for file in Path("checkpoints").glob("*.safetensors")}
>>> frames = {step: load_file(files[step]) for step in sorted(files)}
>>> nodes = {"/": xr.Dataset(coords={"step": list(frames)})}
>>> for name in frames[min(frames)]:
...     values = np.stack([frame[name] for frame in frames.values()], axis=-1)
...     dims = [f"{name}_{axis}" for axis in range(values.ndim - 1)] + ["step"]
...     layer, _, key = name.rpartition(".")
...     attrs = {"name": name, "layer": layer, "module": layer}
...     nodes[f"/parameters/{name}"] = xr.Dataset({key: (dims, values, attrs)})
>>> run = analyzer.as_run(xr.DataTree.from_dict(nodes))
>>> run.thermo.temperature(by="layer")["temperature"].dims
('group', 'window')
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import dask.array as da
import numpy as np
import pandas as pd
import xarray as xr
from dask.base import tokenize

from analyzer.errors import DamagedStoreError, TreeError
from analyzer.query.changes import changes_of
from analyzer.query.recorded import Settings, settings_of_store, settings_of_tree
from analyzer.query.spacing import segments_in, whole_steps
from analyzer.query.timeline import Timeline, timeline
from analyzer.store.names import variable_names
from analyzer.store.reading import StoredArray, check_length, read, source_of
from analyzer.store.schema import Parameter, Segment, Store, parameter_of, segments_of

Array = np.ndarray[Any, np.dtype[Any]]

_TAKEN = ("step", "epoch", "parameters", "learning_rate", "param_group")
"""Names at the root of a tree that no logged scalar can have: variables, dimensions and groups."""
ENCODING = "trajectory"
"""Key of the root's encoding that holds the store from which a tree was opened, as `Opened`."""


@dataclass(frozen=True)
class Opened:
    """The state of a tree when it was opened. A tree that still holds exactly this was not modified.

    Attributes
    ----------
    store
        Metadata of the store.
    steps, epoch
        (frames,) step and epoch of each frame; `epoch` is None if the run recorded none.
    names
        Name of each parameter's dask array, by path.
    settings
        The settings that the store recorded with its frames.
    """

    store: Store
    steps: Array
    epoch: Array | None
    names: Mapping[str, str]
    settings: Settings


@dataclass(frozen=True)
class Trajectory:
    """The run that a tree describes.

    Attributes
    ----------
    parameters
        In the order of the store, or of a modified tree.
    arrays
        Weights by parameter name, with the dimension `step` last.
    line
        Steps, segments and epochs of the frames.
    opened
        The store behind the tree. Its chunks may be read instead of the tree's arrays. None if the tree was modified.
    lazy
        Whether any array is a dask array.
    """

    parameters: tuple[Parameter, ...]
    arrays: Mapping[str, xr.DataArray]
    line: Timeline
    opened: Opened | None
    lazy: bool

    @property
    def kept_alone(self) -> bool:
        """Whether only sums were kept of the run: no frame can be read."""
        return self.opened is not None and not self.opened.store.is_trajectory

    @property
    def identity(self) -> dict[str, str]:
        """Attributes of a result that name the store it comes from; empty for a tree that was modified."""
        if self.opened is None:
            return {}
        return {"run_id": self.opened.store.run_id, "store": self.opened.store.location}


def build_tree(store: Store) -> xr.DataTree:
    """Build the lazy tree of a store. Its parameters inherit the coordinates `step` and `epoch` from the root.

    Raises
    ------
    DamagedStoreError
        The steps do not increase, or the metadata describes no tree.
    """
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
    steps = steps.astype(np.int64) if steps.dtype.kind == "u" else steps  # their differences would wrap around
    if steps.size and (steps.min() < 0 or (np.diff(steps) <= 0).any()):
        place = int(np.argmax(np.append(np.diff(steps) <= 0, True)))
        raise DamagedStoreError(
            f"{store.location}: step: expected strictly increasing steps, got {steps[place : place + 2].tolist()} "
            f"at frame {place}. A velocity needs a positive time between frames. Restore the store from a copy.",
            location=store.location,
            frame=place,
        )
    scalars = {scalar.path: scalar for scalar in store.scalars}
    epoch = eager("epoch") if "epoch" in scalars else None
    variables = variable_names({s.path: s.name for s in store.scalars}, _TAKEN)
    index = pd.Index(steps, copy=False)  # xarray would make one with a copy of the steps
    coords: dict[str, Any] = {"step": ("step", index, {"long_name": "applied updates", "units": "step"})}
    if epoch is not None:
        coords["epoch"] = ("step", epoch, {"long_name": "epoch"})
    root = xr.Dataset(
        {
            variables[path]: (
                s.dims,
                lazy(path, s.shape, s.dtype, (store.chunk_steps, *s.shape[1:])),
                {"long_name": s.name},
            )
            for path, s in scalars.items()
            if path != "epoch"
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
    tree.encoding[ENCODING] = Opened(store, steps, epoch, names, Settings(partial(settings_of_store, store)))
    return tree


def trajectory(tree: xr.DataTree) -> Trajectory:
    """Read a run from a tree's own arrays and attributes.

    Raises
    ------
    TreeError
        The object is not the tree of a run, its arrays lost the attributes that name their layers, or its steps do not
        increase.
    """
    _check_is_run(tree)
    arrays: dict[str, xr.DataArray] = {}
    parameters = []
    above = tree.path.rstrip("/")  # a run of a sweep is a child of its root
    for node in tree["parameters"].subtree:
        for name, array in node.data_vars.items():
            path = f"{node.path.removeprefix(above).strip('/')}/{name}"
            p, last = _parameter(path, array)
            if p.name in arrays:
                raise TreeError(
                    f"{path}: expected one array with the attribute name = {p.name!r}, got two. The weights of one "
                    "would not count. Give each its own name.",
                    path=path,
                )
            arrays[p.name] = last
            parameters.append(p)
    origin = tree.encoding.get(ENCODING)
    if isinstance(origin, Opened):
        order = {p.path: n for n, p in enumerate(origin.store.parameters)}
        parameters.sort(key=lambda p: order.get(p.path, len(order)))
    listed = tree.attrs.get("segments", [])
    segments = _segments(listed)
    opened = _untouched(origin, tree, {p.path: arrays[p.name] for p in parameters})
    steps = whole_steps(np.asarray(tree["step"].values))
    if opened is not None:
        segments, stride = opened.store.segments, opened.store.stride
        # Chunks come from the store, everything else from the tree.
        chunks = {p.path: p.chunks for p in opened.store.parameters}
        parameters = [replace(p, chunks=chunks[p.path]) for p in parameters]
    else:
        segments, stride = segments_in(steps, segments, tree.attrs.get("stride"))
    epoch = np.asarray(tree["epoch"].values, dtype=np.float64) if "epoch" in tree.variables else None
    return Trajectory(
        parameters=tuple(parameters),
        arrays={p.name: arrays[p.name] for p in parameters},
        line=timeline(
            steps,
            stride,
            segments,
            epoch,
            changes_of(listed),
            Settings(partial(settings_of_tree, tree)) if opened is None else opened.settings,
        ),
        opened=opened,
        lazy=any(array.chunks is not None for array in arrays.values()),
    )


def _check_is_run(tree: object) -> None:
    missing = [] if isinstance(tree, xr.DataTree) and "step" in tree.coords else ["coordinate"]
    missing += [] if isinstance(tree, xr.DataTree) and "parameters" in tree.children else ["group"]
    if missing:
        lacks = f" without the {' and the '.join(missing)}" if isinstance(tree, xr.DataTree) else ""
        raise TreeError(
            f"Run: expected a DataTree with a coordinate 'step' and a group 'parameters', got "
            f"{type(tree).__name__}{lacks}. "
            "Temperatures are defined for a whole run. Open one: analyzer.open_run(path)"
        )


def _parameter(path: str, array: xr.DataArray) -> tuple[Parameter, xr.DataArray]:
    """The parameter that an array of a tree holds, and the array with its steps last."""
    if "step" not in array.dims:
        raise TreeError(
            f"{path}: expected an array with the dimension 'step', got {array.dims}. Without it there is no velocity. "
            "Pass the tree as it was before the reduction, or drop this variable.",
            path=path,
        )
    last = array if array.dims[-1] == "step" else array.transpose(..., "step")
    try:
        p = parameter_of(path, array.attrs, last.shape[:-1], str(array.dtype))
    except KeyError as error:
        raise TreeError(
            f"{path}: expected the attribute {error}, got an array without it. It says to which layer the weights "
            "belong. Keep attributes: with xarray.set_options(keep_attrs=True): ... "
            "(help(analyzer.tree) says what a tree must carry)",
            path=path,
        ) from error
    except (TypeError, ValueError, OverflowError) as error:
        raise TreeError(
            f"{path}: expected attributes of the right types, got: {error}. Mend the attribute (help(analyzer.tree) "
            "says what a tree must carry)",
            path=path,
        ) from error
    if array.dtype.kind not in "fiub":
        raise TreeError(
            f"{path}: expected real numbers, got {array.dtype}. A weight is one of them. Drop the array, or make its "
            "parts arrays of their own.",
            path=path,
        )
    return p, last


def _segments(listed: object) -> tuple[Segment, ...]:
    try:
        return segments_of("run", listed)
    except DamagedStoreError as error:
        raise TreeError(
            f"attribute 'segments' of the run: expected a list of objects with first_frame and first_step, got "
            f"{str(listed)[:60]}. Mend the attribute, or leave it out: then each stretch of equal spacing counts as a "
            "segment (help(analyzer.tree) says what a tree must carry)"
        ) from error


def scalars_of(tree: xr.DataTree) -> dict[str, xr.DataArray]:
    """Return logged scalars by the names that were given to `log`; the variable of a tree may have another name.

    The recorder has variables of its own, such as "learning_rate". A scalar that a user logged under such a name is
    returned instead of the recorder's.
    """
    found: dict[str, xr.DataArray] = {}
    root = tree.dataset
    for variable in (*root.data_vars, *(["epoch"] if "epoch" in root.coords else [])):
        array = root[variable]
        name = str(array.attrs.get("long_name", variable))
        if "step" in array.dims and (name not in found or variable != name):
            found[name] = array
    return found


def _untouched(opened: object, tree: xr.DataTree, arrays: Mapping[str, xr.DataArray]) -> Opened | None:
    """Return the store behind a tree that was not modified, else None. It compares steps and names of dask arrays."""
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
        "frozen": p.frozen,
        "aliases": list(p.aliases),
        "long_name": p.name,
    }
    if p.heads is not None:
        attrs |= {"heads": p.heads, "head_axis": p.head_axis}
        attrs |= {"head_blocks": p.head_blocks} if p.head_blocks > 1 else {}
    return attrs
