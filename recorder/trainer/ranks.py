"""Which process of a distributed training records, and how the others learn that its recording was refused.

Rank 0 records. It writes whether its recording was accepted into the key-value store through which the ranks of
torch.distributed found each other. The others read it there before their first step. A broadcast would not do: people
write `if rank == 0: recorder = Recorder(…)`, and a collective that only some ranks join hangs, or is taken for one of
the training's own.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from itertools import count
from typing import Any

import torch.distributed as dist

from recorder.errors import RecorderError, RecordingError, error_named

_PATIENCE = 60.0  # seconds that another rank waits for rank 0 before it trains on
_numbers = count()  # numbers the recorders of this process: a recorder has the same number on every rank


def rank() -> int:
    """Return this process's rank, 0 where it trains alone.

    torch.distributed knows it, once it is initialised. Before that, the launcher's environment tells: `RANK` if
    `WORLD_SIZE` is above 1, else `LOCAL_RANK` together with the number of the node. `SLURM_PROCID` alone does not tell:
    one `srun` also starts trainings that are independent of each other.
    """
    if dist.is_available() and dist.is_initialized():
        return dist.get_rank()
    if _number("WORLD_SIZE", 1) > 1 and (given := _number("RANK", -1)) >= 0:
        return given
    local, node = _number("LOCAL_RANK", -1), max(_number("NODE_RANK", -1), _number("GROUP_RANK", -1))
    return int(bool(local or node)) if local >= 0 and node >= 0 else 0


def _number(variable: str, otherwise: int) -> int:
    try:
        return int(os.environ.get(variable, ""))
    except ValueError:
        return otherwise


class Ranks:
    """The ranks of a training, as one recorder sees them. Lifetime: as the recorder.

    Rank 0 tells the others twice whether its recording goes on: when the recorder is made, and when it starts. They
    wait for that, because otherwise their next collective would wait forever for a rank that was refused and is gone.
    Every rank must make its recorders in the same order. Recorders that only rank 0 makes are no problem.
    """

    def __init__(self, tell: Callable[[str], None]) -> None:
        self._tell = tell
        self._number = next(_numbers)
        self._stages = ["made", "started"]  # still to come

    @property
    def records(self) -> bool:
        """Whether this process is the one that records."""
        return rank() == 0

    def announce(self, refused: RecorderError | None = None, *, begun: bool = False) -> None:
        """Tell the others that the training goes on, or why the recording was refused.

        Parameters
        ----------
        refused : RecorderError, optional
        begun : bool
            The recording has begun: also tell the user which rank records.
        """
        if not self._stages or not self.records:
            return
        key, store = self._next_key(), _store()
        if store is None:
            return
        if begun:
            self._tell(f"rank 0 of {dist.get_world_size()} records, the others train without a recorder")
        with suppress(Exception):  # if the connection is gone, the training will report it
            store.set(key, "" if refused is None else f"{type(refused).__name__}\n{refused}")

    @contextmanager
    def announcing(self) -> Iterator[None]:
        """Tell the others how this context ends."""
        try:
            yield
        except RecorderError as error:
            self.announce(error)
            raise
        self.announce()

    def wait(self) -> None:
        """Wait until rank 0 has told whether its recording goes on.

        Raises
        ------
        RecorderError
            It was refused.
        """
        if not self._stages:
            return
        key, store = self._next_key(), _store()
        if store is None:
            return
        deadline = time.monotonic() + _PATIENCE
        try:
            while not store.check([key]):
                if time.monotonic() > deadline:
                    self._tell_of_silence()
                    return
                time.sleep(0.01)
            kind, _, message = store.get(key).decode().partition("\n")
        except (RuntimeError, ValueError):  # rank 0 has ended: the next collective will fail
            return
        if kind:
            raise error_named(kind, f"rank 0: {message}") or RecordingError(f"rank 0: {message}")

    def _next_key(self) -> str:
        return f"thermotrace/{self._number}/{self._stages.pop(0)}"

    def _tell_of_silence(self) -> None:
        if not self._stages:  # at the first stage rank 0 may just be busy with something else
            self._tell(
                f"rank {rank()}: rank 0 has not begun to record in {_PATIENCE:.0f} s, and no other rank records. The "
                "training goes on. Make the Recorder on every rank, or on rank 0 alone."
            )


def _store() -> Any:
    """Return the key-value store of torch.distributed; None where there is one rank only."""
    with suppress(Exception):
        if dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1:
            return dist.distributed_c10d._get_default_store()
    return None
