"""A dask.distributed cluster of separate processes, started by the commands that a user would type."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import analyzer
from tests.patience import PATIENCE


@dataclass(frozen=True)
class Cluster:
    """Where the scheduler listens, and the processes of the workers."""

    address: str
    workers: tuple[subprocess.Popen[bytes], ...]


@contextmanager
def cluster(folder: Path, workers: int = 2) -> Iterator[Cluster]:
    """Start `dask scheduler` and several `dask worker ADDRESS`, with one thread each."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"tcp://127.0.0.1:{probe.getsockname()[1]}"
    environment = {
        **os.environ,
        "PYTHONPATH": str(Path(analyzer.__file__).parents[1]),
        "DASK_DISTRIBUTED__DASHBOARD": "x",
    }
    dask = [sys.executable, "-m", "dask"]
    quiet: dict[str, Any] = {
        "stdout": subprocess.DEVNULL,
        "stderr": subprocess.DEVNULL,
        "env": environment,
        "cwd": folder,
    }
    port = address.rpartition(":")[2]
    processes = [
        subprocess.Popen([*dask, "scheduler", "--host", "127.0.0.1", "--port", port, "--no-dashboard"], **quiet)
    ]
    try:
        worker = [*dask, "worker", address, "--nthreads", "1", "--no-dashboard", "--no-nanny"]
        processes += [subprocess.Popen(worker, **quiet) for _ in range(workers)]
        _wait_for_workers(address, workers)
        yield Cluster(address, tuple(processes[1:]))
    finally:
        for process in reversed(processes):
            process.kill()  # to end in order, a worker would wait for the scheduler, which is gone
            process.wait(PATIENCE)


def _wait_for_workers(address: str, count: int) -> None:
    from distributed import Client

    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            with Client(address, timeout="5s", set_as_default=False) as client:
                client.wait_for_workers(count, timeout=PATIENCE)
                return
        except (OSError, TimeoutError):
            if time.monotonic() > deadline:
                raise
            time.sleep(0.2)
