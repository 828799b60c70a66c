"""The writer's time for the newest temperatures: a part of all that it does, and what the trainer's look at them costs.

Frames of the paper's GCN and GAT, a random walk, are spooled as a training would, and drained in this process. One
spool file a commit is the dearest case: of a slow training, every file is measured. Of eight, the last one is.

    OMP_NUM_THREADS=1 python -m tests.benchmarks.recorder_recent
"""

from __future__ import annotations

import argparse
import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from time import perf_counter_ns, process_time_ns, thread_time_ns
from typing import Any

import torch
from torch import nn

from examples.models import GAT, GCN
from recorder.spool_files import Control, create_spool
from recorder.trainer.ends import make_feed
from recorder.trainer.feeds.spool import Spool
from recorder.trainer.model.selection import select_parameters
from recorder.trainer.options import Options
from recorder.trainer.placement import place_spool
from recorder.trainer.session import make_session
from recorder.trainer.temperatures import Temperatures
from recorder.writer.drain import Drain
from recorder.writer.recovery import open_store
from tests.benchmarks.recorder_workload import Row, table

COMPRESSIONS = ("pcodec", "lz4", "none")
CALLS = 1000


@dataclass
class Nobody:
    """In the writer's place, since this process drains the spool."""

    control: Control

    def check(self) -> None:
        """All is well."""

    def wake(self) -> None:
        """Nobody sleeps."""


def options_of(store: Path, compression: str) -> Options:
    return Options(
        store=store, hyperparameters={}, include=None, exclude=None, stride=1, chunk_steps=None, mode="w-",
        compression=compression, expected_steps=None, on_pressure="wait", on_error="raise", spool=None,
        spool_limit=None, compare_every=None, user_step=None,
    )  # fmt: skip


def measure(kind: Callable[[], nn.Module], files: int, compression: str, *, together: int) -> Row:
    """Drain `files` spool files, `together` of them in a commit.

    Returns
    -------
    row
        Microseconds of CPU for each frame, of the writer as a whole and of the newest temperatures; their share in
        percent; microseconds that `Recorder.temperatures` takes.
    """
    torch.manual_seed(0)
    model = kind()
    with tempfile.TemporaryDirectory() as name:
        options = options_of(Path(name, "run.zarr"), compression)
        selection = select_parameters(model)
        session = make_session(model, [], options, selection.schema)
        directory = place_spool(options.store, session.session, session.budget.pool_bytes, None)
        create_spool(directory, session)
        control = Control(directory)
        spool = Spool(directory, session, Nobody(control), drop=False, tell=print)  # type: ignore[arg-type]
        feed = make_feed(selection, spool, session.budget)
        store, progress, lock = open_store(directory, session, os.getpid(), print)
        drain = Drain(directory, session, store, progress)
        spent = [0]
        inner = drain._recent.measure

        def timed() -> Any:
            began = thread_time_ns()
            found = inner()
            spent[0] += thread_time_ns() - began
            return found

        drain._recent.measure = timed  # type: ignore[method-assign]
        updates = [1e-4 * torch.randn_like(p) for p in model.parameters()]
        whole, frames = 0, 0
        for first in range(0, files, together):
            for _ in range(min(together, files - first) * session.budget.file_frames):
                with torch.no_grad():
                    torch._foreach_add_([*model.parameters()], [u * (0.5 + float(torch.rand(()))) for u in updates])
                feed.push(frames, ())
                frames += 1
            feed.close()
            began = process_time_ns()
            for file in drain.finished():
                drain.take(file)
            drain.commit()
            whole += process_time_ns() - began
        temperatures, looks = Temperatures(selection.schema, control), []
        for _ in range(CALLS):
            began = perf_counter_ns()
            assert temperatures.newest()
            looks.append(perf_counter_ns() - began)
        store.close()
        os.close(lock)
        for path in directory.iterdir():
            path.unlink()
        directory.rmdir()
    return {
        "model": f"{model.__class__.__name__}, {compression}, "
        + ("a file a commit" if together == 1 else f"{together}"),
        "frames": frames,
        "writer us": whole / 1e3 / frames,
        "recent us": spent[0] / 1e3 / frames,
        "share %": 100 * spent[0] / whole,
        "temperatures() us": median(looks) / 1e3,
    }


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=16, help="spool files to drain (default: %(default)s)")
    files = parser.parse_args().files
    rows = [
        measure(kind, files, compression, together=together)
        for kind in (GCN, GAT)
        for compression in COMPRESSIONS
        for together in (1, 8)
    ]
    print(table("The newest temperatures, beside all that the writer does", rows))


if __name__ == "__main__":
    main()
