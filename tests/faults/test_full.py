"""Writers that are stopped, and disks and files that may not grow, at random instants and random sizes."""

from __future__ import annotations

import os
import resource
import signal
import time
from types import SimpleNamespace

from recorder.spool_files import ACTIVE, FINISHED, FREE, STATE
from recorder.writer.drain import Drain
from tests.faults.checks import (
    assert_nothing_is_missing,
    assert_recovering_again_changes_nothing,
    recover_when_free,
    wait_for_the_spool_to_go,
)
from tests.faults.disks import resize
from tests.faults.trainers import Trainer, every_round, make_model, wait_for_status
from tests.recorder.runs import assert_frames_are_scripted, open_tree


def stop_and_go(trainer: Trainer, chance, times: int) -> int:
    """Stop the writer at random instants, for up to 0.2 s each; leave it stopped and return its process."""
    for turn in range(times):
        trainer.wait_for_an_instant(chance, 200)
        os.kill(writer := trainer.writer(), signal.SIGSTOP)
        time.sleep(chance.random() * 0.2)  # the pool is full after about 0.1 s
        if turn < times - 1:
            os.kill(writer, signal.SIGCONT)
    return writer


@every_round
def test_the_writer_is_stopped(tmp_path, chance, round_):
    """Training waits where the pool is full; whoever dies meanwhile, nothing is lost."""
    store = tmp_path / "run.zarr"
    end = chance.choice(["goes on", "trainer killed", "writer killed", "both killed"])
    trainer = Trainer(store, steps=2000 if end == "goes on" else 10**9)
    writer = stop_and_go(trainer, chance, chance.randrange(1, 4))
    if end == "goes on":
        os.kill(writer, signal.SIGCONT)
        assert trainer.wait() == 0
        assert open_tree(store).attrs["status"] == "complete"
        assert trainer.returned == 2000
    elif end == "trainer killed":
        trainer.kill()
        os.kill(writer, signal.SIGCONT)
        wait_for_status(store, "interrupted")
        wait_for_the_spool_to_go(store)
    else:
        if end == "both killed":
            os.kill(trainer.pid, signal.SIGSTOP)
        os.kill(writer, signal.SIGKILL)
        if end == "writer killed":
            trainer.wait_for_an_instant(chance)
        trainer.kill()
        # A killed writer may or may not have been followed by another when the trainer died.
        recover_when_free(store)
    assert_nothing_is_missing(store, trainer.returned)


@every_round
def test_frames_dropped_beside_a_stopped_writer_are_counted(tmp_path, chance, round_):
    store = tmp_path / "run.zarr"
    completes = chance.random() < 0.5
    trainer = Trainer(store, steps=3000 if completes else 10**9, on_pressure="drop")
    writer = stop_and_go(trainer, chance, 1 if completes else chance.randrange(1, 3))
    if not completes:
        trainer.kill()
    os.kill(writer, signal.SIGCONT)
    if completes:
        assert trainer.wait() == 0
    else:
        wait_for_status(store, "interrupted")
        wait_for_the_spool_to_go(store)
    steps = assert_frames_are_scripted(store, make_model())
    accounted = len(steps) + open_tree(store).attrs["dropped_frames"] - 1
    assert accounted == 3000 if completes else accounted in (trainer.returned, trainer.returned + 1)
    assert "lost_frames" not in open_tree(store).attrs


@every_round
def test_the_disk_is_full(small_disk, tmp_path, chance, round_, capfd):
    """Of random size, with the spool on it or not: a loud end, and all is there once there is room again."""
    resize(small_disk, f"{chance.choice([chance.randrange(8, 120), chance.randrange(120, 1500)])}k")
    store = small_disk / "run.zarr"
    options = {
        "chunk_steps": chance.choice([16, 32, 64]),
        "compression": chance.choice(["none", "pcodec"]),
        "spool": chance.choice([None, small_disk]),
    }
    trainer = Trainer(store, steps=20_000, **options)
    assert trainer.wait() == 3
    told = capfd.readouterr().err
    assert "WriterError" in told or "SpoolSpaceError" in told
    assert "No space left on device" in told
    if trainer.returned < 0:  # it did not even start: it can be started again, at the same place
        resize(small_disk, "100m")
        trainer = Trainer(store, steps=50, **options)
        assert trainer.wait() == 0, capfd.readouterr().err
        assert_nothing_is_missing(store, 50)
        return
    committed = assert_frames_are_scripted(store, make_model())
    assert len(committed) <= trainer.returned + 2
    resize(small_disk, "100m")
    recover_when_free(store)
    assert_nothing_is_missing(store, trainer.returned)
    assert_recovering_again_changes_nothing(store)


@every_round
def test_files_may_not_grow(tmp_path, chance, round_, capfd):
    """RLIMIT_FSIZE, as a quota: set on the running writer at a random instant, between 1 byte and 200 kB."""
    store = tmp_path / "run.zarr"
    trainer = Trainer(store, steps=1500, chunk_steps=chance.choice([32, 256, 1024]), compression="none")
    trainer.wait_for_an_instant(chance)
    most = int(10 ** (5.3 * chance.random()))
    resource.prlimit(trainer.writer(), resource.RLIMIT_FSIZE, (most, resource.RLIM_INFINITY))
    failed = trainer.wait() == 3
    told = capfd.readouterr().err
    assert_frames_are_scripted(store, make_model())
    if failed:
        assert "WriterError" in told
        assert "File too large" in told
        recover_when_free(store)
    largest = max(file.stat().st_size for file in store.rglob("*") if file.is_file())
    assert failed or largest <= most
    assert_nothing_is_missing(store, trainer.returned)
    assert_recovering_again_changes_nothing(store)


def test_a_look_at_the_pool_leaves_no_older_file_out():
    """What the trainer hands over while the writer looks: it took the newer segment then, and skipped the older one."""
    older = SimpleNamespace(first_frame=0, words=[0, ~0, 0, ACTIVE, 0])
    newer = SimpleNamespace(first_frame=8, words=[8, ~8, 0, FREE, 0])

    class Pool:
        def __iter__(self):
            yield older
            older.words[STATE] = newer.words[STATE] = FINISHED
            yield newer

    drain = object.__new__(Drain)
    drain.files = Pool()
    assert drain.finished() == [older, newer]
