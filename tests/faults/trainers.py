"""Training processes to be killed: forked from the test, weights known at every step, progress in shared memory."""

from __future__ import annotations

import contextlib
import json
import mmap
import os
import random
import signal
import time
import traceback
from collections.abc import Callable
from pathlib import Path

import pytest
from torch import nn

from recorder import Recorder
from tests.patience import wait_until
from tests.recorder.runs import Scripted

ROUNDS = int(os.environ.get("FAULT_ROUNDS", "1"))  # random instants per test; CONTRIBUTING says how to run hundreds
every_round = pytest.mark.parametrize("round_", range(ROUNDS))

# Where in the loop a fault may strike, in the order of a step; the recorder's hook takes the frame.
POSITIONS = ("before step", "before the frame", "after the frame", "between step and log", "after log")
MOST_UPDATES = 1 << 16

LIVING: dict[int, Trainer] = {}


def make_model() -> nn.Module:
    return nn.Sequential(nn.Linear(6, 5), nn.Linear(5, 3))


class Trainer:
    """A forked process that trains and records, the leader of a process group. Lifetime: until `wait`.

    Parameters
    ----------
    store : Path
    steps : int
    pause : float
        Seconds after each step.
    first : int
        Update whose weights the training begins with.
    at : callable
        Called in the process with (update, position) at each of `POSITIONS` of each step.
    prepare : callable
        Called in the process with this object, once the first frame is taken.
    stubborn : bool
        A KeyboardInterrupt ends the step it strikes, and the training goes on: a notebook's cell run again.
    **options
        Of the recorder.
    """

    def __init__(
        self,
        store: Path,
        *,
        steps: int = 10**9,
        pause: float = 0.0,
        first: int = 0,
        at: Callable[[int, str], None] | None = None,
        prepare: Callable[[Trainer], None] | None = None,
        stubborn: bool = False,
        **options,
    ) -> None:
        self.store = store
        self._at, self._prepare, self._stubborn = at or (lambda update, position: None), prepare, stubborn
        shared = memoryview(mmap.mmap(-1, 16 + MOST_UPDATES))
        self._words, self._marks = shared[:16].cast("q"), shared[16:]
        self._words[0] = -1
        # A signal in the first instants must not unwind a copy of the test.
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
        self.pid = os.fork()
        if self.pid == 0:
            try:
                os.setpgid(0, 0)
                signal.signal(signal.SIGINT, signal.default_int_handler)
                signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGINT])
                self._train(steps, pause, first, options)
                os._exit(0)
            except BaseException:
                traceback.print_exc()
                os._exit(3)
        LIVING[self.pid] = self
        with contextlib.suppress(OSError):
            os.setpgid(self.pid, self.pid)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGINT])

    def _train(self, steps: int, pause: float, first: int, options: dict) -> None:
        self.model = make_model()
        self.optimizer = Scripted(self.model.parameters(), first=first)
        self._hook("before the frame")
        with Recorder(self.store, self.model, self.optimizer, **({"chunk_steps": 32} | options)) as self.recorder:
            self._hook("after the frame")
            self.recorder.start()
            self._words[0] = first
            if self._prepare:
                self._prepare(self)
            while self.optimizer.updates < first + steps:
                try:
                    while self.optimizer.updates < first + steps:
                        self._step()
                        if pause:
                            time.sleep(pause)
                except KeyboardInterrupt:
                    if not self._stubborn:
                        raise

    def _step(self) -> None:
        optimizer = self.optimizer
        self._at(optimizer.updates + 1, "before step")
        optimizer.step()
        self._words[0] = optimizer.updates
        self._marks[optimizer.updates % MOST_UPDATES] = 1
        self._at(optimizer.updates, "between step and log")
        self.recorder.log(loss=float(optimizer.updates))
        self._at(optimizer.updates, "after log")

    def _hook(self, position: str) -> None:
        self.optimizer.register_step_post_hook(lambda optimizer, *_: self._at(optimizer.updates, position))

    @property
    def returned(self) -> int:
        """The last step that `step()` returned from; −1 before the first frame."""
        return self._words[0]

    @property
    def all_returned(self) -> set[int]:
        """Every step that `step()` returned from."""
        return {update for update in range(self.returned + 1) if self._marks[update]}

    def wait_for_step(self, step: int) -> None:
        wait_until(lambda: self.returned >= step, "the trainer does not get there", every=0.001)

    def wait_for_an_instant(self, chance: random.Random, steps: int = 400) -> None:
        """Wait for a random step within the next `steps`, then until somewhere within it: a step takes about 0.2 ms."""
        self.wait_for_step(max(self.returned, 0) + chance.randrange(steps))
        time.sleep(chance.random() * 0.002)

    def kill(self, number: int = signal.SIGKILL) -> int:
        """Kill the process and return the last step that it had returned from."""
        os.kill(self.pid, number)
        self.wait()
        return self.returned

    def wait(self) -> int:
        LIVING.pop(self.pid)
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])

    def writer(self) -> int:
        """Return the process id of the trainer's writer."""
        found: list[int] = []

        def looked() -> bool:
            found[:] = self.writers()
            return bool(found)

        wait_until(looked, "no writer", every=0.001)
        return found[0]

    def writers(self) -> list[int]:
        found = []
        for process in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                words = (process / "cmdline").read_bytes().split(b"\0")
                if any(b"recorder.writer.__main__" in word for word in words) and str(self.pid).encode() in words:
                    found.append(int(process.name))
        return found

    def put_down(self) -> None:
        """End the process and its writer, whatever state a failed test left them in."""
        writers = self.writers()
        self.kill()
        for writer in writers:
            with contextlib.suppress(ProcessLookupError):
                os.kill(writer, signal.SIGKILL)


def wait_for_status(store: Path, *expected: str) -> dict:
    """Wait until the store says that it is closed; return its root attributes."""
    attributes: dict = {}

    def reached() -> bool:
        with contextlib.suppress(FileNotFoundError):
            attributes.update(json.loads((store / "zarr.json").read_text())["attributes"])
        return attributes.get("status") in expected

    wait_until(reached, f"the store does not become {expected}", every=0.005)
    return attributes
