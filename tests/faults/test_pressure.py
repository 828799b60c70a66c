"""A writer that cannot keep up, and disks that are full."""

from __future__ import annotations

import os
import re
import resource
import signal
import time

import numpy as np
import pytest

import recorder.trainer.placement
import recorder.trainer.process
from recorder import Recorder
from recorder.errors import SpoolSpaceError, WriterError
from recorder.writer.recovery import recover
from tests.faults.disks import resize
from tests.faults.trainers import Trainer, make_model
from tests.recorder.runs import Scripted, assert_frames_are_scripted, open_tree, read_array


def test_a_stopped_writer_makes_training_wait_and_says_so_once(tmp_path, capfd):
    trainer = Trainer(tmp_path / "run.zarr", steps=3000)
    trainer.wait_for_step(10)
    os.kill(trainer.writer(), signal.SIGSTOP)
    stuck = -1
    while stuck != trainer.returned:  # until nothing moves any more
        stuck = trainer.returned
        time.sleep(0.5)
    assert stuck < 3000, "the pool holds 384 frames: training waits"
    os.kill(trainer.writer(), signal.SIGCONT)
    assert trainer.wait() == 0
    assert_frames_are_scripted(tmp_path / "run.zarr", make_model(), steps=np.arange(3001))
    told = capfd.readouterr().err
    assert told.count("of frames that are not written yet") == 1
    assert "so training waits" in told
    assert "has committed nothing yet and training produces" in told or "B/s and training produces" in told


def test_closing_shows_how_far_the_writer_is(tmp_path, capfd, monkeypatch):
    model = make_model()
    optimizer = Scripted(model.parameters())
    running = Recorder(tmp_path / "run.zarr", model, optimizer, chunk_steps=32)
    for _ in range(100):
        optimizer.step()
    writer = running._writer._process.pid
    os.kill(writer, signal.SIGSTOP)
    show, told = recorder.trainer.process.Waiting.show, []

    def show_and_go_on(waiting, pushed, committed):
        show(waiting, pushed, committed)
        told.append(capfd.readouterr().err)
        if "waiting for the writer:" in told[-1]:
            os.kill(writer, signal.SIGCONT)

    monkeypatch.setattr(recorder.trainer.process.Waiting, "show", show_and_go_on)
    running.close()
    assert re.search(r"waiting for the writer: \d+ of 101 frames are still to be committed", "".join(told))
    assert_frames_are_scripted(tmp_path / "run.zarr", model, steps=np.arange(101))


def test_dropped_frames_leave_a_gap_that_is_recorded(tmp_path, capfd):
    trainer = Trainer(tmp_path / "run.zarr", steps=3000, on_pressure="drop", pause=0.0005)
    trainer.wait_for_step(10)
    os.kill(trainer.writer(), signal.SIGSTOP)
    trainer.wait_for_step(1000)
    os.kill(trainer.writer(), signal.SIGCONT)
    assert trainer.wait() == 0
    steps = assert_frames_are_scripted(tmp_path / "run.zarr", make_model())
    assert open_tree(tmp_path / "run.zarr").attrs["dropped_frames"] == 3001 - len(steps)
    gaps = np.diff(steps)
    assert (gaps >= 1).all()
    assert (gaps > 1).sum() >= 1
    told = capfd.readouterr().err
    assert f"{3001 - len(steps):,} frames dropped" in told
    assert "frames are dropped, gaps recorded" in told


def test_a_full_disk_stops_the_recording_loudly_and_loses_nothing(small_disk):
    model = make_model()
    optimizer = Scripted(model.parameters())
    store = small_disk / "run.zarr"
    with (
        pytest.raises(WriterError, match=r"No space left on device.*Mend the cause.*recorder recover"),
        Recorder(store, model, optimizer, chunk_steps=32, compression="none"),
    ):
        for _ in range(20_000):
            optimizer.step()
    committed = assert_frames_are_scripted(store, model)
    assert 0 < len(committed) < optimizer.updates
    resize(small_disk, "100m")
    result = recover(store)
    assert result.recovered > 0
    steps = assert_frames_are_scripted(store, model)
    # Everything that was pushed is there: up to the step whose hand-over raised.
    np.testing.assert_array_equal(steps, np.arange(len(steps)))
    assert len(steps) in (optimizer.updates, optimizer.updates + 1)


def test_a_limit_on_file_size_is_an_error_of_the_writer_too(tmp_path):
    """What a quota does, where nothing can be mounted: the writer inherits RLIMIT_FSIZE, and fails."""
    model = make_model()
    optimizer = Scripted(model.parameters())
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    recorder = Recorder(tmp_path / "run.zarr", model, optimizer, chunk_steps=1024, compression="none")
    old = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        make_spool = recorder_spool_limit(soft, hard)
        with make_spool:
            recorder.start()
        with pytest.raises(WriterError, match=r"File too large.*Mend the cause"):
            for _ in range(20_000):
                optimizer.step()
    finally:
        signal.signal(signal.SIGXFSZ, old)
        with pytest.raises(WriterError):
            recorder.close()
    result = recover(tmp_path / "run.zarr")
    assert result.recovered > 1000
    steps = assert_frames_are_scripted(tmp_path / "run.zarr", model)
    np.testing.assert_array_equal(steps, np.arange(len(steps)))


class recorder_spool_limit:
    """Lower the limit on file sizes while the writer starts (it inherits it), after the spool's own files are made."""

    def __init__(self, soft: int, hard: int) -> None:
        self.soft, self.hard = soft, hard

    def __enter__(self) -> None:
        self.original = recorder.trainer.process.subprocess.Popen

        def limited(*args, **kwargs):
            return self.original(
                *args, **kwargs, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, self.hard))
            )

        recorder.trainer.process.subprocess.Popen = limited

    def __exit__(self, *args: object) -> None:
        recorder.trainer.process.subprocess.Popen = self.original


def test_no_room_in_shared_memory_puts_the_spool_beside_the_store(tmp_path, monkeypatch):
    """Containers often have 64 MB of /dev/shm, or none."""
    monkeypatch.setattr(recorder.trainer.placement, "SHARED_MEMORY", tmp_path / "absent")
    monkeypatch.setattr(recorder.trainer.placement, "free_bytes", lambda path: 0 if path.name == "absent" else 1 << 40)
    model = make_model()
    optimizer = Scripted(model.parameters())
    with Recorder(tmp_path / "run.zarr", model, optimizer, chunk_steps=32) as running:
        running.start()
        assert open_tree(tmp_path / "run.zarr").attrs["recording"]["spool"].startswith(str(tmp_path / "run.zarr."))
        for _ in range(200):
            optimizer.step()
    assert_frames_are_scripted(tmp_path / "run.zarr", model, steps=np.arange(201))
    assert [path.name for path in tmp_path.iterdir()] == ["run.zarr"]


def test_no_room_anywhere_is_said_before_the_first_step(tmp_path, monkeypatch):
    monkeypatch.setattr(recorder.trainer.placement, "free_bytes", lambda path: 1000)
    with pytest.raises(SpoolSpaceError, match=r"found neither\. Name a local folder \(spool=DIR\)"):
        Recorder(tmp_path / "run.zarr", make_model()).start()
    assert not (tmp_path / "run.zarr").exists()


def test_a_spool_that_does_not_fit_is_an_error_not_a_bus_error(small_disk, tmp_path):
    with pytest.raises(SpoolSpaceError, match="expected room for"):
        Recorder(tmp_path / "run.zarr", make_model(), chunk_steps=1024, spool=small_disk).start()
    assert list(small_disk.iterdir()) == []


def test_reading_a_run_that_never_stepped_says_so(tmp_path):
    recorder_ = Recorder(tmp_path / "run.zarr", make_model())
    recorder_.close()
    assert not (tmp_path / "run.zarr").exists()
    recorder_ = Recorder(tmp_path / "run.zarr", make_model())
    recorder_.start()
    recorder_.close()
    assert read_array(tmp_path / "run.zarr", "step").tolist() == [0]


def test_a_writer_that_dies_again_and_again_is_given_up_with_the_spool_kept(tmp_path, monkeypatch):
    model = make_model()
    optimizer = Scripted(model.parameters())
    running = Recorder(tmp_path / "run.zarr", model, optimizer, chunk_steps=32)
    running.start()
    monkeypatch.setattr(recorder.trainer.process, "_BOOTSTRAP", "import os; os.kill(os.getpid(), 9)")
    monkeypatch.setattr(recorder.trainer.process, "_MOST_RESTARTS", 2)
    monkeypatch.setattr(recorder.trainer.process, "_RESTART_SECONDS", 0.0)
    os.kill(running._writer._process.pid, signal.SIGKILL)
    with pytest.raises(WriterError, match=r"it ended 3 times without a commit.*recorder recover"), running:
        for _ in range(10_000):
            optimizer.step()
    recover(tmp_path / "run.zarr")
    steps = assert_frames_are_scripted(tmp_path / "run.zarr", model)
    assert len(steps) in (optimizer.updates, optimizer.updates + 1)
