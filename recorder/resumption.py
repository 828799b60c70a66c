"""What a store's root says of the sessions before: the step at which a run goes on, and what differs from them.

Pure functions of the root attributes: the writer numbers frames by them, the trainer tells the user.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

_MOST_NAMED = 5  # differences that one sentence names


def resumed_step(attributes: Mapping[str, Any], last_step: int, user_step: int | None) -> int:
    """Return the step of weights that a run is resumed with and that differ from its last frame.

    The user's own count decides where it lies beyond the last frame: relative to the newest segment that has one, else
    to the start of the run. Without it, the run is taken to go on from where its last session ended. Where neither is
    known, and for weights from before the last frame, frames are numbered on, one stride after the last.

    Parameters
    ----------
    attributes : mapping
        Root attributes.
    last_step : int
        Step of the last frame; −1 where there is none.
    user_step : int or None
        The user's count of updates at these weights.
    """
    if last_step < 0:
        return 0
    end, claimed = ended_step(attributes, last_step), claimed_step(attributes, user_step)
    if claimed is None:
        return end if end is not None else last_step + int(attributes["stride"])
    if claimed <= last_step:
        return last_step + int(attributes["stride"])
    # A user who also counts the updates that a gradient scaler skipped is ahead by them.
    skipped = attributes.get("skipped_updates", 0)
    return end if end is not None and end < claimed <= end + skipped else claimed


def ended_step(attributes: Mapping[str, Any], last_step: int) -> int | None:
    """Return the step at which the last session ended, where it ended after the last frame."""
    segments = _objects(attributes.get("segments"))
    end = segments[-1].get("end_step") if segments else None
    return end if isinstance(end, int) and end > last_step else None


def claimed_step(attributes: Mapping[str, Any], user_step: int | None) -> int | None:
    """Return the step that the user's count of updates stands for; None without one."""
    segments = _objects(attributes.get("segments"))
    if user_step is None or not segments:
        return None
    counted = [segment for segment in segments if isinstance(segment.get("user_step"), int)]
    known = counted[-1] if counted else segments[0]
    stride = int(known.get("stride", attributes["stride"]))
    begin = int(known.get("first_step", 0)) - (stride if known.get("continuous") else 0)
    return begin + user_step - (known.get("user_step") or 0)


def hyperparameters_before(attributes: Mapping[str, Any], session: str) -> dict[str, Any]:
    """Return the hyperparameters of the newest segment that is of another session, else the root's."""
    return _object(_before(attributes, session).get("hyperparameters"))


def _before(attributes: Mapping[str, Any], session: str) -> dict[str, Any]:
    """Return the root attributes as they were in the newest segment of another session."""
    earlier = [one for one in _objects(attributes.get("segments")) if one.get("session") != session]
    return {**attributes, **(earlier[-1] if earlier else {})}


def notes(attributes: Mapping[str, Any], session: str, ours: Mapping[str, Any], user_step: int | None) -> list[str]:
    """Return sentences for the user on what a resumed recording has otherwise than the session before it.

    Parameters
    ----------
    attributes : mapping
        Root attributes of the store.
    session : str
        The session that begins.
    ours : mapping
        Its `hyperparameters` and `optimizer`.
    user_step : int or None
    """
    told = []
    before = _before(attributes, session)
    hyperparameters = _object(before.get("hyperparameters"))
    changes = [
        *_differences(hyperparameters, _object(ours.get("hyperparameters")) or hyperparameters),
        *_of_optimizers(_objects(before.get("optimizer")), _objects(ours.get("optimizer"))),
    ]
    if changes:
        more = f" and {len(changes) - _MOST_NAMED} more" if len(changes) > _MOST_NAMED else ""
        told.append(
            f"this recording differs from the one that it resumes: {', '.join(changes[:_MOST_NAMED])}{more}. The store "
            "keeps both, each with its segment. Fits refuse a window that spans the change"
        )
    last = _object(attributes.get("last")).get("step")
    claimed = claimed_step(attributes, user_step)
    if isinstance(last, int) and claimed is not None:
        expected = ended_step(attributes, last) or last
        if claimed < last:
            told.append(
                f"user_step={user_step} is step {claimed:,}, and the store goes to step {last:,} already. Weights from "
                f"before its last frame are recorded as steps after {last:,}, with a break between"
            )
        elif claimed > expected + attributes.get("skipped_updates", 0):
            told.append(
                f"user_step={user_step} is step {claimed:,}, and the store ends at step {expected:,}. The steps "
                "between are a gap"
            )
    return [_printable(line) for line in told]


def _printable(line: str) -> str:
    """Return a line with escapes for what would move a terminal's cursor: a store may hold any text."""
    return "".join(character if character.isprintable() else repr(character)[1:-1] for character in line)


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
                yield from (where + change for change in _differences(_settings(group), _settings(other)))
        else:  # a store of earlier versions
            yield from _differences(_object(old.get("defaults")), _object(new.get("defaults")))


def _settings(group: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a user chose for a parameter group: under a scheduler the initial rate, which the rate began with."""
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
