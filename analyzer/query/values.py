"""Values of a hyperparameter over the runs of a sweep: as one column, and compared with what a user asks for."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]

_EXACT = 1 << 53
"""Largest integer up to which a float64 holds every integer exactly."""


def column_of(values: Sequence[Any]) -> tuple[Array, bool]:
    """Return the values as one array, (runs,), and whether it holds them as JSON.

    Integers are int64, or uint64 if one is too large for that; other numbers are float64, booleans bool; text is an
    array of objects. A missing value is NaN or None. Values that none of these can hold exactly become JSON text:
    values of several types, larger integers, and integers beyond 2^53 beside other numbers. Every file format that we
    write can hold such a column.
    """
    there = [value for value in values if value is not None]
    if there and all(isinstance(value, bool) for value in there):
        return (np.array(values) if len(there) == len(values) else _objects(values)), False
    if all(isinstance(value, str) for value in there) and there:
        return _objects(values), False
    if all(is_number(value) for value in there):
        column = _numbers(values)
        if column is not None:
            return column, False
    return _objects([None if value is None else json.dumps(value, ensure_ascii=False) for value in values]), True


def _numbers(values: Sequence[Any]) -> Array | None:
    """Numbers, and None for missing ones, as an array that keeps all digits; None where no type of array does."""
    integers = [value for value in values if isinstance(value, int)]
    if len(integers) == len(values):
        for kind in (np.int64, np.uint64):
            if all(np.iinfo(kind).min <= value <= np.iinfo(kind).max for value in integers):
                return np.array(values, dtype=kind)
        return None
    if any(abs(value) > _EXACT for value in integers):
        return None
    return np.array([np.nan if value is None else float(value) for value in values])


def decoded(column: Array, as_json: bool) -> list[Any]:
    """Return the values of a column as they were recorded."""
    values = column.tolist()
    return [json.loads(value) if isinstance(value, str) else value for value in values] if as_json else values


def same(value: Any, choice: Any) -> bool:
    """Whether a recorded value is the one that a user asks for.

    Whole numbers must agree in all digits, other numbers in nine. A boolean is no number.
    """
    value, choice = (one.item() if isinstance(one, np.generic) else one for one in (value, choice))
    if isinstance(value, bool) or isinstance(choice, bool):
        return isinstance(value, bool) and isinstance(choice, bool) and value == choice
    if not (is_number(value) and is_number(choice)):
        return bool(value == choice)
    if is_whole(value) and is_whole(choice):
        return bool(value == choice)
    try:
        return math.isclose(value, choice, rel_tol=1e-9, abs_tol=0.0)
    except OverflowError:  # an integer beyond all floating-point numbers
        return False


def is_whole(value: Any) -> bool:
    """Whether a number is an integer, whatever its type."""
    return isinstance(value, int) or (isinstance(value, float) and value.is_integer())


def is_number(value: Any) -> bool:
    """Whether a value is a number of Python's, and no boolean."""
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _objects(values: Sequence[Any]) -> Array:
    column = np.empty(len(values), dtype=object)
    column[:] = values
    return column
