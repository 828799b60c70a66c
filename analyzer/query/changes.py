"""Settings that changed at a resume: other hyperparameters, another optimizer, another stride.

The recorder writes them into each segment (FORMAT.md). Segments of older stores have none, and are not compared.
"""

from __future__ import annotations

import json
from bisect import bisect_left
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import count, pairwise
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # `analyzer info` does not wait for numpy
    import numpy as np

    Array = np.ndarray[Any, np.dtype[Any]]

SETTINGS = ("hyperparameters", "optimizer", "stride")
"""Keys of a segment that say how it was trained and recorded."""
_MOST = 4
"""Differences that a sentence names."""
_LONGEST = 60
"""Characters of a value in a sentence."""


@dataclass(frozen=True)
class Change:
    """The start of a segment whose settings are not those of the segment before.

    Attributes
    ----------
    segment
        Its number, from 0.
    first_step
        Its first step, as the store has it.
    continuous
        Whether a velocity leads from the segment before into this one.
    differences
        What is different, as in "learning_rate 0.1 → 0.01".
    """

    segment: int
    first_step: int
    continuous: bool
    differences: tuple[str, ...]

    @property
    def is_of_stride(self) -> bool:
        """Whether only the spacing of frames changed. Each stretch of equal spacing has its own window anyway."""
        return all(difference.startswith("stride ") for difference in self.differences)

    def __str__(self) -> str:
        more = len(self.differences) - _MOST
        return ", ".join(self.differences[:_MOST]) + (f" and {more} more" if more > 0 else "")

    def cuts(self, steps: Array) -> tuple[int, int]:
        """The last frame of the stretch before, and the first frame of the stretch from here on."""
        frame = bisect_left(steps, self.first_step)
        return frame - 1, frame - 1 if self.continuous else frame

    def inside(self, steps: Array, start: int, stop: int) -> bool:
        """Whether velocities with start < step <= stop lie on both sides of the change."""
        before, after = self.cuts(steps)
        if before < 0 or after >= steps.size - 1:
            return False
        # Each side needs two frames in the range.
        return bool(start < steps[before] and stop > steps[after])


def changes_of(segments: object) -> tuple[Change, ...]:
    """The changes between the segments of a store's attribute `segments`; none where the attribute has another form."""
    entries = segments if isinstance(segments, (list, tuple)) else []
    listed = [one if isinstance(one, Mapping) else {} for one in entries]
    found = []
    known: dict[str, Any] = {}
    for n, segment in enumerate(listed):
        differences: list[str] = []
        for key in SETTINGS:
            if segment.get(key) is None:
                continue
            if key in known:
                moved = _scheduled(segment) if key == "optimizer" else frozenset()
                differences += _differences(_flat(key, known[key], moved), _flat(key, segment[key], moved))
            known[key] = segment[key]
        step = segment.get("first_step")
        if differences and isinstance(step, int):
            found.append(Change(n, step, bool(segment.get("continuous")), tuple(dict.fromkeys(differences))))
    return tuple(found)


def resumed_at(segments: object) -> tuple[int, ...]:
    """The steps of the weights that each further recording of a run went on from, in order.

    Not every segment is a recording: a run of uneven spacing, recorded in one go, has several.
    """
    entries = segments if isinstance(segments, (list, tuple)) else []
    listed = [one for one in entries if isinstance(one, Mapping) and isinstance(one.get("first_step"), int)]
    found = []
    for before, segment in pairwise(listed):
        session, stride = segment.get("session"), segment.get("stride")
        if session is None or session != before.get("session"):
            apart = stride if segment.get("continuous") and isinstance(stride, int) else 0
            found.append(segment["first_step"] - apart)
    return tuple(found)


def within(changes: Sequence[Change], steps: Array, start: int, stop: int) -> list[Change]:
    """The changes of settings that have velocities with start < step <= stop on both sides."""
    return [change for change in changes if not change.is_of_stride and change.inside(steps, start, stop)]


def stretches(changes: Sequence[Change], steps: Array) -> list[tuple[int, int]]:
    """First and last step of each stretch of equal settings that holds a velocity."""
    begins, ends = [0], []
    for change in changes:
        before, after = change.cuts(steps)
        ends.append(before)
        begins.append(after)
    ends.append(steps.size - 1)
    return [
        (int(steps[first]), int(steps[last]))
        for first, last in zip(begins, ends, strict=True)
        if 0 <= first < last < steps.size
    ]


def told(found: Sequence[Change], changes: Sequence[Change], steps: Array) -> str:
    """A sentence on the changes that were found in a range, and what to do about them."""
    listed = "; ".join(f"at step {change.first_step}: {change}" for change in found)
    ranges = ", or ".join(f"--start {first} --stop {last}" for first, last in stretches(changes, steps))
    return (
        f"expected one setting in the range, got several: {listed}. A mean over several describes none of them. "
        f"Choose a stretch with one: {ranges}"
    )


def setting_in(key: str, attrs: Mapping[Any, Any], steps: Array, start: int, stop: int) -> Any:
    """The attribute "hyperparameters" or "optimizer" of a run, as it was for the updates with start < step <= stop.

    It is the whole run's attribute where the segments have none, or where the range spans a change.
    """
    changes = changes_of(attrs.get("segments"))
    current = first_setting(key, attrs)
    if not changes or within(changes, steps, start, stop):
        return current
    number = 0
    for n, segment in enumerate(attrs["segments"]):
        if not isinstance(segment, Mapping) or (n and not _begun(segment, steps, stop)):
            break
        current, number = current if segment.get(key) is None else segment[key], n
    return current if key != "hyperparameters" else _annotated(current, number, attrs)


def settings_had(key: str, attrs: Mapping[Any, Any]) -> list[Any]:
    """Every value that `setting_in` may return for a run: the whole run's, and that of each segment."""
    current = first_setting(key, attrs)
    found = [current]
    if changes_of(attrs.get("segments")):
        for n, segment in enumerate(attrs["segments"]):
            if isinstance(segment, Mapping) and segment.get(key) is not None:
                current = segment[key]
            found.append(current if key != "hyperparameters" else _annotated(current, n, attrs))
    return found


def _annotated(settings: Any, number: int, attrs: Mapping[Any, Any]) -> Any:
    """The hyperparameters of a segment, with those that `recorder annotate` set for it afterwards.

    The latter are in the attribute of the whole run; `annotated` says for how many segments each was set.
    """
    counts, root = attrs.get("annotated"), attrs.get("hyperparameters")
    if not isinstance(counts, Mapping) or not isinstance(root, Mapping) or not isinstance(settings, Mapping):
        return settings
    known = {
        name: root[name] for name, count in counts.items() if isinstance(count, int) and number < count and name in root
    }
    return {**settings, **known}


def first_setting(key: str, attrs: Mapping[Any, Any]) -> Any:
    """The attribute "hyperparameters" or "optimizer" of a run, else that of its first segment."""
    segments = attrs.get("segments")
    first = segments[0] if isinstance(segments, (list, tuple)) and segments else None
    return attrs.get(key) or (first.get(key) if isinstance(first, Mapping) else None) or attrs.get(key)


def _begun(segment: Mapping[str, Any], steps: Array, stop: int) -> bool:
    """Whether a segment has an update that is not later than `stop`."""
    step = segment.get("first_step")
    if not isinstance(step, int):
        return False
    _, after = Change(0, step, bool(segment.get("continuous")), ()).cuts(steps)
    return after < steps.size and stop > steps[after]


def _scheduled(segment: Mapping[str, Any]) -> frozenset[tuple[str, str]]:
    """The settings of parameter groups that only a schedule moved since the segment before: (group, setting)."""
    listed = segment.get("scheduled")
    entries = [one for one in listed if isinstance(one, Mapping)] if isinstance(listed, (list, tuple)) else []
    return frozenset((str(one.get("param_group")), str(one.get("setting"))) for one in entries)


def _flat(title: str, value: object, moved: Collection[tuple[str, str]] = ()) -> dict[str, Any]:
    """The settings under a key of a segment, by names for display, without those of parameter groups in `moved`."""
    if title == "hyperparameters":
        return {str(key): one for key, one in value.items()} if isinstance(value, Mapping) else {}
    if title == "stride":
        return {"stride": value}
    listed = value if isinstance(value, (list, tuple)) else []
    found: dict[str, Any] = {}
    numbers = count()
    for n, one in enumerate(listed):
        optimizer = one if isinstance(one, Mapping) else {}
        owner = "optimizer" if len(listed) == 1 else f"optimizer {n}"
        found[owner] = str(optimizer.get("class"))
        defaults = optimizer.get("defaults")
        usual = dict(defaults) if isinstance(defaults, Mapping) else {}
        found |= {f"{owner} {key}": one for key, one in usual.items()}
        groups = flat_groups([optimizer])
        for m, group in enumerate(groups):
            title, number = owner if len(groups) == 1 else f"{owner} group {m}", str(next(numbers))
            # A group's own values. Where there is one group, they replace the defaults of the same name.
            found |= {f"{title} {key}": one for key, one in _chosen(group).items() if (number, key) not in moved}
    return found


def flat_groups(optimizer: object) -> list[Mapping[str, Any]]:
    """The parameter groups of the attribute `optimizer`, numbered through all optimizers."""
    listed = optimizer if isinstance(optimizer, (list, tuple)) else []
    held = [one.get("groups") if isinstance(one, Mapping) else None for one in listed]
    return [
        group if isinstance(group, Mapping) else {}
        for groups in held
        for group in (groups if isinstance(groups, (list, tuple)) else [])
    ]


def _chosen(group: Mapping[str, Any]) -> dict[str, Any]:
    """The values that a user chose for a parameter group, without what a schedule had changed when the segment began.

    The learning rate is the one that the schedule began with; the rate at each step is recorded elsewhere.
    """
    found = {str(key): one for key, one in group.items() if key != "initial_lr"}
    if group.get("initial_lr") is not None:
        found["lr"] = group["initial_lr"]
    if "base_momentum" in group:  # a schedule cycles momentum, or β1
        found = {key: one for key, one in found.items() if key not in ("momentum", "betas")}
    return found


def _differences(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    return [
        f"{key} {_shown(before, key)} → {_shown(after, key)}"
        for key in dict.fromkeys([*before, *after])
        if _text(before.get(key, _ABSENT)) != _text(after.get(key, _ABSENT))
        # Earlier recorders did not list the parameters of a group.
        and not (key.endswith(" parameters") and (key not in before or key not in after))
    ]


_ABSENT = object()


def _text(value: object) -> str:
    return "" if value is _ABSENT else json.dumps(value, sort_keys=True, default=str)


def _shown(settings: Mapping[str, Any], key: str) -> str:
    if key not in settings:
        return "none"
    value = settings[key]
    text = value if isinstance(value, str) else _text(value)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"
