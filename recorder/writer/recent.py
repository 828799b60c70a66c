"""The mean kinetic energy of each parameter over the newest spool file, for temperatures at a glance."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from recorder.names import as_text
from recorder.schema import Parameter, Schema

Array = np.ndarray[Any, np.dtype[Any]]

AT_ONCE = 1 << 16  # numbers whose differences are taken at once: they stay in a core's cache; fewer take longer
# Between these, Σv² may be taken from squares in float32: no square that counts has under- or overflowed.
SMALLEST, LARGEST = 1e-25, 1e30


@dataclass(frozen=True, slots=True)
class Recent:
    """What the newest velocities say.

    Attributes
    ----------
    energies : (parameters,) float64
        ½⟨v²⟩ of each parameter, in the schema's order and in weight² stride⁻²: a mean over its elements and over the
        velocities. NaN if a velocity is not finite, or the parameter has no elements.
    document : dict
        The root attribute `recent`.
    """

    energies: Array
    document: dict[str, Any]


class RecentFrames:
    """The frames that were taken last. Each commit measures only these.

    Lifetime: one session. It holds views of the newest spool file until `measure`, and a copy of the last frame. So the
    velocity between two files counts, and there are velocities even if each file has only one frame.
    """

    def __init__(self, schema: Schema, stride: int) -> None:
        self._schema, self._stride = schema, stride
        self.forget()

    def forget(self) -> None:
        """Forget all frames, so that no velocity leads from them to the next ones."""
        self._last: tuple[int, list[Array]] | None = None
        self._newest: tuple[Array, list[Array], list[float], tuple[int, list[Array]] | None] | None = None

    def take(self, steps: Array, planes: Sequence[Array], rates: Sequence[float]) -> None:
        """Take the frames of a spool file. They must stay in place until `measure`.

        Parameters
        ----------
        steps : (n,) int64
        planes : sequence of (n, elements)
            As in the spool.
        rates : sequence of float
            Learning rates of the last frame.
        """
        self._newest = steps, list(planes), list(rates), self._last
        self._last = int(steps[-1]), [plane[-1:].copy() for plane in planes]

    def measure(self) -> Recent | None:
        """Measure the newest frames; return None without new ones, or if no two of them are one stride apart."""
        if self._newest is None:
            return None
        (steps, planes, rates, before), self._newest = self._newest, None
        joined = before is not None and int(steps[0]) - before[0] == self._stride
        pairs = np.diff(steps) == self._stride
        count = int(pairs.sum()) + joined
        if not count:
            return None
        sums = np.zeros(len(self._schema.parameters))
        with np.errstate(all="ignore"):  # weights that are not finite
            for index, parameter in enumerate(self._schema.parameters):
                values = planes[parameter.plane][:, parameter.offset : parameter.offset + parameter.elements]
                if before is not None and joined:
                    last = before[1][parameter.plane][:, parameter.offset : parameter.offset + parameter.elements]
                    sums[index] = _square_sum(_numbers(values[:1], parameter) - _numbers(last, parameter))
                sums[index] += sum(_square_sum(velocities) for velocities in _velocities(values, pairs, parameter))
            energies = 0.5 * sums / (count * np.array([float(p.elements) for p in self._schema.parameters]))
        moving = np.flatnonzero(pairs)
        first = before[0] if before is not None and joined else int(steps[moving[0]])
        last_step = int(steps[moving[-1] + 1]) if moving.size else int(steps[0])
        means = zip(self._schema.parameters, energies.tolist(), strict=True)
        document: dict[str, Any] = {
            "first_step": first,
            "last_step": last_step,
            "velocities": count,
            "stride": self._stride,
            "mean_kinetic_energy": {as_text(p.name): _finite(energy) for p, energy in means if p.elements},
            "learning_rate": [_finite(rate) for rate in rates],
        }
        return Recent(energies, document)


def _velocities(values: Array, pairs: Array, parameter: Parameter) -> Iterator[Array]:
    """Yield the differences of neighbouring rows that `pairs` marks as velocities, some rows at a time."""
    rows = max(1, AT_ONCE // max(1, parameter.elements))
    for start in range(0, len(pairs), rows):
        numbers = _numbers(values[start : start + rows + 1], parameter)
        differences, chosen = numbers[1:] - numbers[:-1], pairs[start : start + rows]
        yield differences if chosen.all() else differences[chosen]


def _numbers(values: Array, parameter: Parameter) -> Array:
    """Return spooled values in a type in which their differences are as exact as possible."""
    if parameter.dtype == "bfloat16":
        return (values.astype(np.uint32) << 16).view(np.float32)
    if values.dtype in (np.float32, np.float64):
        return values
    return values.astype(np.float32 if values.dtype == np.float16 else np.float64)


def _square_sum(values: Array) -> float:
    """Return Σv². Without `np.dot`, because the threads of a BLAS would take cores from the training."""
    flat = values.ravel()
    if flat.dtype == np.float32:  # faster than float64, and numpy's pairwise sum keeps seven digits
        total = float(np.add.reduce(np.square(flat)))
        if SMALLEST < total < LARGEST:
            return total
    flat = flat.astype(np.float64, copy=False)
    return float(np.einsum("i,i->", flat, flat))


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
