"""Trainings that crash at random instants and are resumed from random checkpoints, in real processes.

The training is deterministic, so the store must equal that of a training that nothing disturbed, bit for bit. Nothing
tells the recorder where a resumed training stands: it has the weights, and Adam's own count.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import time
import traceback
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from analyzer import open_run
from recorder import Recorder
from recorder.writer.recovery import recover
from tests.faults.checks import spools_of, wait_for_the_spool_to_go
from tests.faults.trainers import every_round
from tests.recorder.resumes import assert_whole, attributes_of
from tests.recorder.runs import open_tree, read_array, store_path

pytestmark = pytest.mark.xdist_group("resume rounds")

STEPS = 260
EVERY = 10  # steps between checkpoints


class Training:
    """A small network with Adam; the step's number decides its batch. Lifetime: one process's part of the training."""

    def __init__(self, folder: Path, dtype: torch.dtype = torch.float32) -> None:
        torch.manual_seed(0)
        self.model = nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 3)).to(dtype)
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=0.01)
        self.folder, self.dtype, self.done = folder, dtype, 0

    def step(self) -> float:
        batch = torch.randn(8, 6, generator=torch.Generator().manual_seed(self.done)).to(self.dtype)
        self.optimizer.zero_grad()
        loss = self.model(batch).square().mean()
        loss.backward()
        self.optimizer.step()
        self.done += 1
        return float(loss.detach())

    def save(self) -> None:
        held = {"model": self.model.state_dict(), "optimizer": self.optimizer.state_dict(), "done": self.done}
        torch.save(held, self.folder / "new.part")
        (self.folder / "new.part").replace(self.folder / f"{self.done}.pt")

    def load(self, step: int) -> None:
        held = torch.load(self.folder / f"{step}.pt", weights_only=True)
        self.model.load_state_dict(held["model"])
        self.optimizer.load_state_dict(held["optimizer"])
        self.done = held["done"]


def checkpoints(folder: Path) -> list[int]:
    return sorted(int(path.stem) for path in folder.glob("*.pt"))


def part(store: Path, folder: Path, begin: int, crash: Callable[[Recorder, int], None], **options) -> None:
    """Train from a checkpoint to the end, unless a crash comes; it is asked before each step."""
    dtype = options.pop("dtype", torch.float32)
    training = Training(folder, dtype)
    if begin:
        training.load(begin)
    with Recorder(
        store, training.model, training.optimizer, mode="a" if store.exists() else "w-", **options
    ) as recorder:
        recorder.start()
        while training.done < STEPS:
            crash(recorder, training.done)
            recorder.log(loss=training.step())
            if training.done % EVERY == 0:
                training.save()


def in_child(work: Callable[[], None]) -> int:
    pid = os.fork()
    if pid == 0:
        try:
            torch.set_num_threads(1)
            work()
            os._exit(0)
        except BaseException:
            traceback.print_exc()
            os._exit(3)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def never(recorder: Recorder, done: int) -> None:
    """The training goes through."""


def crashing(chance: random.Random, begin: int) -> Callable[[Recorder, int], None]:
    """Return what kills the trainer, its writer, or both, before a random step."""
    last = begin + chance.randrange(1, STEPS - begin) if chance.random() < 0.8 else begin
    how = chance.choice(["trainer", "writer first", "writer, long before"])
    early = begin + (last - begin) // 2
    pause = chance.random() * 0.3

    def crash(recorder: Recorder, done: int) -> None:
        writer = recorder._writer._process.pid
        if (done == early and how == "writer, long before") or (done >= last and how == "writer first"):
            with contextlib.suppress(ProcessLookupError):
                os.kill(writer, signal.SIGKILL)
        if done == early:
            time.sleep(pause)  # so that the writer has come as far as chance will have it
        if done >= last:
            os.kill(os.getpid(), signal.SIGKILL)

    return crash


@pytest.fixture(scope="module", params=[torch.float32, torch.bfloat16], ids=["float32", "bfloat16"])
def whole(request, tmp_path_factory) -> tuple[Path, torch.dtype]:
    """The store of a training that nothing disturbed."""
    folder = tmp_path_factory.mktemp("whole")
    assert in_child(lambda: part(folder / "run.zarr", folder, 0, never, dtype=request.param)) == 0
    return folder / "run.zarr", request.param


@every_round
def test_crashes_and_checkpoints_at_random_instants(tmp_path, chance, whole, round_):
    """Up to four crashes; resumed from the newest checkpoint, or from any older one, of whatever attempt it is."""
    reference, dtype = whole
    store, options = tmp_path / "run.zarr", {"chunk_steps": chance.choice([16, 32, 64]), "dtype": dtype}
    parts = 0
    for _ in range(chance.randrange(1, 5)):
        known = checkpoints(tmp_path)
        begin = 0 if not known else known[-1] if chance.random() < 0.5 else chance.choice(known)
        crash = crashing(chance, begin)
        assert in_child(lambda b=begin, c=crash: part(store, tmp_path, b, c, **options)) in (-signal.SIGKILL, 0)
        parts += 1
        if chance.random() < 0.3 and store.exists():
            with contextlib.suppress(BlockingIOError):  # its writer still drains
                recover(store)
    known = checkpoints(tmp_path)
    begin = chance.choice(known) if known else 0
    assert in_child(lambda: part(store, tmp_path, begin, never, **options)) == 0
    assert_is(store, reference)
    assert len(attributes_of(store)["segments"]) <= parts + 1
    for entry in attributes_of(store).get("attempts", []):
        assert_part_of(store / entry["path"], reference)
        assert entry["first_step"] <= entry["last_step"]


def assert_is(store: Path, reference: Path) -> None:
    """Every step once, every bit of the weights, every loss; T of the whole is the same number."""
    wait_for_the_spool_to_go(store)
    assert_whole(store)
    np.testing.assert_array_equal(read_array(store, "step"), np.arange(STEPS + 1))
    assert_part_of(store, reference)
    assert all(segment["continuous"] for segment in attributes_of(store)["segments"][1:])
    answers = [open_run(path).thermo.temperature(by="layer", cache=False).load() for path in (store, reference)]
    assert answers[0]["temperature"].values.tobytes() == answers[1]["temperature"].values.tobytes()
    assert spools_of(store) == []


def assert_part_of(store: Path, reference: Path) -> None:
    """Every frame of a store is that of the reference at its step, and so is every loss that was logged."""
    steps = open_tree(store)["step"].to_numpy()
    for name, _ in Training(store).model.named_parameters():
        ours, theirs = read_array(store, store_path(name)), read_array(reference, store_path(name))
        assert ours.tobytes() == np.ascontiguousarray(theirs[..., steps]).tobytes(), name
    if "loss" in open_tree(store):
        ours, theirs = read_array(store, "loss"), read_array(reference, "loss")[steps]
        # The frame of the step that a crash cut off before `log` has no loss of its own.
        logged = ~np.isnan(ours)
        np.testing.assert_array_equal(ours[logged], theirs[logged])
        assert logged.sum() >= len(steps) - 6


@every_round
def test_with_a_stride_every_frame_stands_at_its_true_step(tmp_path, chance, whole, round_):
    """Checkpoints lie between frames: the optimizer's count tells where, and the frames after it have its phase."""
    reference, dtype = whole
    store, options = tmp_path / "run.zarr", {"chunk_steps": 16, "stride": 7, "dtype": dtype}
    begins = [0]
    for _ in range(2):
        crash = crashing(chance, begins[-1])
        in_child(lambda b=begins[-1], c=crash: part(store, tmp_path, b, c, **options))
        begins.append(chance.choice(checkpoints(tmp_path) or [0]))
    assert in_child(lambda: part(store, tmp_path, begins[-1], never, **options)) == 0
    wait_for_the_spool_to_go(store)
    assert_whole(store)
    steps = read_array(store, "step").tolist()
    assert steps[0] == 0
    assert (np.diff(steps) > 0).all()
    assert steps[-1] > STEPS - 7
    assert_part_of(store, reference)
    tail = [step for step in steps if step >= begins[-1]]
    assert tail == list(range(tail[0], STEPS + 1, 7)), "the phase of the last resumption"
