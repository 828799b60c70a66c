"""The learning rate of every group and window, and remarks on windows within which settings change."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import xarray as xr

from analyzer.query.changes import setting_in
from analyzer.query.groups import Grouping
from analyzer.query.recorded import EVERY_GROUP, LEARNING_RATE, Recorded
from analyzer.query.settings import extremes, groups_by_parameter, remarks
from analyzer.query.timeline import Timeline
from analyzer.query.windows import Sampling
from analyzer.tree import Trajectory

Array = np.ndarray[Any, np.dtype[Any]]

COLUMNS = (LEARNING_RATE, "learning_rate_change", "remark")
_NAMES = (LEARNING_RATE, "lr")
"""Hyperparameters that are used if no learning rate was recorded with the frames."""


class _Planned(Protocol):
    @property
    def sampling(self) -> Sampling: ...
    @property
    def grouping(self) -> Grouping: ...


class Measured(Protocol):
    """A planned question: a run, groups and windows."""

    @property
    def run(self) -> Trajectory:
        """The run."""

    @property
    def plan(self) -> _Planned:
        """The groups and windows."""


@dataclass(frozen=True, eq=False)
class Rates:
    """Learning rates of the groups of a question.

    Attributes
    ----------
    owners
        The parameter groups of each group of weights.
    low, high
        (groups, windows) lowest and highest rate of the updates; NaN where unknown.
    remark
        (groups, windows) text, empty where no setting changes.
    """

    owners: list[frozenset[int]]
    low: Array
    high: Array
    remark: Array

    @property
    def value(self) -> Array:
        """(groups, windows) the rate; NaN where there are several, or none is known."""
        return np.where(self.low == self.high, self.low, np.nan)


def rates_of(run: xr.DataTree, measurement: Measured) -> Rates:
    """Return the learning rates of the groups and windows of a measurement."""
    line, windows = measurement.run.line, measurement.plan.sampling.windows
    owners = parameter_groups(run, measurement)
    shape = (len(owners), windows.start_step.size)
    known = line.settings.recorded
    columns = extremes(line, windows.start_step, windows.stop_step)
    rows: dict[frozenset[int], tuple[Array, Array, list[str]]] = {}
    for kind in dict.fromkeys(owners):
        some = [
            n
            for n, (name, group) in enumerate(zip(known.names, known.groups, strict=True))
            if name == LEARNING_RATE and (group in kind or group == EVERY_GROUP)
        ]
        if some:
            with np.errstate(invalid="ignore"):
                low, high = np.fmin.reduce(columns[0][:, some], 1), np.fmax.reduce(columns[1][:, some], 1)
        else:
            low = high = np.full(shape[1], np.nan)
        if np.isnan(low).all():
            low = high = _from_attributes(run, line, windows.start_step, windows.stop_step)
        rows[kind] = low, high, remarks(line, windows.start_step, windows.stop_step, kind)
    if len(rows) == 1:  # a view: there may be millions of groups
        ((low, high, said),) = rows.values()
        text = np.array(said, dtype=object)
        return Rates(owners, *(np.broadcast_to(row, shape) for row in (low, high, text)))
    parts = [rows[kind] for kind in owners]
    text = np.array([said for _, _, said in parts], dtype=object).reshape(shape)
    return Rates(owners, np.stack([part[0] for part in parts]), np.stack([part[1] for part in parts]), text)


def parameter_groups(run: xr.DataTree, measurement: Measured) -> list[frozenset[int]]:
    """Return the parameter groups that each group of weights belongs to; all of them if this was not recorded."""
    line, grouping, sampling = measurement.run.line, measurement.plan.grouping, measurement.plan.sampling
    everything = frozenset(number for number in line.settings.recorded.groups if number != EVERY_GROUP)
    start, stop = int(sampling.windows.start_step[0]), int(sampling.windows.stop_step[-1])
    own = groups_by_parameter(run.attrs, line.steps, start, stop)
    members = {name: frozenset({own[name]}) if name in own else everything for name in grouping.rules}
    if len(set(members.values())) == 1:
        return [next(iter(members.values()))] * grouping.weights.size
    if grouping.is_whole:
        found: list[frozenset[int]] = [frozenset()] * grouping.weights.size
        for name, rule in grouping.rules.items():
            found[rule.base] |= members[name]
        return found
    names = grouping.columns["parameter"] if "parameter" in grouping.columns else [None] * grouping.weights.size
    union = frozenset().union(*members.values())
    return [members.get(str(name), union) if grouping.by != "output" else union for name in names]


def _from_attributes(run: xr.DataTree, line: Timeline, start: Array, stop: Array) -> Array:
    """The learning rate among the hyperparameters, (windows,); NaN where there is none, or several."""
    if not line.changes:
        return np.full(start.size, _named(run.attrs.get("hyperparameters")))
    found = [
        _named(setting_in("hyperparameters", run.attrs, line.steps, int(a), int(b)))
        for a, b in zip(start, stop, strict=True)
    ]
    return np.array(found)


def _named(hyperparameters: Any) -> float:
    known = hyperparameters if isinstance(hyperparameters, Mapping) else {}
    for name in _NAMES:
        value = known.get(name)
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            return float(value)
    return np.nan


def columns_of(rates: Rates) -> dict[str, Any]:
    """Return the rates as variables (group, window) of an answer."""
    with np.errstate(divide="ignore", invalid="ignore"):
        change = rates.high / rates.low
    dims = ("group", "window")
    return {
        LEARNING_RATE: (dims, rates.value, {"units": "1", "long_name": "learning rate, if it is constant"}),
        "learning_rate_change": (dims, change, {"units": "1", "long_name": "highest over lowest learning rate"}),
        "remark": (dims, rates.remark, {"units": "", "long_name": "settings that change within the window"}),
    }


def rate_by_step(known: Recorded, groups: frozenset[int], frames: Array) -> Array:
    """Return the learning rate of the update before each frame (frames,); NaN if unknown, or if groups differ."""
    values = known.of_rate(groups)[frames]
    if not values.shape[1]:
        return np.full(len(frames), np.nan)
    low, high = np.fmin.reduce(values, 1), np.fmax.reduce(values, 1)
    return np.where(low == high, low, np.nan)
