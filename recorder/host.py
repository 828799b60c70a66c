"""The feed for parameters in host memory: the copy lands in the mapped segment itself."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import Any

import torch

from recorder.errors import ParameterChangedError
from recorder.ring import as_number, look_up
from recorder.schema import Schema
from recorder.selection import Slot
from recorder.spool import Spool

Piece = tuple[dict[str, Any], str, int, int, int, slice, memoryview]
"""A parameter: where the model holds it, its address and elements, its plane, its bytes in a row there, its memory."""
Strided = tuple[dict[str, Any], str, int, int, int, slice]
"""The same of a parameter whose memory is not in the order of the frame: it is copied twice."""


class HostFeed:
    """Pushes frames of host parameters: the ring *is* the pool of mapped segments.

    A frame is in the spool when `push` returns, and survives a SIGKILL from then on.

    Memory is copied as bytes, one parameter after the other: beside a training, whose code has driven all other out of
    the caches, the GCN's ten take 16 µs so, 25 with a look at where each lies in the same loop; one `torch.cat` takes
    36, and the look apart from it 18 (`tests/benchmarks/recorder_copies.py`). The copy is one thread's and holds the
    GIL: 1.2 ms for 16 MB, where `torch.cat` on two idle cores takes half, and on two busy ones ten times as long.
    """

    def __init__(self, schema: Schema, slots: Sequence[Slot], spool: Spool) -> None:
        self._schema, self._slots, self._spool = schema, slots, spool
        self._pieces: list[Piece] = []
        self._strided: list[Strided] = []
        self._skipped = 0.0
        self.revalidate()

    def push(self, step: int, rates: Sequence[Any], found_inf: torch.Tensor | None) -> bool:
        """Record the parameters as they are now.

        Parameters
        ----------
        step : int
            Updates attempted so far.
        rates : sequence of float or tensor
            Learning rates of the update that led here; none for the first frame.
        found_inf : tensor, optional
            Nonzero if the optimizer skipped that update.

        Returns
        -------
        bool
            Whether the frame was recorded; false when it was dropped under pressure.

        Raises
        ------
        ParameterChangedError
            See `look_up`.
        """
        if found_inf is not None:
            self._skipped += float(found_inf)
        spool = self._spool
        if not spool.reserve():
            return False
        segment, row = spool.segment, spool.row
        assert segment is not None
        planes = segment.rows[row]
        if not self._copy(planes):
            self.revalidate()
            if not self._copy(planes):
                raise ParameterChangedError(
                    "parameters: expected them to lie still while they are copied, one lies elsewhere each time it is "
                    "asked. Record plain tensors: leave out subclasses that do so (exclude=…)."
                )
        words, slot = segment.scalar_words, row * spool.slots
        if self._skipped:
            words[slot] = self._skipped
        for rate in rates:
            slot += 1
            words[slot] = rate if type(rate) is float else as_number(rate)
        spool.push(step)
        return True

    def _copy(self, planes: Sequence[memoryview]) -> bool:
        """Copy every parameter into its part of a row; false when one is gone or lies elsewhere."""
        for owner, key, address, elements, plane, part, memory in self._pieces:
            held = owner.get(key)
            if (
                held is None
                or held.data_ptr() != address
                or held.numel() != elements
                or not held.is_contiguous()  # a square one, transposed where it lies
            ):
                return False
            planes[plane][part] = memory
        for owner, key, address, elements, plane, part in self._strided:
            held = owner.get(key)
            if held is None or held.data_ptr() != address or held.numel() != elements:
                return False
            planes[plane][part] = bytes_of(held)
        return True

    def log(self, slot: int, value: Any) -> None:
        """Store a scalar with the newest frame."""
        spool = self._spool
        number = value if type(value) is float else as_number(value)
        spool.segment.scalar_words[(spool.row - 1) * spool.slots + slot] = number  # type: ignore[union-attr]

    def revalidate(self) -> None:
        """Look every parameter up again, check it against the schema, and find its memory anew."""
        pieces: list[Piece] = []
        strided: list[Strided] = []
        tensors = look_up(self._schema, self._slots)
        for parameter, slot, tensor in zip(self._schema.parameters, self._slots, tensors, strict=True):
            memory, start = bytes_of(tensor), parameter.offset * tensor.element_size()
            part = slice(start, start + memory.nbytes)
            place = (slot.owner, slot.key, tensor.data_ptr(), tensor.numel(), parameter.plane, part)
            if tensor.is_contiguous() and ctypes.addressof(memory.obj) == tensor.data_ptr():  # type: ignore[arg-type]
                pieces.append((*place, memory))
            else:
                strided.append(place)
        # Only now: an interrupt in between, in a notebook that then goes on, must not leave half.
        self._strided, self._pieces = strided, pieces

    def close(self) -> None:
        """Hand the last segment over."""
        self._spool.hand_over()

    @property
    def stall_seconds(self) -> float:
        return self._spool.stall_seconds


def bytes_of(tensor: torch.Tensor) -> memoryview:
    """Return the memory of a tensor in its C order: its own where that is contiguous, else a copy's."""
    flat = tensor.detach().resolve_neg().contiguous()
    # Not by `Tensor.numpy`: torch would refuse to resize the storage, the user's parameter's, for good.
    memory = (ctypes.c_ubyte * (flat.numel() * flat.element_size())).from_address(flat.data_ptr())
    memory.tensor = flat  # type: ignore[attr-defined]  # lives as long as the view: no other tensor gets its address
    return memoryview(memory).cast("B")
