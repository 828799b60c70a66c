"""Trainings that end themselves, are interrupted or fork, at random steps and random positions within a step."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import time

import torch

from recorder import Recorder
from tests.faults.checks import assert_nothing_is_missing, frames_of_updates, wait_for_the_spool_to_go
from tests.faults.trainers import POSITIONS, Trainer, every_round, make_model, wait_for_status
from tests.recorder.runs import Scripted, open_tree


def strike(chance: random.Random, action):
    """Return an `at` that acts at one random step and position; first and last frames of spool files are among them."""
    where = chance.choice([chance.randrange(1, 400), 8 * chance.randrange(1, 40) + chance.choice([-1, 0, 1])])
    position = chance.choice(POSITIONS)
    return lambda update, now: action() if (update, now) == (where, position) else None


@every_round
def test_an_exception_ends_the_training(tmp_path, chance, round_, capfd):
    def fail():
        raise ArithmeticError("the loss is NaN")

    trainer = Trainer(tmp_path / "run.zarr", at=strike(chance, fail))
    assert trainer.wait() == 3
    assert "ArithmeticError: the loss is NaN" in capfd.readouterr().err
    # `close` waited for the writer: no need to wait for it here.
    assert open_tree(tmp_path / "run.zarr").attrs["status"] == "interrupted"
    assert_nothing_is_missing(tmp_path / "run.zarr", trainer.returned)


@every_round
def test_os_exit_ends_the_process(tmp_path, chance, round_):
    """No handler runs; the writer sees the death."""
    trainer = Trainer(tmp_path / "run.zarr", at=strike(chance, lambda: os._exit(7)))
    assert trainer.wait() == 7
    wait_for_status(tmp_path / "run.zarr", "interrupted")
    wait_for_the_spool_to_go(tmp_path / "run.zarr")
    assert_nothing_is_missing(tmp_path / "run.zarr", trainer.returned)


@every_round
def test_ctrl_c_ends_the_training(tmp_path, chance, round_, capfd):
    """To the whole process group, as a terminal sends it; also while the recording starts."""
    trainer = Trainer(tmp_path / "run.zarr")
    if chance.random() < 0.3:
        time.sleep(chance.random() * 0.6)
    else:
        trainer.wait_for_an_instant(chance)
    os.killpg(trainer.pid, signal.SIGINT)
    assert trainer.wait() == 3
    assert "KeyboardInterrupt" in capfd.readouterr().err
    if trainer.returned >= 0:
        assert open_tree(tmp_path / "run.zarr").attrs["status"] == "interrupted"
    assert_nothing_is_missing(tmp_path / "run.zarr", trainer.returned)


@every_round
def test_training_goes_on_after_ctrl_c(tmp_path, chance, round_):
    """A notebook's cell, run again with the same recorder: only steps that were cut off may be missing."""
    steps = 800
    trainer = Trainer(tmp_path / "run.zarr", steps=steps, stubborn=True)
    interrupts = 0
    while interrupts < 12 and trainer.returned < 500:
        trainer.wait_for_an_instant(chance, 40)
        os.killpg(trainer.pid, signal.SIGINT)
        interrupts += 1
    assert trainer.wait() in (0, 3)  # 3: the last one struck `close`
    wait_for_status(tmp_path / "run.zarr", "complete", "interrupted")
    wait_for_the_spool_to_go(tmp_path / "run.zarr")
    recorded = frames_of_updates(tmp_path / "run.zarr", interrupts)
    assert trainer.all_returned <= recorded | {0}
    assert 0 in recorded


def a_worker(trainer: Trainer, life: float, kind: str) -> None:
    """What a forked child does, in the middle of whatever the trainer was doing."""
    time.sleep(life)
    if kind == "unwinds":  # through the recorder's own code and its `with`
        raise SystemExit
    if kind == "trains":
        for parameter in trainer.model.parameters():
            parameter.data += 1000.0
        for _ in range(20):
            trainer.optimizer.step()
            trainer.recorder.log(loss=-1.0, of_the_child=1.0)
        trainer.recorder.close()
    os._exit(0)


@every_round
def test_workers_are_forked_and_outlive_the_trainer(tmp_path, chance, round_):
    """Forked from a signal handler, so anywhere within a step; and real workers of a DataLoader between two steps."""
    lives = [(chance.random() * 0.8, chance.choice(["sleeps", "unwinds", "trains"])) for _ in range(3)]
    loading = {chance.randrange(1, 300): chance.randrange(1, 3)}
    held = []

    def prepare(trainer: Trainer) -> None:
        def fork(*_: object) -> None:
            life, kind = lives.pop()
            if os.fork() == 0:
                a_worker(trainer, life, kind)
            if lives:  # only now: a fork within the hooks of another is more than Python's own locks stand
                signal.setitimer(signal.ITIMER_REAL, chance.random() * 0.05 + 0.001)

        signal.signal(signal.SIGALRM, fork)
        signal.setitimer(signal.ITIMER_REAL, chance.random() * 0.05 + 0.001)

    def load(update: int, position: str) -> None:
        if position == "before step" and update in loading:
            signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGALRM])  # no fork within a fork, as above
            held.append(iter(torch.utils.data.DataLoader(range(1000), num_workers=loading[update])))
            next(held[-1])
            signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGALRM])

    completes = chance.random() < 0.5
    trainer = Trainer(tmp_path / "run.zarr", steps=500 if completes else 10**9, prepare=prepare, at=load)
    try:
        if completes:
            assert trainer.wait() == 0
            assert open_tree(tmp_path / "run.zarr").attrs["status"] == "complete"
        else:
            trainer.wait_for_an_instant(chance)
            trainer.kill()
            wait_for_status(tmp_path / "run.zarr", "interrupted")
            wait_for_the_spool_to_go(tmp_path / "run.zarr")
        assert_nothing_is_missing(tmp_path / "run.zarr", trainer.returned)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(trainer.pid, signal.SIGKILL)


def test_a_forked_child_that_steps_records_nothing(tmp_path):
    """Its optimizer has the recorder's hooks, and its spool files are the parent's."""
    model = make_model()
    optimizer = Scripted(model.parameters())
    with Recorder(tmp_path / "run.zarr", model, optimizer, chunk_steps=32) as recorder:
        for _ in range(5):
            optimizer.step()
            recorder.log(loss=float(optimizer.updates))
        if (child := os.fork()) == 0:
            optimizer.updates = 1000
            for _ in range(20):
                optimizer.step()
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
        for _ in range(20):
            optimizer.step()
            recorder.log(loss=float(optimizer.updates))
    assert_nothing_is_missing(tmp_path / "run.zarr", 25)
