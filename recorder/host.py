"""The feed for parameters in host memory: the fused copy lands in the mapped segment itself."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from recorder.ring import FusedCopy, as_number, as_tensor, rows_of
from recorder.schema import Schema
from recorder.selection import Slot
from recorder.spool import Spool


class HostFeed:
    """Pushes frames of host parameters: the ring *is* the pool of mapped segments.

    A frame is in the spool when `push` returns, and survives a SIGKILL from then on.
    """

    def __init__(self, schema: Schema, slots: Sequence[Slot], spool: Spool) -> None:
        self._spool = spool
        self._fused = FusedCopy(schema, slots)
        self._skipped = 0.0
        # Row views are made once: indexing a tensor costs as much as a tenth of the copy.
        self._rows = [
            rows_of([as_tensor(array, plane) for array, plane in zip(segment.planes, schema.planes, strict=True)])
            for segment in spool.segments
        ]

    def push(self, step: int, rates: Sequence[Any] | None, found_inf: torch.Tensor | None) -> bool:
        """Record the parameters as they are now.

        Parameters
        ----------
        step : int
            Updates attempted so far.
        rates : sequence of float or tensor, optional
            Learning rates of the update that led here.
        found_inf : tensor, optional
            Nonzero if the optimizer skipped that update.

        Returns
        -------
        bool
            Whether the frame was recorded; false when it was dropped under pressure.
        """
        if found_inf is not None:
            self._skipped += float(found_inf)
        spool = self._spool
        if not spool.reserve():
            return False
        row = spool.row
        self._fused.copy(self._rows[spool.current][row])
        if rates is not None:
            for group, rate in enumerate(rates):
                spool.log(row, 1 + group, rate if type(rate) is float else as_number(rate))
        if self._skipped:
            spool.log(row, 0, self._skipped)
        spool.push(step)
        return True

    def log(self, slot: int, value: Any) -> None:
        """Store a scalar with the newest frame."""
        self._spool.log(self._spool.row - 1, slot, as_number(value))

    def revalidate(self) -> None:
        self._fused.revalidate()

    def close(self) -> None:
        """Hand the last segment over."""
        self._spool.hand_over()

    @property
    def stall_seconds(self) -> float:
        return self._spool.stall_seconds
