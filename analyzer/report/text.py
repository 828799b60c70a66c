"""Numbers and units as text: four significant digits, powers of ten with superscripts."""

from __future__ import annotations

import math
import re
from typing import Any

import numpy as np

_RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
NONE = "–"


def number(value: Any, digits: int = 4) -> str:
    """Return a number in four significant digits, as in 0.001234 or 5.488×10⁻⁸; a dash for None and NaN."""
    if isinstance(value, (bool, np.bool_)):
        return "yes" if value else "no"
    if isinstance(value, (int, np.integer)):
        return f"{value:,}"
    if value is None or math.isnan(value):
        return NONE
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    if value == 0:
        return "0"
    mantissa, _, power = f"{value:.{digits - 1}e}".partition("e")
    shown = f"{mantissa}×10{str(int(power)).translate(_RAISED)}"
    if -3 <= int(power) < 5:
        shown = f"{float(f'{mantissa}e{power}'):,.{max(digits - 1 - int(power), 0)}f}"
    return shown.replace("-", "−")


def p_value(value: float) -> str:
    """Return a p-value in two significant digits."""
    if math.isnan(value):
        return NONE
    return "< 10⁻⁹⁹" if value < 1e-99 else number(value, 2)


def unit_text(units: str) -> str:
    """Return units with superscripts: weight^2 step^-2 becomes weight² step⁻²."""
    return re.sub(r"\^(-?\d+)", lambda found: found[1].translate(_RAISED), units).removesuffix(" 1")


def plural(count: int, word: str) -> str:
    """Return a count with its noun, as in 1 step or 2 steps."""
    return f"{count:,} {word}" if count == 1 else f"{count:,} {word}s"


def value_text(value: Any) -> str:
    """Return a recorded attribute of any type as text."""
    if isinstance(value, (bool, np.bool_)) or value is None:
        return {True: "yes", False: "no", None: "none"}[value if value is None else bool(value)]
    if isinstance(value, (int, float, np.number)):
        return f"{value:g}" if isinstance(value, float) else str(value)
    if isinstance(value, (list, tuple)):
        return ", ".join(value_text(part) for part in value)
    return str(value)
