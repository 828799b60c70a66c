"""Measures what recording costs a training, in the run itself: stretches with and without recording take turns."""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch

_WARM_UP = 2  # stretches at the start that are not counted: code is compiled, caches fill, the writer starts


@dataclass(frozen=True, slots=True)
class Overhead:
    """The paired slowdown of a run.

    Attributes
    ----------
    slowdown : float
        Median, over pairs of neighbouring stretches, of the time with recording divided by the time without.
    low, high : float
        Quartiles of these ratios.
    pairs : int
    """

    slowdown: float
    low: float
    high: float
    pairs: int

    def __str__(self) -> str:
        return (
            f"training with recording took {self.slowdown:.4f}× the time without (quartiles {self.low:.4f} to "
            f"{self.high:.4f}, {self.pairs} pairs of stretches)"
        )


class Alternation:
    """Decides which steps are recorded, and times the stretches.

    Lifetime: one recording. On a GPU the edges of stretches are events on the compute stream. They are read when the
    run is over, so that no step waits for the device.

    Parameters
    ----------
    stretch : int
        Steps in a stretch.
    device : str
        Device of the parameters.
    """

    def __init__(self, stretch: int, device: str) -> None:
        self._stretch = stretch
        self._device = torch.device(device)
        self._edges: list[Any] = []

    def records(self, update: int) -> bool:
        """Tell whether the frame of an update is recorded. Call it once for every update, in order."""
        if (update - 1) % self._stretch == 0:
            self._edges.append(self._now())
        return (update - 1) // self._stretch % 2 == 0

    def result(self) -> Overhead | None:
        """Compare every stretch with the next; return None for fewer than two pairs."""
        spans = [self._between(a, b) for a, b in pairwise(self._edges)][_WARM_UP:]
        # Pairs are taken in both orders, recorded first and recorded second, so that a steady drift cancels.
        ratios = [(a / b) if (index + _WARM_UP) % 2 == 0 else (b / a) for index, (a, b) in enumerate(pairwise(spans))]
        if len(ratios) < 2:
            return None
        low, middle, high = statistics.quantiles(ratios, n=4, method="inclusive")
        return Overhead(middle, low, high, len(ratios))

    def _now(self) -> Any:
        if self._device.type != "cuda":
            return time.perf_counter()
        event = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
        event.record(torch.cuda.current_stream(self._device))
        return event

    def _between(self, first: Any, second: Any) -> float:
        if self._device.type != "cuda":
            return float(second - first)
        second.synchronize()
        return float(first.elapsed_time(second))
