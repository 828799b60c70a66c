"""Attempts beside a run, and folders that a dead writer left among them."""

from __future__ import annotations

from pathlib import Path

from analyzer.store.describe import attempts
from analyzer.store.schema import Store, is_url

_FOLDER = "attempts"


def notes_on(store: Store) -> list[str]:
    """Return a sentence on each attempt of a run, and on each folder among them that is not one."""
    place, notes, known = Path(store.location), [], set()
    for one in attempts(store):
        known.add(one["path"])
        first, last = one["steps"]
        said = f"{one['path']}: steps {first} to {last} were superseded by a resumed training"
        if is_url(store.location):
            notes.append(f"{said}.")
        elif (place / one["path"] / "zarr.json").is_file():
            notes.append(f"{said}. It is a store of its own: analyzer verify {store.location}/{one['path']}")
        else:
            notes.append(f"{said}, and are not there any more. The run does not need them.")
    if not is_url(store.location) and (place / _FOLDER).is_dir():
        beside = sorted(f"{_FOLDER}/{entry.name}" for entry in (place / _FOLDER).iterdir())
        said = "not an attempt of this run; a writer that died left it. It may be deleted."
        notes += [f"{path}: {said}" for path in beside if path not in known]
    return notes
