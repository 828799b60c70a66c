"""Named hypotheses about fitted exponents: how far the estimate lies from them, and how often chance goes as far."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from scipy.special import fdtrc, stdtrit

from analyzer.errors import FitError
from analyzer.fitting.fit import Fit

Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True)
class Null:
    """A hypothesis that a test may reject.

    Attributes
    ----------
    name
        Such as "b = 2".
    model
        The model that has the coefficients.
    values
        Coefficients and what they are under the hypothesis.
    meaning
        What it says of the temperatures.
    greater
        Test against larger values only (of one coefficient): the hypothesis is then "at most", and its rejection says
        "more than".
    """

    name: str
    model: str
    values: tuple[tuple[str, float], ...]
    meaning: str
    greater: bool = False


NULLS: tuple[Null, ...] = (
    Null("b = 2", "power", (("b", 2.0),), "T grows as the square of the learning rate"),
    Null("b <= 2", "power", (("b", 2.0),), "T grows no faster than the square of the learning rate", greater=True),
    Null("q = 1", "inverse_power", (("q", 1.0),), "T falls as the inverse of the batch size"),
    Null("(p, q) = (1, 1)", "joint", (("p", 1.0), ("q", 1.0)), "T follows learning rate over batch size"),
    Null("(p, q) = (2, 1)", "joint", (("p", 2.0), ("q", 1.0)), "plain SGD, dominated by gradient noise"),
    Null("(p, q) = (2, 0)", "joint", (("p", 2.0), ("q", 0.0)), "Adam, per step"),
    Null("p = 1", "joint", (("p", 1.0),), "T grows as the learning rate"),
    Null("p = 2", "joint", (("p", 2.0),), "T grows as the square of the learning rate"),
    Null("q = 1", "joint", (("q", 1.0),), "T falls as the inverse of the batch size"),
    Null("q = 0", "joint", (("q", 0.0),), "T does not depend on the batch size"),
)
"""The hypotheses that theory and the paper name. Each p-value stands for its own test: many tests reject by chance."""


@dataclass(frozen=True)
class Wald:
    """A test of a hypothesis with the covariance that gave the fit's intervals.

    Attributes
    ----------
    null
        What was tested.
    statistic
        "t" of one coefficient, "F" of several.
    value
        Its value.
    degrees_of_freedom
        (of t,) or (numerator, denominator) of F.
    p_value
        Chance of a statistic at least as far out under the hypothesis.
    lower_bound
        Of a one-sided test, the bound that the coefficient exceeds at the fit's level; else NaN.
    """

    null: Null
    statistic: Literal["t", "F"]
    value: float
    degrees_of_freedom: tuple[int, ...]
    p_value: float
    lower_bound: float = np.nan


def wald(fitted: Fit, null: Null) -> Wald:
    """Test a hypothesis.

    One coefficient: t = (estimate − value)/standard error. Several, d = estimate − value with covariance V, r of them:
    F = dᵀV⁻¹d/r with (r, n − k) degrees of freedom. Where V was estimated from S seeds it is Hotelling's
    F = dᵀV⁻¹d (S − r)/(r (S − 1)) with (r, S − r): V itself is uncertain.

    Raises
    ------
    FitError
        The fit's model lacks the coefficients, or there are too few seeds for so many of them.
    """
    names = [name for name, _ in null.values]
    missing = [name for name in names if name not in fitted.model.coefficients]
    if missing:
        raise FitError(
            f"Hypothesis {null.name}: expected a model with {', '.join(missing)}, got {fitted.model.name} "
            f"({fitted.model.equation}). Fit {null.model}."
        )
    if fitted.model.of_logarithm and fitted.model.coefficients[0] in names:
        raise FitError(
            f"Hypothesis {null.name}: expected exponents, got the prefactor a, which is fitted as ln a. "
            "Use its interval."
        )
    if null.greater and len(names) > 1:
        raise FitError(f"Hypothesis {null.name}: expected one coefficient for a one-sided test, got {len(names)}.")
    place = [fitted.model.coefficients.index(name) for name in names]
    spread = fitted.uncertainty
    free, count = spread.degrees_of_freedom, len(place)
    difference = fitted.theta[place] - np.array([value for _, value in null.values])
    covariance = spread.covariance[np.ix_(place, place)]
    with np.errstate(divide="ignore", invalid="ignore"):
        if count == 1:
            error = float(np.sqrt(covariance[0, 0]))
            value = float(np.divide(difference[0], error))
            if null.greater:
                bound = float(fitted.theta[place[0]] - stdtrit(free, fitted.level) * error)
                return Wald(null, "t", value, (free,), spread.tail(value), bound)
            return Wald(null, "t", value, (free,), 2 * spread.tail(abs(value)))
    denominator = free - count + 1 if spread.kind == "per-seed" else free
    if denominator < 1:
        raise FitError(
            f"Hypothesis {null.name}: expected more than {count} seeds for {count} coefficients, got {free + 1}. "
            "Their covariance is unknown. Record more seeds or fit with intervals='pooled'."
        )
    value = float(difference @ np.linalg.solve(covariance, difference)) / count * denominator / free
    return Wald(null, "F", value, (count, denominator), float(fdtrc(count, denominator, value)))


def named_tests(fitted: Fit) -> tuple[Wald, ...]:
    """The tests of every hypothesis in `NULLS` about the fit's model, in that order."""
    return tuple(wald(fitted, null) for null in NULLS if null.model == fitted.model.name)
