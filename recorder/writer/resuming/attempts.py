"""Attempts: frames that are no longer part of a run, each kept in a store of its own in the folder `attempts`."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import uuid
from collections.abc import Callable, Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from recorder.errors import StoreFormatError
from recorder.files import LARGEST_DOCUMENT, read_file, replace_file, sync_folder
from recorder.root import read_document, read_root
from recorder.schema import Schema
from recorder.writer.encoding import Array
from recorder.writer.format import ArraySpec, learning_rate_spec, scalar_spec
from recorder.writer.objects import read_chunk
from recorder.writer.resuming.cutting import Document, arrays_of, set_apart, step_axis
from recorder.writer.resuming.search import Held, read_steps
from recorder.writer.store import StoreWriter
from recorder.writer.trust import read_members

FOLDER = "attempts"
_PATH = re.compile(FOLDER + r"/([1-9][0-9]{0,8})")
_REMNANT = re.compile(r"\.[1-9][0-9]{0,8}\.tmp|[1-9][0-9]{0,8}")


def listed(attributes: Mapping[str, Any]) -> dict[int, Document]:
    """Return the entries of the root attribute `attempts` by number. Anything else in it is left out."""
    found: dict[int, Document] = {}
    entries = attributes.get("attempts")
    for entry in entries if isinstance(entries, list) else []:
        if isinstance(entry, dict) and (match := _PATH.fullmatch(str(entry.get("path")))):
            found[int(match[1])] = entry
    return found


def next_number(attributes: Mapping[str, Any]) -> int:
    """Return the number of the next attempt: one that no attempt has, and that no segment names."""
    named = [
        segment["supersedes"]["attempt"]
        for segment in attributes.get("segments", [])
        if isinstance(segment.get("supersedes"), dict) and type(segment["supersedes"].get("attempt")) is int
    ]
    return int(max([0, *listed(attributes), *named])) + 1


def remove_remnants(store: Path, attributes: Mapping[str, Any]) -> None:
    """Remove the attempts that the root document does not list: a writer that died left them."""
    kept = {str(number) for number in listed(attributes)}
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        for entry in list(os.scandir(store / FOLDER)):
            is_ours = entry.is_dir(follow_symlinks=False) and _REMNANT.fullmatch(entry.name)
            if is_ours and entry.name not in kept:
                shutil.rmtree(entry.path)


def set_aside(store: Path, frames: int, steps: Array) -> Document:
    """Make an attempt from the superseded frames of a run. The run itself does not change.

    Parameters
    ----------
    store : Path
    frames : int
        Number of frames that stay part of the run.
    steps : (n,) int64
        Steps of all frames of the run.

    Returns
    -------
    dict
        The entry for the root attribute `attempts`.
    """
    read_members(store)  # refuses paths that lead out of the store
    root = read_document(store)
    attributes = root["attributes"]
    remove_remnants(store, attributes)
    number, chunk = next_number(attributes), (frames - 1) // attributes["chunk_steps"]
    document = set_apart(root, chunk * attributes["chunk_steps"], frames, steps, uuid.uuid4().hex)
    folder = store / FOLDER / str(number)
    temporary = folder.with_name(f".{number}.tmp")
    temporary.mkdir(parents=True)
    for path, member in document["consolidated_metadata"]["metadata"].items():
        own = temporary / path
        own.mkdir(parents=True, exist_ok=True)
        replace_file(own / "zarr.json", json.dumps(member).encode(), durable=True)
    for path, member in arrays_of(root).items():
        _link_chunks(store / path, temporary / path, member, chunk)
    replace_file(temporary / "zarr.json", json.dumps(document).encode(), durable=True)
    for place, _, _ in os.walk(temporary, topdown=False):
        sync_folder(Path(place))
    temporary.rename(folder)
    sync_folder(folder.parent)
    sync_folder(store)
    return {
        "path": f"{FOLDER}/{number}",
        "first_step": int(steps[frames]),
        "last_step": int(steps[-1]),
        "cut_from": attributes["run_id"],
    }


def _keys(member: Mapping[str, Any], first: int) -> list[tuple[int, ...]]:
    """Return the grid positions of an array's objects, from chunk `first` along `step` on."""
    chunks = member["chunk_grid"]["configuration"]["chunk_shape"]
    grid = [range(-(-size // piece)) for size, piece in zip(member["shape"], chunks, strict=True)]
    axis = step_axis(member)
    grid[axis] = range(first, grid[axis].stop)
    return list(product(*grid))


def _link_chunks(run: Path, attempt: Path, member: Mapping[str, Any], first: int) -> None:
    """Link the objects of an array from chunk `first` on, or copy them if the file system has no links.

    Missing objects stay missing: a scalar has none before its first frame, and others may be lost by damage.
    """
    axis = step_axis(member)
    for key in _keys(member, first):
        source = run.joinpath("c", *map(str, key))
        if not source.is_file():
            continue
        target = attempt.joinpath("c", *map(str, (*key[:axis], key[axis] - first, *key[axis + 1 :])))
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            if source.is_symlink():  # the user may have moved the object to another disk
                raise OSError
            os.link(source, target)
        except OSError:
            replace_file(target, read_file(source, LARGEST_DOCUMENT), durable=True)


def remove_cut_chunks(store: Path, root: Mapping[str, Any], frames: int) -> None:
    """Remove the objects that lie wholly after a cut. The attempt has them.

    Parameters
    ----------
    store : Path
    root : mapping
        The root document before the cut.
    frames : int
        Number of frames that are part of the run.
    """
    steps = root["attributes"]["chunk_steps"]
    for path, member in arrays_of(root).items():
        if member["attributes"].get("first_frame", 0) >= frames:
            shutil.rmtree(store / path, ignore_errors=True)
            continue
        for key in _keys(member, -(-frames // steps)):
            store.joinpath(path, "c", *map(str, key)).unlink(missing_ok=True)


def open_attempt(
    store: Path, number: int, entry: Mapping[str, Any], parameters: Sequence[ArraySpec], chunk_steps: int
) -> Held | None:
    """Open the superseded frames of an attempt for a search; None if they cannot be read.

    Parameters
    ----------
    store : Path
        The run.
    number : int
    entry : mapping
        Its entry in the root attribute `attempts`.
    parameters : sequence of ArraySpec
        As the run has them.
    chunk_steps : int
    """
    place = store / FOLDER / str(number)
    try:
        if place.is_symlink() or read_root(place)["chunk_steps"] != chunk_steps:
            return None
        steps = read_steps(place, read_members(place).frames, chunk_steps)
        first = int(np.searchsorted(steps, entry["first_step"]))
    except (StoreFormatError, OSError, ValueError, KeyError, TypeError):
        return None
    return Held(place, parameters, steps, chunk_steps, first) if 0 < first < len(steps) else None


def bring_back(
    writer: StoreWriter, schema: Schema, attempt: Held, start: int, stop: int, between: Callable[[], None]
) -> None:
    """Record frames of an attempt in the run again, with their scalars, segments and losses. Nothing is published.

    Parameters
    ----------
    writer : StoreWriter
        The writer of the run, whose last frame is the one before `start`.
    schema : Schema
    attempt : Held
    start, stop : int
        Frames of the attempt.
    between : callable
        Called before each chunk.
    """
    attributes, members, steps = read_root(attempt.store), read_members(attempt.store), attempt.chunk_steps
    scalars = [scalar_spec(members.names.get(p, p), steps, f, p) for p, f in members.scalars.items() if f < stop]
    rates = learning_rate_spec(steps, members.param_groups) if members.param_groups else None
    for chunk in range(start // steps, -(-stop // steps)):
        between()
        begin = chunk * steps
        low, high = max(start, begin), min(stop, begin + steps)
        rows, shift = slice(low - begin, high - begin), writer.frames - low
        logged = {
            spec.attributes["long_name"]: _read(attempt.store, spec, chunk)[rows]
            for spec in scalars
            if spec.attributes["first_frame"] < high
        }
        rate = _read(attempt.store, rates, chunk)[rows] if rates else None
        writer.append(attempt.steps[low:high], logged, rate, _planes(schema, attempt, chunk, rows))
        _note(writer.attributes, attributes, logged, attempt.steps, low, high, shift)


def _note(
    ours: dict[str, Any], theirs: Mapping[str, Any], logged: Mapping[str, Array], steps: Array, low: int, high: int,
    shift: int,
) -> None:  # fmt: skip
    """Add to the run's root attributes what those of an attempt say of its frames `low` to `high`."""
    first, last = int(steps[low - 1]), int(steps[high - 1])
    ours["segments"] = [
        *ours["segments"],
        *(one | {"first_frame": one["first_frame"] + shift} for one in theirs["segments"]
          if low <= one["first_frame"] < high),
    ]  # fmt: skip
    for name in ("lost_frames", "lost_scalars"):
        if noted := [one for one in theirs.get(name, []) if _lies_in(one, first, last)]:
            ours[name] = [*ours.get(name, []), *noted]
    newest = {name: float(values[np.isfinite(values)][-1]) for name, values in logged.items()
              if np.isfinite(values).any()}  # fmt: skip
    ours["last"] = ours.get("last", {}) | newest | {"step": last}


def _lies_in(noted: Mapping[str, Any], first: int, last: int) -> bool:
    """Tell whether a recorded loss lies in the steps after `first`, up to `last`."""
    if "first_step" in noted:
        return bool(first < noted["first_step"] <= last)
    return bool(noted["after_step"] is not None and first <= noted["after_step"] < last)


def _read(store: Path, spec: ArraySpec, chunk: int) -> Array:
    room = np.empty(spec.chunks, spec.dtype)
    read_chunk(store, spec, chunk, room)
    return room


def _planes(schema: Schema, attempt: Held, chunk: int, rows: slice) -> list[Array]:
    """Return some frames of one chunk as they lie in the spool: a row for each, bfloat16 as its raw 16 bits."""
    planes = [np.empty((rows.stop - rows.start, plane.elements), plane.travel_dtype) for plane in schema.planes]
    for number, parameter in enumerate(schema.parameters):
        spec = attempt.parameters[number]
        room = np.empty((*spec.shape, attempt.chunk_steps), spec.dtype)
        for part, values in attempt.read(number, chunk):
            room[part] = values
        columns = room.reshape(parameter.elements, attempt.chunk_steps)[:, rows].T
        if parameter.dtype == "bfloat16":
            columns = (np.ascontiguousarray(columns).view(np.uint32) >> 16).astype(np.uint16)
        planes[parameter.plane][:, parameter.offset : parameter.offset + parameter.elements] = columns
    return planes
