"""Stores that are opened together: find their paths, check that they are different runs of one model, name them."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable, Mapping, Sequence
from os import PathLike, fspath
from pathlib import PurePath
from typing import Any

from analyzer.errors import SweepError
from analyzer.store.identity import settled
from analyzer.store.names import user_path
from analyzer.store.schema import Parameter, Store, is_url

Paths = str | PathLike[str] | Iterable[str | PathLike[str]]


def matching(path: str) -> list[str]:
    """Return the paths that a pattern matches, sorted by name.

    A URL and a path that exists stand for themselves, even if they hold signs such as * and [. So does an existing
    folder at the start of a pattern.
    """
    path = user_path(path)
    if is_url(path) or not glob.has_magic(path) or os.path.exists(path):  # noqa: PTH110  (a name that is too long exists nowhere; pathlib would raise)
        return [path]
    parts = path.split("/")
    known = next((n for n in range(len(parts) - 1, 0, -1) if os.path.isdir("/".join(parts[:n]))), 0)  # noqa: PTH112
    pattern = "/".join([*map(glob.escape, parts[:known]), *parts[known:]])
    return sorted(glob.glob(pattern))  # noqa: PTH207


def listed(paths: Paths) -> list[str]:
    """Return the stores that paths and patterns mean, in their order, each once."""
    given = [fspath(paths)] if isinstance(paths, (str, PathLike)) else [fspath(path) for path in paths]
    found: list[str] = []
    for path in given:
        matches = matching(path)
        if not matches:
            raise SweepError(
                f"{path}: expected at least one store that the pattern matches, got none. Quote the pattern, and check "
                f"it: ls -d {path}",
                pattern=path,
            )
        found += matches
    if not found:
        raise SweepError("Sweep: expected at least one path, got none. Give a pattern such as 'runs/*.zarr'")
    return once(found)


def once(paths: Iterable[str]) -> list[str]:
    """Return the paths without those that lead to the same store again, by a link or another spelling."""
    places: dict[str, str] = {}
    for path in paths:
        places.setdefault(_place(path), path)
    return list(places.values())


def _place(path: str) -> str:
    return path.rstrip("/") if is_url(path) else os.path.realpath(path)


def check_copies(stores: Sequence[Store]) -> None:
    """Refuse two stores of one run; the message names them. Branches of a run are different runs from a step on."""
    seen: dict[str, list[Store]] = {}
    for store in stores:
        others = seen.setdefault(store.run_id, []) if store.run_id else []
        for other in others:
            if branched_at(other.attrs, store.attrs) is None:
                raise SweepError(
                    f"Sweep: expected each run once, got the run {store.run_id} twice: {other.location} and "
                    f"{store.location}. A copy, or what was kept of a run, would count as another run. Leave one of "
                    "them out.",
                    run_id=store.run_id,
                    runs=(other.location, store.location),
                )
        others.append(store)


def branched_at(one: Mapping[Any, Any], other: Mapping[Any, Any]) -> int | None:
    """Return the step from which on two continuations of one run are different runs.

    None where they are not branches: they are copies, one is an earlier state of the other, or they share no segment.

    Parameters
    ----------
    one, other
        Root attributes of two stores with the same `run_id`.
    """
    listed = [settled(attrs.get("segments") or []) for attrs in (one, other)]
    shared = 0
    while shared < min(map(len, listed)) and listed[0][shared] == listed[1][shared]:
        shared += 1
    own = [segments[shared] for segments in listed if len(segments) > shared]
    if not shared or len(own) < 2:
        return None
    begins = [segment.get("first_step") for segment in own]
    if not all(isinstance(begin, int) for begin in begins):
        return None
    # The first velocity of a continuous segment leads from the last shared frame.
    strides = [segment.get("stride") or attrs.get("stride", 1) if segment.get("continuous") else 0
               for attrs, segment in zip((one, other), own, strict=True)]  # fmt: skip
    return max(int(begin) - int(stride) for begin, stride in zip(begins, strides, strict=True))


def check_models(stores: Sequence[Store]) -> None:
    """Refuse runs of different models; the message names two and a parameter in which they differ."""
    first = stores[0]
    known = {p.name: p for p in first.parameters}
    for other in stores[1:]:
        theirs = {p.name: p for p in other.parameters}
        odd = sorted(name for name in known | theirs if _role(known.get(name)) != _role(theirs.get(name)))
        if not odd:
            continue
        name, one, two = odd[0], known.get(odd[0]), theirs.get(odd[0])
        # The message tells the larger difference: the shape, else the place in the model.
        tell = _place_of if one and two and one.shape == two.shape else _shown
        raise SweepError(
            f"Sweep: expected runs of one model, got two: {name} is {tell(one)} in {first.location} and "
            f"{tell(two)} in {other.location}. Their groups differ. Open them separately.",
            parameter=name,
            runs=(first.location, other.location),
        )


def _role(p: Parameter | None) -> tuple[Any, ...] | None:
    """What decides a parameter's groups, except the meaning of its axes (`analyzer.comparable.check_axes`)."""
    return None if p is None else (p.shape, p.layer, p.module)


def _shown(p: Parameter | None) -> str:
    return "absent" if p is None else f"of shape {list(p.shape)}"


def _place_of(p: Parameter | None) -> str:
    assert p is not None
    return f"of layer {p.layer!r} and module {p.module!r}"


def names_of(locations: Sequence[str]) -> list[str]:
    """Return the last part of each path without its suffix, and more of the paths if that is not unique."""
    parts = [_parts(location) for location in locations]
    best: list[str] = []
    for suffixes in ((".moments", ".zarr"), ()):
        for depth in range(1, max(map(len, parts)) + 1):
            names = ["-".join(_without(part, suffixes) for part in p[-depth:]).replace("/", "_") for p in parts]
            if len(set(names)) == len(names):
                return names
            best = names if len(set(names)) > len(set(best)) else best
    # Different paths may give equal names, such as a/b-c and a-b/c. Then the later ones are numbered.
    answer: list[str] = []
    for name in best:
        number, own = 1, name
        while own in answer or (number > 1 and own in best):
            number += 1
            own = f"{name}-{number}"
        answer.append(own)
    return answer


def _parts(location: str) -> tuple[str, ...]:
    path = location.split("://")[-1] if is_url(location) else os.path.abspath(location)  # noqa: PTH100
    return PurePath(path).parts or (location,)


def _without(part: str, suffixes: Sequence[str]) -> str:
    for suffix in suffixes:
        part = part.removesuffix(suffix)
    return part
