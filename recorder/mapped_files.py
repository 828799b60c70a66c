"""Files that two processes map: made at their full size, and mapped only if they have it."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Any

import numpy as np

from recorder.errors import UsageError


def preallocate(path: Path, size: int) -> None:
    """Make a file whose bytes are all there, and zero."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        os.posix_fallocate(descriptor, 0, size)  # a hole on a full disk would be a SIGBUS in the trainer
    finally:
        os.close(descriptor)


def mapped(path: Path, size: int, *, exactly: bool = True) -> np.memmap[Any, np.dtype[np.uint8]]:
    """Map a file of a spool, if it is a regular file of at least this size, or exactly this size.

    Raises
    ------
    OSError
        There is none.
    UsageError
        Its size is another, or something else lies there. A mapping past the end of a truncated file would be a SIGBUS
        at the first touch.
    """
    found = path.lstat()
    fits = found.st_size == size if exactly else found.st_size >= size and not found.st_size % 8
    if not stat.S_ISREG(found.st_mode) or not fits:
        raise UsageError(
            f"spool file {path.name}: expected a file of {size} bytes, got {found.st_size}: it is damaged."
        )
    return np.memmap(path, dtype=np.uint8, mode="r+")
