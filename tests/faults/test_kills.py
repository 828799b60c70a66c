"""Processes killed at random instants: every committed frame exact, and no frame lost that a step returned from."""

from __future__ import annotations

import os
import shutil
import signal
import time
from pathlib import Path

import numpy as np
import pytest

from recorder import Recorder
from recorder.spool_files import COMMITTED, Session
from recorder.writer.recovery import recover
from tests.faults.checks import (
    assert_nothing_is_missing,
    assert_recovering_again_changes_nothing,
    recover_when_free,
    wait_for_the_spool_to_go,
)
from tests.faults.trainers import ROUNDS, Trainer, every_round, make_model, wait_for_status
from tests.patience import wait_until
from tests.recorder.runs import Scripted, assert_frames_are_scripted, open_tree, read_array


def spool_of(store: Path) -> Path:
    return Path(open_tree(store).attrs["recording"]["spool"])


@every_round
def test_the_trainer_is_killed(tmp_path, chance, round_):
    """The writer drains the spool and closes the store as interrupted."""
    trainer = Trainer(tmp_path / "run.zarr")
    trainer.wait_for_an_instant(chance)
    returned = trainer.kill()
    wait_for_status(tmp_path / "run.zarr", "interrupted")
    wait_for_the_spool_to_go(tmp_path / "run.zarr")
    assert_nothing_is_missing(tmp_path / "run.zarr", returned)


def test_the_writer_is_killed_again_and_again(tmp_path, chance):
    """It is started again and goes on from the last commit; the training notices nothing."""
    rounds = max(ROUNDS, 4)
    total = 500 * max(rounds, 8)
    trainer = Trainer(tmp_path / "run.zarr", steps=total, pause=0.0005)
    trainer.wait_for_step(0)
    kills = 0
    for _ in range(rounds):
        time.sleep(chance.random() * 0.3)
        if trainer.returned >= total - 100:
            break
        os.kill(trainer.writer(), signal.SIGKILL)
        kills += 1
    assert trainer.wait() == 0
    assert kills > rounds // 2
    assert open_tree(tmp_path / "run.zarr").attrs["status"] == "complete"
    assert_nothing_is_missing(tmp_path / "run.zarr", total)


def wait_for_commits(recorder: Recorder, frames: int) -> None:
    wait_until(lambda: recorder._writer.control.words[COMMITTED] >= frames, "the writer commits nothing")


def test_the_report_counts_on_after_a_writer_was_killed(tmp_path):
    """Bytes before and after compression are those of the whole recording, chunks written twice counted once."""
    model = make_model()
    optimizer = Scripted(model.parameters())
    with Recorder(tmp_path / "run.zarr", model, optimizer, chunk_steps=32) as recorder:
        for number in range(1, 1001):
            optimizer.step()
            if number in (300, 700):
                wait_for_commits(recorder, number - 40)
                os.kill(recorder._writer._process.pid, signal.SIGKILL)
    report = recorder.report
    assert report.raw_bytes == 1001 * 4 * sum(parameter.numel() for parameter in model.parameters())
    assert report.stored_bytes == sum(f.stat().st_size for f in (tmp_path / "run.zarr").rglob("c/**/*") if f.is_file())


@every_round
def test_both_are_killed_and_the_spool_is_recovered(tmp_path, chance, round_):
    store = tmp_path / "run.zarr"
    trainer = Trainer(store)
    trainer.wait_for_an_instant(chance)
    writer = trainer.writer()
    if chance.random() < 0.5:
        os.kill(writer, signal.SIGKILL)
        returned = trainer.kill()
    else:
        os.kill(trainer.pid, signal.SIGSTOP)  # neither gets the chance to notice the other's death
        os.kill(writer, signal.SIGKILL)
        returned = trainer.kill()
    recover_when_free(store)
    assert open_tree(store).attrs["status"] == "interrupted"
    assert_nothing_is_missing(store, returned)
    assert_recovering_again_changes_nothing(store)


def test_a_store_of_a_killed_run_opens_before_recovery_at_its_committed_step(tmp_path):
    trainer = Trainer(tmp_path / "run.zarr", pause=0.001)
    trainer.wait_for_step(300)
    os.kill(trainer.pid, signal.SIGSTOP)
    os.kill(trainer.writer(), signal.SIGKILL)
    returned = trainer.kill()
    committed = assert_frames_are_scripted(tmp_path / "run.zarr", make_model())
    assert len(committed) <= returned + 2
    assert open_tree(tmp_path / "run.zarr").attrs["status"] == "running"
    recover(tmp_path / "run.zarr")
    assert_nothing_is_missing(tmp_path / "run.zarr", returned)


def test_resuming_after_both_were_killed_recovers_first(tmp_path):
    store = tmp_path / "run.zarr"
    trainer = Trainer(store)
    trainer.wait_for_step(150)
    os.kill(trainer.pid, signal.SIGSTOP)
    os.kill(trainer.writer(), signal.SIGKILL)
    returned = trainer.kill()
    resumed = Trainer(store, steps=50, first=returned, mode="a")
    assert resumed.wait() == 0
    steps = read_array(store, "step")
    segments = open_tree(store).attrs["segments"]
    assert open_tree(store).attrs["status"] == "complete"
    assert (np.diff(steps) == 1).all()
    if len(steps) == returned + 51:  # the trainer was killed between two steps: bit-equal weights, one trajectory
        assert segments[1]["continuous"] is True
        assert_frames_are_scripted(store, make_model())


@pytest.mark.parametrize("damage", ["truncated", "bit flipped", "removed"])
def test_damaged_spool_files_cost_only_their_own_frames_and_are_reported(tmp_path, damage):
    store = tmp_path / "run.zarr"
    trainer = Trainer(store, pause=0.0005)
    trainer.wait_for_step(40)
    os.kill(trainer.writer(), signal.SIGSTOP)
    trainer.wait_for_step(85)
    os.kill(trainer.pid, signal.SIGSTOP)
    os.kill(trainer.writer(), signal.SIGKILL)
    returned = trainer.kill()
    held = len(read_array(store, "step"))
    files = sorted(spool_of(store).glob("segment-*"))
    # The newest finished spool file: words FIRST_FRAME, its check, COUNT, STATE.
    headers = {path: np.fromfile(path, np.int64, 4) for path in files}
    victim = max((path for path in files if headers[path][3] == 2), key=lambda path: headers[path][0])
    first, count = int(headers[victim][0]), int(headers[victim][2]) & 0x7FFFFFFF
    assert first >= held
    if damage == "truncated":
        os.truncate(victim, 4096)
    elif damage == "removed":
        victim.unlink()
    else:
        elements = sum(parameter.numel() for parameter in make_model().parameters())
        stored = np.memmap(victim, np.uint8, mode="r+")
        stored[plane_offset(store) + 3 * elements * 4] ^= 0x10  # in the fourth frame
        stored.flush()
    result = recover(store)
    steps = assert_frames_are_scripted(store, make_model())
    missing = sorted(set(range(returned + 1)) - set(steps.tolist()))
    if damage == "bit flipped":
        assert result.rejected == 1
        assert missing == [first + 3]
        assert result.messages == (f"lost: 1 frame between step {first + 2} and step {first + 4}",)
    else:
        assert victim.name in result.messages[0]
        assert missing == list(range(first, first + count))
        assert result.messages[1:] == (f"lost: {count} frames between step {first - 1} and step {first + count}",)
    assert len(open_tree(store).attrs["lost_frames"]) == 1


def test_how_many_frames_were_in_a_lost_last_spool_file_is_bounded(tmp_path):
    """How many frames it held only the file itself knew; the control words know that it was opened."""
    store = tmp_path / "run.zarr"
    trainer = Trainer(store, pause=0.0005)
    trainer.wait_for_step(20)
    os.kill(trainer.writer(), signal.SIGSTOP)
    trainer.wait_for_step(61)
    os.kill(trainer.pid, signal.SIGSTOP)
    os.kill(trainer.writer(), signal.SIGKILL)
    returned = trainer.kill()
    headers = {path: np.fromfile(path, np.int64, 4) for path in spool_of(store).glob("segment-*")}
    newest = max(headers, key=lambda path: headers[path][0])
    first, count = int(headers[newest][0]), int(headers[newest][2]) & 0x7FFFFFFF
    newest.unlink()
    result = recover(store)
    steps = assert_frames_are_scripted(store, make_model())
    np.testing.assert_array_equal(steps, np.arange(first))
    assert returned - first <= count <= 8
    assert result.messages[1:] == (f"lost: 0 to 8 frames after step {first - 1}",)


def plane_offset(store: Path) -> int:
    return Session.load(spool_of(store)).layout.planes[0]


def test_recover_says_when_the_spool_is_gone(tmp_path):
    trainer = Trainer(tmp_path / "run.zarr", pause=0.001)
    trainer.wait_for_step(50)
    os.kill(trainer.pid, signal.SIGSTOP)
    os.kill(trainer.writer(), signal.SIGKILL)
    trainer.kill()
    shutil.rmtree(spool_of(tmp_path / "run.zarr"))
    result = recover(tmp_path / "run.zarr")
    assert "is gone" in result.messages[0]
    assert open_tree(tmp_path / "run.zarr").attrs["status"] == "interrupted"


def test_recover_refuses_a_run_that_goes_on(tmp_path):
    trainer = Trainer(tmp_path / "run.zarr", pause=0.001)
    trainer.wait_for_step(5)
    with pytest.raises(BlockingIOError, match="another recorder is writing it"):
        recover(tmp_path / "run.zarr")
    trainer.kill()
    wait_for_status(tmp_path / "run.zarr", "interrupted")


def test_leaving_without_close_is_an_interruption_without_loss(tmp_path):
    """No handler runs; the writer sees the death."""
    trainer = Trainer(tmp_path / "run.zarr", pause=0.001)
    trainer.wait_for_step(33)
    returned = trainer.kill(signal.SIGTERM)
    wait_for_status(tmp_path / "run.zarr", "interrupted")
    wait_for_the_spool_to_go(tmp_path / "run.zarr")
    assert_nothing_is_missing(tmp_path / "run.zarr", returned)
