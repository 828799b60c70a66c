"""The writer process: it takes frames out of the spool and commits them to the store.

The recorder starts it with the spool's folder and the trainer's process id. It has a session of its own, so that Ctrl-C
does not reach it, and it ignores the signals that end a job: a scheduler sends them to every process at once, and this
one still has frames to write. It ends when the trainer says so, or when the trainer is dead and the spool is drained.
It never imports torch.
"""

from __future__ import annotations

import contextlib
import os
import select
import sys
import time
import traceback
from pathlib import Path

from recorder.errors import RecorderError
from recorder.spool_files import (
    COMMITTED,
    DONE,
    ENCODE_NS,
    FREE,
    RAW_BYTES,
    RUNNING,
    SKIPPED,
    STATE,
    STORED_BYTES,
    WRITER_STATE,
    Control,
    Session,
)
from recorder.writer.drain import Drain
from recorder.writer.recovery import open_store
from recorder.writer.trust import remove_spool

COMMIT_SECONDS = 2.0  # least time between commits, unless the pool runs out
TAIL_SECONDS = 5.0  # least time after which a chunk that is not full is written again
# To write such chunks again may take 1/400 of one core, and 1/20 of the time if the disk is slow. Where torch uses all
# cores, training loses more than this process takes: it took 1.15 times as long beside a process that got 0.10 of a
# core at nice 10, and 1.03 times beside one that got 0.02 at nice 19 (`tests/benchmarks/FIGURES.md`, "Slowdown of
# training"). At SCHED_IDLE the process got 0.01, less than the writer needs. With a core to spare nothing was
# measurable. So the writer must have little to do, and nice 10 keeps it from starving.
TAIL_CPU_RATIO = 400.0
TAIL_RATIO = 20.0
HEARTBEAT_SECONDS = 30.0


def run(spool: Path, doorbell: int, parent: int) -> None:
    """Serve one session until it is closed or its trainer is dead.

    Parameters
    ----------
    spool : Path
    doorbell : int
        File descriptor of a pipe. The line `close STATUS` ends the session. Any other line says that a spool file is
        finished, and the end of the stream that the trainer is gone.
    parent : int
        The trainer's process id.
    """
    session, control = Session.load(spool), Control(spool)
    store, progress, lock = open_store(spool, session, parent, control.note)
    drain = Drain(spool, session, store, progress)
    control.words[WRITER_STATE] = RUNNING
    status = _serve(drain, control, Doorbell(doorbell, parent))
    drain.finish()
    drain.commit(status)
    drain.store.close()
    _report(drain, control)
    for sentence in drain.losses():
        control.note(sentence)
    control.words[WRITER_STATE] = DONE
    remove_spool(spool)
    os.close(lock)


def _serve(drain: Drain, control: Control, doorbell: Doorbell) -> str:
    """Take spool files and commit them as they come; return the status to close with."""
    last_commit = time.monotonic()
    pause = TAIL_SECONDS
    while True:
        waiting = drain.finished()
        for file in waiting:
            drain.take(file)
        store = drain.store  # a cut opens it anew
        since = time.monotonic() - last_commit
        pending = store.frames > store.published
        short = sum(file.words[STATE] == FREE for file in drain.files) < len(drain.files) // 4
        chunk_done = store.frames // store.chunk_steps > store.published // store.chunk_steps
        if (
            (waiting and short)
            or (chunk_done and since >= COMMIT_SECONDS)
            or (pending and since >= pause)
            or since >= HEARTBEAT_SECONDS
        ):
            began, cpu = time.monotonic(), time.process_time()
            drain.commit()
            last_commit = time.monotonic()
            cost, cpu_cost = last_commit - began, time.process_time() - cpu
            pause = max(TAIL_SECONDS, TAIL_RATIO * cost, TAIL_CPU_RATIO * cpu_cost)
            _report(drain, control)
        if not waiting:
            drain.prefault()
        if (status := doorbell.wait(0.0 if drain.finished() and short else 1.0)) is not None:
            return status


def _report(drain: Drain, control: Control) -> None:
    store = drain.store
    for word, value in (
        (COMMITTED, drain.progress.pushed),
        (RAW_BYTES, store.raw_bytes),
        (STORED_BYTES, store.stored_bytes),
        (ENCODE_NS, store.encode_ns),
        (SKIPPED, store.attributes["skipped_updates"]),
    ):
        control.words[word] = value


class Doorbell:
    """The pipe from the trainer, and a watch on the trainer's process. Lifetime: their two descriptors.

    The pipe alone would not do: it does not end while a forked worker of the trainer holds it open.
    """

    def __init__(self, pipe: int, parent: int) -> None:
        self._pipe, self._parent = pipe, parent
        self._buffer = b""
        self._poll = select.poll()
        self._poll.register(pipe, select.POLLIN | select.POLLHUP)
        self._process = -1
        with contextlib.suppress(OSError, AttributeError):
            self._process = os.pidfd_open(parent)
            self._poll.register(self._process, select.POLLIN)

    def wait(self, seconds: float) -> str | None:
        """Wait for a line. Return the status to close with when the session is over, else None."""
        ready = dict(self._poll.poll(seconds * 1000))
        if self._pipe in ready:
            data = os.read(self._pipe, 65536)
            if not data:
                return "interrupted"
            *lines, self._buffer = (self._buffer + data).split(b"\n")
            for line in lines:
                if line.startswith(b"close "):
                    return line[6:].decode()
            return None
        if self._process in ready or (self._process < 0 and os.getppid() != self._parent):
            return "interrupted"
        return None


def main() -> None:
    """Serve the session whose spool the command line names; standard input is the doorbell."""
    spool, parent = Path(sys.argv[1]), int(sys.argv[2])
    with contextlib.suppress(OSError):
        os.nice(10)
    try:
        run(spool, sys.stdin.fileno(), parent)
    except Exception as error:
        kind = type(error).__name__ if isinstance(error, RecorderError) else ""
        text = str(error) if isinstance(error, RecorderError) else f"{type(error).__name__}: {error}"
        # The state comes first: on a full disk the log cannot be written, and a writer that dies without a message is
        # started again.
        with contextlib.suppress(OSError, ValueError):
            Control(spool).fail(f"{kind}\n{text}")
        with contextlib.suppress(OSError):
            traceback.print_exc()
        sys.exit(1)


if __name__ == "__main__":
    main()
