"""Finds the step of each checkpoint: in its file, else in its name."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass

from recorder.errors import CheckpointError, UsageError

_NUMBER = re.compile(r"\d+")
_NAMED = re.compile(r"(?:global_?step|step|iteration|iter|update)s?[-_=. ]{0,2}(\d+)", re.IGNORECASE)
_EPOCH = re.compile(r"(?:epoch|ep)s?[-_=. ]{0,2}(\d+)", re.IGNORECASE)
_MOST_DIGITS = 18
_MOST_NAMED = 3


@dataclass(frozen=True, slots=True)
class Steps:
    """The steps of checkpoints, and sentences on how they were found."""

    numbers: tuple[int, ...]
    said: tuple[str, ...]


def steps_of(
    labels: Sequence[str],
    own: Sequence[int | None],
    pattern: str | None = None,
    steps_per_epoch: int | None = None,
) -> Steps:
    """Return the step of each checkpoint.

    Parameters
    ----------
    labels : sequence of str
        Paths of the checkpoints.
    own : sequence of int or None
        The steps that the files themselves hold. They are preferred to names.
    pattern : str, optional
        A regular expression. Its group `step`, else its first group, else all of it is the step in a path. It is
        preferred to the file.
    steps_per_epoch : int, optional
        Updates in an epoch, if the numbers in the names count epochs.

    Raises
    ------
    UsageError
        The pattern is no regular expression.
    CheckpointError
        A checkpoint has no step, or its name has several numbers that may be it.
    """
    said: list[str] = []
    if pattern is not None:
        named: list[int | None] = list(_by_pattern(labels, pattern))
    elif all(step is not None for step in own) and steps_per_epoch is None:
        named = _by_word(_own_parts(labels))
    else:
        named = _by_names(labels, said, counted=steps_per_epoch is not None)
    if steps_per_epoch is not None:
        named = [None if number is None else number * steps_per_epoch for number in named]
    found: list[int] = []
    differing = []
    for label, inside, outside in zip(labels, own, named, strict=True):
        chosen = outside if pattern is not None or inside is None else inside
        if chosen is None:
            raise CheckpointError(
                f"{label}: expected a step in its name or in the file, found none. Leave it out, or say where the step "
                r"stands: --step-pattern 'ckpt_(\d+)'"
            )
        if inside is not None and outside is not None and inside != outside:
            differing.append(f"{label} says {inside:,} inside and {outside:,} by its name")
        found.append(chosen)
    if differing:
        kept = "names, as --step-pattern says" if pattern is not None else "files"
        more = f" and {len(differing) - _MOST_NAMED:,} more" if len(differing) > _MOST_NAMED else ""
        said.append(f"steps are those of the {kept}: {'; '.join(differing[:_MOST_NAMED])}{more}")
    return Steps(tuple(found), tuple(said))


def _by_pattern(labels: Sequence[str], pattern: str) -> list[int]:
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise UsageError(f"--step-pattern: expected a regular expression, got {pattern!r} ({error}).") from error
    found = []
    for label in labels:
        match = compiled.search(label)
        text = None
        if match is not None:
            text = match["step"] if "step" in compiled.groupindex else match[1] if compiled.groups else match[0]
        if text is None or not text.isascii() or not text.isdigit() or len(text) > _MOST_DIGITS:
            raise CheckpointError(
                f"{label}: expected --step-pattern {pattern!r} to find a number, got "
                f"{'no match' if match is None else repr(text)}. Leave the file out, or mend the pattern."
            )
        found.append(int(text))
    return found


def _own_parts(labels: Sequence[str]) -> list[str]:
    """Return the paths without their common folder, and without suffixes: the 5 in `.h5` is no step."""
    whole = [os.path.abspath(label) for label in labels]  # noqa: PTH100 - links stay
    shared = os.path.commonpath([os.path.dirname(one) for one in whole])  # noqa: PTH120
    return [os.path.splitext(one[len(shared) :])[0] for one in whole]  # noqa: PTH122


def _by_word(labels: Sequence[str]) -> list[int | None]:
    """Return the numbers that follow a word such as "step" in the names."""
    matches = [list(_NAMED.finditer(label)) for label in labels]
    return [int(found[-1][1]) if found and len(found[-1][1]) <= _MOST_DIGITS else None for found in matches]


def _by_names(labels: Sequence[str], said: list[str], *, counted: bool) -> list[int | None]:
    """Return the step in each name: the number after "step", else the only number that differs between names."""
    stems = _own_parts(labels)
    worded = _by_word(stems)
    if len({number for number in worded if number is not None}) > 1 and not counted:
        return worded
    families: dict[str, list[int]] = {}
    for place, stem in enumerate(stems):
        families.setdefault(_NUMBER.sub("0", stem), []).append(place)
    found: list[int | None] = [None] * len(labels)
    for members in families.values():
        rows = [_NUMBER.findall(stems[place]) for place in members]
        columns = list(zip(*rows, strict=True))
        differing = [column for column in columns if len(set(column)) > 1] or (columns if len(columns) == 1 else [])
        if len(differing) > 1:
            raise CheckpointError(
                f"{labels[members[0]]}: expected one number that differs between names, got {len(differing)} "
                f"({', '.join(rows[0])}). Say which is the step: --step-pattern 'step(\\d+)'"
            )
        for place, text in zip(members, differing[0] if differing else (), strict=False):
            found[place] = int(text) if len(text) <= _MOST_DIGITS else None
    if not counted and any(_EPOCH.search(stem) for stem in stems):
        said.append(
            "the names count epochs, so a step of this store is an epoch. Give --steps-per-epoch N to count updates"
        )
    return found
