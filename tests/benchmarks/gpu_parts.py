"""What only a GPU can tell, in parts that each take a minute or so: see `gpu_check`, which runs them all.

    python -m tests.benchmarks.gpu_parts exactness

Each row that is measured is printed at once, as a line of JSON. A part ends with an error where a frame is not what the
parameter was.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from examples.data.loader import dense, load
from examples.paper.dense import Inputs, inputs
from examples.paper.driver import TOGETHER, Driver, launches
from examples.paper.place import Place
from examples.paper.plan import BATCH, SCALES
from examples.paper.together import Steps, together
from examples.paper.train import Task, fresh_model, one_epoch, optimizer_of
from examples.paper.updates import Loss, compiled_loss, loss_of
from recorder import Recorder
from tests.benchmarks import recorder_gpu
from tests.recorder.runs import read_array, store_path

Row = dict[str, object]


@dataclass(frozen=True)
class Size:
    """How much a part does.

    Attributes
    ----------
    device : str
    steps : int
        Of each training whose frames are compared.
    seconds : float
        For each figure that is a rate.
    width : int
        Of the ten square layers of the large model.
    recorders : int
        That record at once where many do.
    together : tuple of int
        Branches at once whose speed is measured.
    """

    device: str = "cuda"
    steps: int = 300
    seconds: float = 6.0
    width: int = 1_000
    recorders: int = 8
    together: tuple[int, ...] = (1, 4)


# -- exactness --------------------------------------------------------------------------------------


class Truth:
    """What the parameters were after each step, as clones on their device. Lifetime: one recording."""

    def __init__(self, model: nn.Module) -> None:
        self._model = model
        self._frames: list[list[Tensor]] = []
        self.note()

    def note(self) -> None:
        """Note the parameters as they are now, on the current stream."""
        self._frames.append([parameter.detach().clone() for parameter in self._model.parameters()])

    def differing(self, store: Path) -> int:
        """Return how many bytes of the store differ from what was noted; every byte where frames are missing."""
        if torch.cuda.is_available():
            torch.cuda.synchronize()  # the clones may be another stream's
        differing = 0
        for index, (name, parameter) in enumerate(self._model.named_parameters()):
            expected = torch.stack([frame[index] for frame in self._frames], dim=-1).cpu().numpy()
            found = read_array(store, store_path(name))
            if found.shape != expected.shape:
                return sum(parameter.nbytes for parameter in self._model.parameters()) * len(self._frames)
            differing += int((found.view("u1") != expected.view("u1")).sum())
        return differing


def synchronize(size: Size) -> None:
    """Wait for the device."""
    if size.device != "cpu":
        torch.cuda.synchronize()


def task_on(size: Size, kind: str, root: Path, graphs: int = 1_000) -> Task:
    """A task on the first of the shipped graphs."""
    data = inputs(kind, dense(load()[0])[:graphs], device=size.device)
    return Task(kind, 1, SCALES["small"], Place(root), data, data.take(slice(0, 100)), False)  # type: ignore[arg-type]


def shuffled(data: Inputs, seed: int) -> Tensor:
    """All graphs in an order that the seed decides."""
    return torch.randperm(len(data), generator=torch.Generator().manual_seed(seed))


def batches(data: Inputs, steps: int) -> Iterator[Inputs]:
    """Minibatches of one shape, as many as there are steps."""
    order = torch.cat([shuffled(data, seed) for seed in range(1 + steps * BATCH // len(data))])
    for index in order[: steps * BATCH].view(steps, BATCH).to(data.y.device):
        yield data.take(index)


Exact = Callable[[Size, Task, nn.Module, Path], Truth]


def eager(
    size: Size, task: Task, model: Any, store: Path, *, loss_of: Loss = loss_of, stream: Any = None, **options: Any
) -> Truth:
    """Adam step by step, recorded by its hooks; with a stream, closed outside of it."""
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, **options)
    with Recorder(store, model, optimizer) as recorder, ExitStack() as inside:
        if stream is not None:
            inside.enter_context(torch.cuda.stream(stream))
        truth = Truth(model)
        recorder.start()
        for batch in batches(task.train, size.steps):
            optimizer.zero_grad()
            loss = loss_of(model, batch.x, batch.edges, batch.y)
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            recorder.log(loss=loss)
            truth.note()
    return truth


def fused(size: Size, task: Task, model: Any, store: Path) -> Truth:
    """Fused Adam."""
    return eager(size, task, model, store, fused=True)


def compiled(size: Size, task: Task, model: Any, store: Path) -> Truth:
    """A compiled loss."""
    return eager(size, task, model, store, loss_of=compiled_loss())


def autocast(size: Size, task: Task, model: Any, store: Path) -> Truth:
    """Half precision with a gradient scaler, some of whose updates are skipped: they leave no frame."""
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, fused=True)
    scaler = torch.amp.GradScaler(size.device, init_scale=2.0**8, backoff_factor=0.999)
    half = torch.float16 if size.device != "cpu" else torch.bfloat16
    truth = Truth(model)
    with Recorder(store, model, optimizer) as recorder:
        recorder.start()
        for step, batch in enumerate(batches(task.train, size.steps)):
            optimizer.zero_grad()
            with torch.autocast(size.device, half):
                loss = loss_of(model, batch.x, batch.edges, batch.y)
            skip = step % 7 == 3
            scaler.scale(loss * (torch.inf if skip else 1.0)).backward()  # type: ignore[no-untyped-call]
            scaler.step(optimizer)
            scaler.update()
            if not skip:
                truth.note()
    assert recorder.report is not None
    assert recorder.report.skipped == len(range(3, size.steps, 7)), recorder.report.skipped
    return truth


def side_stream(size: Size, task: Task, model: Any, store: Path) -> Truth:
    """A training on a side stream, with `close` outside of it."""
    stream = None
    if size.device != "cpu":
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
    return eager(size, task, model, store, stream=stream)


def graph(size: Size, task: Task, model: Any, store: Path) -> Truth:
    """Replays of a CUDA graph of one update, each announced; on a CPU the driver's eager updates."""
    optimizer = optimizer_of("adam", model, 1e-3, size.device)
    driver = Driver(model, optimizer, task.train, BATCH, tell)
    with Recorder(store, model, None if driver.captured else optimizer) as recorder:
        with driver.stream():
            truth = Truth(model)
            recorder.start()
        for seed in range(-(-size.steps // driver.steps)):
            driver.begin(shuffled(task.train, seed))
            for _ in range(min(driver.steps, size.steps - seed * driver.steps)):
                driver.make(1)
                with driver.stream():
                    if driver.captured:
                        recorder.step()
                    recorder.log(loss=driver.loss)
                    truth.note()
    return truth


def beside_captures(size: Size, task: Task, model: Any, store: Path) -> Truth:
    """Eager steps with captures of other graphs between them, while frames are on their way from the device."""
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    truth, kept = Truth(model), []
    with Recorder(store, model, optimizer, chunk_steps=16) as recorder:  # a small block: there is always one on its way
        recorder.start()
        for step, batch in enumerate(batches(task.train, size.steps)):
            optimizer.zero_grad()
            loss_of(model, batch.x, batch.edges, batch.y).backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            truth.note()
            if step % 20 == 19 and size.device != "cpu":
                other, value = torch.cuda.CUDAGraph(), torch.zeros(1, device=size.device)
                with torch.cuda.graph(other):
                    value.add_(1)
                    time.sleep(0.01)
                kept.append((other, value))
    return truth


EXACT: dict[str, Exact] = {
    "eager": eager,
    "fused Adam": fused,
    "autocast": autocast,
    "side stream": side_stream,
    "CUDA graph": graph,
    "beside captures": beside_captures,
    "compiled": compiled,
}


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


# -- rates ------------------------------------------------------------------------------------------


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


def tell(text: str) -> None:
    """Say something on stderr; stdout is for rows."""
    print(text, file=sys.stderr, flush=True)


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
