"""Trainings in processes of their own: forked, so that each may be killed, and libraries are loaded once."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.patience import PATIENCE

ROOT = Path(__file__).parents[2]


def run(train: Callable[..., object], *args: Any, **kwargs: Any) -> int:
    """Run a training in a forked process; return its exit status, negative for a signal, 3 for an exception."""
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if pid == 0:
        try:
            signal.alarm(PATIENCE)
            warnings.simplefilter("ignore")
            train(*args, **kwargs)
            os._exit(0)
        except BaseException:
            traceback.print_exc()
            sys.stderr.flush()
            os._exit(3)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def script(*command: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run a Python script, or with `-m` a module, and wait for it."""
    known = {key: value for key, value in os.environ.items() if key not in ("RANK", "WORLD_SIZE", "LOCAL_RANK")}
    return subprocess.run(
        [sys.executable, *command],
        env=known | {"PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "ignore", "HF_HUB_OFFLINE": "1"} | variables,
        capture_output=True, text=True, timeout=PATIENCE, check=False,
    )  # fmt: skip


def torchrun(*command: str) -> subprocess.CompletedProcess[str]:
    """Run a script on two ranks."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = str(found.getsockname()[1])
    return script("-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-port", port, *command)
