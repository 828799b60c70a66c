"""The writer process as the trainer sees it: start, wake, watch, restart, close."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from recorder.errors import RecorderError, WriterError, error_named
from recorder.spool_files import COMMITTED, DONE, FAILED, LEFT, NOTED, STARTING, WRITER_STATE, Control

# A writer that dies more often than this without a commit in between, over more than this time, is not started again.
_MOST_RESTARTS = 20
_RESTART_SECONDS = 30.0
# Signals that end a job reach all of its processes. The writer ignores them: it ends by itself, after the trainer, once
# the spool is drained.
_OF_A_JOBS_END = [
    getattr(signal, f"SIG{name}") for name in ("TERM", "HUP", "INT", "QUIT", "USR1", "USR2", "ALRM", "XCPU")
]
_BOOTSTRAP = (
    f"import signal, sys; ends = {[*map(int, _OF_A_JOBS_END)]}; [signal.signal(end, signal.SIG_IGN) for end in ends]; "
    "signal.pthread_sigmask(signal.SIG_UNBLOCK, ends); "
    "sys.path.append(sys.argv.pop()); from recorder.writer.__main__ import main; main()"
)


def _python() -> list[str]:
    """Return the start of the writer's command.

    Where Python encodes file names as ASCII, the writer uses UTF-8 instead, so that it can write files of any name. The
    trainer holds other bytes of a path as lone surrogates, and the writer turns these into the same bytes again.
    """
    return [sys.executable, "-P", *(["-X", "utf8"] if sys.getfilesystemencoding() == "ascii" else [])]


@contextlib.contextmanager
def _blocked(signals: Iterable[int]) -> Iterator[None]:
    """Hold signals back in this thread and in a process that it starts, which has no handlers in its first instants."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


class WriterProcess:
    """The writer of one session.

    Lifetime: from `start` to `close`. A writer that was killed is started again, and goes on from the last commit.
    Nothing is lost, because a spool file is freed only after its frames are committed. A writer that failed (disk full,
    damaged store) is not started again.
    """

    def __init__(self, spool: Path) -> None:
        self.spool = spool
        self.control = Control(spool)
        self._process: subprocess.Popen[bytes] | None = None
        self._tell: Callable[[str], None] = lambda sentence: None
        self._notes_seen = 0
        self._restarts = 0
        self._committed_at_restart = -1
        self._first_restart = 0.0

    def start(self) -> None:
        """Start the process. It answers through the control file."""
        self.control.words[WRITER_STATE] = STARTING
        package_parent = str(Path(__file__).resolve().parents[2])
        with (self.spool / "writer.log").open("ab") as log, _blocked(_OF_A_JOBS_END):
            # A session of its own: Ctrl-C ends the training, not the writing. With -P, Python imports no `recorder/` or
            # `queue.py` of the working directory. The package's own folder stands last on the path, for trainers that
            # found the package only through sys.path.
            self._process = subprocess.Popen(
                [*_python(), "-c", _BOOTSTRAP, str(self.spool), str(os.getpid()), package_parent],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=log,
                start_new_session=True,
                bufsize=0,
            )

    def wait_until_running(self, tell: Callable[[str], None]) -> None:
        """Wait until the writer holds the store.

        Raises
        ------
        RecorderError
            The writer could not take the store: it exists, is locked, or holds another model.
        """
        self._tell = tell
        began, told = time.monotonic(), False
        while self.control.words[WRITER_STATE] == STARTING:
            self.check()
            if not told and time.monotonic() - began > 2:
                tell("waiting for the writer to open the store")
                told = True
            time.sleep(0.005)
        self.check()

    def wake(self) -> None:
        """Tell the writer that a spool file is finished."""
        self._send(b"finished\n")

    def check(self) -> None:
        """Restart a writer that was killed.

        Raises
        ------
        RecorderError
            The writer failed, or was killed again and again.
        """
        if self.control.words[NOTED] > self._notes_seen:
            self.pass_on_notes()
        if self.control.words[WRITER_STATE] == FAILED:
            raise self._failure()
        if self._process is None or not self._has_ended() or self.control.words[WRITER_STATE] == DONE:
            return
        if self.control.words[WRITER_STATE] == FAILED:
            raise self._failure()
        committed = self.control.words[COMMITTED]
        if committed != self._committed_at_restart:
            self._committed_at_restart, self._restarts, self._first_restart = committed, 0, time.monotonic()
        self._restarts += 1
        if self._restarts > _MOST_RESTARTS and time.monotonic() - self._first_restart > _RESTART_SECONDS:
            raise WriterError(
                f"writer: expected it to run, but it ended {self._restarts} times without a commit in between (exit "
                f"status {self._process.returncode}). Frames not committed wait in {self.spool}; its writer.log says "
                "more. Free memory or disk, then run: recorder recover STORE"
            )
        self.release()
        self.start()

    def close(self, status: str, progress: Callable[[], None]) -> None:
        """Let the writer drain the spool and end; restart it if it dies meanwhile.

        Parameters
        ----------
        status : str
            The status that the store will have.
        progress : callable
            Called again and again while the writer drains.

        Raises
        ------
        RecorderError
            The writer failed; what it had not committed stays in the spool.
        """
        try:
            self._send(f"close {status}\n".encode())
            pause = 0.001
            while self._process is not None:
                if not self._has_ended():
                    time.sleep(pause)
                    pause = min(2 * pause, 0.05)
                    progress()
                    continue
                if self.control.words[WRITER_STATE] == DONE:
                    self.release()
                    return
                self.check()
                self._send(f"close {status}\n".encode())
        finally:
            self.control.words[LEFT] = 1  # `recorder recover` may take what is still in the spool
            self.pass_on_notes()

    def pass_on_notes(self) -> None:
        """Print the writer's new notes to the user."""
        notes, self._notes_seen = self.control.notes(self._notes_seen)
        for note in notes:
            self._tell(note)

    def _has_ended(self) -> bool:
        """Tell whether the process is over.

        `Popen.poll` would not do: an interrupt can leave its lock taken, and a notebook that goes on would then wait
        forever.
        """
        process = self._process
        assert process is not None
        if process.returncode is None:
            try:
                ended, status = os.waitpid(process.pid, os.WNOHANG)
            except ChildProcessError:  # other code has waited for it
                process.returncode = 0
            else:
                if ended:
                    process.returncode = os.waitstatus_to_exitcode(status)
        return process.returncode is not None

    def release(self) -> None:
        """Close this process's end of the pipe."""
        if self._process is not None and self._process.stdin is not None:
            with contextlib.suppress(OSError):
                self._process.stdin.close()

    def forget(self) -> None:
        """Let go of the writer without waiting for it: in a forked child it belongs to the parent."""
        self.release()
        if self._process is not None:
            self._process.returncode = 0
            self._process = None

    def _send(self, line: bytes) -> None:
        # A broken pipe means that the writer died. The next hand-over calls check(), and the frames are in the spool.
        if self._process is not None and self._process.stdin is not None:
            with contextlib.suppress(OSError, ValueError):
                self._process.stdin.write(line)

    def _failure(self) -> RecorderError:
        name, _, message = self.control.last_words.partition("\n")
        return error_named(name, message) or WriterError(
            f"writer: expected it to write, but it failed ({message or 'it left no message'}). Committed frames are "
            f"kept, the others wait in {self.spool}. Mend the cause (free disk space?), then run: recorder recover "
            "STORE"
        )


class Waiting:
    """Shows on stderr how far the writer is while `close` waits for it. Lifetime: one wait."""

    def __init__(self, tell: Callable[[str], None]) -> None:
        self._tell = tell
        self._next = time.monotonic() + 2.0

    def show(self, pushed: int, committed: int) -> None:
        if time.monotonic() >= self._next:
            self._next = time.monotonic() + 5.0
            self._tell(
                f"waiting for the writer: {max(0, pushed - committed):,} of {pushed:,} frames are still to be committed"
            )
