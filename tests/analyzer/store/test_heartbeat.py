"""Whether a run is still written: by the processes that it names, and by its heartbeat."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from analyzer.store.heartbeat import PROCESSES, abandoned, ended_processes
from analyzer.store.schema import Store, read_store
from recorder.writer.ownership import this_owner
from tests.stores import edit_root


@pytest.fixture
def written(make: Callable[..., Path]) -> Callable[..., Store]:
    """A running store whose owner has other members than this process would give it."""
    path = make(status="running")

    def store(**owner: Any) -> Store:
        recording = {"owner": this_owner(path, os.getpid()).document() | owner}
        beat = datetime.now(UTC).isoformat()
        edit_root(path, lambda root: root["attributes"].update(heartbeat=beat, recording=recording))
        return read_store(path)

    return store


@pytest.fixture
def ended() -> int:
    """The id of a process that has ended."""
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        process.wait()
    return process.pid


def test_processes_that_run_have_not_ended(written: Callable[..., Store]) -> None:
    assert ended_processes(written()) == ()
    assert ended_processes(written(trainer_started=0)) == (), "a start that nobody knows"
    assert abandoned(written()) is None


def test_processes_that_ended_are_named(written: Callable[..., Store], ended: int) -> None:
    assert ended_processes(written(writer=ended)) == ("writer",)
    assert ended_processes(written(trainer=ended)) == ("trainer",)
    store = written(trainer=ended, writer=ended)
    assert ended_processes(store) == PROCESSES
    assert abandoned(store) == "the processes of its trainer and its writer have ended"


def test_another_process_of_the_same_id_is_another(written: Callable[..., Store]) -> None:
    assert ended_processes(written(trainer_started=1)) == ("trainer",)


@pytest.mark.parametrize(
    "owner",
    [{"boot_id": "another"}, {"pid_namespace": 1}, {"trainer": "7", "writer": None}, {"trainer_started": "x"}],
)
def test_what_this_machine_cannot_tell_it_does_not_say(
    written: Callable[..., Store], ended: int, owner: dict[str, Any]
) -> None:
    assert ended_processes(written(**{"trainer": ended, "writer": os.getpid()} | owner)) == ()


def test_a_zombie_has_ended(written: Callable[..., Store]) -> None:
    process = subprocess.Popen([sys.executable, "-c", ""], stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.read()  # it has ended, and nobody has waited for it
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    assert ended_processes(written(trainer=process.pid)) == ("trainer",)
    process.wait()
    process.stdout.close()
