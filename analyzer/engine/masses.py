"""The mass of each parameter's weights."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from analyzer.errors import (
    OptionError,
    SelectionError,
)
from analyzer.query.groups import matches
from analyzer.store.schema import Parameter

Array = np.ndarray[Any, np.dtype[Any]]


Mass = float | Mapping[str, float]


def masses_of(parameters: Sequence[Parameter], mass: Mass) -> dict[str, float]:
    """Mass of the weights of each parameter: one number, or that of the first glob of a mapping that matches, else 1.

    Raises
    ------
    OptionError
        A mass is not a positive finite number.
    SelectionError
        A glob matches nothing.
    """
    given = mass.values() if isinstance(mass, Mapping) else (mass,)
    for value in given:
        if not isinstance(value, (int, float)) or not math.isfinite(value) or value <= 0:
            raise OptionError(
                f"mass: expected a positive finite number, got {value!r}. A temperature is Σ ½ m v² / (k_B d). "
                "Leave it out for m = 1.",
                mass=mass,
            )
    if not isinstance(mass, Mapping):
        return {p.name: float(mass) for p in parameters}
    masses = {p.name: 1.0 for p in parameters}
    for glob, value in reversed(list(mass.items())):
        matched = matches(glob, list(masses))
        if not matched:
            raise SelectionError(
                f"mass {glob!r}: expected a pattern that matches one of: {', '.join(masses)}; got no match. "
                "The mass would be without effect. Mend the pattern.",
                pattern=glob,
            )
        masses |= {name: float(value) for name in matched}
    return masses
