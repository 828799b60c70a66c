"""Kept sums as a place to open a run from, when they are all that is left of it."""

from __future__ import annotations

import hashlib
import json
import os
import warnings
from pathlib import Path
from typing import Any

from analyzer.errors import KeptSumsWarning, StoreNotFoundError, caller_level
from analyzer.store.names import named
from analyzer.store.trust import MOST_DOCUMENT_BYTES, file_bytes

MOMENTS_FORMAT = "parameter-moments"
"""Format of the metadata, scalars and sums that are kept of a run without its trajectory (`engine.kept.homes`)."""
SUFFIX = ".moments"
_LONGEST_NAME = 255
"""Bytes of a file's name: no file system holds more."""


def beside(location: str) -> Path:
    """The folder of kept sums beside a store: its path with ".moments".

    Where that name would be too long, a digest of the whole name replaces its end.
    """
    path = Path(f"{named(Path(location))}{SUFFIX}")
    if len(os.fsencode(path.name)) <= _LONGEST_NAME:
        return path
    name = os.fsencode(path.name.removesuffix(SUFFIX))
    digest = hashlib.sha256(name).hexdigest()[:16]
    kept = name[: _LONGEST_NAME - len(digest) - len(SUFFIX) - 1].decode(errors="ignore")
    return path.with_name(f"{kept}~{digest}{SUFFIX}")


def root_of(folder: Path) -> dict[str, Any]:
    """Read the metadata beside kept sums; empty where there is none."""
    try:
        document = json.loads(file_bytes(folder / "zarr.json", MOST_DOCUMENT_BYTES))
        frames_in(document)
        return document if document["attributes"]["format"] == MOMENTS_FORMAT else {}
    except (OSError, ValueError, KeyError, TypeError, IndexError, OverflowError, RecursionError):
        return {}


def frames_in(document: dict[str, Any]) -> int:
    """How many frames a root document counts; 0 where there is none."""
    return int(document["consolidated_metadata"]["metadata"]["step"]["shape"][0]) if document else 0


def runs_in(base: Path) -> list[Path]:
    """The folders of kept sums in and below a folder, each of one run or one continuation of it."""
    nested = sorted(path.parent for path in base.glob("*/zarr.json")) if base.is_dir() else []
    return [home for home in [base, *nested] if root_of(home)]


def place_of(location: str) -> str:
    """Return where to read a store: its own path, or that of its kept sums, if they are all that is left.

    Raises
    ------
    StoreNotFoundError
        There are only sums, of several runs.

    Warns
    -----
    KeptSumsWarning
        Kept sums stand in for a store, or lie beside those of other runs.
    """
    if "://" in location:
        return location
    path = Path(location)
    is_kept = path.name.endswith(SUFFIX)
    if os.path.lexists(path / "zarr.json"):
        others = [home for home in runs_in(path) if home != path] if is_kept else []
        if others and root_of(path):
            warnings.warn(
                f"{location}: expected the sums of one run, got those of {len(others) + 1}. The run that was kept "
                f"first is opened. Open another by its own path: {', '.join(map(str, others))}",
                KeptSumsWarning,
                stacklevel=caller_level(),
            )
        return location
    if path.exists() and not (is_kept and path.is_dir()):
        return location
    runs = runs_in(path if is_kept else beside(location))
    if len(runs) > 1:
        raise StoreNotFoundError(
            f"{location}: expected a store, got nothing at that path, and sums that were kept of {len(runs)} runs. "
            f"Name the one that is meant: {', '.join(map(str, runs))}",
            location=location,
        )
    if runs:
        warnings.warn(
            f"{location}: expected a trajectory, got only the sums that were kept of it. These sums answer in its "
            f"place: {runs[0]}",
            KeptSumsWarning,
            stacklevel=caller_level(),
        )
        return str(runs[0])
    return location
