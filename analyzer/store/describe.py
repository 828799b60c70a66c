"""What a store holds, as plain values, from its metadata alone. `analyzer info` and reports show it."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from typing import Any

from analyzer.store.heartbeat import abandoned, spooled
from analyzer.store.recent import recent_of
from analyzer.store.schema import Parameter, Store, is_url

_ITEMSIZE = {
    "bool": 1,
    "int8": 1,
    "uint8": 1,
    "float16": 2,
    "int16": 2,
    "uint16": 2,
    "float64": 8,
    "int64": 8,
    "uint64": 8,
}


def describe(store: Store) -> dict[str, Any]:
    """What is known of a store without reading a frame."""
    last = mapping(store.attrs.get("last"))
    raw = sum(p.weights * _itemsize(p) for p in store.parameters) * store.frames
    return {
        "store": store.location,
        "run_id": store.run_id,
        "trajectory": store.is_trajectory,
        "kept_from": None if store.is_trajectory else store.attrs.get("kept_from"),
        "status": store.status,
        "written_by": _writer(store),
        "created": store.attrs.get("created"),
        "model": mapping(store.attrs.get("model")).get("class"),
        "steps": _steps(store, last),
        "frames": store.frames,
        "stride": store.stride,
        "stretches": _stretches(store),
        "chunk_steps": store.chunk_steps,
        "segments": len(store.segments),
        "attempts": attempts(store),
        "superseded_from": store.attrs.get("superseded_from"),
        "missing_frames": _missing(store),
        "last": last,
        "recent": _recent(store),
        "spool": spooled(store),
        "scalars": [scalar.name for scalar in store.scalars],
        "weights": store.weights,
        "frozen_weights": sum(p.weights for p in store.parameters if p.frozen),
        "raw_bytes": raw,
        "disk_bytes": None if is_url(store.location) else sum(_sizes(store.location)),
        "compression": store.attrs.get("compression"),
        "hyperparameters": mapping(store.attrs.get("hyperparameters")),
        "parameters": [
            {"layer": p.layer, "layer_class": p.layer_class, "parameter": p.name, "shape": list(p.shape),
             "dtype": p.original_dtype, "weights": p.weights}
            for p in store.parameters
        ],
    }  # fmt: skip


def mapping(value: object) -> dict[str, Any]:
    """Return the attribute if it is an object, else an empty one. Only optional attributes are read this way."""
    return dict(value) if isinstance(value, dict) else {}


def _steps(store: Store, last: dict[str, Any]) -> list[int] | None:
    """The first and the last step, where the root document says both."""
    step = last.get("step")
    if not store.segments or not store.frames or not isinstance(step, int):
        return None
    return [store.segments[0].first_step, step]


def _recent(store: Store) -> dict[str, Any] | None:
    """The newest temperatures, None for NaN."""
    found = recent_of(store)
    if found is None:
        return None
    return {
        "first_step": found.first_step,
        "last_step": found.last_step,
        "velocities": found.velocities,
        "lag": found.stride,
        "units": found.units,
        "layers": [
            {"layer": layer, "weights": found.weights[layer], "temperature": T if math.isfinite(T) else None}
            for layer, T in found.temperatures.items()
        ],
    }


def _stretches(store: Store) -> list[dict[str, int]]:
    """The first step and the spacing of each stretch of equal spacing; empty where the spacing never changes."""
    spaced = [(segment.first_step, segment.stride or store.stride) for segment in store.segments]
    found = [one for n, one in enumerate(spaced) if not n or one[1] != spaced[n - 1][1]]
    return [{"first_step": step, "stride": stride} for step, stride in found] if len(found) > 1 else []


def _missing(store: Store) -> dict[str, int | str]:
    """Numbers of missing frames by the reason that the writer noted."""
    dropped, lost = store.attrs.get("dropped_frames"), store.attrs.get("lost_frames")
    stretches = [mapping(one) for one in lost] if isinstance(lost, list) else []
    sure = [n for one in stretches if isinstance(n := one.get("least"), int)]
    most = [n for one in stretches if isinstance(n := one.get("most"), int)]
    found = {"dropped": dropped, "damaged": sum(sure), "perhaps": sum(most) - sum(sure)}
    counts: dict[str, int | str] = {name: n for name, n in found.items() if isinstance(n, int) and n > 0}
    if any("most" in one and one["most"] is None for one in stretches):
        counts["perhaps"] = "an unknown number"
    return counts


def attempts(store: Store) -> list[dict[str, Any]]:
    """Path and steps of each attempt: frames that are no longer part of the run (`recorder/FORMAT.md`)."""
    listed = store.attrs.get("attempts")
    found = [mapping(one) for one in listed] if isinstance(listed, list) else []
    return [
        {"path": one["path"], "steps": [one["first_step"], one["last_step"]]}
        for one in found
        if isinstance(one.get("path"), str)
        and all(isinstance(one.get(key), int) for key in ("first_step", "last_step"))
    ]


def _writer(store: Store) -> str | None:
    """Whether a running store is still being written."""
    if store.status != "running" or not store.is_trajectory:
        return None
    sign = abandoned(store)
    if sign is None:
        return "a live writer"
    return f"nobody any more ({sign}); recover with: recorder recover {store.location}"


def _itemsize(p: Parameter) -> int:
    return _ITEMSIZE.get(p.dtype, 4)


def _sizes(path: str, linked: set[tuple[int, int]] | None = None) -> Iterator[int]:
    """Size of every file in a folder. A file with several names (a chunk shared with an attempt) counts once."""
    linked = set() if linked is None else linked
    with os.scandir(path) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                yield from _sizes(entry.path, linked)
                continue
            found = entry.stat(follow_symlinks=False)
            if found.st_nlink > 1:
                if (found.st_dev, found.st_ino) in linked:
                    continue
                linked.add((found.st_dev, found.st_ino))
            yield found.st_size
