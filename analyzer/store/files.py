"""Temporary files beside their targets, under names that nobody can guess."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable
from pathlib import Path


def temporary_file(target: Path) -> Path:
    """Create an empty file beside `target`, with the same suffix; the caller renames it to `target` or deletes it.

    In a folder that others may write to, they could place a link to a file of this user under a name that they can
    guess. So the name is random, and the file is created only where nothing has that name, not even a link. Its
    permissions follow the umask, as those of every new file.

    Raises
    ------
    OSError
        No file can be created there.
    """
    return _created(target, _create_file)


def temporary_folder(target: Path) -> Path:
    """Create an empty folder beside `target`, in the same way as `temporary_file`.

    Raises
    ------
    OSError
        No folder can be created there.
    """
    return _created(target, Path.mkdir)


def _create_file(path: Path) -> None:
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666))


def _created(target: Path, create: Callable[[Path], None]) -> Path:
    """Call `create` with a random hidden path beside `target` until it succeeds; return the path.

    The target's name is no part of it, since that may be as long as a name can be.
    """
    while True:
        part = target.with_name(f".{secrets.token_hex(8)}.part{target.suffix}")
        try:
            create(part)
        except FileExistsError:
            continue
        return part
