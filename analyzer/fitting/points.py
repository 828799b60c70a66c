"""The runs of a fit: which are used, which are left out and why, and which are replicates of one setting."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from analyzer.errors import FitError
from analyzer.fitting.models import Model

Array = np.ndarray[Any, np.dtype[Any]]

DIGITS = 12
"""Hyperparameters that agree to this many significant digits are one setting."""
_MOST_NAMED = 5
"""Runs that a note names for each reason."""


@dataclass(frozen=True)
class LeftOut:
    """Numbers of runs that a fit did not use. Each run counts once, under the first reason that applies.

    Attributes
    ----------
    runs
        Names of the runs for each reason, in the order of the numbers; empty if runs have no names.
    """

    unfinished: int = 0
    not_finite: int = 0
    not_positive: int = 0
    runs: tuple[tuple[str, ...], ...] = ((), (), ())

    @property
    def total(self) -> int:
        """Number of all runs left out."""
        return self.unfinished + self.not_finite + self.not_positive

    def __str__(self) -> str:
        kinds = {"unfinished": self.unfinished, "not finite": self.not_finite, "with T <= 0": self.not_positive}
        shown = [
            f"{count} {kind}" + (f" ({', '.join(names[:_MOST_NAMED])}{', …' * (count > _MOST_NAMED)})" if names else "")
            for (kind, count), names in zip(kinds.items(), self.runs, strict=True)
            if count
        ]
        return ", ".join(shown) or "none"


@dataclass(frozen=True, eq=False)
class Points:
    """The runs that a fit of one group uses.

    A *setting* is one combination of hyperparameters. Runs at the same setting are its replicates.

    Attributes
    ----------
    x
        (runs, hyperparameters) float64.
    temperature
        (runs,) float64, positive.
    within
        (runs,) standard error of each temperature within its run, in T's units, or None.
    setting
        (runs,) int64, index into `settings`.
    settings
        (settings, hyperparameters) float64, in ascending order.
    seed
        (runs,) int64, index into `seeds`; None if no labels were given.
    seeds
        The different labels of seeds.
    left_out
        Counts of the runs that are not used.
    used
        (all runs,) bool, which of the given runs are used.
    names
        Names of the hyperparameters.
    """

    x: Array
    temperature: Array
    within: Array | None
    setting: Array
    settings: Array
    seed: Array | None
    seeds: tuple[Any, ...]
    left_out: LeftOut
    used: Array
    names: tuple[str, ...]

    @property
    def runs(self) -> int:
        """Number of runs used."""
        return self.temperature.size

    @property
    def cells(self) -> Array:
        """Number of runs of each seed at each setting, (seeds, settings)."""
        assert self.seed is not None
        count = np.zeros((len(self.seeds), len(self.settings)), dtype=np.int64)
        np.add.at(count, (self.seed, self.setting), 1)
        return count

    @property
    def complete(self) -> bool:
        """Whether every seed has equally many runs at every setting."""
        return self.seed is not None and bool((self.cells == self.cells[0, 0]).all())


def gather(
    x: Array,
    temperature: Array,
    *,
    within: Array | None = None,
    seed: Array | Sequence[Any] | None = None,
    finished: Array | None = None,
    names: Sequence[str] | None = None,
    runs: Sequence[str] | None = None,
) -> Points:
    """Select the usable runs and group them by setting and seed.

    Parameters
    ----------
    x
        (runs,) or (runs, hyperparameters).
    temperature
        (runs,). Runs whose T is NaN, infinite, zero (dead units) or negative are left out and counted.
    within
        (runs,) standard error of each T within its run, in T's units.
    seed
        (runs,) label of each run's seed.
    finished
        (runs,) bool. Unfinished runs are left out and counted.
    names
        Names of the hyperparameters, for messages.
    runs
        Names of the runs, for messages.

    Returns
    -------
    Points

    Raises
    ------
    FitError
        Shapes disagree, a hyperparameter is missing or not finite, or no run can be used.
    """
    points = np.asarray(x, dtype=np.float64)
    points = points[:, None] if points.ndim == 1 else points
    values = np.asarray(temperature, dtype=np.float64)
    if points.ndim != 2 or values.shape != points.shape[:1]:
        raise FitError(
            f"x and temperature: expected one temperature per run, got shapes {np.shape(x)} and {values.shape}.",
            shapes=(np.shape(x), values.shape),
        )
    for title, array in (("within", within), ("seed", seed), ("finished", finished)):
        if array is not None and np.shape(array) != values.shape:
            raise FitError(f"{title}: expected one value per run ({values.size}), got the shape {np.shape(array)}.")
    called = tuple(names) if names is not None else tuple(f"x{n + 1}" for n in range(points.shape[1]))
    for column, name in enumerate(called):
        missing = int((~np.isfinite(points[:, column])).sum())
        if missing:
            raise FitError(
                f"{name}: expected a finite value for every run, got {missing} of {values.size} without. "
                "A run needs its hyperparameter to be a point of the curve. Leave these runs out."
            )
    done = np.ones(values.size, dtype=bool) if finished is None else np.asarray(finished, dtype=bool)
    finite = np.isfinite(values)
    used = done & finite & (np.where(finite, values, 0.0) > 0)
    reasons = (~done, done & ~finite, done & finite & ~used)
    unfinished, not_finite, not_positive = (int(which.sum()) for which in reasons)
    left_out = LeftOut(
        unfinished,
        not_finite,
        not_positive,
        runs=tuple(tuple(run for run, one in zip(runs or (), which, strict=False) if one) for which in reasons),
    )
    if not used.any():
        raise FitError(
            f"Fit: expected runs with a finite positive temperature, got none of {values.size} ({left_out}). "
            "A group that does not move has no curve: leave it out, or record longer.",
            left_out=left_out,
        )
    settings, setting = np.unique(_rounded(points[used]), axis=0, return_inverse=True)
    first = np.array([np.flatnonzero(setting == n)[0] for n in range(len(settings))])
    labels, index = ((), None) if seed is None else _told_apart(seed, used)
    return Points(
        x=points[used],
        temperature=values[used],
        within=None if within is None else np.asarray(within, dtype=np.float64)[used],
        setting=setting.reshape(-1),
        settings=points[used][first],
        seed=index,
        seeds=labels,
        left_out=left_out,
        used=used,
        names=called,
    )


def _told_apart(seed: Array | Sequence[Any], used: Array) -> tuple[tuple[Any, ...], Array]:
    """The different labels of the used runs, of any types, and the number of each run's label."""
    given = seed if isinstance(seed, np.ndarray) else np.array([*seed, None], dtype=object)[:-1]
    chosen = given[used]
    if chosen.dtype != object:
        labels, index = np.unique(chosen, return_inverse=True)
        return tuple(labels.tolist()), index
    keys = [(type(label).__name__, label) for label in chosen.tolist()]  # True is not 1
    if len({kind for kind, _ in keys}) == 1 and keys[0][0] in ("int", "float", "str"):
        distinct = sorted(set(keys))
    else:  # labels of several types have no order
        distinct = list(dict.fromkeys(keys))
    number = {key: n for n, key in enumerate(distinct)}
    return tuple(label for _, label in distinct), np.array([number[key] for key in keys], dtype=np.int64)


def _rounded(x: Array) -> Array:
    """Round values to `DIGITS` significant digits, so that rates computed in two ways are one setting."""
    size = np.abs(x)
    exponent = np.floor(np.log10(np.where(size > 0, size, 1.0)))
    unit = 10.0 ** (exponent - DIGITS + 1)
    return np.round(x / unit) * unit


def require(points: Points, model: Model) -> None:
    """Refuse runs that cannot determine the model.

    Raises
    ------
    FitError
        The number of hyperparameters is wrong, there is one run or one setting only, there are fewer settings than
        coefficients or fewer runs than coefficients + 3, or a model of ln T has a hyperparameter that is not positive.
    """
    n, k = points.runs, len(model.coefficients)
    whose, left = " and ".join(points.names), points.left_out
    after = f" ({left.total} more left out: {left})" if left.total else ""
    if points.x.shape[1] != model.hyperparameters:
        raise FitError(
            f"model {model.name}: expected {model.hyperparameters} hyperparameter(s), got {points.x.shape[1]} "
            f"({whose}). `joint` takes two, every other model one."
        )
    if n == 1:
        raise FitError(
            f"Fit against {whose}: expected a sweep of {k + 3} or more runs, got one{after}. "
            "One temperature does not determine a curve. Record runs at other values."
        )
    if len(points.settings) == 1:
        raise FitError(
            f"Fit against {whose}: expected runs that differ in it, got {n} runs at "
            f"{', '.join(f'{value:g}' for value in points.settings[0])}{after}. "
            "Equal values show only the scatter between runs. Choose the hyperparameter that was varied."
        )
    if n < k + 3:
        raise FitError(
            f"model {model.name}: expected at least {k + 3} runs for {k} coefficient(s), got {n}{after}. "
            "With fewer, intervals and AICc are meaningless. Record more runs or fit a smaller model.",
            expected=k + 3,
            found=n,
        )
    if len(points.settings) < k:
        raise FitError(
            f"model {model.name}: expected at least {k} different values of {whose}, got "
            f"{len(points.settings)}{after}. They do not determine its {k} coefficients. "
            "Record more values or fit a smaller model.",
            expected=k,
            found=len(points.settings),
        )
    if model.of_logarithm and (points.x <= 0).any():
        column = int(np.flatnonzero((points.x <= 0).any(axis=0))[0])
        raise FitError(
            f"{points.names[column]}: expected positive values for the model {model.name}, got "
            f"{points.x[:, column].min():g}. It is fitted to logarithms. Leave these runs out or fit a parabola."
        )
