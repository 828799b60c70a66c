"""Where the spool goes: into shared memory if there is room, else to a local disk, never to a network file system."""

from __future__ import annotations

import hashlib
import os
import tempfile
from pathlib import Path

from recorder.budget import format_bytes
from recorder.errors import SpoolSpaceError

SHARED_MEMORY = Path("/dev/shm")
_NETWORK = {
    "nfs",
    "nfs4",
    "cifs",
    "smb3",
    "9p",
    "afs",
    "lustre",
    "gpfs",
    "ceph",
    "beegfs",
    "glusterfs",
    "fuse.sshfs",
    "fuse.glusterfs",
}


def place_spool(store: Path, session: str, pool_bytes: int, spool: str | os.PathLike[str] | None) -> Path:
    """Choose the folder for a session's spool, without making it.

    Parameters
    ----------
    store : Path
    session : str
    pool_bytes : int
    spool : path, optional
        The user's choice of a parent folder.

    Returns
    -------
    Path
        No other session chooses the same.

    Raises
    ------
    SpoolSpaceError
        No local place has room.
    """
    digest = hashlib.sha256(os.fsencode(store)).hexdigest()[:8]
    name = f"thermotrace-{digest}-{session[:8]}"
    if spool is not None:
        return Path(spool).absolute() / name
    # Twice the pool: the training's data loaders use /dev/shm too, and die when it is full.
    if SHARED_MEMORY.is_dir() and _usable_bytes(SHARED_MEMORY) >= 2 * pool_bytes:
        return SHARED_MEMORY / name
    for parent in (store.parent, Path(tempfile.gettempdir())):
        if not is_network(parent) and _usable_bytes(parent) >= pool_bytes:
            return parent / f"{store.name}.{name}"
    raise SpoolSpaceError(
        f"spool: expected {format_bytes(2 * pool_bytes)} free in {SHARED_MEMORY} or {format_bytes(pool_bytes)} on a "
        "local disk beside the store, found neither. Name a local folder (spool=DIR), or make the pool smaller "
        "(spool_limit='1GiB')."
    )


def free_bytes(path: Path) -> int:
    """Return the free bytes on the file system of a path, or of its nearest parent that exists; 0 if none does."""
    for candidate in (path, *path.parents):
        try:
            status = os.statvfs(candidate)
        except OSError:
            continue
        return status.f_bavail * status.f_frsize
    return 0


def _usable_bytes(path: Path) -> int:
    """Return the free bytes where this user may make a folder, else 0: containers may lock their shared memory."""
    nearest = next((candidate for candidate in (path, *path.parents) if candidate.exists()), path)
    return free_bytes(nearest) if os.access(nearest, os.W_OK | os.X_OK) else 0


def is_network(path: Path, mounts: Path = Path("/proc/self/mountinfo")) -> bool:
    """Tell whether a path lies on a network file system, by the kernel's mount table."""
    try:
        lines = mounts.read_text().splitlines()
    except OSError:
        return False
    target = str(path.resolve())
    best, kind = "", ""
    for line in lines:
        fields, _, rest = line.partition(" - ")
        point = fields.split()[4].replace("\\040", " ")
        inside = target == point or target.startswith(point.rstrip("/") + "/")
        if inside and len(point) >= len(best):
            best, kind = point, rest.split()[0]
    return kind in _NETWORK
