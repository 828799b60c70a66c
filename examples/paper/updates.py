"""One update of a model on one minibatch, in memory that does not move, so that a CUDA graph can hold it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy
from torch.optim import Optimizer

from .dense import Inputs, Model, forward

Loss = Callable[[Model, Tensor, Tensor, Tensor], Tensor]


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
    """

    index: Tensor
    loss: Tensor
    make: Callable[[], None]


def loss_of(model: Model, x: Tensor, edges: Tensor, y: Tensor) -> Tensor:
    """The mean cross entropy of a minibatch; see `Inputs`."""
    return cross_entropy(forward(model, Inputs(x, edges, y)), y)


@cache
def compiled_loss() -> Loss:
    """`loss_of`, compiled: one function for all models of a process, so that branches share what was compiled."""
    compiled: Loss = torch.compile(loss_of, dynamic=False)
    return compiled


def usable_loss(model: Model, batch: Inputs, tell: Callable[[str], None]) -> Loss:
    """Return the compiled loss. If it does not compile on this machine, say so and return the plain one."""
    try:
        compiled_loss()(model, batch.x, batch.edges, batch.y).backward()  # type: ignore[no-untyped-call]
    except Exception as error:  # whatever a compiler of another machine raises
        tell(
            f"the loss is not compiled, updates take longer: {type(error).__name__}: {str(error).partition(chr(10))[0]}"
        )
        return loss_of
    return compiled_loss()


def update_of(model: Model, optimizer: Optimizer, data: Inputs, batch_size: int, loss_of: Loss = loss_of) -> Update:
    """Return the update of a model on minibatches of data."""
    device = data.y.device
    index = torch.arange(batch_size, device=device)
    held = torch.zeros((), device=device)

    def update() -> None:
        optimizer.zero_grad(set_to_none=True)
        batch = data.take(index)
        loss = loss_of(model, batch.x, batch.edges, batch.y)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        held.copy_(loss.detach())

    return Update(index, held, update)


# -- the optimizer's state ----------------------------------------------------------------------------


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


def portable(state: Any) -> Any:
    """Return a `state_dict` whose tensors are in host memory, so that any machine can read the file."""
    if isinstance(state, Tensor):
        return state.detach().cpu()
    if isinstance(state, dict):
        return {key: portable(value) for key, value in state.items()}
    return [portable(value) for value in state] if isinstance(state, list) else state


def load_moments(optimizer: Optimizer, state: dict[str, Any]) -> None:
    """Give an optimizer the moments of a `state_dict`. Its settings stay its own: they differ between CPU and GPU."""
    optimizer.load_state_dict({"state": state["state"], "param_groups": optimizer.state_dict()["param_groups"]})


@torch.no_grad()
def accuracy(model: Model, data: Inputs, chunk: int = 500) -> float:
    """Share of graphs whose largest logit is that of their class."""
    parts = [data.take(slice(start, start + chunk)) for start in range(0, len(data), chunk)]
    return sum(int((forward(model, part).argmax(dim=1) == part.y).sum()) for part in parts) / len(data)
