"""Scripts of users, run as `python SCRIPT` runs them, in processes that are forked where torch is loaded already.

To load torch and its optimizers takes three seconds of a core; what these tests are about comes after that.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO

from tests.patience import PATIENCE

SERVER = Path(__file__).with_name("torch_server.py")


class Script:
    """A script that runs, in a session of its own. Lifetime: until `communicate`."""

    def __init__(self, out: int, err: int, status: int) -> None:
        self._told: list[IO[str]] = [os.fdopen(out), os.fdopen(err)]
        self._status = os.fdopen(status)
        self.pid = int(self._status.readline())
        self.returncode: int | None = None

    def send_signal(self, number: int) -> None:
        os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def wait(self) -> int:
        """Wait for its end; return its exit code, negative after a signal."""
        if self.returncode is None:
            self.returncode = os.waitstatus_to_exitcode(int(self._status.readline()))
            self._status.close()
        return self.returncode

    def communicate(self) -> tuple[str, str]:
        """Wait until nobody holds its stdout and stderr any more, and for its end; return both."""
        with ThreadPoolExecutor(2) as pool:
            reads = [pool.submit(file.read) for file in self._told]
            out, err = (read.result(PATIENCE) for read in reads)
        for file in self._told:
            file.close()
        self.wait()
        return out, err


class Scripts:
    """Runs scripts. Lifetime: a `with` block, at whose end the process that has loaded torch ends."""

    def __enter__(self) -> Scripts:
        self._connection, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            command = [sys.executable, str(SERVER), str(theirs.fileno())]
            self._server = subprocess.Popen(command, pass_fds=[theirs.fileno()], start_new_session=True)
        return self

    def __exit__(self, *error: object) -> None:
        self._connection.close()
        self._server.wait(PATIENCE)

    def start(self, *words: object, cwd: Path | None = None, env: Mapping[str, str] | None = None) -> Script:
        """Start a script with its arguments."""
        pipes = [os.pipe() for _ in range(3)]
        asked = {"words": [*map(str, words)], "cwd": str(cwd or Path.cwd()), "env": dict(env or os.environ)}
        socket.send_fds(self._connection, [json.dumps(asked).encode()], [theirs for _, theirs in pipes])
        for _, theirs in pipes:
            os.close(theirs)
        return Script(*(ours for ours, _ in pipes))

    def run(
        self, *words: object, cwd: Path | None = None, env: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run a script with its arguments to its end."""
        script = self.start(*words, cwd=cwd, env=env)
        out, err = script.communicate()
        return subprocess.CompletedProcess([*map(str, words)], script.wait(), out, err)
