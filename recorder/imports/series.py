"""A series of checkpoints of one model. All of them are looked at before anything is written."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np

from recorder.errors import CheckpointError
from recorder.imports.formats import Array, Checkpoint, Notes, Opener, Tensor
from recorder.imports.layouts import Place, find, notes_of, open_place
from recorder.imports.names import Chosen, Globs, choose, choose_by_model, load_model
from recorder.imports.steps import steps_of
from recorder.patterns import listing
from recorder.schema import TRAVEL_DTYPES, Schema

_MOST_NAMED = 4


@dataclass(frozen=True, slots=True)
class Member:
    """One checkpoint of a series: its place, its step, the numbers that were saved with it."""

    place: Place
    step: int
    scalars: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Stretch:
    """Neighbouring frames of equal spacing. The last frame of the stretch before is one of them.

    Attributes
    ----------
    first_frame : int
        The first frame that is not in the stretch before.
    stride : int
        Steps between its frames, and from the frame before the first one.
    """

    first_frame: int
    stride: int


@dataclass(frozen=True, slots=True)
class Series:
    """Checkpoints of one model, in the order of their steps.

    Attributes
    ----------
    members : tuple of Member
    chosen : Chosen
    notes : Notes
        Hyperparameters and optimizer, from the first checkpoint.
    model : mapping
        For the store's attribute `model`.
    said : tuple of str
        Sentences for the user, to be shown before anything is written.
    key : str or None
    formats : mapping
    """

    members: tuple[Member, ...]
    chosen: Chosen
    notes: Notes
    model: Mapping[str, str]
    said: tuple[str, ...]
    key: str | None = None
    formats: Mapping[str, Opener] = field(default_factory=dict)

    @property
    def schema(self) -> Schema:
        return self.chosen.schema

    @property
    def steps(self) -> list[int]:
        return [member.step for member in self.members]

    def frame(self, member: Member) -> Iterator[Array]:
        """Yield every parameter of a checkpoint in the schema's order, flat, bfloat16 as its raw 16 bits.

        Raises
        ------
        CheckpointError
            The file is damaged, or has changed since it was looked at.
        """
        with closing(open_place(member.place, self.formats, self.key)) as checkpoint:
            for name, parameter in zip(self.chosen.tensors, self.schema.parameters, strict=True):
                if checkpoint.tensors.get(name) != Tensor(parameter.shape, parameter.dtype):
                    raise CheckpointError(
                        f"{member.place.label}: {name}: the file was changed while it was imported. Import again."
                    )
                yield _read(checkpoint, name, member.place).reshape(-1)


def _read(checkpoint: Checkpoint, name: str, place: Place) -> Array:
    """Return one tensor. Any fault of its file becomes a `CheckpointError`."""
    try:
        values = checkpoint.read(name)
    except CheckpointError:
        raise
    except (OSError, ValueError, RuntimeError, KeyError, MemoryError) as error:
        raise CheckpointError(
            f"{place.label}: {name}: expected {checkpoint.tensors[name].shape}, but it cannot be read "
            f"({type(error).__name__}: {' '.join(str(error).split())[:200]}). Copy the file again, or leave it out."
        ) from error
    claim = checkpoint.tensors[name]
    if values.shape != claim.shape or values.dtype != np.dtype(TRAVEL_DTYPES[claim.dtype]):
        raise CheckpointError(
            f"{place.label}: {name}: expected {claim.dtype} {claim.shape}, got {values.dtype} {values.shape}. The file "
            "is damaged: leave it out."
        )
    return values


def stretches_of(steps: Sequence[int]) -> list[Stretch]:
    """Return the stretches of equal spacing among frames at `steps`, of which there are at least two.

    >>> stretches_of([0, 1, 2, 4, 6])
    [Stretch(first_frame=0, stride=1), Stretch(first_frame=3, stride=2)]
    """
    apart = [after - before for before, after in pairwise(steps)]
    found = [Stretch(0, apart[0])]
    for frame, (before, after) in enumerate(pairwise(apart), start=2):
        if after != before:
            found.append(Stretch(frame, after))
    return found


def common_stride(steps: Sequence[int]) -> int:
    """Return the largest number of steps that divides every spacing."""
    return math.gcd(*(after - before for before, after in pairwise(steps)))


@dataclass(frozen=True, kw_only=True)
class Choices:
    """What is taken of checkpoint files, and how their steps and names are read.

    Parameters
    ----------
    key : str, optional
        Name under which a torch file holds the weights, dotted. Not needed if there is only one.
    prefix : str
        Take only tensors whose name begins with it. It is removed from the names.
    step_pattern : str, optional
        Regular expression whose first group is the step in a path.
    steps_per_epoch : int, optional
        Updates in an epoch, if the numbers in the names count epochs.
    model : str, optional
        `MODULE:FACTORY`, which makes the model. It tells the layers and the meaning of axes.
    include, exclude : str or iterable of str, optional
        Glob patterns over dotted names.
    formats : mapping of suffix to Opener, optional
        Further formats (`recorder.imports.formats`).
    """

    key: str | None = None
    prefix: str = ""
    step_pattern: str | None = None
    steps_per_epoch: int | None = None
    model: str | None = None
    include: Globs = None
    exclude: Globs = None
    formats: Mapping[str, Opener] | None = None


def look(paths: Iterable[str | os.PathLike[str]], choices: Choices | None = None) -> Series:
    """Look at every checkpoint of a series: steps, names, shapes. Weights are read only of files with equal steps.

    Parameters
    ----------
    paths : iterable of path
        Files, folders, patterns.
    choices : Choices, optional

    Raises
    ------
    CheckpointError, SelectionError, UsageError
    """
    choices = choices or Choices()
    key, prefix, known = choices.key, choices.prefix, choices.formats or {}
    places = find(paths, known)
    if len(places) < 2:
        raise _too_few(places[0].label, 1)
    made = None if choices.model is None else load_model(choices.model)
    chosen: Chosen | None = None
    found: list[Notes] = []
    differences: list[str] = []
    for number, place in enumerate(places):
        with closing(open_place(place, known, key)) as checkpoint:
            tensors = dict(checkpoint.tensors)
            found.append(notes_of(place, checkpoint.notes, with_optimizer=False))
        if chosen is None:
            try:
                options: dict[str, Any] = {"prefix": prefix, "include": choices.include, "exclude": choices.exclude}
                chosen = choose(tensors, **options) if made is None else choose_by_model(made, tensors, **options)
            except CheckpointError as error:
                raise CheckpointError(f"{place.label}: {error}") from error
            first, is_optional = tensors, set(tensors) - set(chosen.tensors)
        elif told := _differences(chosen, first, is_optional, tensors, is_strict=made is None, prefix=prefix):
            differences.append(f"{places[number].label} {told}")
    assert chosen is not None
    if differences:
        more = f" and {len(differences) - _MOST_NAMED:,} more files" if len(differences) > _MOST_NAMED else ""
        raise CheckpointError(
            f"checkpoints: expected the parameters of {places[0].label} in every file, but "
            f"{'; '.join(differences[:_MOST_NAMED])}{more}. A store holds one model: import the files of one, or leave "
            "out what differs (--exclude NAME)."
        )
    labels, known_steps = [place.label for place in places], [one.step for one in found]
    steps = steps_of(labels, known_steps, choices.step_pattern, choices.steps_per_epoch)
    order = sorted(range(len(places)), key=lambda n: steps.numbers[n])
    members = [Member(places[n], steps.numbers[n], found[n].scalars) for n in order]
    said = [*chosen.said, *steps.said, *dict.fromkeys(text for one in found for text in one.said)]
    said += _settings_that_differ([found[n] for n in order])
    notes = notes_of(places[order[0]], found[order[0]], with_optimizer=True)
    series = Series(tuple(members), chosen, notes, _described(made), tuple(said), key, known)
    return _without_doubles(series)


def _described(model: Any) -> Mapping[str, str]:
    if model is None:
        return {"class": "", "text": ""}
    from recorder.trainer.session import describe_model

    return describe_model(model)


def _differences(
    chosen: Chosen,
    first: Mapping[str, Tensor],
    known: set[str],
    tensors: Mapping[str, Tensor],
    *,
    is_strict: bool,
    prefix: str,
) -> str:
    """Return how a checkpoint differs from the first one; "" if it does not."""
    missing = [name for name in chosen.tensors if name not in tensors]
    other = [
        f"{name} {first[name].dtype} {list(first[name].shape)} → {tensors[name].dtype} {list(tensors[name].shape)}"
        for name in chosen.tensors
        if name in tensors and tensors[name] != first[name]
    ]
    more = [
        name
        for name, tensor in tensors.items()
        if is_strict and name not in first and name not in known and name.startswith(prefix) and "float" in tensor.dtype
    ]
    parts = [
        f"{word} {listing(names, _MOST_NAMED)}"
        for word, names in (("lacks", missing), ("also has", more), ("differs in", other))
        if names
    ]
    return ", ".join(parts)


def _settings_that_differ(found: Sequence[Notes]) -> list[str]:
    names = [
        name
        for name, value in found[0].hyperparameters.items()
        if any(name in one.hyperparameters and one.hyperparameters[name] != value for one in found[1:])
    ]
    return [f"hyperparameters that differ between files are taken from the first: {listing(names)}"] if names else []


def _without_doubles(series: Series) -> Series:
    """Drop a checkpoint that is equal to another one at its step, as Lightning's `last.ckpt` may be.

    Raises
    ------
    CheckpointError
        Two checkpoints of one step differ.
    """
    kept: list[Member] = []
    dropped: list[str] = []
    for member in series.members:
        if kept and kept[-1].step == member.step:
            frames = zip(series.frame(kept[-1]), series.frame(member), strict=True)
            if not all(one.tobytes() == other.tobytes() for one, other in frames):
                raise CheckpointError(
                    f"{member.place.label}: expected one checkpoint at step {member.step:,}, but "
                    f"{kept[-1].place.label} is also at that step, and differs. Leave one out, or say where the step "
                    r"stands: --step-pattern 'ckpt_(\d+)'"
                )
            dropped.append(f"{member.place.label} (as {kept[-1].place.label})")
        else:
            kept.append(member)
    if len(kept) < 2:
        raise _too_few(series.members[0].place.label, len(kept))
    said = [f"the same weights, taken once: {listing(dropped, _MOST_NAMED)}"] if dropped else []
    return Series(
        tuple(kept), series.chosen, series.notes, series.model, (*series.said, *said), series.key, series.formats
    )


def _too_few(label: str, count: int) -> CheckpointError:
    return CheckpointError(
        f"{label}: expected at least two checkpoints, got {count}. A velocity is the difference of two. Name more "
        "files, or their folder."
    )


def describe(series: Series, most: int = 12) -> list[str]:
    """Return lines that show which file becomes which frame."""
    steps, parts = series.steps, stretches_of(series.steps)
    if len(parts) == 1:
        spacing = f"every {parts[0].stride:,}" if parts[0].stride > 1 else "every step"
    else:
        begins = [0, *(steps[part.first_frame - 1] for part in parts[1:])]
        begins[0] = steps[0]
        ends = [*begins[1:], steps[-1]]
        shown = [
            f"{low:,} to {high:,} every {part.stride:,}" for low, high, part in zip(begins, ends, parts, strict=True)
        ]
        spacing = f"in {len(parts)} stretches of equal spacing: {listing(shown, 6)}"
    weights = sum(parameter.elements for parameter in series.schema.parameters)
    lines = [
        f"{len(steps):,} checkpoints, steps {steps[0]:,} to {steps[-1]:,}, {spacing}",
        f"{len(series.schema.parameters):,} parameters, {weights:,} weights",
    ]
    width = len(f"{steps[-1]:,}")
    shown = [f"  step {member.step:>{width},}  {member.place.label}" for member in series.members]
    return [*lines, *(shown if len(shown) <= most else [*shown[: most - 4], "  …", *shown[-3:]])]


def total_bytes(series: Series) -> int:
    """Return the bytes of all frames, before compression."""
    return len(series.members) * series.schema.stored_frame_bytes
