"""Temporary files beside their targets, which nobody can foretell or plant a link for."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable
from pathlib import Path


def temporary_file(target: Path) -> Path:
    """Create an empty file beside `target`, with the same suffix; the caller renames it to `target` or deletes it.

    In a folder that others may write to, a name that they can foretell may be a link of theirs to a file of this
    user. So the name is random, and the file is created only where there is nothing, not even a link. Its permissions
    are those of every new file, by the umask.

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
    """Create something beside `target` under a random hidden name; returns its path.

    The name does not hold the target's, which may be as long as a name can be.
    """
    while True:
        part = target.with_name(f".{secrets.token_hex(8)}.part{target.suffix}")
        try:
            create(part)
        except FileExistsError:
            continue
        return part
