"""Settings of parameter groups that a schedule had moved where a run is resumed. They are no change of settings."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from recorder.resumption import groups_of
from recorder.root import LEARNING_RATE
from recorder.writer.objects import read_chunk
from recorder.writer.store import StoreWriter

_MOVING = ("lr", "momentum", "betas", "weight_decay")
_CYCLED = ("momentum", "betas")


def scheduled(store: StoreWriter, frames: int, before: object, ours: object) -> list[dict[str, Any]]:
    """Return the settings that a session has otherwise than the one before only because a schedule moved them.

    Such a value is the one that the run recorded for the update into the frame that the session goes on from, or for
    the next update, which is cut. Values that torch's own schedules cycle belong to them wherever they stand.

    Parameters
    ----------
    store : StoreWriter
        The writer of the run, before anything is cut.
    frames : int
        Number of the run's frames that stay part of it.
    before, ours : list of dict
        Attributes `optimizer` of the session before, and of this one.

    Returns
    -------
    list of dict
        As the segment's member `scheduled` holds them.
    """
    recorded = _Recorded(store, range(max(frames - 1, 0), min(frames + 1, store.frames)))
    found = []
    for number, (old, new) in enumerate(zip(groups_of(before), groups_of(ours), strict=False)):
        for key in _MOVING:
            if key not in old or key not in new or old[key] == new[key]:
                continue
            if key == "lr" and ("initial_lr" in old or "initial_lr" in new):
                continue  # the rates that the schedules began with are compared
            is_cycled = key in _CYCLED and "base_momentum" in old and "base_momentum" in new
            if is_cycled or recorded.holds(number, key, old[key], new[key]):
                found.append({"param_group": number, "setting": key})
    return found


class _Recorded:
    """Settings at a few frames of a store. Lifetime: one look for the place of a session."""

    def __init__(self, store: StoreWriter, frames: range) -> None:
        self._store, self._frames = store, frames

    def holds(self, group: int, key: str, old: Any, new: Any) -> bool:
        """Tell whether a setting had its new value at one of the frames."""
        if key == "lr":
            return _is_among(new, (rate[group] for rate in self._values(LEARNING_RATE.name) if rate.size > group))
        place = f"param_group/{group}/"
        if key != "betas":
            return _is_among(new, self._values(place + key))
        both = [one if isinstance(one, (list, tuple)) else () for one in (old, new)]
        changed = {f"beta{n + 1}": now for n, (then, now) in enumerate(zip(*both, strict=False)) if then != now}
        return bool(changed) and all(_is_among(now, self._values(place + name)) for name, now in changed.items())

    def _values(self, name: str) -> Iterator[Any]:
        """Yield what an array of the root holds at each of the frames; nothing of one that is damaged or absent."""
        spec = self._store.root_spec(name)
        if spec is None:
            return
        steps, first = self._store.chunk_steps, spec.attributes.get("first_frame", 0)
        for frame in self._frames:
            if frame < first:
                continue
            room = np.empty((steps, *spec.shape), spec.dtype)
            try:
                read_chunk(self._store.store, spec, frame // steps, room)
            except (OSError, ValueError):
                return
            yield room[frame % steps]


def _is_among(value: Any, numbers: Iterator[Any]) -> bool:
    """Tell whether a setting, which may be anything, is one of some numbers."""
    return isinstance(value, (int, float)) and any(number == value for number in numbers)
