"""Settings of parameter groups that a schedule moves besides the learning rate: momentum, β1, β2, weight decay."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from torch.optim import Optimizer

_WATCHED = ("momentum", "betas", "weight_decay")


class MovedSettings:
    """Notices settings that have changed since the recording began, and from then on gives them for each frame.

    Lifetime: one recording. The settings at its start are in the store's attribute `optimizer`. A schedule replaces a
    number by another object, so one comparison of identities for each setting is enough.

    Parameters
    ----------
    optimizers : sequence of torch.optim.Optimizer
    recorded : collection of str
        Scalars of the run that is resumed. Settings among them are given for every frame: for a frame without a value,
        readers take the one before.
    """

    def __init__(self, optimizers: Sequence[Optimizer], recorded: Collection[str] = ()) -> None:
        self._watched: list[tuple[Optimizer, tuple[tuple[int, str, Any, dict[str, float], str], ...]]] = []
        number = 0
        for optimizer in optimizers:
            watched = []
            for n, group in enumerate(optimizer.param_groups):
                place = f"param_group/{number}/"
                for key in _WATCHED:
                    if key in group:
                        numbers = _numbers(key, group[key])
                        first = None if any(place + name in recorded for name in numbers) else group[key]
                        watched.append((n, key, first, numbers, place))
                number += 1
            self._watched.append((optimizer, tuple(watched)))
        self._moved = set(recorded)

    def now(self) -> dict[str, float]:
        """Return the settings that have moved, by the name of their scalar: `param_group/0/momentum`."""
        found: dict[str, float] = {}
        for optimizer, watched in self._watched:
            groups = optimizer.param_groups
            for n, key, first, before, place in watched:
                try:
                    value = groups[n][key]
                except (IndexError, KeyError):  # a group or a setting was taken away
                    continue
                if value is not first:
                    self._compare(place, _numbers(key, value), before, found)
        return found

    def _compare(
        self, place: str, after: Mapping[str, float], before: Mapping[str, float], found: dict[str, float]
    ) -> None:
        """Add numbers to `found` that differ, or have ever differed, from the first ones."""
        for name, number in after.items():
            if number != before.get(name):
                self._moved.add(place + name)
            if place + name in self._moved:
                found[place + name] = number


def _numbers(key: str, value: Any) -> dict[str, float]:
    """Return a setting as plain numbers; none if it is something else, such as a tensor on a device."""
    if key == "betas":
        pair = value if isinstance(value, (tuple, list)) and len(value) == 2 else ()
        return {f"beta{n + 1}": float(one) for n, one in enumerate(pair) if isinstance(one, (int, float))}
    return {key: float(value)} if isinstance(value, (int, float)) else {}
