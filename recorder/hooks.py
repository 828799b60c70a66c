"""How a recorder hangs on optimizers: hooks that hold it weakly, and that no compiler traces."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from weakref import WeakMethod, ref

import torch
from torch.optim import Optimizer

from recorder.errors import UsageError


def attach(optimizers: Sequence[Optimizer], before: WeakMethod[Any], after: WeakMethod[Any]) -> list[Any]:
    """Hook into optimizers.

    Parameters
    ----------
    optimizers : sequence of Optimizer
        The last one completes a step.
    before : weak method
        Called with any of the optimizers before its step.
    after : weak method
        Called with the last optimizer after its step.

    Returns
    -------
    list
        Handles; each has `remove`.
    """
    if not optimizers:
        return []
    # A deep copy of an optimizer copies its hooks: they know their own, and leave a copy alone.
    # Whether there is a GPU to capture on is asked once: asking takes as long as a hook.
    on_gpu = torch.cuda.is_available()
    known, last = [ref(optimizer) for optimizer in optimizers], ref(optimizers[-1])

    @torch.compiler.disable  # type: ignore[untyped-decorator]
    def before_step(optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        call = before()
        if call is not None and any(optimizer is own() for own in known):
            if on_gpu:
                refuse_capture()
            call(optimizer)

    @torch.compiler.disable  # type: ignore[untyped-decorator]
    def after_step(optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        call = after()
        if call is not None and optimizer is last():
            if on_gpu:
                refuse_capture()
            call(optimizer)

    handles = [optimizer.register_step_pre_hook(before_step) for optimizer in optimizers]
    return [*handles, optimizers[-1].register_step_post_hook(after_step)]


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
