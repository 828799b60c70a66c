"""The parameters as they lie in memory, and the fused copy of those on a device.

At every step a fused copy takes all parameters of one type into one row, in one call. It uses views of the parameters'
memory that are made once. With views made anew, `torch.cat` takes twice as long beside a training (78 µs against 36 for
the ten tensors of the paper's GCN, `tests/benchmarks/recorder_copies.py`). A view of memory that has moved would record
old values, so every step checks where the memory lies.
"""

from __future__ import annotations

from collections.abc import Sequence
from time import perf_counter
from typing import Any

import numpy as np
import torch
from torch import nn

from recorder.errors import ParameterChangedError
from recorder.schema import Plane, Schema
from recorder.trainer.model.selection import Slot, check_memory
from recorder.trainer.model.wrappers import named_parameters


def look_up(schema: Schema, slots: Sequence[Slot]) -> list[torch.Tensor]:
    """Return the recorded parameters as the model holds them now, in the schema's order.

    Their memory may move (`load_state_dict(assign=True)`, an EMA swap, `.data = …`); shape, type and device must stay.

    Raises
    ------
    ParameterChangedError
        A parameter left the model or changed its shape, type or device.
    SchemaError
        The memory of a parameter was freed.
    """
    tensors: list[torch.Tensor] = []
    for parameter, slot in zip(schema.parameters, slots, strict=True):
        tensor = slot.owner.get(slot.key)
        if tensor is None:
            raise gone(parameter.name)
        found = (tuple(tensor.shape), str(tensor.dtype).removeprefix("torch."), str(tensor.device))
        expected = (parameter.shape, parameter.dtype, schema.planes[parameter.plane].device)
        if found != expected:
            raise ParameterChangedError(
                f"parameter {parameter.name}: expected shape {list(expected[0])}, {expected[1]} on "
                f"{expected[2]}, got {list(found[0])}, {found[1]} on {found[2]}. A store holds one model: close "
                "the recorder and record the changed model into a new store.",
                parameter=parameter.name,
                expected=expected,
                found=found,
            )
        check_memory(parameter.name, tensor)
        tensors.append(tensor)
    return tensors


def check_held(model: nn.Module, schema: Schema, slots: Sequence[Slot]) -> list[str]:
    """Check that a model still holds the recorded parameters, in the modules that held them at the start.

    Returns
    -------
    list of str
        The names of all its parameters.

    Raises
    ------
    ParameterChangedError
        A parameter is gone, or another module holds it.
    """
    current = {held.name: held.tensor for held in named_parameters(model)}
    for parameter, slot in zip(schema.parameters, slots, strict=True):
        if current.get(parameter.name) is not slot.owner.get(slot.key):
            raise gone(parameter.name)
    return list(current)


def gone(name: str) -> ParameterChangedError:
    """Return the error for a parameter that the model no longer holds."""
    return ParameterChangedError(
        f"parameter {name}: expected it in the model, but it is gone. Frames before this step are recorded. Close the "
        "recorder and record the changed model into a new store.",
        parameter=name,
    )


class FusedCopy:
    """Copies the recorded parameters of a model into one row for each plane, with one kernel a plane on a device.

    Lifetime: one recording. It holds views of the parameters' memory, and makes them anew when that memory moves.

    Attributes
    ----------
    seconds : float
        Time that the copying calls took so far.
    """

    def __init__(self, schema: Schema, slots: Sequence[Slot]) -> None:
        self._schema, self._slots = schema, slots
        self.seconds = 0.0
        self._places: list[tuple[int, int]] = []
        self._views: list[list[torch.Tensor]] = []
        self._strided: list[tuple[int, int, torch.Tensor]] = []
        self.revalidate()

    def copy(self, rows: Sequence[torch.Tensor]) -> None:
        """Copy the parameters as they are now into `rows`, one contiguous 1-d tensor for each plane.

        Raises
        ------
        ParameterChangedError
            See `look_up`.
        """
        try:
            places = [
                (tensor.data_ptr(), tensor.numel())  # type: ignore[union-attr]
                for tensor in [slot.owner[slot.key] for slot in self._slots]
            ]
        except (KeyError, AttributeError):
            places = []
        if places != self._places:
            self.revalidate()
        for plane, position, tensor in self._strided:
            self._views[plane][position] = tensor.reshape(-1)
        began = perf_counter()
        for views, row in zip(self._views, rows, strict=True):
            torch.cat(views, out=row)
        self.seconds += perf_counter() - began

    def revalidate(self) -> None:
        """Look every parameter up again, check it against the schema, and make the flat views anew."""
        tensors = look_up(self._schema, self._slots)
        all_views: list[list[torch.Tensor]] = [[] for _ in self._schema.planes]
        strided = []
        for parameter, tensor in zip(self._schema.parameters, tensors, strict=True):
            views, flat = all_views[parameter.plane], tensor.detach()
            if not flat.is_contiguous():  # its reshape is a copy, which every step must make again
                strided.append((parameter.plane, len(views), flat))
            views.append(flat.reshape(-1))
        # Assigned at the end, the places last: after an interrupt a notebook may go on, and must not find half of them.
        self._views, self._strided = all_views, strided
        self._places = [(tensor.data_ptr(), tensor.numel()) for tensor in tensors]


def rows_of(planes: Sequence[torch.Tensor]) -> list[tuple[torch.Tensor, ...]]:
    """Return the rows of every frame, one for each plane."""
    return list(zip(*(plane.unbind(0) for plane in planes), strict=True))


def as_tensor(array: np.ndarray[Any, Any], plane: Plane) -> torch.Tensor:
    """Return a tensor on a numpy array's memory. It keeps the array alive: unmapped memory would be a SIGSEGV."""
    if plane.dtype == "bfloat16":
        return torch.from_numpy(array.view(np.int16)).view(torch.bfloat16)
    return torch.from_numpy(array)


def as_number(value: Any) -> float:
    """Return a scalar of any kind as a float: a number, a bool, a one-element array, a loss that still has its graph.

    Raises
    ------
    TypeError, ValueError, RuntimeError, OverflowError
        It is something else. A foreign object may raise more.
    """
    value = value.item() if hasattr(value, "item") else value
    if isinstance(value, (str, bytes, bytearray)):  # `float` would read them
        raise TypeError("a text is no number")
    return float(value)


_INTEGERS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


def as_integers(tensor: torch.Tensor) -> torch.Tensor:
    """Return the bits of a tensor's elements in C order, in one dimension: a view of its memory if possible."""
    flat = tensor.detach().resolve_neg().reshape(-1)
    flat = flat if flat.stride() == (1,) else torch.cat([flat])
    return flat.view(_INTEGERS[flat.element_size()])


def as_bytes(tensor: torch.Tensor) -> torch.Tensor:
    """Return a tensor's elements in C order as bytes, in one dimension."""
    return as_integers(tensor).view(torch.uint8)
