"""The metadata documents of store format v1: pure functions; no file is touched here. `FORMAT.md` is normative.

The documents are built here and not by the zarr package, because a commit replaces one root document that holds the new
lengths of all arrays, and because the writer then starts in 0.2 s. The contract tests compare them with zarr's own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from recorder.codecs import DEFAULT, codec_of
from recorder.names import as_text, parameter_path, scalar_path
from recorder.root import LEARNING_RATE, LOGGED, PARAMETERS, STEP, RootArray
from recorder.schema import Parameter


@dataclass(frozen=True, slots=True)
class ArraySpec:
    """One array of the store, apart from its length along `step`.

    Attributes
    ----------
    path : str
    dtype : numpy.dtype
    shape : tuple of int
        Sizes of the own axes, without `step`.
    chunks : tuple of int
        Chunk shape, with `step`.
    dimensions : tuple of str
        Names of the dimensions, with `step`.
    attributes : mapping
    compression : str
    fill : int, float or bool
        The value of frames that were never written.
    """

    path: str
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    chunks: tuple[int, ...]
    dimensions: tuple[str, ...]
    attributes: Mapping[str, Any]
    compression: str
    fill: Any

    @property
    def step_first(self) -> bool:
        """Whether `step` stands before the own axes, as in arrays at the root, or after them, as in parameters."""
        return self.dimensions[0] == "step"

    def full_shape(self, frames: int) -> tuple[int, ...]:
        return (frames, *self.shape) if self.step_first else (*self.shape, frames)


def parameter_spec(parameter: Parameter, chunks: tuple[int, ...], compression: str) -> ArraySpec:
    axes = [*("row", "col")[: len(parameter.shape)], *(str(axis) for axis in range(2, len(parameter.shape)))]
    name = as_text(parameter.name)
    optional = {
        "heads": parameter.heads,
        "head_axis": parameter.head_axis,
        "head_blocks": parameter.head_blocks,
        "concat": parameter.concat,
    }
    return ArraySpec(
        path=parameter_path(parameter.name),
        dtype=parameter.stored_dtype,
        shape=parameter.shape,
        chunks=chunks,
        dimensions=(*(f"{name}_{axis}" for axis in axes), "step"),
        attributes={
            "name": name,
            "layer": as_text(parameter.layer),
            "layer_class": parameter.layer_class,
            "module": as_text(parameter.module),
            "module_class": parameter.module_class,
            "axes": list(parameter.axes),
            "original_dtype": parameter.dtype,
            "requires_grad": parameter.requires_grad,
            "aliases": [as_text(alias) for alias in parameter.aliases],
        }
        | {key: value for key, value in optional.items() if value is not None},
        compression=compression,
        fill=fill_value(parameter.stored_dtype),
    )


def step_spec(chunk_steps: int) -> ArraySpec:
    return _root_spec(STEP, (chunk_steps,))


def learning_rate_spec(chunk_steps: int, param_groups: int) -> ArraySpec:
    return _root_spec(LEARNING_RATE, (chunk_steps, param_groups))


def scalar_spec(name: str, chunk_steps: int, first_frame: int, path: str | None = None) -> ArraySpec:
    """Describe the array of a logged scalar; `path` is its place in the store if it has one already."""
    path = path or scalar_path(name)
    attributes = {"long_name": name, "first_frame": first_frame} | ({} if path == name else {"name": name})
    return _root_spec(LOGGED, (chunk_steps,), path, attributes)


def _root_spec(
    array: RootArray, chunks: tuple[int, ...], path: str = "", attributes: Mapping[str, Any] | None = None
) -> ArraySpec:
    return ArraySpec(
        path=path or array.name,
        dtype=np.dtype(array.dtype),
        shape=chunks[1:],
        chunks=chunks,
        dimensions=array.dims,
        attributes=attributes or array.attributes,
        compression=DEFAULT,
        fill=array.fill,
    )


def array_document(spec: ArraySpec, frames: int) -> dict[str, Any]:
    """Return the Zarr v3 metadata of an array that is `frames` long."""
    return {
        "zarr_format": 3,
        "node_type": "array",
        "shape": list(spec.full_shape(frames)),
        "data_type": spec.dtype.name,
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": list(spec.chunks)}},
        "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
        "fill_value": "NaN" if spec.dtype.kind == "f" else spec.fill,
        "codecs": codec_of(spec.compression, spec.dtype.itemsize).documents(spec.dtype.itemsize, spec.chunks[-1]),
        "attributes": dict(spec.attributes),
        "dimension_names": list(spec.dimensions),
        "storage_transformers": [],
    }


def group_document(attributes: Mapping[str, Any] | None = None) -> dict[str, Any]:
    return {"zarr_format": 3, "node_type": "group", "attributes": dict(attributes or {})}


def group_paths(paths: Sequence[str]) -> list[str]:
    """Return the paths of all groups above the arrays at `paths`, parents first; the root is left out."""
    groups = {path.rsplit("/", depth)[0] for path in paths for depth in range(1, path.count("/") + 1)}
    return sorted(groups | {PARAMETERS})


def root_document(attributes: Mapping[str, Any], specs: Sequence[ArraySpec], frames: int) -> dict[str, Any]:
    """Return the root document with the metadata of the whole hierarchy. Writing it publishes `frames` frames."""
    members: dict[str, Any] = {PARAMETERS: group_document()}
    # Depth first, in the model's order. zarr's reader expects the children of a group one after the other, and the
    # analyzer takes the order of the parameters from here.
    for spec in specs:
        for depth in range(2, spec.path.count("/") + 1):
            members.setdefault("/".join(spec.path.split("/")[:depth]), group_document())
        members[spec.path] = array_document(spec, frames)
    consolidated = {"kind": "inline", "must_understand": False, "metadata": members}
    return group_document(attributes) | {"consolidated_metadata": consolidated}


def fill_value(dtype: np.dtype[Any]) -> Any:
    """Return the fill value of a parameter of this type. Only that of booleans could be taken for a weight."""
    if dtype.kind == "f":
        return np.nan
    if dtype.kind == "b":
        return False
    info = np.iinfo(dtype)
    return info.min if dtype.kind == "i" else info.max
