"""What checkpoints hold besides their weights: steps, numbers, hyperparameters, settings of optimizers.

The files may come from anywhere. So only plain values are kept, and only a limited number of them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from operator import index
from typing import Any

from recorder.imports.formats import Notes
from recorder.trainer.values import jsonable

_STEPS = ("global_step", "step", "iteration", "iter", "num_updates")
_HYPERPARAMETERS = ("hyper_parameters", "hyperparameters", "hparams", "config", "args")
_OPTIMIZERS = ("optimizer_states", "optimizer_state_dict", "optimizer_state", "optimizer", "optim")
_MOST_VALUES = 10_000  # a small file may hold shared lists that stand for an enormous number of values
_MOST_STEP = 1 << 62
_MOST_SCALARS = 64


def step_in(values: Mapping[Any, Any]) -> int | None:
    """Return the step that a file holds, as a number or (in safetensors) as text; None without one."""
    for name in _STEPS:
        step = as_step(values.get(name))
        if step is not None:
            return step
    return None


def as_step(value: Any) -> int | None:
    """Return a value as a step; None if it cannot be one."""
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 20:
        value = int(value)
    dimensions: Any = getattr(value, "ndim", 0)
    if isinstance(value, bool) or dimensions:
        return None
    try:
        step = index(value)
    except (TypeError, ValueError, RuntimeError):
        return None
    return step if 0 <= step < _MOST_STEP else None


def notes_in(content: Mapping[Any, Any]) -> Notes:
    """Return the notes in the content of a torch file."""
    said: list[str] = []
    optimizer: list[Mapping[str, Any]] = []
    for name in _OPTIMIZERS:
        if name in content:
            optimizer = optimizers_in(content[name])
            break
    hyperparameters: Mapping[str, Any] = {}
    for name in _HYPERPARAMETERS:
        if isinstance(found := content.get(name), Mapping) and found:
            if is_small(found):
                hyperparameters = jsonable(dict(found))
            else:
                said.append(f"{name!r} holds more than {_MOST_VALUES:,} values and is left out")
            break
    return Notes(step_in(content), numbers_in(content), hyperparameters, tuple(optimizer), tuple(said))


def numbers_in(content: Mapping[Any, Any]) -> dict[str, float]:
    """Return the plain numbers at the top level of a file, without its step, by name."""
    found: dict[str, float] = {}
    for name, value in content.items():
        if not isinstance(name, str) or not name or name in _STEPS or len(found) == _MOST_SCALARS:
            continue
        plain = value.item() if getattr(value, "ndim", None) == 0 and hasattr(value, "item") else value
        if isinstance(plain, (int, float)) and not isinstance(plain, bool):
            try:
                found[name] = float(plain)
            except OverflowError:
                found[name] = math.inf
    return found


def optimizers_in(state: Any) -> list[Mapping[str, Any]]:
    """Return the settings in the state of one or several optimizers: `param_groups` without the parameters."""
    listed = state if isinstance(state, (list, tuple)) else [state]
    found: list[Mapping[str, Any]] = []
    for one in listed:
        groups = one.get("param_groups") if isinstance(one, Mapping) else None
        if not isinstance(groups, (list, tuple)) or not all(isinstance(group, Mapping) for group in groups):
            return []
        settings = [
            {key: value for key, value in group.items() if key not in ("params", "param_names")} for group in groups
        ]
        if not is_small(settings):
            return []
        found.append({"class": "unknown", "defaults": {}, "groups": jsonable(settings)})
    return found


def is_small(value: Any) -> bool:
    """Tell whether a value holds at most 10,000 values. A shared one counts as often as it occurs."""
    left = _MOST_VALUES
    waiting = [value]
    while waiting:
        one = waiting.pop()
        left -= 1
        if left < 0 or len(waiting) > _MOST_VALUES:
            return False
        if isinstance(one, Mapping):
            waiting.extend(one.values())
        elif isinstance(one, Sequence) and not isinstance(one, (str, bytes)):
            waiting.extend(one[: left + 1])
    return True
