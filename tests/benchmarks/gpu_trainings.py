"""Trainings for `gpu_parts`: an update made in each of several ways, recorded, beside clones of what was trained."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from examples.data.loader import dense, load
from examples.paper.dense import Inputs, inputs
from examples.paper.driver import Driver
from examples.paper.place import Place
from examples.paper.plan import BATCH, SCALES
from examples.paper.train import Task, optimizer_of
from examples.paper.updates import Loss, compiled_loss, loss_of
from recorder import Recorder
from tests.recorder.runs import read_array, store_path


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


def tell(text: str) -> None:
    """Say something on stderr; stdout is for rows."""
    print(text, file=sys.stderr, flush=True)


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
