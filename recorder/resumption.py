"""What a store's root says of earlier sessions: at which step a run goes on, and what a new session changes.

Pure functions of the root attributes. The writer numbers frames with them, and the trainer tells the user.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any

from recorder.text import printable

_MOST_NAMED = 5  # differences that one sentence names


def resumed_step(attributes: Mapping[str, Any], last_step: int, witnessed: int | None) -> int:
    """Return the step of the weights with which a run is resumed, where they equal none of its frames.

    A witness decides. Without one, the run goes on where its last session ended. If that is not known either, it goes
    on one stride after the last frame.

    Parameters
    ----------
    attributes : mapping
        Root attributes.
    last_step : int
        Step of the last frame; −1 where there is none.
    witnessed : int or None
        See `Witnesses.first`.
    """
    if last_step < 0:
        return 0
    if witnessed is not None:
        return witnessed
    end = ended_step(attributes, last_step)
    return end if end is not None else last_step + int(attributes["stride"])


def ended_step(attributes: Mapping[str, Any], last_step: int) -> int | None:
    """Return the step at which the last session ended; None if it is not known to be after the last frame."""
    segments = _objects(attributes.get("segments"))
    end = segments[-1].get("end_step") if segments else None
    return end if isinstance(end, int) and end > last_step else None


@dataclass(frozen=True, slots=True)
class Witnesses:
    """The step of the weights with which a run is resumed, by two counts that do not depend on frames.

    Attributes
    ----------
    counted : int or None
        By the optimizers' own counts.
    claimed : int or None
        By the user's count.
    """

    counted: int | None = None
    claimed: int | None = None

    @property
    def first(self) -> int | None:
        """The step by the more trusted witness, the optimizers; None without any witness."""
        return self.claimed if self.counted is None else self.counted


def witnesses(
    attributes: Mapping[str, Any], optimizer_step: Sequence[int | None] | None, user_step: int | None, last_step: int
) -> Witnesses:
    """Return the step of a new session's first weights, by each count.

    Parameters
    ----------
    attributes : mapping
        Root attributes of the store that is resumed.
    optimizer_step : sequence of (int or None), or None
        The count of each optimizer.
    user_step : int or None
        The user's count of updates.
    last_step : int
        Step of the last frame.
    """
    claimed, end = claimed_step(attributes, user_step), ended_step(attributes, last_step)
    # Some users also count the updates that a gradient scaler skipped: their count is ahead by so many.
    if claimed is not None and end is not None and end < claimed <= end + attributes.get("skipped_updates", 0):
        claimed = end
    steps = {"counted": counted_step(attributes, optimizer_step), "claimed": claimed}
    return Witnesses(**{name: step for name, step in steps.items() if step is not None and step >= 0})


def claimed_step(attributes: Mapping[str, Any], user_step: int | None) -> int | None:
    """Return the step that the user's count of updates stands for; None without one."""
    segments = _objects(attributes.get("segments"))
    if user_step is None or not segments:
        return None
    counted = [segment for segment in segments if isinstance(segment.get("user_step"), int)]
    known = counted[-1] if counted else segments[0]
    return begin_of(known, attributes) + user_step - (known.get("user_step") or 0)


def counted_step(attributes: Mapping[str, Any], optimizer_step: Sequence[int | None] | None) -> int | None:
    """Return the step that the optimizers' own counts stand for; None without a count, or if counts disagree.

    An optimizer that steps several times in an update is ahead of the others, so the count that moved least is taken.
    If a count began anew during the run, the segments give different steps, and then there is no witness.
    """
    found = set()
    for segment in _objects(attributes.get("segments")):
        before = segment.get("optimizer_step")
        if not isinstance(before, list) or len(before) != len(optimizer_step or ()):
            continue
        counts = zip(optimizer_step or (), before, strict=True)
        moved = [now - (then or 0) for now, then in counts if now is not None and isinstance(then, int | None)]
        if moved:
            found.add(begin_of(segment, attributes) + min(moved, key=abs))
    return found.pop() if len(found) == 1 else None


def begin_of(segment: Mapping[str, Any], attributes: Mapping[str, Any]) -> int:
    """Return the step of a segment's first weights. If the segment is continuous, they are the frame before it."""
    stride = int(segment.get("stride") or attributes["stride"])
    return int(segment.get("first_step", 0)) - (stride if segment.get("continuous") else 0)


def hyperparameters_before(attributes: Mapping[str, Any], session: str) -> dict[str, Any]:
    """Return the hyperparameters of the newest segment of another session, else the root's."""
    return _object(_before(attributes, session).get("hyperparameters"))


def _before(attributes: Mapping[str, Any], session: str) -> dict[str, Any]:
    """Return the root attributes as they were in the newest segment of another session."""
    earlier = [one for one in _objects(attributes.get("segments")) if one.get("session") != session]
    return {**attributes, **(earlier[-1] if earlier else {})}


def optimizer_before(attributes: Mapping[str, Any], session: str) -> object:
    """Return the optimizers of the newest segment of another session, else the root's."""
    return _before(attributes, session).get("optimizer")


def groups_of(optimizers: object) -> list[dict[str, Any]]:
    """Return the parameter groups of the attribute `optimizer`, numbered through all optimizers."""
    return [group for one in _objects(optimizers) for group in _objects(one.get("groups"))]


def notes(
    attributes: Mapping[str, Any],
    session: str,
    ours: Mapping[str, Any],
    scheduled: Sequence[Mapping[str, Any]] = (),
) -> list[str]:
    """Return sentences for the user on what a resumed recording changes.

    Parameters
    ----------
    attributes : mapping
        Root attributes of the store.
    session : str
        The session that begins.
    ours : mapping
        Its `hyperparameters` and `optimizer`.
    scheduled : sequence of mapping
        Settings that a schedule moved, as the segment's member `scheduled` holds them. They are no changes.
    """
    before = _before(attributes, session)
    hyperparameters = _object(before.get("hyperparameters"))
    changes = [
        *_differences(hyperparameters, _object(ours.get("hyperparameters")) or hyperparameters),
        *_of_optimizers(*(_chosen(_objects(side.get("optimizer")), scheduled) for side in (before, ours))),
    ]
    if not changes:
        return []
    more = f" and {len(changes) - _MOST_NAMED} more" if len(changes) > _MOST_NAMED else ""
    line = (
        f"this recording differs from the one that it resumes: {', '.join(changes[:_MOST_NAMED])}{more}. The store "
        "keeps both, each with its segment. Fits refuse a window that spans the change"
    )
    return [printable(line)]  # a store may hold any text


def _chosen(optimizers: list[dict[str, Any]], scheduled: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return optimizers without the settings of their parameter groups that a schedule moved."""
    moved = {(one.get("param_group"), one.get("setting")) for one in scheduled}
    if not moved:
        return optimizers
    numbers, found = count(), []
    for optimizer in optimizers:
        groups = []
        for group, number in zip(_objects(optimizer.get("groups")), numbers):  # noqa: B905 (numbers never end)
            groups.append({key: value for key, value in group.items() if (number, key) not in moved})
        found.append(optimizer | {"groups": groups})
    return found


def _of_optimizers(before: Sequence[Mapping[str, Any]], ours: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    if len(before) != len(ours):
        yield f"{len(before)} → {len(ours)} optimizers"
        return
    for old, new in zip(before, ours, strict=True):
        if old.get("class") != new.get("class"):
            yield f"optimizer {old.get('class')} → {new.get('class')}"
        elif "groups" in old and "groups" in new:
            olds, news = _objects(old["groups"]), _objects(new["groups"])
            if len(olds) != len(news):
                yield f"{len(olds)} → {len(news)} parameter groups"
            for number, (group, other) in enumerate(zip(olds, news, strict=False)):
                where = f"parameter group {number} " if len(olds) > 1 else ""
                yield from (where + change for change in _differences(*_of_groups(group, other)))
        else:  # a store of earlier versions
            yield from _differences(_object(old.get("defaults")), _object(new.get("defaults")))


def _of_groups(before: Mapping[str, Any], ours: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the settings of a parameter group on both sides; its `parameters` only where both sides list them."""
    sides = _settings(before), _settings(ours)
    if any("parameters" not in side for side in sides):
        for side in sides:
            side.pop("parameters", None)
    return sides


def _settings(group: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings that a user chose for a parameter group. Under a scheduler, `lr` is the initial rate."""
    rate = group.get("initial_lr", group.get("lr"))
    return {key: value for key, value in group.items() if key != "initial_lr"} | {"lr": rate}


def _differences(before: Mapping[str, Any], ours: Mapping[str, Any]) -> Iterator[str]:
    for key in dict.fromkeys([*before, *ours]):
        if before.get(key) != ours.get(key) or (key in before) != (key in ours):
            yield f"{key} {_shown(before, key)} → {_shown(ours, key)}"


def _shown(values: Mapping[str, Any], key: str) -> str:
    if key not in values:
        return "(none)"
    text = str(values[key])
    return text if len(text) <= 40 else text[:39] + "…"


def _object(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _objects(value: object) -> list[dict[str, Any]]:
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []
