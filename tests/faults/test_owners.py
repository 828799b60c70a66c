"""Several processes that want one store: recovery beside a living trainer, copies, other machines, the end of a job."""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import textwrap
import time

import numpy as np
import pytest

from recorder import Recorder
from recorder.errors import StoreLockedError
from recorder.files import replace_file
from recorder.trainer import process as process_module
from recorder.writer import ownership
from recorder.writer import store as writing
from recorder.writer.recovery import recover
from tests.faults.checks import assert_nothing_is_missing, recover_when_free, spools_of, wait_for_the_spool_to_go
from tests.faults.trainers import Trainer, every_round, make_model, wait_for_status
from tests.patience import PATIENCE, wait_until
from tests.recorder.runs import Scripted, assert_frames_are_scripted, open_tree, read_array

OF_A_JOBS_END = [getattr(signal, f"SIG{name}") for name in ("TERM", "HUP", "INT", "QUIT", "USR1", "USR2", "XCPU")]


def killed(trainer: Trainer) -> int:
    """Kill a trainer and its writer at once; return the last step that it had returned from."""
    os.kill(trainer.pid, signal.SIGSTOP)
    os.kill(trainer.writer(), signal.SIGKILL)
    return trainer.kill()


@every_round
def test_recover_leaves_a_living_trainer_its_spool(tmp_path, chance, round_):
    """The writer was killed, the trainer is between two steps: it will start another one."""
    store = tmp_path / "run.zarr"
    trainer = Trainer(store, pause=0.0005)
    trainer.wait_for_an_instant(chance)
    os.kill(trainer.pid, signal.SIGSTOP)
    os.kill(trainer.writer(), signal.SIGKILL)
    with pytest.raises(StoreLockedError, match=rf"\(process {trainer.pid}\) lives|another recorder is writing it"):
        recover(store)
    os.kill(trainer.pid, signal.SIGCONT)
    trainer.wait_for_step(trainer.returned + 100)
    returned = trainer.kill(signal.SIGTERM)
    wait_for_status(store, "interrupted")
    wait_for_the_spool_to_go(store)
    assert_nothing_is_missing(store, returned)


@every_round
def test_a_copy_of_a_store_that_is_written_leaves_the_original_alone(tmp_path, chance, round_):
    store, copy = tmp_path / "run.zarr", tmp_path / "copy.zarr"
    trainer = Trainer(store, pause=0.0005)
    trainer.wait_for_an_instant(chance)
    shutil.copytree(store, copy, ignore=shutil.ignore_patterns(".*.tmp"))
    result = recover(copy)
    assert "this store is a copy of it: they stay there" in result.messages[0]
    assert open_tree(copy).attrs["status"] == "interrupted"
    copied = assert_frames_are_scripted(copy, make_model())  # each frame that the copy counts is exact
    np.testing.assert_array_equal(copied, np.arange(len(copied)))
    trainer.wait_for_step(trainer.returned + 100)
    returned = trainer.kill(signal.SIGTERM)
    wait_for_status(store, "interrupted")
    wait_for_the_spool_to_go(store)
    assert_nothing_is_missing(store, returned)


@every_round
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGUSR2], ids=lambda number: number.name)
def test_a_signal_to_the_whole_job_does_not_end_the_writer(tmp_path, chance, number, round_):
    """As schedulers end jobs: every process gets the signal at once, and is killed only half a minute later."""
    store = tmp_path / "run.zarr"
    trainer = Trainer(store)
    trainer.wait_for_an_instant(chance)
    writer = trainer.writer()
    for each in chance.sample(OF_A_JOBS_END, len(OF_A_JOBS_END)):  # warnings come before the end
        os.kill(writer, each)
    os.kill(trainer.pid, number)
    os.kill(writer, number)
    trainer.wait()
    wait_for_status(store, "interrupted")
    wait_for_the_spool_to_go(store)
    assert_nothing_is_missing(store, trainer.returned)


def test_a_signal_to_a_writer_that_has_just_been_started_does_not_end_it(tmp_path, monkeypatch):
    """It has no handlers in its first instants."""
    start = subprocess.Popen

    def start_and_signal(*args, **options):
        process = start(*args, **options)
        os.kill(process.pid, signal.SIGTERM)
        return process

    monkeypatch.setattr(subprocess, "Popen", start_and_signal)
    monkeypatch.setattr(process_module, "_MOST_RESTARTS", 0)
    monkeypatch.setattr(process_module, "_RESTART_SECONDS", 0.0)
    model = make_model()
    optimizer = Scripted(model.parameters())
    with Recorder(tmp_path / "run.zarr", model, optimizer, chunk_steps=16):
        optimizer.step()
    assert read_array(tmp_path / "run.zarr", "step").tolist() == [0, 1]


@every_round
def test_a_resume_without_the_spool_says_what_is_lost(tmp_path, chance, round_, capfd):
    """The job was put on another node: the frames after the last commit stayed in the memory of the first."""
    store = tmp_path / "run.zarr"
    trainer = Trainer(store, pause=0.0005)
    trainer.wait_for_an_instant(chance)
    returned = killed(trainer)
    (spool,) = spools_of(store)
    shutil.rmtree(spool)
    committed = len(read_array(store, "step"))
    assert Trainer(store, steps=20, first=returned, mode="a").wait() == 0
    assert "is gone (another machine, or a reboot); frames after the last commit are missing" in capfd.readouterr().err
    (lost,) = open_tree(store).attrs["lost_frames"]
    assert lost["after_step"] == (committed - 1 if committed else None)
    assert lost["least"] == 0
    assert lost["most"] >= returned + 1 - committed
    assert open_tree(store).attrs["status"] == "complete"


def fail_to_lock(*args: object) -> None:
    raise OSError(errno.ENOSYS, "not implemented")


@every_round
@pytest.mark.parametrize(
    ("word", "value"), [("boot_id", "the boot of another machine"), ("pid_namespace", 1)], ids=["host", "container"]
)
def test_without_locks_a_living_run_elsewhere_is_left_alone(tmp_path, chance, word, value, round_, monkeypatch):
    """Two hosts or containers: locks fail, and process ids of the other mean nothing here. Its heartbeat does."""
    monkeypatch.setattr(writing.fcntl, "flock", fail_to_lock)
    monkeypatch.setattr(ownership, word, lambda: value)
    store = tmp_path / "run.zarr"
    trainer = Trainer(store, pause=0.0005)
    trainer.wait_for_an_instant(chance)
    with pytest.raises(StoreLockedError, match=rf"process {trainer.pid} of .* is writing it"):
        recover(store)
    returned = trainer.kill(signal.SIGTERM)
    wait_for_status(store, "interrupted")
    wait_for_the_spool_to_go(store)
    assert_nothing_is_missing(store, returned)


def test_without_locks_a_dead_run_of_another_machine_is_settled_after_a_while(tmp_path, monkeypatch):
    store = tmp_path / "run.zarr"
    trainer = Trainer(store, pause=0.0005)
    trainer.wait_for_step(100)
    returned = killed(trainer)
    monkeypatch.setattr(writing.fcntl, "flock", fail_to_lock)
    told: list[str] = []
    with monkeypatch.context() as there:
        there.setattr(ownership, "boot_id", lambda: "the boot of another machine")
        there.setattr(ownership, "DEAD_AFTER_SECONDS", 1.5)
        recover(store, told.append)
    assert told == [] or "cannot be seen from here" in told[0]
    assert_nothing_is_missing(store, returned)


def test_without_locks_a_second_recorder_is_refused(tmp_path, monkeypatch):
    """Real processes on a file system without locks: the second writer asks the first one's trainer."""
    (tmp_path / "site").mkdir()
    (tmp_path / "site/sitecustomize.py").write_text(
        textwrap.dedent(
            """
            import errno, fcntl

            def flock(*args):
                raise OSError(errno.ENOSYS, "not implemented")

            fcntl.flock = flock
            """
        )
    )
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path / 'site'}:{os.environ.get('PYTHONPATH', '')}")
    store = tmp_path / "run.zarr"
    trainer = Trainer(store, pause=0.0005)
    trainer.wait_for_step(100)
    model = make_model()
    for mode in ("a", "w"):
        second = Recorder(store, model, Scripted(model.parameters()), mode=mode)
        with pytest.raises(StoreLockedError, match=rf"\(process {trainer.pid}\) lives"):
            second.start()
    returned = trainer.kill(signal.SIGTERM)
    wait_for_status(store, "interrupted")
    wait_for_the_spool_to_go(store)
    assert_nothing_is_missing(store, returned)


@every_round
def test_a_second_recorder_in_another_container_is_refused(tmp_path, chance, round_):
    """A real namespace of process ids, where the first trainer's id belongs to nobody or to another process."""
    container = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child"]
    if not shutil.which("unshare") or subprocess.run([*container, "true"], capture_output=True, check=False).returncode:
        pytest.skip("no namespaces of process ids are allowed here")
    store = tmp_path / "run.zarr"
    trainer = Trainer(store, pause=0.0005)
    trainer.wait_for_an_instant(chance)
    code = """
import sys
from torch.nn import Linear, Sequential
from recorder import Recorder
Recorder(sys.argv[1], Sequential(Linear(6, 5), Linear(5, 3)), mode=sys.argv[2]).start()
"""  # the model of `make_model`, whose module loads much more
    command = [*container, sys.executable, "-c", code, str(store), chance.choice(["a", "w"])]
    second = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert "StoreLockedError" in second.stderr
    returned = trainer.kill(signal.SIGTERM)
    wait_for_status(store, "interrupted")
    wait_for_the_spool_to_go(store)
    assert_nothing_is_missing(store, returned)


def test_a_writer_whose_store_was_taken_stops_and_says_so(tmp_path):
    """Nothing held the other one off: at the next commit this writer finds the other's document, and leaves it."""
    model = make_model()
    optimizer = Scripted(model.parameters())
    store = tmp_path / "run.zarr"
    recorder = Recorder(store, model, optimizer, chunk_steps=16)
    recorder.start()
    root = json.loads((store / "zarr.json").read_text())
    root["attributes"]["recording"]["session"] = "f" * 32
    taken = json.dumps(root).encode()
    replace_file(store / "zarr.json", taken)
    deadline = time.monotonic() + PATIENCE
    with pytest.raises(StoreLockedError, match=r"another recorder has published there.*stay in the spool"), recorder:
        while time.monotonic() < deadline:
            optimizer.step()
            time.sleep(0.001)
    assert (store / "zarr.json").read_bytes() == taken
    for spool in spools_of(store):
        shutil.rmtree(spool)


def test_a_store_that_is_moved_while_it_is_written_is_recovered_where_it_is(tmp_path, capfd):
    """Nothing is made anew at its old place, and the frames that were not committed are found from the new one."""
    store, moved = tmp_path / "run.zarr", tmp_path / "moved.zarr"
    trainer = Trainer(store, steps=20_000, pause=0.0005)
    trainer.wait_for_step(100)
    store.rename(moved)
    assert trainer.wait() == 3
    assert "it was moved or removed. Frames not committed stay in the spool" in capfd.readouterr().err
    assert not store.exists()
    recover_when_free(moved)
    steps = assert_frames_are_scripted(moved, make_model())
    np.testing.assert_array_equal(steps, np.arange(len(steps)))
    assert len(steps) - 1 in (trainer.returned, trainer.returned + 1)


def test_after_a_reboot_only_finished_spool_files_are_taken(tmp_path, monkeypatch):
    """A spool on a disk outlives the boot; what was logged in the file being filled has no checksum yet."""
    store = tmp_path / "run.zarr"
    trainer = Trainer(store, pause=0.0005, spool=tmp_path)
    trainer.wait_for_step(40)
    os.kill(trainer.writer(), signal.SIGSTOP)
    trainer.wait_for_step(85)
    returned = killed(trainer)
    (spool,) = tmp_path.glob("thermotrace-*")
    document = json.loads((spool / "session.json").read_text())
    (spool / "session.json").write_text(json.dumps(document | {"boot_id": "the boot before"}))
    headers = [np.fromfile(path, np.int64, 4) for path in spool.glob("segment-*")]
    finished = max(int(words[0]) + (int(words[2]) & 0x7FFFFFFF) for words in headers if words[3] == 2)
    result = recover(store)
    steps = assert_frames_are_scripted(store, make_model())
    np.testing.assert_array_equal(steps, np.arange(finished))
    assert finished <= returned + 1
    assert result.messages[-1].startswith("lost: ")
    assert not spool.exists()


def test_the_spool_of_a_complete_run_goes_with_the_next_recovery(tmp_path):
    """A writer that was killed between its last commit and the end leaves a spool that holds nothing new."""
    store = tmp_path / "run.zarr"
    trainer = Trainer(store, pause=0.0005)
    trainer.wait_for_step(50)
    killed(trainer)
    root = json.loads((store / "zarr.json").read_text())
    root["attributes"]["status"] = "complete"
    replace_file(store / "zarr.json", json.dumps(root).encode())
    before = (store / "zarr.json").read_bytes()
    assert recover_when_free(store).recovered == 0
    assert spools_of(store) == []
    assert (store / "zarr.json").read_bytes() == before


def test_a_closed_recording_in_a_living_process_is_free(tmp_path):
    model = make_model()
    optimizer = Scripted(model.parameters())
    with Recorder(tmp_path / "run.zarr", model, optimizer, chunk_steps=16) as recorder:
        optimizer.step()
    with Recorder(tmp_path / "run.zarr", model, optimizer, mode="a") as recorder:
        optimizer.step()
    wait_until(lambda: recorder.report is not None, "no report")
    assert read_array(tmp_path / "run.zarr", "step").tolist() == [0, 1, 2]
