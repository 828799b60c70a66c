"""What stays of a run beside its sums: its metadata and its scalars, so that the cache alone opens as a run."""

from __future__ import annotations

import contextlib
import json
import shutil
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

from analyzer.cache import put, root_of
from analyzer.chunks import chunk_bytes
from analyzer.schema import MOMENTS_FORMAT, root_text


@dataclass(frozen=True)
class Remains:
    """Which run, and where it is kept."""

    location: str
    run_id: str
    frames: int
    status: str
    folder: str


def preserve(remains: Remains) -> None:
    """Copies a run's metadata and scalars into its cache, if what lies there is older.

    The copy has a format of its own: no recorder takes it for a store. A folder that cannot be written is no error.
    """
    folder = Path(remains.folder)
    held = root_of(folder)
    known = held.get("attributes", {})
    same_run = known.get("run_id") == remains.run_id
    if same_run and known.get("status") == remains.status and _frames(held) == remains.frames:
        return
    document = json.loads(root_text(remains.location))
    if document["attributes"].get("run_id") != remains.run_id:
        return  # replaced since it was opened: its sums are of the other run, and stay useless
    with contextlib.suppress(OSError):
        for path, node in document["consolidated_metadata"]["metadata"].items():
            if isinstance(node, dict) and node.get("node_type") == "array" and not path.startswith("parameters/"):
                _copy(remains.location, folder, path, node, whole=_frames(held) if same_run else 0)
        document["attributes"] |= {"format": MOMENTS_FORMAT, "kept_from": remains.location}
        put(folder / "zarr.json", json.dumps(document).encode())
        for other in (folder / "sums").glob("*"):
            if other.name != remains.run_id:
                shutil.rmtree(other, ignore_errors=True)


def _frames(document: dict[str, Any]) -> int:
    return int(document["consolidated_metadata"]["metadata"]["step"]["shape"][0]) if document else 0


def _copy(location: str, folder: Path, path: str, node: dict[str, Any], whole: int) -> None:
    """Copies the chunks of one scalar, apart from those that were full when it was last copied."""
    chunks = node["chunk_grid"]["configuration"]["chunk_shape"]
    grid = [range(-(-length // chunk)) for length, chunk in zip(node["shape"], chunks, strict=True)]
    for position in product(*grid):
        target = folder.joinpath(path, "c", *map(str, position))
        if position[0] < whole // chunks[0] and target.exists():
            continue
        content = chunk_bytes(location, f"{path}/c/{'/'.join(map(str, position))}")
        if content is not None:
            put(target, content)
