"""The stretches of a run within which no recorded setting changes, and what changes between them.

Whatever needs constant conditions uses them: equilibrium, windows by rate, remarks on temperatures, fits. A *constant
stretch* holds updates that were all made with the same recorded settings: the learning rate of each parameter group,
momentum and weight decay if a schedule changed them, logged hyperparameters, and those of a resumed recording.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from analyzer.query.changes import flat_groups, setting_in, within
from analyzer.query.recorded import EVERY_GROUP, LEARNING_RATE, Recorded
from analyzer.query.timeline import Timeline

Array = np.ndarray[Any, np.dtype[Any]]

FEWEST_STEPS = 256
"""Steps of the shortest constant stretch that is worth a window of its own."""
_SYMBOLS = {LEARNING_RATE: "η"}


@dataclass(frozen=True)
class Variation:
    """A setting that changes within a range of steps: its name, and its lowest and highest value."""

    name: str
    low: float
    high: float

    @property
    def factor(self) -> float:
        """Highest over lowest value; infinite where one of them is 0."""
        return self.high / self.low if self.low > 0 else float("inf")

    def __str__(self) -> str:
        if self.name == LEARNING_RATE and self.low > 0:
            return f"{_SYMBOLS[self.name]} changes ×{self.factor:.3g}"
        return f"{_SYMBOLS.get(self.name, self.name)} changes from {self.low:.3g} to {self.high:.3g}"


def constant_stretches(line: Timeline, start: int | None = None, stop: int | None = None) -> list[tuple[int, int]]:
    """First and last step of every constant stretch in a range that is at least `FEWEST_STEPS` long.

    A range without any change is one stretch of any length.
    """
    steps = line.steps
    if steps.size < 2:
        return []
    first, last = _edges(line)
    low = int(steps[0]) if start is None else start
    high = int(steps[-1]) if stop is None else stop
    begin, end = np.maximum(steps[first], low), np.minimum(steps[last], high)
    if len(begin) == 1:
        return [(int(begin[0]), int(end[0]))] if begin[0] < end[0] else []
    inside = begin < end
    if inside.sum() == 1 and begin[inside][0] == low and end[inside][0] == high:
        return [(low, high)]
    long = end - begin >= FEWEST_STEPS
    return [(int(a), int(b)) for a, b in zip(begin[long], end[long], strict=True)]


def _edges(line: Timeline) -> tuple[Array, Array]:
    """First and last frame of all constant stretches."""
    values = line.settings.recorded.values
    last_frame = line.steps.size - 1
    ends, begins = np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64)
    if values.size:
        # A frame that no update led to has no settings, and counts as no change.
        known = np.flatnonzero(~np.isnan(values).any(axis=1))
        changed = known[1:][(values[known[1:]] != values[known[:-1]]).any(axis=1)]
        ends = changed - 1
        # At a stride of several steps, the first displacement may hold updates of both sides: leave it out.
        begins = np.where(line.steps[changed] - line.steps[changed - 1] == 1, changed - 1, changed)
    changes = [change for change in line.changes if not change.is_of_stride]
    cuts = np.array([change.cuts(line.steps) for change in changes], dtype=np.int64).reshape(-1, 2)
    first = np.concatenate([[0], begins, cuts[:, 1]])
    last = np.concatenate([ends, cuts[:, 0], [last_frame]])
    first, last = np.sort(first), np.sort(last)
    there = (first >= 0) & (first < last) & (last <= last_frame)
    return first[there], last[there]


def extremes(line: Timeline, start: Array, stop: Array) -> tuple[Array, Array]:
    """Lowest and highest value of every recorded setting in windows, both (windows, columns); NaN where none is known.

    `start` and `stop` are (windows,) steps, in order: a window holds the updates with start < step <= stop.
    """
    values = line.settings.recorded.values
    shape = (len(start), values.shape[1])
    low, high = np.full(shape, np.nan), np.full(shape, np.nan)
    begin, end = (np.searchsorted(line.steps, bound, side="right") for bound in (start, stop))
    some = begin < end
    if not values.size or not some.any():
        return low, high
    places = np.stack([begin[some], end[some]], axis=1).reshape(-1)
    for answer, reduce, missing in ((low, np.fmin, np.inf), (high, np.fmax, -np.inf)):
        padded = np.vstack([values, np.full((1, shape[1]), np.nan)])
        found = reduce.reduceat(np.where(np.isnan(padded), missing, padded), places, axis=0)[::2]
        answer[some] = np.where(np.isfinite(found), found, np.nan)
    return low, high


def variations(line: Timeline, start: int, stop: int, groups: Collection[int] | None = None) -> list[Variation]:
    """The recorded settings that differ among the updates with start < step <= stop.

    Parameters
    ----------
    line
        The run's frames.
    start, stop
        Steps.
    groups
        Parameter groups that are looked at; None for all.
    """
    low, high = extremes(line, np.array([start]), np.array([stop]))
    return _variations(line.settings.recorded, low[0], high[0], groups)


def _variations(known: Recorded, low: Array, high: Array, groups: Collection[int] | None) -> list[Variation]:
    found: dict[str, Variation] = {}
    for n in np.flatnonzero(low != high):
        name, group = known.names[n], known.groups[n]
        outside = groups is not None and group != EVERY_GROUP and group not in groups
        if outside or np.isnan(low[n]):
            continue
        one = Variation(name, float(low[n]), float(high[n]))
        if name not in found or one.factor > found[name].factor:
            found[name] = one
    return list(found.values())


def remarks(line: Timeline, start: Array, stop: Array, groups: Collection[int] | None = None) -> list[str]:
    """A remark on each window in which settings change; empty for the others."""
    low, high = extremes(line, start, stop)
    answer = [""] * len(start)
    spans = np.zeros(len(start), dtype=bool)
    for change in line.changes:
        spans |= np.array([change.inside(line.steps, int(a), int(b)) for a, b in zip(start, stop, strict=True)])
    for n in np.flatnonzero(spans | ((low != high) & ~np.isnan(low)).any(axis=1)).tolist():
        found = _variations(line.settings.recorded, low[n], high[n], groups)
        said = [str(one) for one in found]
        if spans[n]:
            said += _at_resumes(line, int(start[n]), int(stop[n]), {one.name for one in found})
        answer[n] = f"{', '.join(said)} within this window" if said else ""
    return answer


def _at_resumes(line: Timeline, start: int, stop: int, known: Collection[str]) -> list[str]:
    """The changes at resumes inside a window, without the settings in `known`, which the remark names already."""
    said = []
    for change in within(line.changes, line.steps, start, stop):
        rest = [text for text in change.differences if text.split(" ")[0] not in known]
        rest = [text for text in rest if LEARNING_RATE not in known or " lr " not in text]
        if rest:
            said.append(f"settings change at step {change.first_step} ({rest[0]}{', …' if rest[1:] else ''})")
    return said


def groups_by_parameter(attrs: Mapping[Any, Any], steps: Array, start: int, stop: int) -> dict[str, int]:
    """The parameter group of every parameter, in the recording that made the updates with start < step <= stop.

    Empty where the recorder did not write it down, as in stores of earlier versions.
    """
    found: dict[str, int] = {}
    for number, group in enumerate(flat_groups(setting_in("optimizer", attrs, steps, start, stop))):
        names = group.get("parameters")
        found |= {str(name): number for name in (names if isinstance(names, list) else [])}
    return found
