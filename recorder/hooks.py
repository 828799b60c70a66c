"""How a recorder hangs on optimizers: hooks that hold it weakly, and that no compiler traces."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, TypeVar
from weakref import ref

import torch
from torch.optim import Optimizer

from recorder.errors import UsageError

T = TypeVar("T")
H = TypeVar("H", bound=Callable[..., None])
Act = Callable[[T, Optimizer], None]


def attach(optimizers: Sequence[Optimizer], owner: ref[T], before: Act[T], after: Act[T]) -> list[Any]:
    """Hook into optimizers.

    Parameters
    ----------
    optimizers : sequence of Optimizer
        The last one completes a step.
    owner : weak reference
        Whose methods the hooks call, as long as it lives.
    before : function
        Called with the owner and any of the optimizers before its step.
    after : function
        Called with the owner and the last optimizer after its step.

    Returns
    -------
    list
        Handles; each has `remove`.
    """
    outside = untraced()  # also for those who call `step` themselves, in the middle of what they compile
    if not optimizers:
        return []
    # A deep copy of an optimizer copies its hooks: they know their own, and leave a copy alone.
    # Whether there is a GPU to capture on is asked once: asking takes as long as a hook.
    on_gpu = torch.cuda.is_available()
    known, last = [ref(optimizer) for optimizer in optimizers], ref(optimizers[-1])

    @outside
    def before_step(optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        self = owner()
        if self is not None and any(optimizer is own() for own in known):
            if on_gpu:
                refuse_capture()
            before(self, optimizer)

    @outside
    def after_step(optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        self = owner()
        if self is not None and optimizer is last():
            if on_gpu:
                refuse_capture()
            after(self, optimizer)

    handles = [optimizer.register_step_pre_hook(before_step) for optimizer in optimizers]
    return [*handles, optimizers[-1].register_step_post_hook(after_step)]


class LearningRates:
    """Reads the learning rates of optimizers, a number or tensor for each parameter group.

    Lifetime: one recording. Groups that come after its start have no column in the store: they are left out, which is
    said once.
    """

    def __init__(self, optimizers: Sequence[Optimizer], groups: int, tell: Callable[[str], None]) -> None:
        self._optimizers, self._groups, self._tell = optimizers, groups, tell
        self._told = False

    def now(self) -> list[Any]:
        rates = []
        for optimizer in self._optimizers:
            for group in optimizer.param_groups:
                rates.append(group["lr"])  # noqa: PERF401 - a comprehension is two functions more, at every step
        if len(rates) > self._groups and not self._told:
            self._told = True
            self._tell(
                f"the optimizer has {len(rates)} parameter groups, {self._groups} when recording began: learning_rate "
                "goes on for those, log(…) the new ones yourself"
            )
        return rates[: self._groups]


@cache
def untraced() -> Callable[[H], H]:
    """Keep Dynamo out of this package: it runs the package's functions as they are and compiles nothing of them.

    By the list of what Dynamo skips, which asks nothing of a step that is not compiled. `torch.compiler.disable`, for a
    torch without that list, wraps a hook in a function that turns Dynamo off and on again: 12 of the 84 µs that a
    recorded step then takes beside a training, whose code has driven all other out of the caches.

    Returns
    -------
    function
        Takes a hook, returns what to register in its place.
    """
    import torch._dynamo  # late: where nothing is recorded, nobody waits for it

    skip = getattr(torch._dynamo.trace_rules, "add", None)
    if skip is None:
        return torch.compiler.disable
    skip(__package__)
    return lambda hook: hook


def refuse_capture() -> None:
    """Refuse to be captured into a CUDA graph.

    Raises
    ------
    UsageError
    """
    if torch.cuda.is_current_stream_capturing():
        raise UsageError(
            "recorder: the optimizer's step is being captured into a CUDA graph: the hook would run once, not at every "
            "replay. Make the Recorder without an optimizer and call recorder.step() after each replay."
        )


def optimizers_of(optimizer: Optimizer | Sequence[Optimizer] | None) -> list[Optimizer]:
    """Return the optimizers as a list, in the order given: the last one completes a step."""
    optimizers = [] if optimizer is None else [optimizer] if isinstance(optimizer, Optimizer) else list(optimizer)
    for each in optimizers:
        if not isinstance(each, Optimizer):
            raise UsageError(f"optimizer: expected a torch.optim.Optimizer, got {type(each).__name__}.")
    return optimizers
