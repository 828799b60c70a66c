"""The feed for parameters in host memory: it copies them straight into the mapped spool file."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from recorder.errors import ParameterChangedError
from recorder.schema import Schema
from recorder.trainer.feeds.ring import as_number, look_up
from recorder.trainer.feeds.spool import Spool
from recorder.trainer.model.selection import Slot

Piece = tuple[dict[str, Any], str, int, int, int, slice, memoryview]
"""A parameter: where the model holds it, its address and elements, its plane, its bytes in a row there, its memory."""
Strided = tuple[dict[str, Any], str, int, int, int, slice]
"""The same without the memory, for a parameter whose memory is not in the frame's order. It is copied twice."""


class HostFeed:
    """Pushes frames of host parameters; the pool of mapped spool files is their ring.

    A frame is in the spool when `push` returns, and survives a SIGKILL from then on.

    Each parameter's memory is copied as bytes, one after the other. Beside a training, which has driven this code out
    of the caches, that takes 16 µs for the GCN's ten parameters, and 25 µs together with the check where each of them
    lies. One `torch.cat` takes 36 µs, and a separate check 18 (`tests/benchmarks/recorder_copies.py`). One thread
    copies, and it holds the GIL meanwhile.
    """

    can_be_looked_at = True  # without waiting for a device
    launch_seconds = 0.0  # no device is given work

    def __init__(self, schema: Schema, slots: Sequence[Slot], spool: Spool) -> None:
        self._schema, self._slots, self._spool = schema, slots, spool
        self._pieces: list[Piece] = []
        self._strided: list[Strided] = []
        self._skipped = 0.0
        self.revalidate()

    def skip(self, found_inf: torch.Tensor) -> bool:
        """Count an update that the optimizer skipped, if `found_inf` is nonzero. Tell whether it is known to be one."""
        skipped = bool(found_inf)
        self._skipped += skipped
        return skipped

    def push(self, step: int, rates: Sequence[Any]) -> bool:
        """Record the parameters as they are now.

        Parameters
        ----------
        step : int
            Updates attempted so far.
        rates : sequence of float or tensor
            Learning rates of the last update; empty for the first frame.

        Returns
        -------
        bool
            Whether the frame was recorded; false when it was dropped because the spool is full.

        Raises
        ------
        ParameterChangedError
            See `look_up`.
        """
        spool = self._spool
        if not spool.reserve():
            return False
        file, row = spool.file, spool.row
        assert file is not None
        planes = file.rows[row]
        if not self._copy(planes):
            self.revalidate()
            if not self._copy(planes):
                raise ParameterChangedError(
                    "parameters: expected each to stay at one address while it is copied, but one names another "
                    "address each time. Record plain tensors: leave out subclasses that do so (exclude=…)."
                )
        words, place = file.scalar_words, row * spool.columns
        if self._skipped:
            words[place] = self._skipped
        for rate in rates:
            place += 1
            words[place] = rate if type(rate) is float else as_number(rate)
        spool.push(step)
        return True

    def _copy(self, planes: Sequence[memoryview]) -> bool:
        """Copy every parameter into its part of a row; return false when one is gone or lies elsewhere."""
        for owner, key, address, elements, plane, part, memory in self._pieces:
            held = owner.get(key)
            if (
                held is None
                or held.data_ptr() != address
                or held.numel() != elements
                or not held.is_contiguous()  # a square matrix that was transposed in place
            ):
                return False
            planes[plane][part] = memory
        for owner, key, address, elements, plane, part in self._strided:
            held = owner.get(key)
            if held is None or held.data_ptr() != address or held.numel() != elements:
                return False
            planes[plane][part] = bytes_of(held)
        return True

    @property
    def skipped(self) -> int:
        """Updates that the optimizer skipped so far."""
        return int(self._skipped)

    def log(self, column: int, value: Any) -> None:
        """Store a scalar with the newest frame."""
        spool = self._spool
        number = value if type(value) is float else as_number(value)
        spool.file.scalar_words[(spool.row - 1) * spool.columns + column] = number  # type: ignore[union-attr]

    def newest(self) -> list[torch.Tensor] | None:
        """Return the newest frame as bytes of each parameter; None if its spool file was handed over."""
        spool = self._spool
        if spool.file is None or not spool.row:
            return None
        rows = [plane[spool.row - 1] for plane in spool.file.planes]
        return [
            torch.from_numpy(rows[p.plane][p.offset : p.offset + p.elements].view(np.uint8))
            for p in self._schema.parameters
        ]

    def catch_up(self) -> None:
        """Do nothing: a frame is in the spool when `push` returns."""

    def revalidate(self) -> None:
        """Look every parameter up again, check it against the schema, and note where its memory lies now."""
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
        # Assigned together at the end: after an interrupt a notebook may go on, and must not find half of them.
        self._strided, self._pieces = strided, pieces

    def close(self) -> None:
        """Hand the last spool file over."""
        self._spool.hand_over()

    @property
    def pushed(self) -> int:
        """Number of frames in the spool so far."""
        return self._spool.pushed

    @property
    def stall_seconds(self) -> float:
        return self._spool.stall_seconds


def bytes_of(tensor: torch.Tensor) -> memoryview:
    """Return a tensor's elements in C order as bytes: its own memory where that is contiguous, else a copy."""
    flat = tensor.detach().resolve_neg().contiguous()
    # Not by `Tensor.numpy`: torch would never again resize the storage of the user's parameter.
    memory = (ctypes.c_ubyte * (flat.numel() * flat.element_size())).from_address(flat.data_ptr())
    memory.tensor = flat  # type: ignore[attr-defined]  # lives as long as the view, so that no other tensor gets its address
    return memoryview(memory).cast("B")
