"""What is recorded: parameters, the planes that carry them, and their JSON form. It needs neither torch nor Zarr."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from math import prod
from typing import Any

import numpy as np

# The numpy type in which each torch type is stored, and in which it travels through the spool. bfloat16 has no numpy
# type: its raw 16 bits travel, and the writer widens them.
STORED_DTYPES = {
    "float16": "float16",
    "bfloat16": "float32",
    "float32": "float32",
    "float64": "float64",
    "bool": "bool",
    **{f"{sign}int{bits}": f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)},
}
TRAVEL_DTYPES = {**STORED_DTYPES, "bfloat16": "uint16"}


@dataclass(frozen=True, slots=True)
class Parameter:
    """One recorded tensor: its place in the model, its meaning and its place in a frame.

    Attributes
    ----------
    name : str
        Dotted name.
    shape : tuple of int
    dtype : str
        Torch's name of the type in the model (`original_dtype` in the store).
    layer, module, module_class, layer_class : str
        See `FORMAT.md`.
    axes : tuple of str
        Meaning of each axis.
    requires_grad : bool
    aliases : tuple of str
        Other names of the same (tied) tensor.
    heads, head_axis, head_blocks : int or None
    concat : bool or None
    plane, offset : int
        Number of the plane that holds it, and its first element there.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    layer: str
    module: str
    module_class: str
    layer_class: str
    axes: tuple[str, ...]
    requires_grad: bool = True
    aliases: tuple[str, ...] = ()
    heads: int | None = None
    head_axis: int | None = None
    head_blocks: int | None = None
    concat: bool | None = None
    plane: int = 0
    offset: int = 0

    @property
    def elements(self) -> int:
        return prod(self.shape)

    @property
    def stored_dtype(self) -> np.dtype[Any]:
        return np.dtype(STORED_DTYPES[self.dtype])


@dataclass(frozen=True, slots=True)
class Plane:
    """All recorded elements of one type on one device; they are contiguous in every frame."""

    dtype: str
    device: str
    elements: int

    @property
    def travel_dtype(self) -> np.dtype[Any]:
        return np.dtype(TRAVEL_DTYPES[self.dtype])

    @property
    def frame_bytes(self) -> int:
        return self.elements * self.travel_dtype.itemsize


@dataclass(frozen=True, slots=True)
class Schema:
    """All recorded parameters, in the model's order, and the planes that carry them."""

    parameters: tuple[Parameter, ...]
    planes: tuple[Plane, ...]

    @property
    def frame_bytes(self) -> int:
        """Bytes of one frame in the spool."""
        return sum(plane.frame_bytes for plane in self.planes)

    @property
    def stored_frame_bytes(self) -> int:
        """Bytes of one frame in the store, before compression."""
        return sum(parameter.elements * parameter.stored_dtype.itemsize for parameter in self.parameters)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, document: dict[str, Any]) -> Schema:
        def parameter(fields: dict[str, Any]) -> Parameter:
            return Parameter(**fields | {key: tuple(fields[key]) for key in ("shape", "axes", "aliases")})

        planes = tuple(Plane(**plane) for plane in document["planes"])
        return cls(tuple(parameter(fields) for fields in document["parameters"]), planes)


def lay_out(parameters: Sequence[Parameter], devices: Sequence[str]) -> Schema:
    """Give each parameter its place in a frame: a plane for each type and device, in the order of the parameters."""
    sizes: dict[tuple[str, str], int] = {}
    order: dict[tuple[str, str], int] = {}
    placed = []
    for parameter, device in zip(parameters, devices, strict=True):
        kind = (parameter.dtype, device)
        plane = order.setdefault(kind, len(order))
        placed.append(replace(parameter, plane=plane, offset=sizes.get(kind, 0)))
        sizes[kind] = sizes.get(kind, 0) + parameter.elements
    planes = tuple(Plane(dtype, device, sizes[dtype, device]) for dtype, device in order)
    return Schema(tuple(placed), planes)
