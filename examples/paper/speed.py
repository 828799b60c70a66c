"""How long a step takes on this machine, and how much recording adds. Run it with nothing else running.

python -m examples.paper.speed --scale small --note "CPU only" --sharing "how the runs shared it"
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from ..data.loader import dense, load
from .dense import inputs
from .place import Place, Stop, read_json, save, write_json
from .plan import BATCH, RATE, SCALES, Branch
from .run import chosen
from .train import Task, branch, fresh_model, optimizer_of
from .updates import update_of


def processor() -> str:
    """Name of the processor."""
    try:
        names = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
        return names[0].partition(":")[2].strip()
    except (OSError, IndexError):
        return platform.processor() or platform.machine()


def task_on(kind: str, graphs: int, root: Path) -> Task:
    """A task on the first `graphs` of the shipped graphs."""
    data = inputs(kind, chosen(dense(load()[0]), graphs))
    return Task(kind, 1, SCALES["small"], Place(root), data, data.take(slice(0, 100)), Stop())


def steps_per_second(kind: str, threads: int, steps: int) -> float:
    """Updates a second at batch size 32, without recording."""
    torch.set_num_threads(threads)
    with tempfile.TemporaryDirectory() as folder:
        task = task_on(kind, 500, Path(folder))
        model = fresh_model(task)
        update = update_of(model, optimizer_of("sgd", model, RATE, "cpu"), task.train, BATCH)
        for _ in range(10):
            update.make()
        began = time.perf_counter()
        for n in range(steps):
            update.index.copy_(torch.arange(n % 400, n % 400 + BATCH))
            update.make()
        return steps / (time.perf_counter() - began)


def overhead(kind: str, epochs: int) -> dict[str, Any]:
    """The paired slowdown of a branch of `epochs` epochs of 500 graphs, measured inside the run."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        task = task_on(kind, 500, Path(folder))
        task = replace(
            task, compare_every=15, scale=replace(task.scale, graphs=500, discard=1, steps=0, branch_epochs=epochs)
        )
        model = fresh_model(task)
        save(task.place.trained, {"model": model.state_dict(), "optimizer": {}})
        run = Branch("sgd", RATE, BATCH, 0)
        assert branch(task, run)
        account = read_json(task.place.account(run.name))
    return {"model": kind, "slowdown": account["slowdown"], "pairs": account["slowdown_pairs"]}


def main(argv: Sequence[str] | None = None) -> int:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scale", choices=SCALES, default="small")
    parser.add_argument("--note", default="CPU only.")
    parser.add_argument("--sharing", default="not said how")
    parser.add_argument("--steps", type=int, default=300, help="to time; 0: say what the machine is, and time nothing")
    parser.add_argument("--results", type=Path, default=Path(__file__).parent / "results")
    options = parser.parse_args(argv)
    kinds = ("gcn", "gat", "cnn") if options.steps else ()
    speeds = [
        {"model": kind, "threads": threads, "steps_per_second": steps_per_second(kind, threads, options.steps)}
        for kind in kinds
        for threads in (1, 2)
    ]
    content = {
        "processor": processor(),
        "cores": os.cpu_count(),
        "device": "no GPU" if not torch.cuda.is_available() else torch.cuda.get_device_name(),
        "note": options.note,
        "sharing": options.sharing,
        "speeds": speeds,
        "overhead": [overhead(kind, max(2, options.steps // 5)) for kind in kinds[:2]],
    }
    write_json(options.results / options.scale / "hardware.json", content)
    return 0


if __name__ == "__main__":
    sys.exit(main())
