"""Who writes a store: the record of its owner, and how another process tells whether that owner still lives.

A lock (`flock`) ends with its process, but it is not enough. Some file systems have none, on others other machines do
not see it, and a trainer whose writer was killed holds none. So the root document also names the owner. On the owner's
own machine one can look whether its processes live: a process id together with its start time is unique until the next
boot. From elsewhere (another machine, another container) only the root document tells: a living writer renews its
heartbeat.
"""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from recorder.errors import StoreFormatError, StoreLockedError
from recorder.root import read_root
from recorder.spool_files import boot_id

DEAD_AFTER_SECONDS = 120.0  # without a new heartbeat; a writer renews it at least every 30 s
_GIVE_UP_SECONDS = 150.0
_LOOK_SECONDS = 1.0
Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Owner:
    """The processes that record into a store, as its root document names them.

    Attributes
    ----------
    host : str
    boot_id : str
        The machine's boot.
    pid_namespace : int
        Inode of the namespace in which the process ids are valid: containers have their own.
    trainer, writer : int
        Process ids.
    trainer_started, writer_started : int
        Clock ticks from boot to the start of each process; 0 where unknown.
    store : str
        Absolute path of the store, as the writer names it.
    inode : int
        Inode of the store's folder: a copy has another.
    """

    host: str
    boot_id: str
    pid_namespace: int
    trainer: int
    trainer_started: int
    writer: int
    writer_started: int
    store: str
    inode: int

    def document(self) -> dict[str, Any]:
        return asdict(self)

    @property
    def is_here(self) -> bool:
        """Whether the process ids are valid for this process."""
        return (self.boot_id, self.pid_namespace) == (boot_id(), pid_namespace())

    def owns(self, store: Path) -> bool:
        """Tell whether the record is of the store at this path. In a copy, it is of the original."""
        return self.inode == store.stat().st_ino or self.store == str(store)


def this_owner(store: Path, trainer: int) -> Owner:
    """Return the record of this process as the writer of a store. `trainer` is the trainer's process id."""
    writer = os.getpid()
    return Owner(
        host=socket.gethostname(),
        boot_id=boot_id(),
        pid_namespace=pid_namespace(),
        trainer=trainer,
        trainer_started=started(trainer) or 0,
        writer=writer,
        writer_started=started(writer) or 0,
        store=str(store),
        inode=store.stat().st_ino,
    )


def owner_of(recording: Mapping[str, Any]) -> Owner | None:
    """Return the owner that the root attribute `recording` names; None if there is none, or it is damaged."""
    claim = recording.get("owner")
    if not isinstance(claim, Mapping):
        return None
    values = {field.name: claim.get(field.name) for field in fields(Owner)}
    known = all(type(value).__name__ == field.type for field, value in zip(fields(Owner), values.values(), strict=True))
    return Owner(**values) if known else None  # type: ignore[arg-type]


def pid_namespace() -> int:
    try:
        return Path("/proc/self/ns/pid").stat().st_ino
    except OSError:
        return 0


def started(process: int) -> int | None:
    """Return the start time of a process in clock ticks from boot; None if it does not run, or is a zombie.

    It is 0 if the process is hidden from this user.
    """
    try:
        words = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
        return None if words[0] in "ZX" else int(words[19])
    except (OSError, IndexError, ValueError):
        return 0 if _is_hidden(process) else None


def _is_hidden(process: int) -> bool:
    try:
        os.kill(process, 0)
    except PermissionError:
        return True
    except (OSError, OverflowError):
        return False
    return not Path("/proc/self/stat").exists()


def lives(process: int, start: int) -> bool:
    """Tell whether the process with this id and start time still runs. If a start time is unknown, the id decides."""
    now = started(process)
    return now is not None and (now == start or 0 in (now, start))


def is_copy(store: Path, recording: Mapping[str, Any]) -> bool:
    """Tell whether the store is a copy of the one that its owner writes or wrote."""
    owner = owner_of(recording)
    return owner is not None and not owner.owns(store)


def trainer_lives(recording: Mapping[str, Any]) -> bool:
    """Tell whether the trainer that a store names runs on this machine."""
    owner = owner_of(recording)
    return owner is not None and owner.is_here and lives(owner.trainer, owner.trainer_started)


def wait_for_lock(store: Path, lock: Callable[[Path], int], trainer: int, tell: Tell) -> int:
    """Take the store's lock. Wait for a writer that drains after its trainer's death, but not for a run that goes on.

    Parameters
    ----------
    store : Path
    lock : callable
        Takes the lock, or raises `StoreLockedError`.
    trainer : int
        Process id of the trainer that asks. A lock that belongs to itself is not waited for.
    tell : callable
        Takes a sentence on what is waited for.

    Returns
    -------
    int
        The lock's file descriptor.

    Raises
    ------
    StoreLockedError
    """
    told = False
    while True:
        try:
            return lock(store)
        except StoreLockedError:
            owner = _owner(store)
            if owner is None or not owner.is_here or owner.trainer == trainer:
                raise
            if lives(owner.trainer, owner.trainer_started):
                raise
        if not told:
            tell(_draining(store, owner))
            told = True
        time.sleep(0.2)


def require_free(store: Path, tell: Tell, *, has_left: Callable[[], bool] = lambda: False) -> None:
    """Refuse a store whose owner lives. The caller holds the lock, as far as the file system has one.

    Parameters
    ----------
    store : Path
    tell : callable
        Takes a sentence on what is waited for.
    has_left : callable
        Tells whether the owner's trainer has let go of the recording, although its process lives.

    Raises
    ------
    StoreLockedError
    """
    attributes = read_root(store)
    recording = attributes.get("recording")
    if attributes.get("status") != "running" or not isinstance(recording, Mapping):
        return
    owner = owner_of(recording)
    # From another machine it may be the original too: sshfs gives it another inode and another path.
    if owner is not None and owner.is_here and not owner.owns(store):
        return  # a copy: nobody writes here
    if owner is not None and owner.is_here:
        _require_dead(store, owner, tell, has_left)
    elif owner is not None or not _has_died_here(recording):
        _wait_for_a_heartbeat(store, owner, tell)


def _has_died_here(recording: Mapping[str, Any]) -> bool:
    """Tell whether a store of an earlier version names a trainer of this boot that no longer runs."""
    trainer = recording.get("trainer")
    return recording.get("boot_id") == boot_id() and type(trainer) is int and started(trainer) is None


def _require_dead(store: Path, owner: Owner, tell: Tell, has_left: Callable[[], bool]) -> None:
    if lives(owner.trainer, owner.trainer_started) and not has_left():
        raise StoreLockedError(
            f"{store}: expected to be its only writer, but the training that records into it (process {owner.trainer}) "
            "lives. It will start its writer again. Let it close, or end it first.",
            process=owner.trainer,
        )
    deadline, seen = time.monotonic() + _GIVE_UP_SECONDS, _stamp(store)
    told = False
    while owner.writer != os.getpid() and lives(owner.writer, owner.writer_started):
        if not told:
            tell(_draining(store, owner))
            told = True
        if (stamp := _stamp(store)) != seen:
            deadline, seen = time.monotonic() + _GIVE_UP_SECONDS, stamp
        if time.monotonic() > deadline:
            raise StoreLockedError(
                f"{store}: expected to be its only writer, but the writer of an earlier recording (process "
                f"{owner.writer}) makes no progress and does not end. End it, then try again: no committed frame is "
                "lost.",
                process=owner.writer,
            )
        time.sleep(0.2)


def _draining(store: Path, owner: Owner) -> str:
    return (
        f"{store}: the writer of an earlier recording (process {owner.writer}) still drains its spool; waiting for it"
    )


def _wait_for_a_heartbeat(store: Path, owner: Owner | None, tell: Tell) -> None:
    """Watch a store whose owner is elsewhere. It is dead if its root document does not change for two minutes.

    The age of the document, by the file system's own clock, counts: a run that died long ago is not waited for.
    """
    who = "another recorder" if owner is None else f"process {owner.trainer} of {owner.host}"
    first, waited = _stamp(store), age(store / "zarr.json")
    deadline = time.monotonic() + max(0.0, DEAD_AFTER_SECONDS - waited)
    if waited < DEAD_AFTER_SECONDS:
        tell(
            f"{store}: {who} wrote it {waited:.0f} s ago, and cannot be seen from here. Waiting up to "
            f"{DEAD_AFTER_SECONDS - waited:.0f} s for its heartbeat"
        )
    while True:
        if _stamp(store) != first:
            raise StoreLockedError(
                f"{store}: expected to be its only writer, but {who} is writing it. Wait until it has closed, or "
                "record into another store."
            )
        if time.monotonic() >= deadline:
            return
        time.sleep(min(_LOOK_SECONDS, max(0.01, deadline - time.monotonic())))


def age(path: Path) -> float:
    """Return the seconds since a file changed, by the clock of its file system; 0 if that cannot be found out."""
    probe = path.with_name(f".clock-{os.getpid()}")
    try:
        with contextlib.suppress(FileNotFoundError):
            probe.unlink()
        os.close(os.open(probe, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600))
        now = probe.stat().st_mtime
        probe.unlink()
        return max(0.0, now - path.stat().st_mtime)
    except OSError:
        return 0.0


def _owner(store: Path) -> Owner | None:
    with contextlib.suppress(StoreFormatError, AttributeError):
        return owner_of(read_root(store).get("recording", {}))
    return None


def _stamp(store: Path) -> tuple[int, int, int]:
    """Return what tells publications apart: each one is a new file."""
    found = (store / "zarr.json").stat()
    return found.st_ino, found.st_mtime_ns, found.st_size
