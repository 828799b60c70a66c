"""Which parameters of a run were frozen: held where they were, so that their weights are no degrees of freedom."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from analyzer.store.parameters import Parameter


def with_frozen(parameters: Sequence[Parameter], attrs: Mapping[Any, Any]) -> tuple[Parameter, ...]:
    """Return the parameters of a store, each marked as frozen or not by the root attributes.

    A parameter is frozen if it required no gradient, or was in no parameter group of any optimizer, when the recording
    began. One that moved in the newest frames is not: it was set free since, or somebody moves it by hand.
    """
    trained = _in_groups(attrs)
    moved = _moved(attrs)
    return tuple(
        replace(p, frozen=(not p.requires_grad or (bool(trained) and p.name not in trained)) and p.name not in moved)
        for p in parameters
    )


def _in_groups(attrs: Mapping[Any, Any]) -> set[str]:
    """The parameters that any optimizer has ever had; empty where a parameter group does not list its own."""
    segments = attrs.get("segments")
    holders = [attrs, *(segments if isinstance(segments, (list, tuple)) else [])]
    found: set[str] = set()
    for group in _groups(holder.get("optimizer") for holder in holders if isinstance(holder, Mapping)):
        names = group.get("parameters")
        if not isinstance(names, (list, tuple)):
            return set()
        found |= {str(name) for name in names}
    return found


def _groups(optimizers: Iterable[Any]) -> Iterator[Mapping[str, Any]]:
    for listed in optimizers:
        for one in listed if isinstance(listed, (list, tuple)) else []:
            groups = one.get("groups") if isinstance(one, Mapping) else None
            yield from (g for g in (groups if isinstance(groups, (list, tuple)) else []) if isinstance(g, Mapping))


def _moved(attrs: Mapping[Any, Any]) -> set[str]:
    """The parameters whose newest mean kinetic energy is not zero; null stands for one that is not finite."""
    recent = attrs.get("recent")
    energies = recent.get("mean_kinetic_energy") if isinstance(recent, Mapping) else None
    return {str(name) for name, energy in energies.items() if energy != 0} if isinstance(energies, Mapping) else set()
