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
    """Where the scheduler listens, the processes of the workers, and the folder in which they run."""

    address: str
    workers: tuple[subprocess.Popen[bytes], ...]
    folder: Path


@contextmanager
def cluster(folder: Path, workers: int = 2) -> Iterator[Cluster]:
    """Start `dask scheduler` and several `dask worker ADDRESS`, with one thread each."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"tcp://127.0.0.1:{probe.getsockname()[1]}"
    port = address.rpartition(":")[2]
    processes = [_dask(folder, "scheduler", "--host", "127.0.0.1", "--port", port, "--no-dashboard")]
    try:
        processes += [_worker(address, folder) for _ in range(workers)]
        _wait_for_workers(address, workers)
        yield Cluster(address, tuple(processes[1:]), folder)
    finally:
        _end(*reversed(processes))


@contextmanager
def another_worker(running: Cluster) -> Iterator[subprocess.Popen[bytes]]:
    """Start one more worker in a cluster, which the test may kill."""
    process = _worker(running.address, running.folder)
    try:
        _wait_for_workers(running.address, len(running.workers) + 1)
        yield process
    finally:
        _end(process)


def _worker(address: str, folder: Path) -> subprocess.Popen[bytes]:
    return _dask(folder, "worker", address, "--nthreads", "1", "--no-dashboard", "--no-nanny")


def _dask(folder: Path, *words: str) -> subprocess.Popen[bytes]:
    environment = {
        **os.environ,
        "PYTHONPATH": str(Path(analyzer.__file__).parents[1]),
        "DASK_DISTRIBUTED__DASHBOARD": "x",
        "DASK_DISTRIBUTED__WORKER__PROFILE__ENABLED": "False",  # it samples an idle worker a hundred times a second
    }
    quiet: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    return subprocess.Popen([sys.executable, "-m", "dask", *words], **quiet, env=environment, cwd=folder)


def _end(*processes: subprocess.Popen[bytes]) -> None:
    for process in processes:
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
