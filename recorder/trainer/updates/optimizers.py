"""The optimizers of a recording: what a wrapper wraps, what an optimizer holds, its name and its learning rates."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from recorder import patterns
from recorder.errors import UsageError
from recorder.trainer.feeds.ring import as_number


def optimizers_of(optimizer: Optimizer | Sequence[Optimizer] | None, model: object = None) -> list[Optimizer]:
    """Return the optimizers in the order given, each as the torch optimizer whose hooks run.

    A wrapper whose own hooks never run is replaced by the optimizer that it wraps: those of Lightning, Fabric,
    Accelerate and Opacus. A wrapper whose hooks run stays, since its step may go on after the inner one.

    Parameters
    ----------
    optimizer : torch.optim.Optimizer or sequence of them, optional
    model : object, optional
        The model that is recorded. An engine of DeepSpeed tells which optimizer really steps.

    Raises
    ------
    UsageError
        An object is no optimizer, or its step does not tell when the model's weights have changed.
    """
    one: Any = optimizer
    listed: list[Any] = [] if one is None else [one]
    if isinstance(one, Iterable) and not isinstance(one, Mapping | str):  # those are named as what they are
        listed = list(one)
    if listed and type(model).__name__ == "DeepSpeedEngine":
        _refuse_deepspeed(getattr(model, "optimizer", None))  # the user's own optimizer is inside it
    found: list[Optimizer] = []
    for each in listed:
        followed = _follow(each)
        if not any(followed is other for other in found):
            found.append(followed)
    return found


def _follow(optimizer: Any) -> Optimizer:
    """Return the optimizer whose hooks run when a given one steps."""
    seen: list[Any] = []
    while True:
        _refuse_deepspeed(optimizer)
        inner = _wrapped(optimizer)
        if not isinstance(optimizer, Optimizer):
            raise UsageError(f"optimizer: expected a torch.optim.Optimizer, got {_instead(optimizer, inner)}")
        if has_hooks(optimizer):
            return optimizer
        seen.append(optimizer)
        if inner is None or any(inner is each for each in seen):
            break
        optimizer = inner
    if "_optimizer_step_post_hooks" in vars(optimizer):
        return optimizer  # torch may have changed how it marks a step: if no hook runs, `close` will say so
    raise UsageError(
        f"optimizer: expected one that calls hooks after its steps, got {type(optimizer).__name__}, which never ran "
        "Optimizer.__init__. Pass the torch optimizer that it wraps, or leave the optimizer out and call "
        "recorder.step() after each update."
    )


def _instead(given: Any, inner: Optimizer | None) -> str:
    """Return the name of something that is no optimizer, and what to pass in its place."""
    kind = type(given).__name__
    if inner is not None:
        return f"{kind}, which holds one. Pass that one: .optimizer of the {kind}."
    if hasattr(given, "get_last_lr"):  # accelerate's holds a list of them
        return f"{kind}, which schedules learning rates. Pass the optimizer whose rate it sets."
    if isinstance(given, (Mapping, str)):
        return f"{kind}. Pass the optimizers in a list: [generator, critic]."
    return f"{kind}. Pass the torch optimizer, or leave it out and call recorder.step() after each update."


def _wrapped(optimizer: Any) -> Optimizer | None:
    """Return what an object wraps: its `.optimizer`, else the only optimizer among its attributes; None if none."""
    inner = getattr(optimizer, "optimizer", None)
    if isinstance(inner, Optimizer):
        return inner
    _refuse_deepspeed(inner)
    held = [value for value in getattr(optimizer, "__dict__", {}).values() if isinstance(value, Optimizer)]
    return held[0] if len(held) == 1 else None


def _refuse_deepspeed(optimizer: Any) -> None:
    for kind in type(optimizer).__mro__:
        home = kind.__module__.split(".")
        if (home[0] == "deepspeed" and home[1:2] != ["ops"]) or kind.__name__.startswith("DeepSpeed"):
            raise UsageError(
                f"optimizer: expected a torch.optim.Optimizer that moves the model's own weights, got "
                f"{type(optimizer).__name__}. DeepSpeed copies them into the model after that step, so frames would be "
                "an update old. Leave the optimizer out, call recorder.start() before the training, and "
                "recorder.step() after each engine.step()."
            )


def held_by(optimizer: Optimizer) -> list[Optimizer]:
    """Return the optimizers that another one holds, directly or not, and that move some of the same parameters."""
    found = [optimizer]
    own = _parameters(optimizer)
    for each in found:
        for inner in vars(each).values():
            if (
                isinstance(inner, Optimizer)
                and has_hooks(inner)
                and not any(shares_hooks(inner, other) for other in found)
                and own & _parameters(inner)
            ):
                found.append(inner)  # the loop then looks into it, too
    return found[1:]


def _parameters(optimizer: Optimizer) -> set[int]:
    return {id(parameter) for group in optimizer.param_groups for parameter in group["params"]}


def has_hooks(optimizer: Optimizer) -> bool:
    """Tell whether the hooks of an optimizer can run: it was initialised as one, and torch wrapped its `step`."""
    return "_optimizer_step_post_hooks" in vars(optimizer) and getattr(type(optimizer).step, "hooked", False)


def shares_hooks(optimizer: Optimizer, member: Optimizer | None) -> bool:
    """Tell whether two optimizers have their hooks in common: Lightning's wrappers share the inner `__dict__`.

    A deep copy has a dictionary of hooks of its own: it is another optimizer.
    """
    return member is not None and optimizer._optimizer_step_post_hooks is member._optimizer_step_post_hooks


def steps_of(optimizer: Optimizer) -> int | None:
    """Return how many steps an optimizer itself has counted, as Adam does; None if it has no count, or none yet.

    The count of a parameter without a gradient stays behind, so the largest count is taken.
    """
    held: list[Mapping[Any, Any]] = []
    for each in (optimizer, *held_by(optimizer)):
        held += [*each.param_groups, *(state for state in each.state.values() if isinstance(state, Mapping))]
    counts = [state.get("step") for state in held]
    tensors = [count for count in counts if isinstance(count, Tensor) and count.numel() == 1 and not count.is_complex()]
    numbers = [count for count in counts if isinstance(count, (int, float)) and not isinstance(count, bool)]
    for device in {tensor.device for tensor in tensors}:  # a device is waited for once
        of_device = [tensor.detach().reshape(()).double() for tensor in tensors if tensor.device == device]
        numbers.append(float(torch.stack(of_device).max()))
    return int(max(numbers)) if numbers and all(math.isfinite(number) for number in numbers) else None


def named(optimizers: Sequence[Optimizer], place: int) -> str:
    """Return an optimizer's name in messages, such as `optimizers[0] (Adam)`."""
    kind = type(optimizers[place]).__name__
    return f"the optimizer ({kind})" if len(optimizers) == 1 else f"optimizers[{place}] ({kind})"


def listing(names: Sequence[str]) -> str:
    """Return names in one line: at most the first four, and how many there are."""
    return patterns.listing(names, most=4)


class LearningRates:
    """Reads the learning rates of optimizers: a number or a one-element tensor for each parameter group.

    Lifetime: one recording. Groups that are added after its start have no column in the store. They are left out, and
    the user is told once. A group without a rate has NaN.
    """

    def __init__(self, optimizers: Sequence[Optimizer], tell: Callable[[str], None]) -> None:
        self._optimizers = [(optimizer, len(optimizer.param_groups)) for optimizer in optimizers]
        self._tell = tell
        self._told_groups = self._told_rates = False

    def now(self) -> list[Any]:
        rates = []
        for optimizer, columns in self._optimizers:
            groups = optimizer.param_groups
            if len(groups) != columns:
                groups = self._fitted(optimizer, columns)
            for group in groups:
                rate = group.get("lr")
                rates.append(rate if type(rate) is float else self._plain(rate, optimizer))
        return rates

    def _fitted(self, optimizer: Optimizer, columns: int) -> list[dict[str, Any]]:
        """Return as many groups as the optimizer had at the start."""
        groups = optimizer.param_groups
        if not self._told_groups:
            self._told_groups = True
            self._tell(
                f"the optimizer has {len(groups)} parameter groups, but had {columns} when recording began: "
                "learning_rate is recorded for those only; log(…) the rates of new ones yourself"
            )
        return [*groups, *({"lr": math.nan} for _ in range(columns - len(groups)))][:columns]

    def _plain(self, rate: Any, optimizer: Optimizer) -> Any:
        if isinstance(rate, Tensor) and rate.numel() == 1 and not rate.is_complex():
            return rate
        try:
            return as_number(rate)
        except Exception:  # a foreign object may raise anything; the training goes on
            if not self._told_rates:
                self._told_rates = True
                self._tell(
                    f"learning_rate is NaN for parameter groups whose 'lr' is no number: in {type(optimizer).__name__} "
                    f"it is {'missing or None' if rate is None else type(rate).__name__}; log(…) the rate yourself"
                )
            return math.nan
