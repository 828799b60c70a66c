"""Settings as they were recorded with the frames, gathered into columns."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from analyzer.query.changes import first_setting, flat_groups
from analyzer.store.reading import read, source_of

if TYPE_CHECKING:
    import xarray as xr

    from analyzer.store.schema import Store

Array = np.ndarray[Any, np.dtype[Any]]

LEARNING_RATE = "learning_rate"
EVERY_GROUP = -1
"""Stands for the parameter group of a setting that applies to the whole model."""
_LOGGED = ("lr", "momentum", "beta1", "weight_decay", "batch_size")
"""Logged scalars that are hyperparameters, whether the user listed them as such or not."""
_PLACE = "param_group/"


@dataclass(frozen=True, eq=False)
class Recorded:
    """Settings by frame.

    Attributes
    ----------
    names
        Name of each column: "learning_rate", "momentum", …
    groups
        The parameter group of each column, or `EVERY_GROUP`.
    values
        (frames, columns) the settings of the update that led to each frame; NaN where they are not known.
    """

    names: tuple[str, ...]
    groups: tuple[int, ...]
    values: Array

    def of_rate(self, groups: Collection[int] | None = None) -> Array:
        """The learning rates of some parameter groups, or of all, (frames, columns)."""
        chosen = [
            n
            for n, (name, group) in enumerate(zip(self.names, self.groups, strict=True))
            if name == LEARNING_RATE and (groups is None or group in groups or group == EVERY_GROUP)
        ]
        return self.values[:, chosen]


def nothing() -> Recorded:
    """The record of a run whose settings nobody logged."""
    return Recorded((), (), np.empty((0, 0)))


class Settings:
    """The recorded settings of a run, read when they are first used. Lifetime: that of an open run."""

    def __init__(self, read: Callable[[], Recorded]) -> None:
        self._read = read

    @cached_property
    def recorded(self) -> Recorded:
        return self._read()


def is_setting(name: str, hyperparameters: Collection[str]) -> bool:
    """Whether a logged scalar of this name is a hyperparameter."""
    return name.startswith(_PLACE) or name in _LOGGED or (name in hyperparameters and name != "epoch")


def settings_of_store(store: Store) -> Recorded:
    """Read the settings that a store recorded with its frames."""
    hyperparameters = store.attrs.get("hyperparameters") or {}
    rates, scalars = None, {}
    for scalar in store.scalars:
        region = tuple((0, length) for length in scalar.shape)
        if scalar.name == LEARNING_RATE and len(scalar.shape) == 2:
            rates = read(source_of(store, scalar.path), region).astype(np.float64)
        elif len(scalar.shape) == 1 and is_setting(scalar.name, hyperparameters):
            scalars[scalar.name] = read(source_of(store, scalar.path), region).astype(np.float64)
    return recorded_of(rates, scalars, first_setting("optimizer", store.attrs))


def settings_of_tree(tree: xr.DataTree) -> Recorded:
    """Read the settings from those variables of a tree that still have a value for each frame."""
    known = tree.attrs.get("hyperparameters")
    hyperparameters = known if isinstance(known, Mapping) else {}
    rates, scalars = None, {}
    for variable, array in tree.data_vars.items():
        name = str(array.attrs.get("long_name", variable))
        if variable == LEARNING_RATE and "step" in array.dims:
            values = np.asarray(array.transpose("step", ...).values, dtype=np.float64)
            rates = values.reshape(len(values), -1)
        elif array.dims == ("step",) and is_setting(name, hyperparameters):
            scalars[name] = np.asarray(array.values, dtype=np.float64)
    return recorded_of(rates, scalars, first_setting("optimizer", tree.attrs))


def recorded_of(rates: Array | None, scalars: Mapping[str, Array], optimizer: object) -> Recorded:
    """Gather the columns of recorded settings.

    Parameters
    ----------
    rates
        (frames, parameter groups) the array `learning_rate`, or None.
    scalars
        (frames,) of each logged scalar that is a setting, by the name that it was logged under.
    optimizer
        The attribute `optimizer`, with the settings that each parameter group began with.
    """
    names: list[str] = []
    groups: list[int] = []
    columns: list[Array] = []
    if rates is not None:
        for group in range(rates.shape[1]):
            names.append(LEARNING_RATE)
            groups.append(group)
            columns.append(rates[:, group])
    begun = flat_groups(optimizer)
    for name, values in scalars.items():
        group, key = EVERY_GROUP, name
        if name.startswith(_PLACE):
            number, _, key = name.removeprefix(_PLACE).partition("/")
            group = int(number) if number.isdecimal() else EVERY_GROUP
        elif name == "lr" and (rates is None or np.isnan(rates).all()):
            key = LEARNING_RATE
        names.append(key)
        groups.append(group)
        first = _first_value(begun[group], key) if 0 <= group < len(begun) else np.nan
        columns.append(_filled(values, first))
    if not columns:
        return nothing()
    return Recorded(tuple(names), tuple(groups), np.stack(columns, axis=1))


def _first_value(group: Mapping[str, Any], key: str) -> float:
    betas = group.get("betas")
    if key in ("beta1", "beta2") and isinstance(betas, (list, tuple)) and len(betas) == 2:
        value = betas[key == "beta2"]
    else:
        value = group.get(key)
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else np.nan


def _filled(values: Array, first: float) -> Array:
    """Replace missing values by the last one before; at the beginning by `first`, or by the first one logged."""
    known = np.flatnonzero(~np.isnan(values))
    if not known.size:
        return values
    place = np.searchsorted(known, np.arange(values.size), side="right") - 1
    start = first if not np.isnan(first) else values[known[0]]
    return np.where(place >= 0, values[known[np.maximum(place, 0)]], start)


def distinct_rates(recorded: Recorded, frames: Array) -> list[tuple[str, Array]]:
    """The learning rates in some frames (a mask), each with a name that lists its parameter groups.

    Parameter groups that have the same rate in all these frames share an entry. Empty where no rate is recorded.
    """
    columns: dict[bytes, tuple[list[str], Array]] = {}
    for n, (name, group) in enumerate(zip(recorded.names, recorded.groups, strict=True)):
        if name == LEARNING_RATE:
            values = recorded.values[frames, n]
            if not np.isnan(values).all():
                columns.setdefault(values.tobytes(), ([], values))[0].append(
                    "all" if group == EVERY_GROUP else str(group)
                )
    found = list(columns.values())
    if len(found) == 1:
        return [("η", found[0][1])]
    return [(f"η of group{'s' if len(groups) > 1 else ''} {', '.join(groups)}", values) for groups, values in found]
