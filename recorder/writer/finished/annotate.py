"""Hyperparameters that are set after the run: `recorder annotate`."""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from recorder.errors import StoreFormatError, UsageError
from recorder.files import replace_file
from recorder.names import as_text
from recorder.root import read_document, read_root
from recorder.writer.ownership import require_free
from recorder.writer.store import lock_store

_NUMBER = re.compile(r"[+-]?(0|[1-9]\d*|\d*\.\d+|(0|[1-9]\d*)\.\d*)([eE][+-]?\d+)?", re.ASCII)
_LARGEST_INTEGER = 10**300
_WORDS = {"true": True, "false": False, "none": None, "null": None}


def parse_value(text: str) -> Any:
    """Return the value of a text on the command line: a number, true, false, none or JSON, else the text itself.

    Numbers in JSON that not every reader can hold (NaN, infinities, integers beyond 1e300) become text.

    >>> parse_value("1e-3"), parse_value("32"), parse_value("true"), parse_value("Adam"), parse_value('"32"')
    (0.001, 32, True, 'Adam', '32')
    """
    if text.lower() in _WORDS:
        return _WORDS[text.lower()]
    if _NUMBER.fullmatch(text):
        number = float(text)
        if re.fullmatch(r"[+-]?\d+", text, re.ASCII) and len(text) <= 300:
            return int(text)
        return number if abs(number) != float("inf") else text
    if text[:1] in '[{"':
        try:
            return _storable(json.loads(text))
        except (ValueError, RecursionError):
            return as_text(text)
    return as_text(text)


def _storable(value: Any) -> Any:
    """Return a JSON value as every reader of a store can take it."""
    if isinstance(value, dict):
        return {as_text(name): _storable(member) for name, member in value.items()}
    if isinstance(value, list):
        return [_storable(member) for member in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, int) and abs(value) > _LARGEST_INTEGER:
        return str(value)
    return as_text(value) if isinstance(value, str) else value


def annotate(
    store: Path,
    values: Mapping[str, Any],
    remove: Sequence[str] = (),
    tell: Callable[[str], None] = lambda sentence: None,
) -> dict[str, tuple[Any, Any]]:
    """Set hyperparameters of a finished run. Its frames and kept sums do not change.

    Parameters
    ----------
    store : Path
    values : mapping of str to JSON value
    remove : sequence of str
        Names to remove.
    tell : callable
        Takes a sentence on what is waited for.

    Returns
    -------
    dict of str to (before, after)
        None if there was none, or is none now.

    Raises
    ------
    StoreFormatError
        There is no store, or it was not closed.
    StoreLockedError
        It is being written.
    UsageError
        A name is empty, or a name to remove is not there.
    """
    for name in values:
        if not isinstance(name, str) or not name.strip():
            raise UsageError(f"annotate: expected NAME=VALUE, got the name {name!r}. Name the setting.")
    read_root(store)
    lock = lock_store(store)
    try:
        require_free(store, tell)
        document = read_document(store)
        attributes: dict[str, Any] = read_root(store)
        if attributes.get("status") == "running":
            raise StoreFormatError(
                f"{store}: expected a run that was closed, but its recording died. Close it first: recorder recover "
                f"{store}"
            )
        before = attributes.get("hyperparameters")
        known: dict[str, Any] = dict(before) if isinstance(before, dict) else {}
        for name in remove:
            if name not in known:
                raise UsageError(
                    f"{name}: expected a hyperparameter to remove, got none of that name. The run has "
                    f"{', '.join(map(as_text, known)) or 'none'}."
                )
        changed = {as_text(name): value for name, value in values.items()}
        settings = {name: value for name, value in (known | changed).items() if name not in remove or name in changed}
        noted = attributes.get("annotated")
        segments = len(attributes.get("segments") or [])
        counts = {**(noted if isinstance(noted, dict) else {}), **dict.fromkeys(changed, segments)}
        counts = {name: count for name, count in counts.items() if name in settings}
        document["attributes"] = attributes | {"hyperparameters": settings, "annotated": counts}
        replace_file(store / "zarr.json", json.dumps(document, allow_nan=False).encode(), durable=True)
        return {name: (known.get(name), settings.get(name)) for name in [*changed, *remove]}
    finally:
        os.close(lock)
