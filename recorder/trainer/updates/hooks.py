"""The hooks by which a recorder follows optimizers: they hold it weakly, and no compiler traces them."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache
from inspect import unwrap
from types import FrameType
from typing import Any, TypeVar
from weakref import ref

import torch
from torch.optim import Optimizer

from recorder.errors import UsageError
from recorder.trainer.updates.optimizers import held_by, listing, named, shares_hooks

T = TypeVar("T")
H = TypeVar("H", bound=Callable[..., None])
Before = Callable[[T], None]
After = Callable[[T, Optimizer, int], None]

_MANY_STEPS = 100  # after more steps of one optimizer without a frame, the others are named; a critic may take 100
_TORCH_FILE = sys.modules[Optimizer.__module__].__file__


@dataclass(frozen=True)
class Hooks:
    """Handles of hooks. Lifetime: one recording.

    Attributes
    ----------
    first, every : list
        Each handle has `remove`. The first step needs those of `first`, every step those of `every`.
    """

    first: list[Any] = field(default_factory=list)
    every: list[Any] = field(default_factory=list)

    def settle(self) -> None:
        """Remove the hooks that only the first step needs."""
        while self.first:
            self.first.pop().remove()

    def remove(self) -> None:
        """Remove all hooks."""
        for handle in (*self.first, *self.every):
            handle.remove()


def attach(optimizers: Sequence[Optimizer], owner: ref[T], before: Before[T], after: After[T]) -> Hooks:
    """Hook into optimizers, and into those that they hold: SAM's two calls, for example, step only the inner one.

    Parameters
    ----------
    optimizers : sequence of Optimizer
        As `optimizers_of` returns them.
    owner : weak reference
        The object that `before` and `after` get; once it is gone, the hooks do nothing.
    before : function
        Called with the owner before a step of any of them.
    after : function
        Called after each step with the owner, the optimizer that stepped and its place in the list. A step within a
        step is part of the outer one, and is not reported.
    """
    outside = untraced()  # also without optimizers: a compiled function may call `Recorder.step` itself
    hooks = Hooks()
    for place, optimizer in enumerate(optimizers):
        members = [optimizer, *held_by(optimizer)]
        nested = Nesting() if len(members) > 1 or may_call_itself(optimizer) else None
        for member in members:
            begin, end = _hooks(ref(member), place, owner, before, after, nested)
            (hooks.first if nested is None else hooks.every).append(member.register_step_pre_hook(outside(begin)))
            hooks.every.append(member.register_step_post_hook(outside(end)))
    return hooks


def _hooks(
    member: ref[Optimizer], place: int, owner: ref[T], before: Before[T], after: After[T], nested: Nesting | None
) -> tuple[Callable[..., None], Callable[..., None]]:
    """Return what runs before and after each step of one optimizer."""

    def before_step(optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        self = owner()
        if self is not None and (optimizer is member() or shares_hooks(optimizer, member())):
            if nested is not None and not nested.begins(caller()):
                return
            before(self)

    def after_step(optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        self = owner()
        if self is not None and (optimizer is member() or shares_hooks(optimizer, member())):
            if nested is not None and not nested.ends(caller()):
                return
            after(self, optimizer, place)

    return before_step, after_step


def caller() -> FrameType | None:
    """Return the stack frame of the `step` that runs the hook, or None. Functions that Dynamo resumes are skipped."""
    frame: FrameType | None = sys._getframe(2)
    while frame is not None:
        code = frame.f_code
        if code.co_filename == _TORCH_FILE and not code.co_name.startswith("torch_dynamo_resume"):
            return frame
        frame = frame.f_back
    return None


class Nesting:
    """Tells the outermost step of an optimizer from the steps within it: `super().step()`, an inner optimizer.

    Lifetime: as the hooks. It looks at the call stack. A count would go wrong when a step ends with an exception,
    because then no hook runs.
    """

    def __init__(self) -> None:
        self._outer: FrameType | None = None

    def begins(self, frame: FrameType | None) -> bool:
        """Tell whether the step that begins is the outermost."""
        if self._outer is not None and self._outer is not frame and self._is_running():
            return False
        self._outer = frame
        return True

    def ends(self, frame: FrameType | None) -> bool:
        """Tell whether the step that ends is the outermost."""
        if self._outer is not None and self._outer is not frame and self._is_running():
            return False
        self._outer = None
        return True

    def _is_running(self) -> bool:
        frame: FrameType | None = sys._getframe(2)
        while frame is not None and frame is not self._outer:
            frame = frame.f_back
        return frame is not None


def may_call_itself(optimizer: Optimizer) -> bool:
    """Tell whether a class overrides the `step` of another: torch may run the hooks of both."""
    steps = [vars(base)["step"] for base in type(optimizer).__mro__ if base is not Optimizer and "step" in vars(base)]
    return len({unwrap(step) for step in steps if callable(step)}) > 1


class Rounds:
    """Counts the updates of several optimizers: an update is whole once each has stepped since the last whole one.

    Lifetime: as the recorder. This is right for one optimizer for each parameter, for a generator and its critic in
    either order, and for five steps of a critic to one of the generator.
    """

    def __init__(self, optimizers: Sequence[Optimizer], tell: Callable[[str], None]) -> None:
        self._tell = tell
        self._names = [named(optimizers, place) for place in range(len(optimizers))]
        self._steps = [0] * len(optimizers)  # since the last whole update
        self._ever = [False] * len(optimizers)
        self._missing = len(optimizers)
        self._told = False
        self._skips: list[torch.Tensor] = []
        self._applied = False
        self.found_inf: torch.Tensor | None = None

    def completes(self, place: int, optimizer: Optimizer) -> bool:
        """Count a step; tell whether it makes the update whole. Then `found_inf` tells whether all were skipped."""
        steps = self._steps
        steps[place] += 1
        if (found_inf := getattr(optimizer, "found_inf", None)) is None:
            self._applied = True
        else:
            self._skips.append(found_inf)
        if steps[place] == 1:
            self._missing -= 1
            self._ever[place] = True
        if self._missing:
            if steps[place] > _MANY_STEPS and not self._told:
                self._told = True
                self._tell(
                    f"{self._names[place]} has stepped {steps[place]} times, and {self._waited_for()} has not: a frame "
                    "is taken once each listed optimizer has stepped. List only those that step together, or leave "
                    "the optimizers out and call recorder.step() after each update."
                )
            return False
        self.found_inf = None if self._applied else _all_of(self._skips)
        self._steps, self._missing = [0] * len(steps), len(steps)
        self._skips, self._applied = [], False
        return True

    @property
    def is_whole(self) -> bool:
        """Whether no step came after the last whole update."""
        return self._missing == len(self._steps)

    @property
    def partial(self) -> str:
        """Return a sentence about the steps that no frame holds; empty where there are none."""
        if self.is_whole:
            return ""
        stepped = [f"{name} ({count:,})" for name, count in zip(self._names, self._steps, strict=True) if count]
        return (
            f"after the last frame came steps of {listing(stepped)}, but none of {self._waited_for()}: a frame is "
            "taken once each listed optimizer has stepped, so the weights as they are now are not in the store. List "
            "only those that step together, or leave the optimizers out and call recorder.step() after each update."
        )

    def _waited_for(self) -> str:
        return listing([name for name, count in zip(self._names, self._steps, strict=True) if not count])


def _all_of(found_infs: Sequence[torch.Tensor]) -> torch.Tensor:
    """Return a tensor that is nonzero if all of some are. It waits for no device."""
    first = found_infs[0].detach()
    return torch.stack([(each.detach() != 0).to(first.device, torch.float32).reshape(()) for each in found_infs]).amin()


@cache
def untraced() -> Callable[[H], H]:
    """Keep Dynamo from tracing this package.

    The package is put on the list of what Dynamo skips, which costs nothing in a step that is not compiled. If torch
    has no such list, `torch.compiler.disable` wraps each hook in a function that turns Dynamo off and on again. Beside
    a training that takes 12 µs of each recorded step (98 instead of 86, `tests/benchmarks/FIGURES.md`).

    Returns
    -------
    function
        Takes a hook, returns what to register in its place.
    """
    import torch._dynamo  # only here, because it takes long to import

    skip = getattr(torch._dynamo.trace_rules, "add", None)
    if skip is None:
        return torch.compiler.disable
    skip("recorder")  # the whole package, since Dynamo must not trace `recorder.recorder` either
    return lambda hook: hook


def refuse_capture() -> None:
    """Refuse a step that is being captured into a CUDA graph.

    Raises
    ------
    CapturedError
    """
    if torch.cuda.is_current_stream_capturing():
        raise CapturedError(
            "recorder: the optimizer's step is being captured into a CUDA graph, so the hook would run once and not at "
            "every replay. Make the Recorder without an optimizer, and call recorder.step() after each replay."
        )


class CapturedError(UsageError):
    """A step that is being captured cannot be recorded, and no recorder may close during the capture."""
