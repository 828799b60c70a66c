"""What only a GPU can tell, in parts that each take a minute or so: see `gpu_check`, which runs them all.

    python -m tests.benchmarks.gpu_parts exactness

Each row that is measured is printed at once, as a line of JSON. A part ends with an error where a frame is not what the
parameter was.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn

from examples.paper.driver import TOGETHER, Driver, launches
from examples.paper.plan import BATCH
from examples.paper.together import Steps, together
from examples.paper.train import Task, fresh_model, one_epoch, optimizer_of
from recorder import Recorder
from tests.benchmarks import recorder_gpu
from tests.benchmarks.gpu_trainings import EXACT, Size, Truth, shuffled, synchronize, task_on, tell
from tests.recorder.runs import read_array, store_path

Row = dict[str, object]


def exactness(size: Size) -> Iterator[Row]:
    """Every frame of short trainings, bit for bit, however the updates are made; the GAT eager and as a graph."""
    for kind, ways in (("gcn", tuple(EXACT)), ("gat", ("eager", "CUDA graph"))):
        for way in ways:
            with tempfile.TemporaryDirectory() as folder:
                task = task_on(size, kind, Path(folder))
                model, store = fresh_model(task), Path(folder, "run.zarr")
                differing = EXACT[way](size, task, model, store).differing(store)
                frames = len(read_array(store, "step"))
            yield {"training": f"{kind.upper()}, {way}", "frames": frames, "differing bytes": differing}
            assert differing == 0, f"{kind} {way}: {differing} bytes of the store differ from the parameters"


def slowdown(size: Size) -> Iterator[Row]:
    """With and without recording, in turn: GCN and GAT, as a CUDA graph and eager."""
    for way in ("CUDA graph", "eager") if size.device != "cpu" else ("eager",):
        stretch = 50 if size.steps >= 100 else 1
        yield from (dict(r) for r in recorder_gpu.measure(size.device, 10**6, stretch, (way,), 2 * size.seconds))


def large(size: Size) -> Iterator[Row]:
    """A model of ten square layers (10 million weights, 40 MB a frame), stepped as fast as the device goes."""
    model = nn.Sequential(*(nn.Linear(size.width, size.width) for _ in range(10))).to(size.device)
    for parameter in model.parameters():
        parameter.grad = torch.full_like(parameter, 1e-3)
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-2)
    steps, every = min(48, size.steps), 12
    kept: dict[int, list[Tensor]] = {}
    with tempfile.TemporaryDirectory() as folder:
        with Recorder(Path(folder, "run.zarr"), model, optimizer, compression="lz4", chunk_steps=16) as recorder:
            recorder.start()
            began = time.perf_counter()
            for step in range(1, steps + 1):
                optimizer.step()
                if step % every == 0 or step == steps:
                    kept[step] = [parameter.detach().clone() for parameter in model.parameters()]
            synchronize(size)
            taken = time.perf_counter() - began
        report = recorder.report
        assert report is not None
        differing = 0
        for index, (name, _) in enumerate(model.named_parameters()):
            found = read_array(Path(folder, "run.zarr"), store_path(name))
            for step, parameters in kept.items():
                expected = parameters[index].cpu().numpy()
                differing += int((found[..., step].copy().view("u1") != expected.view("u1")).sum())
    yield {
        "weights": sum(parameter.numel() for parameter in model.parameters()),
        "steps/s": steps / taken,
        "waited s": report.stall_seconds,
        "MB/s, close included": 1e-6 * report.raw_bytes / (time.perf_counter() - began),
        "differing bytes": differing,
    }
    assert differing == 0, f"{differing} bytes of the store differ from the parameters"


def many(size: Size) -> Iterator[Row]:
    """Eight trainings at once in one process, each with its own stream, graph and recorder; every frame compared."""
    with tempfile.TemporaryDirectory() as folder:
        task = task_on(size, "gcn", Path(folder))
        truths: dict[int, tuple[Truth, Path]] = {}

        def training(number: int) -> Steps[int]:
            torch.manual_seed(number)
            model = fresh_model(replace(task, kind="gcn"))
            optimizer = optimizer_of("adam", model, 1e-3, size.device)
            driver = Driver(model, optimizer, task.train, BATCH, tell)  # captures while the others are recorded
            store = Path(folder, f"{number}.zarr")
            with Recorder(store, model, None if driver.captured else optimizer) as recorder:
                with driver.stream():
                    truths[number] = truth, _ = Truth(model), store
                    recorder.start()
                made = 0
                while made < size.steps:
                    driver.begin(shuffled(task.train, 1_000 * number + made))
                    for _ in range(min(driver.steps, size.steps - made)):
                        driver.make(1)
                        with driver.stream():
                            if driver.captured:
                                recorder.step()
                            truth.note()
                        made += 1
                        yield
            return made

        began = time.perf_counter()
        made = sum(steps for _, steps in together(((n, training(n)) for n in range(size.recorders)), size.recorders))
        taken = time.perf_counter() - began
        differing = sum(truth.differing(store) for truth, store in truths.values())
    yield {
        "recorders": size.recorders,
        "steps/s, captures and close included": made / taken,
        "differing bytes": differing,
    }
    assert differing == 0, f"{differing} bytes of the stores differ from the parameters"


def speed(size: Size) -> Iterator[Row]:
    """Updates a second of a training (25 a graph, not recorded) and of branches (one a graph, recorded)."""
    for kind in ("gcn", "gat"):
        with tempfile.TemporaryDirectory() as folder:
            task = task_on(size, kind, Path(folder))
            model = fresh_model(task)
            driver = Driver(model, optimizer_of("adam", model, 1e-3, size.device), task.train, BATCH, tell)
            yield {"updates": f"{kind.upper()}, training", "steps/s": trained(size, task, driver)}
            del driver
            for count in size.together:
                yield {"updates": f"{kind.upper()}, {count} recorded at once", "steps/s": recorded(size, task, count)}


def trained(size: Size, task: Task, driver: Driver) -> float:
    """Steps a second of a training that is not recorded, orders of epochs included."""
    made, began = 0, time.perf_counter()
    while time.perf_counter() - began < size.seconds:
        driver.begin(shuffled(task.train, made))
        for count in launches(driver.steps, TOGETHER):
            driver.make(count)
        driver.mean_loss()
        made += driver.steps
    return made / (time.perf_counter() - began)


def recorded(size: Size, task: Task, count: int) -> float:
    """Steps a second of some recorded branches together; what comes before and after their epochs is left out."""
    made = 0
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        jobs = []
        for number in range(count):
            model = fresh_model(task)
            optimizer = optimizer_of("sgd", model, 1e-3, size.device)
            driver = Driver(model, optimizer, task.train, BATCH, tell)
            watched = None if driver.captured else optimizer
            recorder = stack.enter_context(Recorder(Path(folder, f"{number}.zarr"), model, watched))
            with driver.stream():
                recorder.start()
            jobs.append((driver, recorder))

        def epochs(number: int, driver: Driver, recorder: Recorder) -> Steps[int]:
            epoch = 0
            while time.perf_counter() - began < size.seconds:
                yield from one_epoch(task, driver, f"speed/{number}", epoch, recorder)
                epoch += 1
            return epoch * driver.steps

        began = time.perf_counter()
        running = ((number, epochs(number, *job)) for number, job in enumerate(jobs))
        made = sum(steps for _, steps in together(running, count))
        return made / (time.perf_counter() - began)


PARTS: dict[str, Callable[[Size], Iterator[Row]]] = {
    "exactness": exactness,
    "slowdown": slowdown,
    "speed": speed,
    "many": many,
    "large": large,
}


def main() -> None:
    """Run one part."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=PARTS)
    parser.add_argument("--device", default="cuda")
    options = parser.parse_args()
    for row in PARTS[options.part](Size(options.device)):
        print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
