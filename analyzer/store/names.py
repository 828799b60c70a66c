"""Names and paths: which ones a store may hold, and which ones a user means. `recorder/FORMAT.md` is normative."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

_HALF = re.compile("[\ud800-\udfff]")
"""Half of a surrogate pair. JSON can write it alone; UTF-8 cannot."""
_OF_OTHERS = {"val", "valid", "validation", "eval", "evaluation", "dev", "test"}
"""Words in the name of a loss that say it is not the training's."""
_LONGEST_PART = 255
"""Bytes of one level of a path: no file system holds more."""


def is_url(location: str) -> bool:
    """Whether a location is a URL, which fsspec opens, and not a path."""
    return "://" in location


def user_path(path: str | os.PathLike[str]) -> str:
    """Return the path or URL that a user means: `~` at the start of a path is the home.

    Examples
    --------
    >>> user_path("s3://bucket/run.zarr")
    's3://bucket/run.zarr'
    """
    location = os.fspath(path)
    return location if is_url(location) else os.path.expanduser(location)  # noqa: PTH111  (a path of any kind stays as it is)


def named(path: Path) -> Path:
    """Return the same folder by a path that ends in its name, as "." and ".." do not."""
    return path.resolve() if path.name in ("", "..") else path


def is_path(path: str) -> bool:
    """Whether the path of an array names a place within its store, on any file system."""
    return "\0" not in path and all(
        part.strip(".") and _HALF.search(part) is None and len(part.encode()) <= _LONGEST_PART
        for part in path.split("/")
    )


def scalar_name(path: str, attributes: object) -> str:
    """Return the name under which a scalar was logged: the attribute `name` where its path is an encoded form of it."""
    name = attributes.get("name") if isinstance(attributes, Mapping) else None
    return name if isinstance(name, str) and name else path


def titles_of(labels: Iterable[object]) -> list[str]:
    """Names of layers or groups to show. The empty one becomes "model", or "model itself" if a layer is "model"."""
    names = [str(label) for label in labels]
    whole = "model" if "model" not in names else "model itself"
    return [name or whole for name in names]


def loss_of(names: Iterable[str]) -> str | None:
    """The training's loss among logged names: "loss", else "train/loss", "train_loss" and the like; None without one.

    Examples
    --------
    >>> loss_of(["epoch", "val/loss", "train/loss"])
    'train/loss'
    """
    words = {name: [word for word in re.split("[^a-z]+", name.lower()) if word] for name in names}
    found = [name for name, parts in words.items() if parts[-1:] == ["loss"] and not _OF_OTHERS & set(parts)]
    return min(found, key=lambda name: (name != "loss", len(words[name])), default=None)


def variable_names(scalars: Mapping[str, str], taken: Sequence[str]) -> dict[str, str]:
    """Return the variables of a tree that hold logged scalars, by path.

    A variable has the scalar's own name. It has the path instead where a tree cannot hold the name (it reads a slash
    and dots as a path), or where something else has that name.

    Parameters
    ----------
    scalars
        Names of scalars, by path.
    taken
        Names of other variables and dimensions.
    """
    names = list(scalars.values())
    unfit = {name for name in names if "/" in name or name in (".", "..") or names.count(name) > 1}
    unfit |= {name for path, name in scalars.items() if name != path and (name in scalars or name in taken)}
    return {path: path if name in unfit else name for path, name in scalars.items()}


def without_halves(value: Any) -> Any:
    r"""Return a decoded document with escapes such as "\\udce9" in place of half surrogate pairs."""
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode() if _HALF.search(value) else value
    if isinstance(value, dict):
        return {without_halves(key): without_halves(item) for key, item in value.items()}
    return [without_halves(item) for item in value] if isinstance(value, list) else value
