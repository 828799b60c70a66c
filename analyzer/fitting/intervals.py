"""Covariance of fitted coefficients: from the scatter between seeds if there are enough, else about the curve."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from scipy.special import stdtr, stdtrit

from analyzer.errors import FitError
from analyzer.fitting.models import Model
from analyzer.fitting.points import Points
from analyzer.fitting.solutions import Solution, solve

Array = np.ndarray[Any, np.dtype[Any]]
Intervals = Literal["auto", "per-seed", "pooled", "weighted"]

SEEDS = 3
"""Fewest seeds whose scatter gives the intervals."""


@dataclass(frozen=True, eq=False)
class Uncertainty:
    """Covariance of the coefficients θ, with the degrees of freedom of its t distribution.

    Attributes
    ----------
    kind
        "per-seed", "pooled" or "weighted".
    covariance
        (coefficients, coefficients).
    degrees_of_freedom
        Of Student's t.
    seed_theta
        (seeds, coefficients) θ of each seed for "per-seed", else None.
    """

    kind: str
    covariance: Array
    degrees_of_freedom: int
    seed_theta: Array | None = None

    def half_width(self, variance: Array | float, level: float) -> Array:
        """Return half the width of the two-sided interval of a combination of coefficients with this variance."""
        return np.asarray(stdtrit(self.degrees_of_freedom, 0.5 + level / 2) * np.sqrt(variance))

    def tail(self, statistic: float) -> float:
        """Return the probability P(t > statistic)."""
        return float(stdtr(self.degrees_of_freedom, -statistic))


def kind_of(points: Points, model: Model, asked: Intervals) -> tuple[str, str]:
    """Return the kind of interval to use, and a sentence that says why.

    Raises
    ------
    FitError
        The runs or the model do not allow the kind that was asked for.
    """
    seeds = _reason_against_seeds(points)
    if asked == "auto":
        if not seeds:
            return "per-seed", f"intervals from the scatter between {len(points.seeds)} seeds"
        return "pooled", f"intervals from the scatter of all runs about the curve, because {seeds}"
    if asked == "per-seed":
        if seeds:
            raise FitError(f"intervals: expected runs for 'per-seed', got none that allow it: {seeds}. Use 'pooled'.")
        return asked, f"intervals from the scatter between {len(points.seeds)} seeds, as asked for"
    if asked == "pooled":
        return asked, "intervals from the scatter of all runs about the curve, as asked for"
    if asked != "weighted":
        raise FitError(f"intervals: expected 'auto', 'per-seed', 'pooled' or 'weighted', got {asked!r}.")
    if model.method != "log":
        raise FitError(
            f"intervals 'weighted': expected a model linear in ln T, got {model.name}. Only such a model allows to "
            "estimate the variance between runs. Use 'auto'."
        )
    if points.within is None or not (np.isfinite(points.within) & (points.within > 0)).all():
        raise FitError(
            "intervals 'weighted': expected a positive standard error of every temperature, got some missing. "
            "They give the weights. Use 'auto', which needs none."
        )
    return asked, "weights from the errors within runs and a variance between runs"


def _reason_against_seeds(points: Points) -> str:
    """Return why the scatter between seeds cannot give the intervals; empty if it can."""
    if points.seed is None:
        return "no seeds were given"
    count = len(points.seeds)
    if count < SEEDS:
        return f"there is {count} seed" if count == 1 else f"there are {count} seeds"
    covered = points.cells > 0
    if 2 * covered.sum() < covered.size:  # if each run has its own seed, seeds and settings are confounded
        return f"{count} seeds have only {covered.sum()} of the {covered.size} combinations of seed and setting"
    return ""


def uncertainty(points: Points, model: Model, solution: Solution, kind: str) -> Uncertainty:
    """Return the covariance of the coefficients of `solution`.

    per-seed
        A jackknife over the S seeds. The model is fitted without each seed in turn, which gives θ₍ₛ₎, and the value of
        the seed is S θ − (S − 1) θ₍ₛ₎. The covariance is that of these S values divided by S, with t(S − 1). If the
        model is linear in ln T and every seed covers every setting, these values are the coefficients of a fit to each
        seed alone, and the interval is the usual t interval of the slopes per seed. A seed may lack some runs.
    pooled
        scatter² times the inverse normal matrix, with t(n − k). Assumes independent runs.
    weighted
        The inverse normal matrix with weights 1/(τ² + variance within the run), with t(n − k).

    Raises
    ------
    FitError
        The model cannot be fitted without one of the seeds.
    """
    free = points.runs - solution.theta.size
    if kind == "pooled":
        return Uncertainty(kind, solution.scatter**2 * solution.inverse, free)
    if kind == "weighted":
        return Uncertainty(kind, solution.inverse, free)
    assert points.seed is not None
    count = len(points.seeds)
    without = np.array(
        [solve(model, points.x[points.seed != s], points.temperature[points.seed != s]).theta for s in range(count)]
    )
    own = count * solution.theta - (count - 1) * without
    covariance = np.atleast_2d(np.cov(own, rowvar=False)) / count
    return Uncertainty(kind, covariance, count - 1, own)


def leave_one_out(points: Points, coefficients: int, refit: Callable[[Array], Array]) -> Array:
    """Return the coefficients' values without each setting in turn, (settings, coefficients).

    A setting is left out with all its replicates, because leaving out one of five would not show its influence. NaN if
    the other settings do not determine the coefficients. `refit` takes a mask of runs (runs,) and returns the values.
    """
    rows = np.full((len(points.settings), coefficients), np.nan)
    for setting in range(len(points.settings)):
        with suppress(FitError):
            rows[setting] = refit(points.setting != setting)
    return rows
