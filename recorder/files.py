"""Small files: replaced whole, and read only where a regular file of a possible size lies."""

from __future__ import annotations

import os
import stat
from pathlib import Path

LARGEST_DOCUMENT = 1 << 30  # bytes of a JSON document; the root document of 20,000 arrays has about 20 MB


def replace_file(path: Path, data: bytes, *, durable: bool = False) -> None:
    """Replace a file at once: a reader sees the old bytes or the new ones, and never a part.

    The temporary file beside it is always made anew. What lies in its place is removed first: a file that a dead
    process left, or a link. The target of a link is never touched.

    Parameters
    ----------
    path : Path
    data : bytes
    durable : bool
        The bytes are on the disk before the file takes its name.
    """
    temporary = path.with_name(f".{path.name}.tmp")
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
    try:
        descriptor = os.open(temporary, flags, 0o644)
    except FileExistsError:
        temporary.unlink()
        descriptor = os.open(temporary, flags, 0o644)
    try:
        view = memoryview(data)
        while view:
            view = view[os.write(descriptor, view) :]
        if durable:
            os.fsync(descriptor)
    finally:
        os.close(descriptor)
    temporary.replace(path)


def sync_folder(folder: Path) -> None:
    """Wait until the entries of a folder are on the disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read_file(path: Path, most: int = LARGEST_DOCUMENT) -> bytes:
    """Return the bytes of a regular file. A link to one is followed.

    Raises
    ------
    OSError
        There is none, it has more than `most` bytes, or it is no regular file: a pipe may never answer, and a device
        never ends.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise OSError(f"{path} is no regular file")
        if found.st_size > most:
            raise OSError(f"{path} has {found.st_size:,} bytes, expected at most {most:,}")
        with open(descriptor, "rb", closefd=False) as file:
            return file.read(most)
    finally:
        os.close(descriptor)
