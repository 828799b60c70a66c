"""A writer that dies at any instant between the search, the cut and the next commit leaves a store that is right.

The frames of a resumed session wait in its spool. A process that brings them home is killed before one of its calls
that change files, or in the middle of a write. Then the store must open and hold one of the two histories, and the next
process must finish what the dead one began.
"""

from __future__ import annotations

import mmap
import os
import shutil
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from torch import nn

from recorder import Recorder
from recorder.spool_files import COUNT
from recorder.writer.recovery import recover
from tests.faults.checks import spools_of
from tests.faults.trainers import ROUNDS
from tests.patience import wait_until
from tests.recorder.resumes import Replayed, assert_history, attributes_of, train
from tests.recorder.runs import read_array

FIRST = [(0, 0)]
CALLS = ("link", "replace", "rename", "fsync", "open", "unlink", "rmdir", "mkdir", "write")


def model_of() -> nn.Module:
    return nn.Linear(3, 2)


def in_child(work: Callable[[], object]) -> int:
    """Run in a forked process; return its wait status."""
    pid = os.fork()
    if pid == 0:
        try:
            work()
            os._exit(0)
        except BaseException:
            import traceback

            traceback.print_exc()
            os._exit(3)
    return os.waitpid(pid, 0)[1]


def die_at(call: int) -> list[int]:
    """Let this process die before its `call`-th change of a file; of a write, half is done. Return the count."""
    count, lock = [0], threading.Lock()

    def guarded(name: str, real: Callable) -> Callable:
        def run(*args, **kwargs):
            with lock:
                count[0] += 1
                if count[0] == call:
                    if name == "write":
                        real(args[0], args[1][: len(args[1]) // 2])
                    os.kill(os.getpid(), signal.SIGKILL)
                    time.sleep(60)
            return real(*args, **kwargs)

        return run

    for name in CALLS:
        setattr(os, name, guarded(name, getattr(os, name)))
    return count


def leave_a_session(store: Path, history: list[tuple[int, int]], start: int, stop: int) -> None:
    """Resume a run in a process that dies with its writer, before a frame of the session is in the store."""

    def resumed() -> None:
        optimizer = Replayed(model_of_session := model_of(), history, start)
        recorder = Recorder(store, model_of_session, optimizer, mode="a", chunk_steps=64)
        recorder.start()
        os.kill(recorder._writer._process.pid, signal.SIGKILL)
        recorder._writer.check = lambda: None  # it does not start another
        while optimizer.updates < stop:
            optimizer.step()
            recorder.log(loss=optimizer.updates + 0.001 * history[-1][1])
        assert recorder._spool.file.words[COUNT]
        os.kill(os.getpid(), signal.SIGKILL)

    assert in_child(resumed) == signal.SIGKILL


class Prepared:
    """A store and the spool of its last session, to be put back as they were before each death."""

    def __init__(self, store: Path, kept: Path) -> None:
        (spool,) = spools_of(store)
        self.pairs = [(store, kept / "store"), (spool, kept / "spool")]
        for place, copy in self.pairs:
            shutil.copytree(place, copy)

    def put_back(self) -> None:
        for place, copy in self.pairs:
            shutil.rmtree(place, ignore_errors=True)
            shutil.copytree(copy, place)


def calls_of(prepared: Prepared, store: Path) -> int:
    """Return how many changes of files a recovery makes that is not disturbed."""
    told = mmap.mmap(-1, 8)

    def counted() -> None:
        count = die_at(1 << 60)
        recover(store)
        told[:] = count[0].to_bytes(8, "little")

    prepared.put_back()
    assert in_child(counted) == 0
    return int.from_bytes(told[:], "little")


def instants(calls: int, chance) -> list[int]:
    """Return the calls to die at: the first, the last, and a few between, or as many as there are rounds."""
    return sorted({1, calls, *chance.sample(range(1, calls + 1), min(calls, max(8, ROUNDS)))})


def assert_one_of(store: Path, model: nn.Module, histories: list[tuple[list[tuple[int, int]], int]]) -> None:
    """The store holds the frames of one of some histories, from 0 on, and no more than those made."""
    steps = read_array(store, "step")
    for history, end in histories:
        if steps[-1] <= end:
            try:
                assert_history(store, model, history, range(len(steps)))
                return
            except AssertionError as error:
                failure = error
    raise failure


@pytest.mark.parametrize("case", ["older frame", "attempt", "attempt, in several publications"])
def test_a_death_at_any_instant_of_a_cut(tmp_path, chance, case, monkeypatch):
    model, store = model_of(), tmp_path / "run.zarr"
    second = [(0, 0), (71, 1)]
    train(store, model, FIRST, 0, 150, chunk_steps=64)
    if case.endswith("publications"):
        monkeypatch.setattr("recorder.writer.resuming.resume._HEARTBEAT_SECONDS", 0.0)
    if case.startswith("attempt"):
        train(store, model, second, 70, 100, chunk_steps=64)
        before, after, end = (second, 100), [(0, 0), (131, 2)], 145
        leave_a_session(store, after, 130, end)
    else:
        before, after, end = (FIRST, 150), second, 90
        leave_a_session(store, after, 70, end)
    prepared = Prepared(store, tmp_path / "kept")
    run_id, seen = attributes_of(store)["run_id"], set()
    for call in instants(calls_of(prepared, store), chance):
        prepared.put_back()
        assert in_child(lambda at=call: (die_at(at), recover(store))) == signal.SIGKILL
        # Of the attempt, all frames up to its end may be part of the run again when its process dies.
        assert_one_of(store, model, [before, (after, end)])
        seen.add(attributes_of(store)["run_id"] != run_id)
        if chance.random() < 0.5:  # the next one dies, too, if it gets that far
            in_child(lambda: (die_at(chance.randrange(1, 200)), recover(store)))
            assert_one_of(store, model, [before, (after, end)])
        result = recover(store)
        assert_history(store, model, after, range(end + 1))
        assert attributes_of(store)["status"] == "interrupted"
        kept = attributes_of(store)["attempts"]
        assert len(kept) == (2 if case.startswith("attempt") else 1)
        assert {path.name for path in (store / "attempts").iterdir()} == {
            entry["path"].rpartition("/")[2] for entry in kept
        }
        newest = store / kept[-1]["path"]
        assert_history(newest, model, before[0], range(64, before[1] + 1))
        supersedes = attributes_of(store)["segments"][-1]["supersedes"]
        assert (supersedes["first_step"], supersedes["last_step"]) == (71, before[1])
        assert result.frames == end + 1
        assert not [file for spool in spools_of(store) for file in spool.iterdir()], "an empty folder at most"
    assert seen == {False, True}, "some died before the cut was published, some after it"


def test_a_writer_that_is_killed_around_the_cut_is_started_again(tmp_path, chance):
    """In a training that goes on, up to three times in each."""
    model = model_of()
    for round_ in range(max(3, ROUNDS)):
        store = tmp_path / f"{round_}.zarr"
        train(store, model, FIRST, 0, 150, chunk_steps=16)
        history, stop = [(0, 0), (71, 1)], 400
        optimizer = Replayed(model, history, 70)
        with Recorder(store, model, optimizer, mode="a", chunk_steps=16) as recorder:
            recorder.start()
            kills = 0
            deadline = time.monotonic() + chance.random() * 0.1
            while optimizer.updates < stop:
                optimizer.step()
                recorder.log(loss=optimizer.updates + 0.001)
                # The one that was killed last is followed by another only when a spool file is handed over.
                if kills < 3 and time.monotonic() > deadline and not recorder._writer._has_ended():
                    os.kill(recorder._writer._process.pid, signal.SIGKILL)
                    wait_until(lambda: recorder._writer._has_ended(), "it lives")
                    kills, deadline = kills + 1, time.monotonic() + chance.random() * 0.8
                time.sleep(0.001)
        assert kills
        assert_history(store, model, history, range(stop + 1))
        (kept,) = attributes_of(store)["attempts"]
        assert_history(store / kept["path"], model, FIRST, range(64, 151))
        np.testing.assert_array_equal([kept["first_step"], kept["last_step"]], [71, 150])
