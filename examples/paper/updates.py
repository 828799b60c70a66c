"""One update of a model on one minibatch, in memory that does not move: called directly, or captured as a CUDA graph.

The CUDA part is written, and its pieces are tested on the CPU. On a GPU it is not measured.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy
from torch.optim import Optimizer

from .dense import Inputs, Model, forward


@dataclass(frozen=True)
class Update:
    """An update that reads the numbers of its graphs from `index` and leaves its loss in `loss`.

    Attributes
    ----------
    index : (batch size,) int64
        On the device. Write the numbers of the graphs there before `make`.
    loss : () float32
    make : callable
        Makes one update.
    captured : bool
        Whether `make` replays a CUDA graph, which no optimizer hook sees: call `recorder.step()` after it.
    """

    index: Tensor
    loss: Tensor
    make: Callable[[], None]
    captured: bool


def update_of(model: Model, optimizer: Optimizer, data: Inputs, batch_size: int) -> Update:
    """Return the update of a model on minibatches of data on a device; on a GPU as a captured graph."""
    device = data.y.device
    index = torch.arange(batch_size, device=device)
    held = torch.zeros((), device=device)

    def update() -> None:
        optimizer.zero_grad(set_to_none=True)
        batch = data.take(index)
        loss = cross_entropy(forward(model, batch), batch.y)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        held.copy_(loss.detach())

    if device.type != "cuda":
        return Update(index, held, update, captured=False)
    return Update(index, held, capture(update, model, optimizer), captured=True)


def capture(update: Callable[[], None], model: Model, optimizer: Optimizer) -> Callable[[], None]:
    """Return the replay of an update as a CUDA graph. It captures the learning rates; Adam needs `capturable=True`."""
    side = torch.cuda.Stream()  # type: ignore[no-untyped-call]
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        rehearse(update, model, optimizer)
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    optimizer.zero_grad(set_to_none=True)  # gradients then come from the graph's own memory
    with torch.cuda.graph(graph):
        update()
    replay: Callable[[], None] = graph.replay
    return replay


def rehearse(update: Callable[[], None], model: Model, optimizer: Optimizer, times: int = 3) -> None:
    """Make a few updates and undo them in place, so that libraries are loaded and optimizer state is allocated."""
    weights = {parameter: parameter.detach().clone() for parameter in model.parameters()}
    state = {id(value): value.clone() for value in tensors_of(optimizer)}
    for _ in range(times):
        update()
    with torch.no_grad():
        for parameter, before in weights.items():
            parameter.copy_(before)
        for value in tensors_of(optimizer):
            value.copy_(state[id(value)]) if id(value) in state else value.zero_()


def tensors_of(optimizer: Optimizer) -> list[Tensor]:
    """All tensors of an optimizer's state."""
    return [value for state in optimizer.state.values() for value in state.values() if isinstance(value, Tensor)]


@torch.no_grad()
def accuracy(model: Model, data: Inputs, chunk: int = 500) -> float:
    """Share of graphs whose largest logit is that of their class."""
    parts = [data.take(slice(start, start + chunk)) for start in range(0, len(data), chunk)]
    return sum(int((forward(model, part).argmax(dim=1) == part.y).sum()) for part in parts) / len(data)
