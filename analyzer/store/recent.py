"""The newest temperatures as the writer published them: root attribute `recent`, `recorder/FORMAT.md`."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from analyzer.store.names import titles_of
from analyzer.store.schema import Store


@dataclass(frozen=True)
class Recent:
    """What the writer measured over the newest spool file.

    Attributes
    ----------
    first_step, last_step
        Its velocities have first_step < step ≤ last_step.
    velocities
        Number of velocities of each weight.
    stride
        Steps between the frames of a velocity: its lag.
    temperatures
        T = ½⟨v²⟩ by layer, a mean over weights and velocities; NaN where one is not finite.
    weights
        Number of weights by layer.
    learning_rate
        Of each parameter group at the last step; None where it has none.
    """

    first_step: int
    last_step: int
    velocities: int
    stride: int
    temperatures: Mapping[str, float]
    weights: Mapping[str, int]
    learning_rate: tuple[float | None, ...] = ()

    @property
    def units(self) -> str:
        """Units of the temperatures."""
        return f"weight^2 {'step' if self.stride == 1 else 'lag'}^-2"


def recent_of(store: Store) -> Recent | None:
    """The newest temperatures of a run, from its metadata alone; None where it has none, or they cannot be read."""
    found = store.attrs.get("recent")
    if not isinstance(found, dict):
        return None
    numbers = [found.get(name) for name in ("first_step", "last_step", "velocities", "stride")]
    energies, rates = found.get("mean_kinetic_energy"), found.get("learning_rate")
    if not all(type(number) is int for number in numbers) or not isinstance(energies, dict):
        return None
    first, last, velocities, stride = (int(number) for number in numbers if number is not None)
    temperatures: dict[str, float] = {}
    weights: dict[str, int] = {}
    titles = titles_of(p.layer for p in store.parameters)
    for parameter, title in zip(store.parameters, titles, strict=True):
        if parameter.weights and not parameter.frozen and parameter.name in energies:
            weights[title] = weights.get(title, 0) + parameter.weights
            total = temperatures.get(title, 0.0) + parameter.weights * _number(energies[parameter.name])
            temperatures[title] = total
    return Recent(
        first_step=first,
        last_step=last,
        velocities=velocities,
        stride=stride,
        temperatures={title: total / weights[title] for title, total in temperatures.items()},
        weights=weights,
        learning_rate=tuple(map(_rate, rates)) if isinstance(rates, list) else (),
    )


def _number(value: Any) -> float:
    """A number of JSON; NaN for null and for anything else."""
    try:
        return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else math.nan
    except OverflowError:
        return math.inf


def _rate(value: Any) -> float | None:
    number = _number(value)
    return None if math.isnan(number) else number
