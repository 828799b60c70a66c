"""Temporary files beside their targets, which nobody can foretell or plant a link for."""

from __future__ import annotations

import os
import secrets
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
    while True:
        part = _beside(target)
        try:
            os.close(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666))
        except FileExistsError:
            continue
        return part


def temporary_folder(target: Path) -> Path:
    """Create an empty folder beside `target`, in the same way as `temporary_file`.

    Raises
    ------
    OSError
        No folder can be created there.
    """
    while True:
        part = _beside(target)
        try:
            part.mkdir()
        except FileExistsError:
            continue
        return part


def _beside(target: Path) -> Path:
    """A random hidden name. It does not hold the target's, which may be as long as a name can be."""
    return target.with_name(f".{secrets.token_hex(8)}.part{target.suffix}")
