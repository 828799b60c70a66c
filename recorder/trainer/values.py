"""Turns values of users into JSON that every reader accepts."""

from __future__ import annotations

import argparse
import math
import re
import types
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any

from recorder.errors import UsageError
from recorder.names import as_text

_DEEPEST = 20  # levels of lists and objects; one that holds itself would never end
_MOST_ELEMENTS = 1000  # elements of an array that is written out
_LONGEST_TEXT = 100_000  # characters of an object's printed form
_LARGEST_INTEGER = 10**300  # floating-point readers turn larger ones into infinity
_ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")


def members_of(hyperparameters: Any) -> dict[Any, Any]:
    """Return the hyperparameters that a user gave, by name: of a mapping, a dataclass or a namespace; {} for None.

    Raises
    ------
    UsageError
        They are something else.
    """
    if hyperparameters is None:
        return {}
    try:
        members = _named_values(hyperparameters)
        if members is None and callable(getattr(hyperparameters, "keys", None)):  # a library's own kind of mapping
            members = {key: hyperparameters[key] for key in hyperparameters.keys()}  # noqa: SIM118
    except Exception as error:  # the user's own code: it may raise anything
        raise UsageError(
            f"hyperparameters: expected values by name, got {type(error).__name__}: {error}. Give them in a dict."
        ) from error
    if members is None:
        raise UsageError(
            f"hyperparameters: expected a mapping, a dataclass or a namespace, got {type(hyperparameters).__name__}. "
            'Write hyperparameters={"learning_rate": 0.1}. For an object, vars(object) may do.'
        )
    return members


def _named_values(value: Any) -> dict[Any, Any] | None:
    """Return the named values of a mapping, a dataclass or a namespace; None for anything else."""
    if isinstance(value, Mapping):
        return dict(value.items())
    if isinstance(value, (argparse.Namespace, types.SimpleNamespace)):
        return dict(vars(value))
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in fields(value) if hasattr(value, field.name)}
    return None


def jsonable(value: Any, depth: int = 0) -> Any:
    """Return a value in a form that JSON can hold.

    Mappings, dataclasses and namespaces become objects. Sequences, sets (sorted) and arrays of up to 1000 elements
    become lists. Arrays of one element become numbers. NaN, infinities, integers beyond 1e300, and everything else that
    JSON cannot hold become text. Addresses are left out of it, because they differ between sessions.
    """
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return as_text(value)
    if isinstance(value, int):
        number = int(value)
        return number if abs(number) <= _LARGEST_INTEGER else _digits(number)
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else str(float(value))
    if depth >= _DEEPEST:
        return _text(value)
    try:
        if (members := _named_values(value)) is not None:
            return _object(members, depth)
        if isinstance(value, (list, tuple)):
            return [jsonable(item, depth + 1) for item in value]
        if isinstance(value, (set, frozenset)):
            return sorted(
                (jsonable(item, depth + 1) for item in value), key=lambda item: (type(item).__name__, str(item))
            )
        return _of_array(value, depth)
    except Exception:  # the user's own code: it may raise anything
        return _text(value)


def _object(value: Mapping[Any, Any], depth: int) -> dict[str, Any]:
    members: dict[str, Any] = {}
    for key, item in value.items():
        name = as_text(key) if isinstance(key, str) else _text(key)
        if name in members:  # as 1 and "1"
            name = _text(repr(key))
        members[name] = jsonable(item, depth + 1)
    return members


def _of_array(value: Any, depth: int) -> Any:
    """Return the elements of an array or tensor of any library; the text of anything else."""
    shape = getattr(value, "shape", None)
    is_time = getattr(getattr(value, "dtype", None), "kind", "") in ("M", "m")
    if not isinstance(shape, tuple) or not hasattr(value, "tolist") or is_time:
        return _text(value)
    count = math.prod(shape)
    if count > _MOST_ELEMENTS:
        return _text(value)
    plain = value.item() if count == 1 else value.tolist()
    if type(plain) is type(value):  # numpy's long double has no plain form
        return jsonable(float(plain), depth)
    return jsonable(plain, depth + 1)


def _digits(number: int) -> str:
    try:
        return str(number)
    except ValueError:  # Python writes no more than 4300 decimal digits
        return hex(number)


def _text(value: object) -> str:
    try:
        text = _ADDRESS.sub("", as_text(str(value)))
    except Exception:  # the user's own code: it may raise anything
        text = f"<{type(value).__name__}>"
    return text if len(text) <= _LONGEST_TEXT else text[:_LONGEST_TEXT] + " …"
