"""The copy of a run's metadata and scalars beside its kept sums, so that these open as a run on their own."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

from analyzer.engine.kept.cache import put
from analyzer.engine.kept.contents import continues
from analyzer.store.chunks import chunk_bytes
from analyzer.store.documents import root_text
from analyzer.store.identity import digest_of
from analyzer.store.kept import MOMENTS_FORMAT, frames_in, root_of
from analyzer.store.roots import Source, check_same
from analyzer.store.schema import Store, parse_store
from analyzer.store.trust import MOST_CHUNK_BYTES, Untrusted

_PASSING = ("format", "kept_from", "heartbeat", "recording")
"""Attributes that say nothing of the run itself."""


@dataclass(frozen=True)
class Remains:
    """A run, and the folder in which it is kept.

    Attributes
    ----------
    step
        The array of the run's steps, as it was opened.
    attributes
        Digest of the run's attributes.
    folder
        The run's folder of kept sums.
    """

    step: Source
    attributes: str
    folder: str

    @classmethod
    def of(cls, store: Store, step: Source, home: Path | None) -> Remains | None:
        """What to keep of a store; None where nothing is kept, or where only kept sums are left of it."""
        if home is None or not store.is_trajectory:
            return None
        return cls(step, _digest(store.attrs), str(home))


def _digest(attributes: Any) -> str:
    return digest_of({name: value for name, value in attributes.items() if name not in _PASSING})


def preserve(remains: Remains, *, anew: bool = False) -> None:
    """Copy a run's metadata and scalars to its kept sums, if those there are older.

    The copy has a format of its own, so that no recorder takes it for a store. A folder that cannot be written is no
    error.

    Parameters
    ----------
    anew
        Copy scalars that were copied before, too.

    Raises
    ------
    StoreChangedError
        The store was replaced since it was opened.
    """
    folder, location = Path(remains.folder), remains.step.location
    held = root_of(folder)
    known = held.get("attributes", {})
    if not anew and frames_in(held) == remains.step.frames and _digest(known) == remains.attributes:
        return
    document = _document(remains)
    if not _may_replace(folder, held, document):
        return  # another run was kept there meanwhile
    with contextlib.suppress(OSError):
        for path, node in _scalars(document):
            _copy(location, folder, path, node, whole=0 if anew else frames_in(held))
        document["attributes"] |= {"format": MOMENTS_FORMAT, "kept_from": location}
        put(folder / "zarr.json", json.dumps(document).encode())


def _document(remains: Remains) -> dict[str, Any]:
    """Read the root document as it is now; check that it is of the opened run, and that its paths are valid."""
    check_same(remains.step)
    document: dict[str, Any] = json.loads(root_text(remains.step.location))
    parse_store(remains.step.location, document)
    return document


def _may_replace(folder: Path, held: dict[str, Any], document: dict[str, Any]) -> bool:
    """Whether metadata may replace those in a folder: they must be of the same run, with at least as many frames."""
    if not held:
        return not os.path.lexists(folder / "zarr.json")
    before, after = held["attributes"], document["attributes"]
    same = before.get("run_id") == after.get("run_id")
    listed = before.get("segments", []), after.get("segments", [])
    return same and continues(listed[0], frames_in(held), listed[1], frames_in(document))


def missing_of(remains: Remains) -> list[str]:
    """The keys of a run's metadata and scalars that its folder of kept sums does not hold byte for byte.

    Raises
    ------
    StoreChangedError
        The store was replaced since it was opened.
    """
    folder, location = Path(remains.folder), remains.step.location
    document, held = _document(remains), root_of(folder)
    missing = []
    attributes = held.get("attributes", {})
    if _digest(attributes) != remains.attributes or frames_in(held) != frames_in(document):
        missing.append("zarr.json")
    for path, node in _scalars(document):
        missing += [key for key in _keys(path, node) if not _is_kept(location, folder, key, _may_be_absent(node, key))]
    return missing


def _is_kept(location: str, folder: Path, key: str, absent: bool) -> bool:
    """Whether a chunk is kept as the store has it. One that the store lacks is not, unless it may be `absent`."""
    try:
        content = _object(location, key)
        return content == _object(str(folder), key) and (content is not None or absent)
    except OSError:  # something other than a file has this path
        return False


def _scalars(document: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """The arrays that are kept whole, by path."""
    for path, node in document["consolidated_metadata"]["metadata"].items():
        if isinstance(node, dict) and node.get("node_type") == "array" and not path.startswith("parameters/"):
            yield path, node


def _keys(path: str, node: dict[str, Any]) -> Iterator[str]:
    """The keys of the chunks of an array, in order of steps."""
    chunks = node["chunk_grid"]["configuration"]["chunk_shape"]
    grid = [range(-(-length // chunk)) for length, chunk in zip(node["shape"], chunks, strict=True)]
    for position in product(*grid):
        yield f"{path}/c/{'/'.join(map(str, position))}"


def _may_be_absent(node: dict[str, Any], key: str) -> bool:
    """Whether a chunk ends before its scalar was first logged: it need not exist."""
    number = int(key.rpartition("/c/")[2].split("/")[0])
    first = node.get("attributes", {}).get("first_frame", 0)
    return isinstance(first, int) and (number + 1) * node["chunk_grid"]["configuration"]["chunk_shape"][0] <= first


def _object(location: str, key: str) -> bytes | None:
    return chunk_bytes(location, key, MOST_CHUNK_BYTES)


def _copy(location: str, folder: Path, path: str, node: dict[str, Any], whole: int) -> None:
    """Copy the chunks of one scalar, except those that were full when it was last copied."""
    full = whole // node["chunk_grid"]["configuration"]["chunk_shape"][0]
    for key in _keys(path, node):
        target = folder / key
        if int(key.removeprefix(f"{path}/c/").split("/")[0]) < full and target.exists():
            continue
        with contextlib.suppress(Untrusted):  # something other than a file has this path: `missing_of` names it
            if (content := _object(location, key)) is not None:
                put(target, content)
