"""The root documents of a cut: that of the shorter run, and that of the attempt with the superseded frames.

Pure functions of the root document before the cut. Only `newest_values` reads the store.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from recorder.resumption import begin_of
from recorder.root import CHUNK_CHECKSUMS, now
from recorder.writer.encoding import Array
from recorder.writer.format import scalar_spec
from recorder.writer.objects import read_chunk

Document = dict[str, Any]
# Root attributes of the newest frames. A cut removes them, and the next frames bring new ones.
_OF_THE_NEWEST = ("last", "recent")


def arrays_of(root: Mapping[str, Any]) -> Document:
    """Return the documents of all arrays, by path."""
    members: Document = root["consolidated_metadata"]["metadata"]
    return {path: member for path, member in members.items() if "shape" in member}


def step_axis(member: Mapping[str, Any]) -> int:
    """Return the axis of an array along which its frames lie."""
    axis: int = member["dimension_names"].index("step")
    return axis


def shortened(root: Mapping[str, Any], frames: int, last_step: int) -> Document:
    """Return a root document with only the first frames, without logged scalars that began later.

    Parameters
    ----------
    root : mapping
        The document before the cut.
    frames : int
        Number of frames that stay; at least one.
    last_step : int
        Step of the last one.
    """
    document = copy.deepcopy(dict(root))
    members = document["consolidated_metadata"]["metadata"]
    for path, member in arrays_of(document).items():
        if member["attributes"].get("first_frame", 0) >= frames:
            del members[path]
        else:
            member["shape"][step_axis(member)] = frames
    attributes = {name: value for name, value in document["attributes"].items() if name not in _OF_THE_NEWEST}
    *earlier, segment = [one for one in attributes["segments"] if one["first_frame"] < frames]
    attributes["segments"] = [*earlier, {name: value for name, value in segment.items() if name != "end_step"}]
    chunks = -(-frames // attributes["chunk_steps"])
    if CHUNK_CHECKSUMS in attributes:
        attributes[CHUNK_CHECKSUMS] = attributes[CHUNK_CHECKSUMS][:chunks]
    attributes |= _of_range(attributes, -1, last_step)
    document["attributes"] = attributes | {"heartbeat": now()}
    return document


def set_apart(root: Mapping[str, Any], first: int, superseded: int, steps: Array, run_id: str) -> Document:
    """Return the root document of an attempt, which is a store of the frames from `first` on.

    Parameters
    ----------
    root : mapping
        The run's document before the cut.
    first : int
        First frame of the attempt, the start of a chunk.
    superseded : int
        First frame of the run that is no longer part of it.
    steps : (frames,) int64
        Steps of all frames of the run.
    run_id : str
        For the attempt.
    """
    document = copy.deepcopy(dict(root))
    frames, members = len(steps), document["consolidated_metadata"]["metadata"]
    for member in arrays_of(document).values():
        member["shape"][step_axis(member)] = frames - first
        own = member["attributes"]
        if "first_frame" in own:
            own["first_frame"] = max(0, own["first_frame"] - first)
    attributes = {
        name: value for name, value in document["attributes"].items() if name not in ("recording", "attempts")
    }
    if CHUNK_CHECKSUMS in attributes:
        attributes[CHUNK_CHECKSUMS] = attributes[CHUNK_CHECKSUMS][first // attributes["chunk_steps"] :]
    attributes |= _of_range(attributes, int(steps[first]), int(steps[-1]), open_end=True)
    last = attributes.get("last")
    if isinstance(last, dict):
        names = {member["attributes"].get("name", path) for path, member in members.items() if "/" not in path}
        attributes["last"] = {name: value for name, value in last.items() if name in names}
    attributes["segments"] = _segments_from(attributes, first, int(steps[first]))
    attributes |= {"run_id": run_id, "status": "interrupted", "superseded_from": superseded - first}
    document["attributes"] = attributes
    return document


def _segments_from(attributes: Mapping[str, Any], first: int, step: int) -> list[Document]:
    """Return the segments of an attempt. The first one begins at its first frame, with the user's count there."""
    segments = attributes["segments"]
    before = [one for one in segments if one["first_frame"] <= first]
    after = [one for one in segments if one["first_frame"] > first]
    counted = [one for one in before if isinstance(one.get("user_step"), int)]
    known = counted[-1] if counted else segments[0]
    opened = {
        **before[-1],
        "first_frame": 0,
        "first_step": step,
        "continuous": False,
        "user_step": (known.get("user_step") or 0) + step - begin_of(known, attributes),
    }
    left_out = (
        "supersedes",
        "from_attempt",
        *(("optimizer_step",) if step != begin_of(before[-1], attributes) else ()),
    )
    opened = {name: value for name, value in opened.items() if name not in left_out}
    return [opened, *({**one, "first_frame": one["first_frame"] - first} for one in after)]


def _of_range(attributes: Mapping[str, Any], first: int, last: int, *, open_end: bool = False) -> Document:
    """Return the recorded losses of frames and scalars that lie between steps `first` and `last`.

    Frames that were lost after `last` are included only with `open_end`.
    """
    found: Document = {}
    lost = attributes.get("lost_frames")
    if isinstance(lost, list):
        found["lost_frames"] = [one for one in lost if _is_between(one, first, last, open_end=open_end)]
    scalars = attributes.get("lost_scalars")
    if isinstance(scalars, list):
        found["lost_scalars"] = [
            {"first_step": max(one["first_step"], first), "last_step": min(one["last_step"], last)}
            for one in scalars
            if one["last_step"] >= first and one["first_step"] <= last
        ]
    return found


def _is_between(lost: Mapping[str, Any], first: int, last: int, *, open_end: bool) -> bool:
    after = -1 if lost["after_step"] is None else lost["after_step"]
    if lost["before_step"] is not None and lost["before_step"] <= first:
        return False
    return bool(after < last or (open_end and after == last))


def newest_values(store: Path, root: Mapping[str, Any], names: Mapping[str, Any]) -> dict[str, float]:
    """Return the newest finite value of each logged scalar, as the root attribute `last` holds them.

    Parameters
    ----------
    store : Path
    root : mapping
        Root document; its length says how many frames count.
    names : mapping
        The scalars that are wanted.
    """
    steps = root["attributes"]["chunk_steps"]
    found = {}
    for path, member in arrays_of(root).items():
        name, first = member["attributes"].get("name", path), member["attributes"].get("first_frame")
        if first is None or name not in names:
            continue
        frames, room = member["shape"][0], np.empty(steps)
        for chunk in reversed(range(first // steps, -(-frames // steps))):
            try:
                read_chunk(store, scalar_spec(name, steps, first, path), chunk, room)
            except (OSError, ValueError):
                break  # damage; `analyzer verify` names it
            values = room[: frames - chunk * steps]
            if np.isfinite(values).any():
                found[name] = float(values[np.isfinite(values)][-1])
                break
    return found
