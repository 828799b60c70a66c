"""The root of a store: its format, the arrays that stand there, and its attributes.

Nothing here needs a codec, so that the training process can read and check a store.
"""

from __future__ import annotations

import json
import math
import os
import stat
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from recorder.errors import StoreFormatError, UsageError
from recorder.files import read_file

FORMAT = "parameter-trajectory"
FORMAT_VERSION = 1
CHUNK_CHECKSUMS = "chunk_checksums"  # root attribute: one for each chunk of the whole store
PARAMETERS = "parameters"  # the group beside the arrays


@dataclass(frozen=True, slots=True)
class RootArray:
    """An array at the root of a store; every document, check and text about it follows from this record.

    Attributes
    ----------
    name : str
        Empty where the user chooses the name.
    dtype : str
    dims : tuple of str
    fill : int or float
        The value of frames that were never written.
    meaning : str
        As `FORMAT.md` says it.
    attributes : mapping
        Attributes that every store gives it.
    """

    name: str
    dtype: str
    dims: tuple[str, ...]
    fill: float
    meaning: str
    attributes: Mapping[str, Any] = field(default_factory=dict)


STEP = RootArray(
    "step", "int64", ("step",), -1, "number of applied updates at each frame",
    {"long_name": "optimizer step", "units": "step"},
)  # fmt: skip
LEARNING_RATE = RootArray(
    "learning_rate", "float64", ("step", "param_group"), math.nan, "NaN at a frame that no update produced",
    {"long_name": "learning rate"},
)  # fmt: skip
LOGGED = RootArray("", "float64", ("step",), math.nan, "logged scalars, NaN where nothing was logged")
RESERVED = (STEP.name, PARAMETERS, LEARNING_RATE.name)


def check_scalar_name(name: object) -> None:
    """Refuse a name for a logged value that is empty or no text. Any other text will do (`names.scalar_path`).

    Raises
    ------
    UsageError
    """
    if not isinstance(name, str) or not name:
        got = repr(name) if isinstance(name, str | int | float | tuple) else f"one of type {type(name).__name__}"
        raise UsageError(f"log: expected a name for each value, got {got}. Write log(loss=…).")


def now() -> str:
    """Return the time as the store holds it: UTC, ISO 8601."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def _is_count(value: object) -> bool:
    return type(value) is int and value >= 0


def _is_segment(value: object) -> bool:
    return isinstance(value, dict) and _is_count(value.get("first_frame")) and type(value.get("first_step")) is int


def _has(names: tuple[str, str], *types: type) -> Callable[[object], bool]:
    """Return a check of an entry whose two steps have one of some types."""
    return lambda entry: isinstance(entry, dict) and all(type(entry.get(name, "")) in types for name in names)


def _are(one: Callable[[object], bool]) -> Callable[[object], bool]:
    return lambda values: isinstance(values, list) and all(map(one, values))


_NEEDED: dict[str, tuple[str, Callable[[object], bool]]] = {
    "run_id": ("a text", lambda value: isinstance(value, str)),
    "chunk_steps": ("a number of frames", lambda value: _is_count(value) and value != 0),
    "stride": ("a number of steps", lambda value: _is_count(value) and value != 0),
    "compression": ("a text", lambda value: isinstance(value, str)),
    "segments": ("a list of segments", _are(_is_segment)),
    "skipped_updates": ("a count", _is_count),
    "dropped_frames": ("a count", _is_count),
}
_OPTIONAL: dict[str, tuple[str, Callable[[object], bool]]] = {
    "lost_frames": ("a list of objects with two steps", _are(_has(("after_step", "before_step"), int, type(None)))),
    "lost_scalars": ("a list of objects with two steps", _are(_has(("first_step", "last_step"), int))),
    "last": ("an object", lambda value: isinstance(value, dict)),
    CHUNK_CHECKSUMS: ("a list of counts", _are(_is_count)),
}


def check_continuable(store: Path, attributes: Mapping[str, Any]) -> None:
    """Refuse damaged root attributes: a recording that went on would damage them further, or fail later.

    Raises
    ------
    StoreFormatError
    """
    _check(store, attributes, _NEEDED, "cannot be continued")
    check_optional(store, attributes, "cannot be continued")


def check_optional(store: Path, attributes: Mapping[str, Any], consequence: str) -> None:
    """Refuse damaged attributes among those that a store need not have, and say what follows.

    Raises
    ------
    StoreFormatError
    """
    held = {name: rule for name, rule in _OPTIONAL.items() if name in attributes}
    _check(store, attributes, held, consequence)


def _check(
    store: Path,
    attributes: Mapping[str, Any],
    rules: Mapping[str, tuple[str, Callable[[object], bool]]],
    consequence: str,
) -> None:
    for name, (expected, is_right) in rules.items():
        if not is_right(attributes.get(name)):
            raise StoreFormatError(
                f"{store}: attribute {name!r}: expected {expected}, got {str(attributes.get(name, 'none'))[:60]!r}. "
                f"The store is damaged and {consequence}: restore its zarr.json from a copy, or record into a new "
                "store. Nothing was touched."
            )


def hidden_folder(store: Path) -> Path:
    """Return the folder in which a new store for this place is written (`recorder.writer.fresh`)."""
    place = store.resolve() if store.name in ("", "..") else store  # of "." and "..": the store's own name
    return place.parent / f".{place.name}.new"


def whole_beside(store: Path) -> Path | None:
    """Return a new store that is whole, but whose process died before it took its place; None if there is none.

    Such a process had removed the root document of the store that it replaced.
    """
    folder = hidden_folder(store)
    try:
        found = folder.lstat()
        is_ours = stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid()
        if not is_ours or store.is_symlink() or os.path.lexists(store / "zarr.json"):
            return None
        read_root(folder)  # written last
    except (OSError, StoreFormatError):
        return None
    return folder


def refuse_half_replaced(store: Path) -> None:
    """Refuse a place where a process died while it replaced a store, and say how to go on.

    Raises
    ------
    StoreFormatError
    """
    if (folder := whole_beside(store)) is not None:
        raise StoreFormatError(
            f"{store}: expected a store, but a process died while it replaced the one here. The new store is whole, in "
            f"{folder}. Put it in its place: recorder recover {store}"
        )


def read_document(store: Path) -> Any:
    """Return the content of a store's root document. NaN and infinities in it become texts, as the format holds them.

    Other tools write such numbers into attributes. Not every reader takes them, so they are never written again.

    Raises
    ------
    OSError, ValueError, RecursionError
    """
    return json.loads(read_file(store / "zarr.json"), parse_constant=_finite, parse_float=_finite)


def _finite(text: str) -> float | str:
    value = float(text)
    return value if math.isfinite(value) else str(value)


def read_root(store: Path) -> dict[str, Any]:
    """Return the root attributes of a store.

    Raises
    ------
    StoreFormatError
        The folder is not a trajectory store, its root document is damaged, or its format is newer than this version.
    """
    try:
        attributes = read_document(store)["attributes"]
        found, version = attributes.get("format"), attributes.get("format_version")
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        refuse_half_replaced(store)
        raise StoreFormatError(
            f"{store}: expected a trajectory store, but its zarr.json cannot be read ({error}). Name the folder that a "
            "Recorder wrote."
        ) from error
    if found != FORMAT:
        raise StoreFormatError(
            f"{store}: expected a trajectory store, but its zarr.json says format {found!r}. It is left untouched: "
            "name another path."
        )
    if version != FORMAT_VERSION:
        raise StoreFormatError(
            f"{store}: expected format version {FORMAT_VERSION}, got {version}. Upgrade thermotrace to write to this "
            "store."
        )
    return dict(attributes)
