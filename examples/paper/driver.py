"""Makes the updates of an epoch: one after the other on a CPU, as replays of CUDA graphs on a GPU.

For networks this small, a GPU spends more time on launches than on computing. So one graph holds 25 updates; if each
update is recorded, it holds one. A graph takes no arguments: the order of an epoch, the place in it, the learning rate
and the sum of the losses are on the device, and the graph itself moves the place on. Each driver captures on a stream
of its own: graphs that were captured on one stream share the workspaces of cuBLAS, and must not run at the same time.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from .dense import Inputs, Model
from .updates import Loss, loss_of, rehearse, update_of, usable_loss

TOGETHER = 25
"""Updates of one graph, where no update is recorded."""


def launches(steps: int, most: int) -> list[int]:
    """How many updates each launch of an epoch makes: `most` as often as possible, then one at a time."""
    return [most] * (steps // most) + [1] * (steps % most)


def is_gpu(device: torch.device) -> bool:
    """Whether updates on a device are captured."""
    return device.type == "cuda"


@dataclass(frozen=True)
class Captured:
    """A CUDA graph and what it reads, which lives as long as the graph. Call it within `torch.cuda.stream(stream)`.

    Attributes
    ----------
    graph : torch.cuda.CUDAGraph
    stream : torch.cuda.Stream
        The stream that it was captured on.
    update : callable
        What was captured; its closure holds the tensors whose addresses are in the graph.
    """

    graph: Any
    stream: Any
    update: Callable[[], None]

    def __call__(self) -> None:
        """Replay the graph on the current stream."""
        self.graph.replay()


def capture(update: Callable[[], None], stream: Any, count: int = 1) -> Captured:
    """Capture an update, `count` times in a row, that was rehearsed on this stream.

    Parameters
    ----------
    update : callable
    stream : torch.cuda.Stream
    count : int
    """
    graph = torch.cuda.CUDAGraph()
    # Other threads may go on: beside this capture the recorders of other branches wait for their devices.
    with torch.cuda.graph(graph, stream=stream, capture_error_mode="thread_local"):
        for _ in range(count):
            update()
    return Captured(graph, stream, update)


class Driver:
    """Makes the updates of one model with one optimizer, epoch by epoch.

    Lifetime: one training or one branch. It holds all memory that its graphs read.

    Attributes
    ----------
    steps : int
        Updates of an epoch. A short last minibatch is left out.
    loss : () float32
        The loss of the newest update, on the device.
    captured : bool
        Whether updates are replays, which no hook of the optimizer sees: call `recorder.step()` after each.
    """

    def __init__(
        self, model: Model, optimizer: Optimizer, data: Inputs, batch_size: int, tell: Callable[[str], None]
    ) -> None:
        device = data.y.device
        self.steps = len(data) // batch_size
        self.captured = is_gpu(device)
        self._optimizer = optimizer
        self._order = torch.zeros(self.steps, batch_size, dtype=torch.long, device=device)
        self._place = torch.zeros(1, dtype=torch.long, device=device)
        self._total = torch.zeros((), dtype=torch.float64, device=device)
        self._stream: Any = None
        self._graphs: dict[int, Captured] = {}
        loss: Loss = loss_of
        if self.captured:
            self._stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
            self._stream.wait_stream(torch.cuda.current_stream(device))
            with self.stream():
                loss = usable_loss(model, data.take(slice(0, batch_size)), tell)
        self._update = update_of(model, optimizer, data, batch_size, loss)
        self.loss = self._update.loss
        self._rates = [group["lr"] for group in optimizer.param_groups]
        if self.captured:
            self._capture(model)

    def stream(self) -> AbstractContextManager[Any]:
        """Return a context in which work for the device comes after the updates made so far."""
        return nullcontext() if self._stream is None else torch.cuda.stream(self._stream)

    def set_rate(self, rate: float) -> None:
        """Set the learning rate of the updates to come.

        Raises
        ------
        ValueError
            The graphs hold another one, since the optimizer's is no tensor on the device.
        """
        for group, held in zip(self._optimizer.param_groups, self._rates, strict=True):
            if isinstance(group["lr"], Tensor):
                with self.stream():
                    group["lr"].fill_(rate)
            elif self._graphs and rate != held:
                raise ValueError(
                    f"learning rate: expected {held:g}, which the CUDA graph holds, got {rate:g}. Make the optimizer "
                    "with lr=torch.tensor(…, device=…)."
                )
            else:
                group["lr"] = rate

    def begin(self, order: Tensor) -> None:
        """Begin an epoch.

        Parameters
        ----------
        order : (graphs,) int64
            The numbers of all graphs, in the order in which they come.
        """
        if self._stream is not None:
            self._stream.wait_stream(torch.cuda.current_stream(self._stream.device))
        with self.stream():
            self._order.copy_(order[: self._order.numel()].view_as(self._order))
            self._place.zero_()
            self._total.zero_()

    def make(self, count: int) -> None:
        """Make the next `count` updates of the epoch; on a GPU 1 or `TOGETHER`. Nothing waits for the device."""
        if self._stream is None:
            for _ in range(count):
                self._advance()
            return
        with self.stream():
            self._graphs[count]()

    def mean_loss(self) -> float:
        """Return the mean loss of the epoch. Waits for the device, so that anything may read the weights then."""
        with self.stream():
            return float(self._total) / self.steps

    def _advance(self) -> None:
        self._update.index.copy_(self._order.index_select(0, self._place)[0])
        self._update.make()
        self._total.add_(self._update.loss)
        self._place.add_(1)

    def _rehearse_once(self) -> None:
        self._place.zero_()  # an epoch may have fewer updates than a rehearsal
        self._advance()

    def _capture(self, model: Model) -> None:
        with self.stream():
            rehearse(self._rehearse_once, model, self._optimizer)
        for count in (1, TOGETHER):
            self._optimizer.zero_grad(set_to_none=True)  # gradients then come from the graph's own memory
            self._graphs[count] = capture(self._advance, self._stream, count)
