"""Error signals and activities of a network: what the gradient noise of each weight is made of.

A weight's gradient of one graph is g_ij = Σ_n δ_ni a_nj over nodes n: the error signal δ of output i, times the
activity a of input j. If signal and activity fluctuate independently, E[g_ij²] is a factor of its row times a factor of
its column. `moments` measures all parts of that sentence.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, linear, unfold
from torch.overrides import TorchFunctionMode

from .dense import Inputs, Model, forward

Array = np.ndarray[Any, np.dtype[Any]]
AT_ONCE = 250


@dataclass(frozen=True)
class Moments:
    """Means over graphs, at fixed weights, of one matrix.

    Attributes
    ----------
    squared_gradient, gradient : (rows, columns) float64
        Of the gradient of one graph's loss.
    squared_signal, squared_activity : (rows,) and (columns,) float64
        Of δ and a, over graphs and nodes.
    """

    squared_gradient: Array
    gradient: Array
    squared_signal: Array
    squared_activity: Array

    def squared_velocity(self, rate: float, batch_size: int) -> Array:
        """⟨v²⟩ of plain SGD at these weights: η² (variance/batch size + mean²) of the gradient."""
        mean = self.gradient**2
        squares: Array = rate**2 * ((self.squared_gradient - mean) / batch_size + mean)
        return squares


class _Watch(TorchFunctionMode):
    """Notes the input and the output of each matrix of a model. Lifetime: one forward pass."""

    def __init__(self, names: dict[int, str]) -> None:
        super().__init__()
        self._names = names
        self.seen: dict[str, tuple[Tensor, Tensor]] = {}

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is Tensor.to_mkldnn:  # its tensors keep no gradients, and the product is the same without
            return args[0]
        out = func(*args, **(kwargs or {}))
        if func in (linear, torch.conv2d) and id(args[1]) in self._names:
            out.retain_grad()
            self.seen[self._names[id(args[1])]] = (args[0], out)
        return out


def moments(model: Model, data: Inputs, show: Callable[[int], None] = lambda done: None) -> dict[str, Moments]:
    """Measure the moments of every matrix that a model multiplies with, over all graphs of `data`, by name."""
    names = {id(p): name for name, p in model.named_parameters() if p.dim() > 1}
    sums: dict[str, list[Array]] = {}
    counts: dict[str, int] = {}
    for begin in range(0, len(data), AT_ONCE):
        part = data.take(slice(begin, begin + AT_ONCE))
        with _Watch(names) as watch:
            loss = cross_entropy(forward(model, part), part.y, reduction="sum")
        model.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        for name, (given, out) in watch.seen.items():
            activity, signal = _by_place(given.detach(), out, len(part))
            gradient = torch.bmm(signal.transpose(1, 2), activity).double()
            found = [(gradient**2).sum(0), gradient.sum(0), (signal.double() ** 2).sum((0, 1)),
                     (activity.double() ** 2).sum((0, 1))]  # fmt: skip
            added = sums.setdefault(name, [np.zeros(tuple(one.shape)) for one in found])
            for total, one in zip(added, found, strict=True):
                total += one.numpy()
            counts[name] = counts.get(name, 0) + len(part) * activity.shape[1]
        show(begin + len(part))
    return {
        name: Moments(squared / len(data), mean / len(data), signal / counts[name], activity / counts[name])
        for name, (squared, mean, signal, activity) in sums.items()
    }


def _by_place(given: Tensor, out: Tensor, graphs: int) -> tuple[Tensor, Tensor]:
    """Activities (graphs, places, columns) and error signals (graphs, places, rows): places are nodes or pixels."""
    grad = out.grad
    assert grad is not None
    if out.dim() == 4:  # a convolution of pictures: a column is a place of the kernel in an input channel
        size = int(given.shape[-1] - out.shape[-1] + 1)
        return unfold(given, size).transpose(1, 2), grad.flatten(2).transpose(1, 2)
    return given.reshape(graphs, -1, given.shape[-1]), grad.reshape(graphs, -1, grad.shape[-1])
