"""The runs that a fit is made of: which are used, which are left out and why, and which repeat another's setting."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from analyzer.errors import FitError
from analyzer.fitting.models import Model

Array = np.ndarray[Any, np.dtype[Any]]

DIGITS = 12
"""Significant digits that two hyperparameters must share to be one setting."""


@dataclass(frozen=True)
class LeftOut:
    """How many runs a fit did not use, each counted once, by the first reason that holds."""

    unfinished: int = 0
    not_finite: int = 0
    not_positive: int = 0

    @property
    def total(self) -> int:
        """All of them."""
        return self.unfinished + self.not_finite + self.not_positive

    def __str__(self) -> str:
        kinds = {"unfinished": self.unfinished, "not finite": self.not_finite, "with T <= 0": self.not_positive}
        return ", ".join(f"{count} {kind}" for kind, count in kinds.items() if count) or "none"


@dataclass(frozen=True, eq=False)
class Points:
    """The runs of one group that a fit uses.

    A *setting* is one value of the hyperparameters; runs of one setting are its replicates.

    Attributes
    ----------
    x
        (runs, hyperparameters) float64.
    temperature
        (runs,) float64, positive.
    within
        (runs,) standard error of each temperature within its run, or None.
    setting
        (runs,) int64, the row of `settings` that a run has.
    settings
        (settings, hyperparameters), in ascending order.
    seed
        (runs,) int64, the entry of `seeds` that a run has, or None where no labels were given.
    seeds
        The labels.
    left_out
        What was not used.
    used
        (all runs,) bool, which of the runs given are used.
    names
        The hyperparameters' names.
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
        """Number of runs."""
        return self.temperature.size

    @property
    def cells(self) -> Array:
        """(seeds, settings) number of runs."""
        assert self.seed is not None
        count = np.zeros((len(self.seeds), len(self.settings)), dtype=np.int64)
        np.add.at(count, (self.seed, self.setting), 1)
        return count

    @property
    def complete(self) -> bool:
        """Whether every seed covers every setting, equally often."""
        return self.seed is not None and bool((self.cells == self.cells[0, 0]).all())


def gather(
    x: Array,
    temperature: Array,
    *,
    within: Array | None = None,
    seed: Array | Sequence[Any] | None = None,
    finished: Array | None = None,
    names: Sequence[str] | None = None,
) -> Points:
    """The usable runs among those given.

    Parameters
    ----------
    x
        (runs,) or (runs, hyperparameters).
    temperature
        (runs,). Runs whose T is NaN, infinite, zero (dead units) or negative are left out and counted.
    within
        (runs,) standard error of each T within its run, in T's units.
    seed
        (runs,) labels.
    finished
        (runs,) bool; unfinished runs are left out and counted.
    names
        Names of the hyperparameters, for messages.

    Raises
    ------
    FitError
        Shapes disagree, a hyperparameter is missing, or no run can be used.
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
                "A run without its hyperparameter has no place on the curve. Leave these runs out."
            )
    done = np.ones(values.size, dtype=bool) if finished is None else np.asarray(finished, dtype=bool)
    finite = np.isfinite(values)
    used = done & finite & (np.where(finite, values, 0.0) > 0)
    left_out = LeftOut(int((~done).sum()), int((done & ~finite).sum()), int((done & finite & ~used).sum()))
    if not used.any():
        raise FitError(
            f"Fit: expected runs with a finite positive temperature, got none of {values.size} ({left_out}). "
            "A group that does not move has no curve: leave it out, or record longer.",
            left_out=left_out,
        )
    settings, setting = np.unique(_rounded(points[used]), axis=0, return_inverse=True)
    first = np.array([np.flatnonzero(setting == n)[0] for n in range(len(settings))])
    labels, index = (None, None) if seed is None else np.unique(np.asarray(seed)[used], return_inverse=True)
    return Points(
        x=points[used],
        temperature=values[used],
        within=None if within is None else np.asarray(within, dtype=np.float64)[used],
        setting=setting.reshape(-1),
        settings=points[used][first],
        seed=index,
        seeds=() if labels is None else tuple(labels.tolist()),
        left_out=left_out,
        used=used,
        names=called,
    )


def _rounded(x: Array) -> Array:
    """The values to `DIGITS` significant digits: rates that were computed in two ways are one setting."""
    size = np.abs(x)
    exponent = np.floor(np.log10(np.where(size > 0, size, 1.0)))
    unit = 10.0 ** (exponent - DIGITS + 1)
    return np.round(x / unit) * unit


def require(points: Points, model: Model) -> None:
    """Refuse what the model cannot be fitted to.

    Raises
    ------
    FitError
        The wrong number of hyperparameters, one run only, equal hyperparameters, fewer settings than coefficients,
        fewer runs than k + 3, or a hyperparameter that has no logarithm.
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
            "One temperature does not make a curve. Record runs at other values."
        )
    if len(points.settings) == 1:
        raise FitError(
            f"Fit against {whose}: expected runs that differ in it, got {n} runs at "
            f"{', '.join(f'{value:g}' for value in points.settings[0])}{after}. "
            "Equal hyperparameters show the scatter between runs, not a dependence. Choose the one that was varied."
        )
    if n < k + 3:
        raise FitError(
            f"model {model.name}: expected at least {k + 3} runs for {k} coefficient(s), got {n}{after}. "
            "With fewer, neither its interval nor its AICc means anything. Record more runs or fit a smaller model.",
            expected=k + 3,
            found=n,
        )
    if len(points.settings) < k:
        raise FitError(
            f"model {model.name}: expected at least {k} different values of {whose}, got "
            f"{len(points.settings)}{after}. Its {k} coefficients cannot be told apart. "
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
