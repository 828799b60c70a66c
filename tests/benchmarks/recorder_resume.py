"""What it costs to find the frame that a resumed training stands at, and to set aside what comes after it.

Stores are of the paper's GCN (11,786 weights) and of a perceptron with ten million, as long as asked for. Weights walk
at random. In the chunks between the first and the last only parameters of up to 64 elements do: no other is read there.
The search runs in a process of its own, as the writer's does: seconds, and how far its memory grew.

    python -m tests.benchmarks.recorder_resume
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import tempfile
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from time import perf_counter

import numpy as np
from torch import nn

from examples.models import GCN
from recorder.budget import plan_budget
from recorder.spool_files import Session
from recorder.trainer.model.selection import select_parameters
from recorder.writer.encoding import Array
from recorder.writer.resuming.attempts import set_aside
from recorder.writer.resuming.reopening import reopen
from recorder.writer.resuming.resume import find_place
from recorder.writer.resuming.search import Held, read_steps
from recorder.writer.store import StoreWriter
from tests.benchmarks.recorder_workload import Row, table

SMALL = 64


def perceptron() -> nn.Module:
    """Ten million weights in four layers."""
    return nn.Sequential(nn.Linear(784, 2800), nn.Linear(2800, 2400), nn.Linear(2400, 450), nn.Linear(450, 10))


def session_of(model: nn.Module, store: Path, chunk_steps: int | None) -> Session:
    schema = select_parameters(model).schema
    budget = plan_budget(schema, 0, chunk_steps=chunk_steps)
    known = {"chunk_steps": budget.chunk_steps, "compression": "pcodec", "stride": 1}
    return Session(uuid.uuid4().hex, str(store), "a", "", schema, budget, known, 0, None)


def write(session: Session, frames: int) -> None:
    """Write a store of so many frames; one chunk at a time is in memory."""
    store, schema = Path(session.store), session.schema
    store.mkdir()
    attributes = session.attributes | {
        "format": "parameter-trajectory",
        "format_version": 1,
        "run_id": uuid.uuid4().hex,
        "segments": [{"first_frame": 0, "first_step": 0, "user_step": None, "continuous": False}],
        "skipped_updates": 0,
        "dropped_frames": 0,
        "chunk_checksums": [],
    }
    threads = len(os.sched_getaffinity(0))
    writer = StoreWriter(store, schema, attributes, frames=0, param_groups=0, scalars={}, threads=threads)
    random = np.random.default_rng(0)
    (plane,) = schema.planes
    weights = random.normal(size=plane.elements).astype(np.float32)
    small = np.concatenate(
        [np.arange(p.offset, p.offset + p.elements) for p in schema.parameters if p.elements <= SMALL]
    )
    steps = session.budget.chunk_steps
    for begin in range(0, frames, steps):
        count = min(steps, frames - begin)
        moving = np.arange(plane.elements) if begin in (0, (frames - 1) // steps * steps) else small
        rows = np.repeat(weights[None], count, axis=0)
        for row in rows:
            weights[moving] += random.standard_normal(len(moving), np.float32) * np.float32(1e-4)
            row[:] = weights
        writer.append(np.arange(begin, begin + count), {}, None, [rows])
    writer.publish({"session": session.session}, status="interrupted")
    writer.close()


def cases(held: Held) -> Iterator[tuple[str, list[Array]]]:
    """The frames that are sought: the newest, one that is a hundredth older, the middle, the oldest, and none."""
    for name, index in (
        ("newest", held.frames - 1),
        ("1 % older", held.frames - 1 - held.frames // 100),
        ("oldest", 0),
    ):
        yield name, held.frame(index)
    frame = held.frame(held.frames - 1)
    for values in frame:
        values += 1
    yield "none", frame


def in_process(work: Callable[[], object]) -> tuple[float, float]:
    """Return the seconds that work takes in a forked process, and by how many MB its memory grew."""
    readable, writable = os.pipe()
    if os.fork() == 0:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        began = perf_counter()
        work()
        seconds = perf_counter() - began
        grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1e3
        os.write(writable, json.dumps([seconds, grown]).encode())
        os._exit(0)
    os.wait()
    seconds, grown = json.loads(os.read(readable, 1000))
    os.close(readable)
    os.close(writable)
    return seconds, grown


def measure(make: Callable[[], nn.Module], frames: int, folder: Path, chunk_steps: int | None = None) -> list[Row]:
    """Return a row for each frame that is sought."""
    session = session_of(make(), folder / f"{uuid.uuid4().hex}.zarr", chunk_steps)
    write(session, frames)
    store, steps = Path(session.store), session.budget.chunk_steps
    attributes = json.loads((store / "zarr.json").read_text())["attributes"]
    writer = reopen(store, session, attributes)
    held = Held(store, writer.parameters, read_steps(store, frames, steps), steps)
    rows: list[Row] = []
    for name, frame in cases(held):
        seconds, grown = in_process(lambda f=frame: find_place(writer, session, f.__getitem__, 0, lambda: None))
        rows.append({"frame": name, "frames": frames, "chunk": steps, "search ms": 1e3 * seconds, "memory MB": grown})
    kept = frames // 2
    seconds, grown = in_process(lambda: set_aside(store, kept, held.steps))
    rows.append(
        {"frame": "half set aside", "frames": frames, "chunk": steps, "search ms": 1e3 * seconds, "memory MB": grown}
    )
    writer.close()
    return rows


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=187_501, help="of the GCN")
    parser.add_argument("--large-frames", type=int, default=201, help="of the perceptron")
    parser.add_argument("--folder", type=Path, help="where the stores go for the while")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        print(table("GCN, 11,786 weights", measure(GCN, arguments.frames, Path(folder))), flush=True)
        print(table("10 million weights", measure(perceptron, arguments.large_frames, Path(folder))), flush=True)


if __name__ == "__main__":
    main()
