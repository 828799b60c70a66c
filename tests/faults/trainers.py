"""Training processes to be killed: forked from the test, weights known at every step, progress in shared memory."""

from __future__ import annotations

import contextlib
import json
import mmap
import os
import signal
import time
import traceback
from pathlib import Path

from torch import nn

from recorder import Recorder
from tests.recorder.runs import Scripted

ROUNDS = int(os.environ.get("FAULT_ROUNDS", "4"))  # random instants per test; CONTRIBUTING says how to run hundreds


LIVING: dict[int, Trainer] = {}


def make_model() -> nn.Module:
    return nn.Sequential(nn.Linear(6, 5), nn.Linear(5, 3))


class Trainer:
    """A forked process that trains and records. Lifetime: until `wait`."""

    def __init__(self, store: Path, *, steps: int = 10**9, pause: float = 0.0, first: int = 0, **options) -> None:
        self.store = store
        self._returned = mmap.mmap(-1, 16)
        self._words = memoryview(self._returned).cast("q")
        self._words[0] = -1
        self.pid = os.fork()
        LIVING[self.pid] = self
        if self.pid == 0:
            try:
                self._train(steps, pause, first, options)
                os._exit(0)
            except BaseException:
                traceback.print_exc()
                os._exit(3)

    def _train(self, steps: int, pause: float, first: int, options: dict) -> None:
        model = make_model()
        optimizer = Scripted(model.parameters(), first=first)
        with Recorder(self.store, model, optimizer, chunk_steps=32, **options) as recorder:
            recorder.start()
            self._words[0] = first
            for _ in range(steps):
                optimizer.step()
                self._words[0] = optimizer.updates
                recorder.log(loss=float(optimizer.updates))
                if pause:
                    time.sleep(pause)

    @property
    def returned(self) -> int:
        """The last step that `step()` returned from; −1 before the first frame."""
        return self._words[0]

    def wait_for_step(self, step: int, timeout: float = 20) -> None:
        deadline = time.monotonic() + timeout
        while self.returned < step:
            assert time.monotonic() < deadline, "the trainer does not get there"
            time.sleep(0.001)

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
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            if writers := self.writers():
                return writers[0]
            time.sleep(0.001)
        raise AssertionError("no writer")

    def writers(self) -> list[int]:
        found = []
        for process in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                words = (process / "cmdline").read_bytes().split(b"\0")
                if any(b"recorder.writer" in word for word in words) and str(self.pid).encode() in words:
                    found.append(int(process.name))
        return found

    def put_down(self) -> None:
        """End the process and its writer, whatever state a failed test left them in."""
        writers = self.writers()
        self.kill()
        for writer in writers:
            with contextlib.suppress(ProcessLookupError):
                os.kill(writer, signal.SIGKILL)


def wait_for_status(store: Path, *expected: str, timeout: float = 20) -> dict:
    """Wait until the store says that it is closed; return its root attributes."""
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        try:
            attributes = json.loads((store / "zarr.json").read_text())["attributes"]
        except FileNotFoundError:
            attributes = {}
        if attributes.get("status") in expected:
            return attributes
        time.sleep(0.005)
    raise AssertionError(f"the store does not become {expected}")
