"""Reads the frames of a finished store, chunk by chunk. Every size and path that the store claims is checked first."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from recorder.errors import StoreFormatError
from recorder.names import parameter_path
from recorder.root import LEARNING_RATE, STEP, read_document
from recorder.schema import STORED_DTYPES, Parameter, Schema, lay_out
from recorder.writer.encoding import Array
from recorder.writer.format import (
    ArraySpec,
    learning_rate_spec,
    parameter_spec,
    scalar_spec,
    step_spec,
)
from recorder.writer.objects import decoded, objects_of, read_object
from recorder.writer.trust import read_members

_MOST_CHUNK_BYTES = (1 << 31) - 1


@dataclass(frozen=True, slots=True)
class Trajectory:
    """The arrays of a store.

    Attributes
    ----------
    store : Path
    attributes : mapping
        Root attributes.
    frames, chunk_steps : int
    schema : Schema
    specs : tuple of ArraySpec
        Arrays of the parameters, in the schema's order.
    scalars : dict of str to ArraySpec
        Arrays of logged values, by name.
    param_groups : int
    """

    store: Path
    attributes: Mapping[str, Any]
    frames: int
    chunk_steps: int
    schema: Schema
    specs: tuple[ArraySpec, ...]
    scalars: dict[str, ArraySpec]
    param_groups: int

    def chunk(self, spec: ArraySpec, chunk: int) -> Array:
        """Return one chunk along `step` of a whole array, with the array's axes.

        Raises
        ------
        StoreFormatError
            An object is missing or damaged.
        """
        shape = (self.chunk_steps, *spec.shape) if spec.step_first else (*spec.shape, self.chunk_steps)
        values = np.full(shape, spec.fill, spec.dtype)
        if spec.attributes.get("first_frame", 0) >= (chunk + 1) * self.chunk_steps:
            return values  # nothing was logged yet
        for path, where in objects_of(self.store, spec, chunk):
            try:
                decoded(read_object(path, spec), spec, values[where])
            except (OSError, ValueError) as error:
                raise StoreFormatError(
                    f"{path}: expected a committed chunk, but it cannot be read ({error}). The store is "
                    "damaged: restore it from a copy, or keep frames before or after it (--keep)."
                ) from error
        return values

    def series(self, spec: ArraySpec) -> Array:
        """Return an array at the root, whole."""
        chunks = range(-(-self.frames // self.chunk_steps))
        parts = [self.chunk(spec, chunk) for chunk in chunks] or [np.empty((0, *spec.shape), spec.dtype)]
        return np.concatenate(parts)[: self.frames]

    @property
    def steps(self) -> Array:
        return self.series(step_spec(self.chunk_steps))

    @property
    def learning_rate(self) -> ArraySpec | None:
        return learning_rate_spec(self.chunk_steps, self.param_groups) if self.param_groups else None


def open_frames(store: Path, attributes: Mapping[str, Any]) -> Trajectory:
    """Open the arrays of a store whose root attributes were read.

    Raises
    ------
    StoreFormatError
        The metadata does not describe a store of this version.
    """
    members = read_members(store)
    try:
        chunk_steps = attributes["chunk_steps"]
        if type(chunk_steps) is not int or not 1 <= chunk_steps <= 1 << 20:
            raise ValueError(f"chunk_steps is {chunk_steps!r}")
        documents = read_document(store)["consolidated_metadata"]["metadata"]
        found = [
            (path, _parameter(path, document), _chunks(document, chunk_steps))
            for path, document in documents.items()
            if path.startswith("parameters/") and "original_dtype" in document.get("attributes", {})
        ]
        schema = lay_out([parameter for _, parameter, _ in found], ["cpu"] * len(found))
        compression = str(attributes["compression"])
        specs = tuple(
            parameter_spec(parameter, chunks, compression)
            for parameter, (_, _, chunks) in zip(schema.parameters, found, strict=True)
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError) as error:
        raise StoreFormatError(
            f"{store}: expected the metadata of its parameters in zarr.json, but it cannot be understood ({error!r}). "
            "The store is damaged: `analyzer verify` says where."
        ) from error
    scalars = {}
    for path, document in documents.items():
        if "shape" in document and "/" not in path and path not in (STEP.name, LEARNING_RATE.name):
            name = members.names.get(path, path)
            scalars[name] = scalar_spec(name, chunk_steps, members.scalars.get(path, 0), path)
    return Trajectory(store, attributes, members.frames, chunk_steps, schema, specs, scalars, members.param_groups)


def _parameter(path: str, document: Mapping[str, Any]) -> Parameter:
    own = document["attributes"]
    dtype = str(own["original_dtype"])
    shape = tuple(int(size) for size in document["shape"][:-1])
    if document["data_type"] != STORED_DTYPES[dtype] or parameter_path(str(own["name"])) != path:
        raise ValueError(f"{path} is not what its attributes say")
    heads, head_axis, concat = own.get("heads"), own.get("head_axis"), own.get("concat")
    head_blocks = own.get("head_blocks")
    return Parameter(
        name=str(own["name"]),
        shape=shape,
        dtype=dtype,
        layer=str(own["layer"]),
        module=str(own["module"]),
        module_class=str(own.get("module_class", "")),
        layer_class=str(own.get("layer_class", "")),
        axes=tuple(str(axis) for axis in own.get("axes", ())),
        requires_grad=bool(own.get("requires_grad", True)),
        aliases=tuple(str(alias) for alias in own.get("aliases", ())),
        heads=heads if isinstance(heads, int) else None,
        head_axis=head_axis if isinstance(head_axis, int) else None,
        head_blocks=head_blocks if isinstance(head_blocks, int) else None,
        concat=concat if isinstance(concat, bool) else None,
    )


def _chunks(document: Mapping[str, Any], chunk_steps: int) -> tuple[int, ...]:
    chunks = tuple(document["chunk_grid"]["configuration"]["chunk_shape"])
    if not all(type(size) is int and size > 0 for size in chunks) or len(chunks) != len(document["shape"]):
        raise ValueError(f"chunks of {chunks}")
    itemsize = np.dtype(STORED_DTYPES[document["attributes"]["original_dtype"]]).itemsize
    if chunks[-1] != chunk_steps or prod(chunks) * itemsize > _MOST_CHUNK_BYTES:
        raise ValueError(f"chunks of {chunks}")
    return chunks
