"""Copies of a store that was being written: which of their frames are those that were committed.

A copy takes files at different times. An object that was copied before the root document may be an older draft of its
chunk, whose padding would pass for frames. So the root document holds a checksum of each chunk (`chunk_checksums`),
over the checksums of its objects.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from itertools import product
from pathlib import Path
from typing import Any

import google_crc32c

from recorder.files import replace_file
from recorder.root import CHUNK_CHECKSUMS, read_document


def chunk_checksum(objects: Mapping[tuple[str, int], bytes]) -> int:
    """Return the checksum of one chunk of the whole store: crc32c over the last four bytes of each of its objects.

    Parameters
    ----------
    objects : mapping of (path of the array, number among its objects of this chunk) to bytes
        The checksum is over them in ascending order of these keys.
    """
    return int(google_crc32c.value(b"".join(objects[key] for key in sorted(objects))))


def first_doubtful_frame(store: Path) -> int | None:
    """Return the first frame of a copied store that may not be what was committed; None if all frames are.

    A full chunk never changes, so its checksum must agree. The last chunk is written again and again: if its checksum
    differs, the copied objects may be older than the root document, or newer.
    """
    root = read_document(store)
    members, expected = root["consolidated_metadata"]["metadata"], root["attributes"].get(CHUNK_CHECKSUMS)
    frames, steps = members["step"]["shape"][0], root["attributes"]["chunk_steps"]
    for chunk in range(-(-frames // steps)):
        if not isinstance(expected, list) or chunk >= len(expected):
            return int(chunk * steps)  # a store of an earlier version
        try:
            found = chunk_checksum(chunk_tails(store, members, chunk, steps))
        except OSError:
            return int(chunk * steps)
        if found != expected[chunk]:
            return int(chunk * steps)
    return None


def chunk_tails(store: Path, members: Mapping[str, Any], chunk: int, steps: int) -> dict[tuple[str, int], bytes]:
    """Return the last four bytes of every object of a chunk of the store.

    Raises
    ------
    OSError
        One is missing.
    """
    found = {}
    for path, member in members.items():
        first = member.get("attributes", {}).get("first_frame", 0)
        if "shape" not in member or first >= (chunk + 1) * steps:
            continue
        axis = member["dimension_names"].index("step")
        pieces = [
            range(-(-size // piece))
            for size, piece in zip(member["shape"], member["chunk_grid"]["configuration"]["chunk_shape"], strict=True)
        ]
        pieces[axis] = range(chunk, chunk + 1)
        for number, key in enumerate(product(*pieces)):
            found[path, number] = _tail(store.joinpath(path, "c", *map(str, key)))
    return found


def _tail(path: Path) -> bytes:
    with path.open("rb") as file:
        file.seek(-4, os.SEEK_END)
        return file.read(4)


def cut(store: Path, attributes: Mapping[str, Any], frames: int) -> None:
    """Publish a store again with only its first frames.

    Parameters
    ----------
    store : Path
    attributes : mapping
        Root attributes.
    frames : int
        Number of frames that are kept. They end with a chunk, so no chunk has to be written.
    """
    root = read_document(store)
    members: dict[str, Any] = root["consolidated_metadata"]["metadata"]
    for path, member in list(members.items()):
        if "shape" not in member:
            continue
        if member.get("attributes", {}).get("first_frame", -1) >= frames:
            del members[path]
            continue
        member["shape"][member["dimension_names"].index("step")] = frames
    kept = frames // attributes["chunk_steps"]
    root["attributes"] = {
        **{name: value for name, value in attributes.items() if name not in ("last", "recent")},
        "segments": [segment for segment in attributes["segments"] if segment["first_frame"] < frames],
        CHUNK_CHECKSUMS: attributes.get(CHUNK_CHECKSUMS, [])[:kept],
    }
    replace_file(store / "zarr.json", json.dumps(root).encode(), durable=True)
