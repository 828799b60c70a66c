"""Checks what stores and spools claim, before anything acts on it.

Anybody may have written a downloaded store, and anybody may make a folder in /dev/shm. So nothing is removed, written,
allocated or waited for only because a document says so (`FORMAT.md`, "Trust").
"""

from __future__ import annotations

import os
import re
import shutil
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

from recorder.errors import RecorderError, StoreFormatError
from recorder.root import read_document
from recorder.spool_files import SPOOL_FILES, Session


@dataclass(frozen=True, slots=True)
class Members:
    """The arrays of a store, from its consolidated metadata.

    Attributes
    ----------
    frames : int
    param_groups : int
    scalars : dict of str to int
        First frame of each logged scalar's array, by path.
    names : dict of str to str
        Names of the scalars whose path is not their name, by path.
    parameters : dict of str to (shape, dtype)
        Shape, and type in the model, by dotted name.
    levels : frozenset of str
        First part of every path: the folders that the store may hold.
    """

    frames: int
    param_groups: int
    scalars: dict[str, int]
    names: dict[str, str]
    parameters: dict[str, tuple[list[int], str]]
    levels: frozenset[str]


def read_members(store: Path) -> Members:
    """Read which arrays a store has.

    Raises
    ------
    StoreFormatError
        A path leads out of the store, or the document is damaged.
    """
    try:
        root = read_document(store)
        members: dict[str, Any] = root["consolidated_metadata"]["metadata"]
        for path, member in members.items():
            _check_path(store, path)
            if "shape" in member:
                _check_grid(path, member)
        attributes = {path: member.get("attributes", {}) for path, member in members.items()}
        scalars = {path: _count(own["first_frame"]) for path, own in attributes.items() if "first_frame" in own}
        if any("/" in path for path in scalars):
            raise ValueError("a logged scalar does not stand at the root")
        return Members(
            frames=_count(members["step"]["shape"][0]),
            param_groups=_count(members["learning_rate"]["shape"][1]) if "learning_rate" in members else 0,
            scalars=scalars,
            names={path: str(attributes[path]["name"]) for path in scalars if "name" in attributes[path]},
            parameters={
                str(own["name"]): ([_count(size) for size in members[path]["shape"][:-1]], str(own["original_dtype"]))
                for path, own in attributes.items()
                if path.startswith("parameters/") and "original_dtype" in own
            },
            levels=frozenset(path.split("/")[0] for path in members),
        )
    except StoreFormatError:
        raise
    except (OSError, ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError) as error:
        raise StoreFormatError(
            f"{store}: expected the metadata of its arrays in zarr.json, but it cannot be understood ({error!r}). "
            "The store is damaged: `analyzer verify` says where. Nothing was touched."
        ) from error


def _count(value: object) -> int:
    if type(value) is not int or not 0 <= value < 1 << 62:
        raise ValueError(f"{value!r} is no count")
    return value


def _check_grid(path: str, member: Mapping[str, Any]) -> None:
    """Refuse an array whose sizes contradict each other, or that has more objects than any store."""
    sizes, names = [_count(size) for size in member["shape"]], member["dimension_names"]
    pieces = [_count(piece) for piece in member["chunk_grid"]["configuration"]["chunk_shape"]]
    if not len(sizes) == len(names) == len(pieces) or names.count("step") != 1 or 0 in pieces:
        raise ValueError(f"{path} has the shape {sizes} with dimensions {names}, in chunks of {pieces}")
    if (objects := prod(-(-size // piece) for size, piece in zip(sizes, pieces, strict=True))) > _MOST_OBJECTS:
        raise ValueError(f"{path} has {objects:,} chunks")


def _check_path(store: Path, path: str) -> None:
    parts = path.split("/")
    if any(part in ("", ".", "..") or "\0" in part for part in parts) or parts[0] == "zarr.json":
        raise StoreFormatError(
            f"{store}: expected paths of arrays inside the store, but its zarr.json names {path!r}. Do not write to "
            "this store: somebody made it to overwrite other files. Nothing was touched."
        )


def refuse_links(store: Path) -> None:
    """Refuse a store in which a folder is a link: what is written there would land elsewhere.

    Raises
    ------
    StoreFormatError
    """
    for folder, names, _ in os.walk(store):
        for name in names:
            path = os.path.join(folder, name)  # noqa: PTH118 - a million chunks lie in these folders
            if os.path.islink(path):  # noqa: PTH114
                raise StoreFormatError(
                    f"{store}: expected folders of its own, but {os.path.relpath(path, store)} is a link to "
                    f"{os.readlink(path)}. What is recorded would be written there: replace the link by the folder."  # noqa: PTH115
                )


def foreign_in(store: Path, levels: frozenset[str]) -> str:
    """Return the first name in a store's folder that is no part of the store; "" if there is none.

    Parameters
    ----------
    store : Path
    levels : frozenset of str
        First level of the paths of its arrays.
    """
    return min(_foreign(store, levels | {"parameters", "attempts"}), default="")


def _foreign(store: Path, levels: frozenset[str]) -> Iterator[str]:
    """Yield what lies in a store's folder and is no part of a store: folders of no array, files of other kinds."""
    for folder, names, files in os.walk(store):
        within = Path(folder).relative_to(store).parts
        if not within:
            yield from (name for name in names if name not in levels)
            names[:] = [name for name in names if name in levels]  # the walk goes into these
        for name in files:
            path = os.path.join(folder, name)  # noqa: PTH118 - a million chunks lie in these folders
            is_chunk = "c" in within and _CHUNK.fullmatch(name) is not None
            is_link = bool(within) and os.path.islink(path)  # noqa: PTH114 - removed, and not followed
            if not (_OURS.fullmatch(name) or is_chunk or is_link):
                yield os.path.relpath(path, store)


@dataclass(frozen=True, slots=True)
class Spool:
    """The folder in which a store's recording left frames. It has passed every check.

    Attributes
    ----------
    path : Path
    session : Session
    is_of_this_boot : bool
    """

    path: Path
    session: Session
    is_of_this_boot: bool


def find_spool(store: Path, recording: Mapping[str, Any], boot: str) -> Spool | str:
    """Return the spool that a store names, or a sentence that says why none can be used.

    A spool is a folder of this user, no link, closed to others (mode 0700). Its `session.json` names the recording's
    session and this store. If no store is left at the place that the spool names, the store was moved, and the session
    alone decides.

    Raises
    ------
    StoreFormatError
        Another version of thermotrace filled the spool.
    """
    claim = recording.get("spool")
    if not isinstance(claim, str) or not claim:
        return "the store names no spool"
    path = Path(claim)
    try:
        found = path.lstat()
    except (OSError, ValueError):
        return f"the spool {claim!r} is gone (another machine, or a reboot)"
    foreign = f"the folder {claim!r} is no spool of this store and is left alone: "
    if not stat.S_ISDIR(found.st_mode) or not path.is_absolute():
        return foreign + "it is no folder"
    if found.st_uid != os.geteuid():
        return foreign + f"it belongs to another user ({found.st_uid})"
    if stat.S_IMODE(found.st_mode) & 0o077:
        return foreign + f"others may write or read it (mode {stat.S_IMODE(found.st_mode):o}, expected 700)"
    try:
        session = Session.load(path)
    except RecorderError:
        raise
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        return foreign + f"its session.json cannot be read ({error})"
    if session.session != recording.get("session"):
        return foreign + "another recording made it"
    if not _is_same_store(store, session):
        return f"the frames in {claim!r} belong to {session.store}, and this store is a copy of it: they stay there"
    return Spool(path, session, session.boot_id == boot)


def _is_same_store(store: Path, session: Session) -> bool:
    recorded = Path(session.store)
    try:
        if recorded.samefile(store):
            return True
        held = read_document(recorded)["attributes"]["recording"]["session"]
    except (OSError, ValueError, KeyError, TypeError):
        return True  # no store is there any more: this one was moved
    return bool(held != session.session)


def remove_spool(spool: Path) -> None:
    """Remove a spool's own files, and its folder if nothing else lies there. Whatever else it holds stays.

    The control file is removed first and `session.json` last. If only the first is missing, a removal was interrupted
    (`is_being_removed`), and the folder can still be recognised as a spool.
    """
    for name in sorted(os.listdir(spool), key=lambda name: (name != "control", name == "session.json", name)):  # noqa: PTH208
        if SPOOL_FILES.fullmatch(name):
            (spool / name).unlink(missing_ok=True)
    try:
        spool.rmdir()
    except OSError:
        return


_MOST_OBJECTS = 1 << 24  # of one array, as in the analyzer: nobody waits for more
_OURS = re.compile(r"zarr\.json|\.zarr\.json\.tmp|\.clock-\d+|\.DS_Store")  # the last is macOS's own
_CHUNK = re.compile(r"\d+|\.\d+\.tmp")


def is_being_removed(spool: Path) -> bool:
    """Tell whether a removal of the spool has begun. That happens only when all its frames are in the store."""
    return not (spool / "control").exists()


def remove_array(store: Path, path: str) -> None:
    """Remove the folder of an array that is no longer, or not yet, part of the store. Links are not followed."""
    folder = store / path
    if folder.is_dir() and not folder.is_symlink():
        shutil.rmtree(folder)


def empty_store(store: Path, levels: frozenset[str]) -> None:
    """Remove a store's content, its root first, so that a half-empty store never opens.

    If a document calls something an array, that is no reason to remove it: every file must be one of a store.

    Parameters
    ----------
    store : Path
    levels : frozenset of str
        First level of the paths of its arrays.

    Raises
    ------
    StoreFormatError
        The folder holds something that is no part of the store. Nothing was removed.
    """
    if foreign := foreign_in(store, levels):
        raise StoreFormatError(
            f"{store}: expected nothing but the store there, but it also holds {foreign!r}. Nothing was removed: move "
            "it away, or name another path."
        )
    (store / "zarr.json").unlink(missing_ok=True)
    for entry in list(os.scandir(store)):
        if entry.is_dir(follow_symlinks=False):
            shutil.rmtree(entry.path)  # links in it are removed, and not followed
        else:
            Path(entry.path).unlink(missing_ok=True)
