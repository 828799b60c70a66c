"""How uncertain fitted coefficients are: the scatter between seeds where there are some, else that about the curve."""

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
"""Seeds from which on their own scatter gives the interval."""


@dataclass(frozen=True, eq=False)
class Uncertainty:
    """Covariance of the coefficients θ, and the reference distribution that belongs to it.

    Attributes
    ----------
    kind
        "per-seed", "pooled" or "weighted".
    covariance
        (coefficients, coefficients).
    degrees_of_freedom
        Of Student's t.
    seed_theta
        (seeds, coefficients) θ of each seed, of "per-seed"; else None.
    """

    kind: str
    covariance: Array
    degrees_of_freedom: int
    seed_theta: Array | None = None

    def half_width(self, variance: Array | float, level: float) -> Array:
        """Half of the two-sided interval of a combination of coefficients with that variance."""
        return np.asarray(stdtrit(self.degrees_of_freedom, 0.5 + level / 2) * np.sqrt(variance))

    def tail(self, statistic: float) -> float:
        """P(t > statistic)."""
        return float(stdtr(self.degrees_of_freedom, -statistic))


def kind_of(points: Points, model: Model, asked: Intervals) -> tuple[str, str]:
    """The kind of interval that the runs allow, and a sentence that says why.

    Raises
    ------
    FitError
        A kind was asked for that the runs or the model do not allow.
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
            f"intervals 'weighted': expected a model linear in ln T, got {model.name}. The variance between runs is "
            "estimated beside the errors within them there. Use 'auto'."
        )
    if points.within is None or not (np.isfinite(points.within) & (points.within > 0)).all():
        raise FitError(
            "intervals 'weighted': expected a positive standard error of every temperature, got some missing. "
            "Weights come from it. Use 'auto', which needs none."
        )
    return asked, "weights from the errors within runs and a variance between runs"


def _reason_against_seeds(points: Points) -> str:
    """Why seeds cannot give the interval; empty if they can."""
    if points.seed is None:
        return "no seeds were given"
    count = len(points.seeds)
    if count < SEEDS:
        return f"there is {count} seed" if count == 1 else f"there are {count} seeds"
    covered = points.cells > 0
    if 2 * covered.sum() < covered.size:  # runs that each have a seed of their own are no blocks
        return (
            f"{count} seeds have {covered.sum()} of the {covered.size} runs that all of them at every setting would be"
        )
    return ""


def uncertainty(points: Points, model: Model, solution: Solution, kind: str) -> Uncertainty:
    """The covariance of `solution`.

    per-seed
        Each seed in turn is left out and the model fitted to the others, θ₍ₛ₎; S θ − (S − 1) θ₍ₛ₎ is the seed's own
        value, and the variance of these S values over S is the covariance, with t(S − 1). Of a model linear in ln T
        whose seeds all cover every setting, these values are the coefficients fitted to each seed alone, so that this
        is the t interval of the slopes per seed. Seeds that lack a run are used as well.
    pooled
        scatter² times the inverse normal matrix, with t(n − k). Independent runs.
    weighted
        The inverse normal matrix of the weights 1/(τ² + variance within), with t(n − k).

    Raises
    ------
    FitError
        Without one of the seeds the model cannot be fitted.
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
    """(settings, coefficients) values without each setting in turn; NaN where the others do not determine them.

    A setting with all its replicates is left out, since without one of five seeds a point's influence stays unseen.
    `refit` gives the coefficients' values of the runs in a mask (runs,).
    """
    rows = np.full((len(points.settings), coefficients), np.nan)
    for setting in range(len(points.settings)):
        with suppress(FitError):
            rows[setting] = refit(points.setting != setting)
    return rows
