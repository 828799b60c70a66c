"""Whether a store's owner lives: by its processes on its own machine, by its heartbeat from elsewhere."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from recorder.errors import StoreLockedError
from recorder.files import replace_file
from recorder.writer import ownership
from recorder.writer.ownership import Owner, owner_of, require_free, started, this_owner, wait_for_lock

ME = os.getpid()


def publish(store: Path, recording: dict[str, Any], status: str = "running") -> None:
    store.mkdir(exist_ok=True)
    attributes = {"format": "parameter-trajectory", "format_version": 1, "status": status, "recording": recording}
    replace_file(store / "zarr.json", json.dumps({"attributes": attributes}).encode())


@pytest.fixture
def store(tmp_path: Path) -> Path:
    publish(tmp_path / "run.zarr", {})
    return tmp_path / "run.zarr"


@pytest.fixture
def dead() -> int:
    """The id of a process that has ended."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def told_by(store: Path, **options: Any) -> list[str]:
    told: list[str] = []
    require_free(store, told.append, **options)
    return told


def test_a_living_trainer_owns_its_store_without_a_writer(store: Path, dead: int) -> None:
    owner = replace(this_owner(store, ME), writer=dead)
    publish(store, {"owner": owner.document()})
    with pytest.raises(StoreLockedError, match=rf"the training that records into it \(process {ME}\) lives"):
        require_free(store, lambda sentence: None)


def test_a_trainer_that_let_go_owns_nothing(store: Path, dead: int) -> None:
    publish(store, {"owner": replace(this_owner(store, ME), writer=dead).document()})
    assert told_by(store, has_left=lambda: True) == []


def test_a_process_id_that_was_given_again_is_another_process(store: Path, dead: int) -> None:
    owner = replace(this_owner(store, ME), writer=dead)
    publish(store, {"owner": replace(owner, trainer_started=owner.trainer_started - 1).document()})
    assert told_by(store) == []


def test_a_zombie_does_not_live() -> None:
    process = subprocess.Popen([sys.executable, "-c", ""])
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    assert started(process.pid) is None
    process.wait()


def test_a_copy_has_no_owner_and_a_store_that_was_moved_keeps_its_own(store: Path, tmp_path: Path) -> None:
    owner = this_owner(store, ME)
    publish(store, {"owner": owner.document()})
    publish(tmp_path / "copy.zarr", {"owner": owner.document()})
    assert told_by(tmp_path / "copy.zarr") == []
    store.rename(tmp_path / "moved.zarr")
    with pytest.raises(StoreLockedError):
        require_free(tmp_path / "moved.zarr", lambda sentence: None)


def test_a_closed_store_has_no_owner(store: Path) -> None:
    for status in ("complete", "interrupted"):
        publish(store, {"owner": this_owner(store, ME).document()}, status)
        assert told_by(store) == []


@pytest.fixture
def elsewhere(store: Path) -> Owner:
    """An owner on another machine whose process ids happen to be those of living processes here."""
    return replace(this_owner(store, ME), host="node7", boot_id="another boot")


def test_an_owner_elsewhere_that_renews_its_heartbeat_lives(store: Path, elsewhere: Owner) -> None:
    publish(store, {"owner": elsewhere.document()})
    with pytest.raises(StoreLockedError, match=f"process {ME} of node7 is writing it"):
        require_free(store, lambda sentence: publish(store, {"owner": elsewhere.document()}))


@pytest.mark.parametrize("kind", ["another machine", "another container", "unknown"])
def test_an_owner_elsewhere_without_a_heartbeat_is_dead_after_a_while(
    store: Path, elsewhere: Owner, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ownership, "DEAD_AFTER_SECONDS", 0.2)
    container = replace(this_owner(store, ME), pid_namespace=1)
    documents = {"another machine": elsewhere.document(), "another container": container.document(), "unknown": [7]}
    publish(store, {"owner": documents[kind]})
    (told,) = told_by(store)
    assert "cannot be seen from here. Waiting up to" in told


def test_what_looks_like_a_copy_of_a_run_elsewhere_is_watched_as_well(store: Path, elsewhere: Owner) -> None:
    """Mounted by sshfs, the store itself has another path and another inode."""
    mounted = replace(elsewhere, store="/scratch/run.zarr", inode=elsewhere.inode + 1)
    publish(store, {"owner": mounted.document()})
    with pytest.raises(StoreLockedError, match=f"process {ME} of node7 is writing it"):
        require_free(store, lambda sentence: publish(store, {"owner": mounted.document()}))


def test_a_run_that_died_long_ago_is_not_waited_for(store: Path, elsewhere: Owner) -> None:
    publish(store, {"owner": elsewhere.document()})
    os.utime(store / "zarr.json", (0, store.stat().st_mtime - 121))
    assert told_by(store) == []
    assert sorted(path.name for path in store.iterdir()) == ["zarr.json"], "the look at the clock leaves nothing"


def test_a_store_of_an_earlier_version_names_its_trainer_only(store: Path, dead: int) -> None:
    publish(store, {"trainer": dead, "boot_id": ownership.boot_id()})
    assert told_by(store) == []


def test_a_lock_is_waited_for_only_while_its_holder_drains(store: Path, dead: int) -> None:
    attempts: list[int] = []

    def lock(path: Path) -> int:
        attempts.append(1)
        if len(attempts) < 3:
            raise StoreLockedError("held")
        return 5

    told: list[str] = []
    publish(store, {"owner": replace(this_owner(store, dead), trainer_started=1).document()})
    assert wait_for_lock(store, lock, ME, told.append) == 5
    assert len(told) == 1
    assert "still drains its spool" in told[0]
    for owner in (this_owner(store, os.getppid()), replace(this_owner(store, dead), pid_namespace=1)):
        attempts.clear()
        publish(store, {"owner": owner.document()})
        with pytest.raises(StoreLockedError, match="held"):  # a run that goes on, or one that cannot be seen
            wait_for_lock(store, lock, ME, told.append)


@pytest.mark.parametrize("claim", [None, [], "x", {}, {"host": 1}, {"trainer": True}, {"trainer": -1, "inode": "7"}])
def test_what_is_no_owner_is_none(claim: object) -> None:
    assert owner_of({"owner": claim}) is None
