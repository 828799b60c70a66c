"""New stores that appear whole or not at all: each is written in a hidden folder beside its place, then moved there."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

from recorder.errors import DiskSpaceError, StoreExistsError, StoreFormatError, StoreLockedError, UsageError
from recorder.files import sync_folder
from recorder.root import hidden_folder, read_root, whole_beside
from recorder.writer.ownership import require_free
from recorder.writer.store import lock_store
from recorder.writer.trust import empty_store, foreign_in, read_members


def check_place(store: Path, *, overwrite: bool) -> None:
    """Refuse a place where a new store may not stand, before any work is done.

    Raises
    ------
    StoreExistsError
        A store is there, and `overwrite` is false.
    StoreFormatError
        Something else is there, or in it.
    """
    if not os.path.lexists(store):
        return
    if store.is_symlink() or not store.is_dir():
        raise StoreFormatError(f"{store}: expected a new path, but something else is there. Name another path.")
    if not any(store.iterdir()):
        return
    read_root(store)
    if not overwrite:
        raise StoreExistsError(
            f"{store}: expected no store there, but one exists. It is left untouched: replace it (--overwrite), or "
            "name another path.",
            store=store,
        )
    if foreign := foreign_in(store, read_members(store).levels):
        raise StoreFormatError(
            f"{store}: expected nothing but the store there, but it also holds {foreign!r}. Nothing was "
            "removed: move it away, or name another path."
        )


@contextlib.contextmanager
def fresh_store(store: Path, *, overwrite: bool, tell: Callable[[str], None] = lambda _: None) -> Iterator[Path]:
    """Give an empty folder for a new store. It is moved to the store's place at the end, and removed after an error.

    A process that is killed leaves a hidden folder, `.NAME.new`, which the next call removes. An existing store stays
    whole until the new one is. If a process dies between the two, `finish_replacement` goes on.

    Parameters
    ----------
    store : Path
    overwrite : bool
        Whether a store that is there is replaced.
    tell : callable
        Takes a sentence on what is waited for.

    Raises
    ------
    StoreExistsError, StoreFormatError, StoreLockedError, DiskSpaceError
    """
    check_place(store, overwrite=overwrite)
    try:
        store.parent.mkdir(parents=True, exist_ok=True)
        folder, lock = _hidden(store)
    except OSError as error:
        if isinstance(error, StoreLockedError):
            raise
        raise UsageError(
            f"{store}: expected a folder that can be written beside it, got: {error.strerror or error}. Name another "
            "path."
        ) from error
    is_placed = False
    try:
        yield folder
        _take_place(folder, store, overwrite, tell)
        is_placed = True
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise DiskSpaceError(
                f"{store}: expected room for the new store, but the disk is full. Nothing was left behind: free some "
                "room, or name a path on another disk."
            ) from error
        raise
    finally:
        if not is_placed:
            shutil.rmtree(folder, ignore_errors=True)
        os.close(lock)


def _hidden(store: Path) -> tuple[Path, int]:
    """Make the hidden folder and lock it. A folder that a dead process left there is removed first."""
    folder = hidden_folder(store)
    with contextlib.suppress(FileNotFoundError):
        found = folder.lstat()
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid():
            raise UsageError(f"{folder}: expected a folder of this user or nothing there. Move it away.")
        lock = lock_store(folder)  # whoever writes it holds the lock
        try:
            shutil.rmtree(folder)
        finally:
            os.close(lock)
    folder.mkdir()
    return folder, lock_store(folder)


def finish_replacement(store: Path, tell: Callable[[str], None]) -> None:
    """Put a new store in its place, if it is whole and its process died while it replaced the old one.

    Raises
    ------
    StoreLockedError
        The process lives.
    StoreFormatError
        The folder holds something that is no part of a store. Nothing was removed.
    """
    if (folder := whole_beside(store)) is None:
        return
    lock = lock_store(folder)
    try:
        if store.exists():  # what is left of the old store: which arrays it had, nobody knows any more
            empty_store(store, frozenset(entry.name for entry in os.scandir(store) if entry.is_dir()))
        folder.replace(store)
        sync_folder(store.parent)
    finally:
        os.close(lock)
    tell(f"{store}: a process died while it replaced this store; the new store is whole and stands here now")


def _take_place(folder: Path, store: Path, overwrite: bool, tell: Callable[[str], None]) -> None:
    check_place(store, overwrite=overwrite)  # another process may have made one meanwhile
    if (store / "zarr.json").exists():
        lock = lock_store(store)
        try:
            require_free(store, tell)
            empty_store(store, read_members(store).levels)
        finally:
            os.close(lock)
    folder.replace(store)  # where nothing is, or an empty folder
    sync_folder(store.parent)
