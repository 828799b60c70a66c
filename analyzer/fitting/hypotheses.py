"""Named hypotheses about fitted exponents, and Wald tests of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from scipy.special import fdtrc

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
        Name of the model that has the coefficients.
    values
        Name of each coefficient and its value under the hypothesis.
    greater
        True for a one-sided test of one coefficient. The hypothesis is then "at most this value", and a rejection says
        "more than this value".
    """

    name: str
    model: str
    values: tuple[tuple[str, float], ...]
    greater: bool = False


NULLS: tuple[Null, ...] = (
    Null("b = 2", "power", (("b", 2.0),)),  # T grows as the square of the learning rate
    Null("b <= 2", "power", (("b", 2.0),), greater=True),  # T grows no faster than the square of the learning rate
    Null("q = 1", "inverse_power", (("q", 1.0),)),  # T is inversely proportional to the batch size
    Null("(p, q) = (1, 1)", "joint", (("p", 1.0), ("q", 1.0))),  # T depends on learning rate over batch size alone
    Null("(p, q) = (2, 1)", "joint", (("p", 2.0), ("q", 1.0))),  # expected of plain SGD dominated by gradient noise
    Null("(p, q) = (2, 0)", "joint", (("p", 2.0), ("q", 0.0))),  # expected of Adam, per step
    Null("p = 1", "joint", (("p", 1.0),)),  # T is proportional to the learning rate
    Null("p = 2", "joint", (("p", 2.0),)),  # T grows as the square of the learning rate
    Null("q = 1", "joint", (("q", 1.0),)),  # T is inversely proportional to the batch size
    Null("q = 0", "joint", (("q", 0.0),)),  # T does not depend on the batch size
)
"""The hypotheses of theory and of the paper (examples/paper/README.md). p-values are not corrected for several tests:
among many tests, some reject by chance."""


@dataclass(frozen=True)
class Wald:
    """A test of a hypothesis with the covariance that gave the fit's intervals.

    Attributes
    ----------
    null
        The hypothesis.
    statistic
        "t" for one coefficient, "F" for several.
    value
        Value of the statistic.
    degrees_of_freedom
        (degrees,) of t, or (numerator, denominator) of F.
    p_value
        Probability, under the hypothesis, of a statistic at least as extreme.
    """

    null: Null
    statistic: Literal["t", "F"]
    value: float
    degrees_of_freedom: tuple[int, ...]
    p_value: float


def wald(fitted: Fit, null: Null) -> Wald:
    """Test a hypothesis about fitted coefficients.

    One coefficient gives t = (estimate − value)/standard error. r coefficients, with differences d and covariance V,
    give F = dᵀV⁻¹d/r with (r, n − k) degrees of freedom for n runs and k coefficients. If V was estimated from S seeds,
    it is itself uncertain, and Hotelling's F = dᵀV⁻¹d (S − r)/(r (S − 1)) with (r, S − r) degrees of freedom applies.

    Raises
    ------
    FitError
        The fit's model lacks the coefficients, the hypothesis cannot be tested (the prefactor a, or several
        coefficients one-sided), or there are no more seeds than coefficients.
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
            p_value = spread.tail(value) if null.greater else 2 * spread.tail(abs(value))
            return Wald(null, "t", value, (free,), p_value)
    denominator = free - count + 1 if spread.kind == "per-seed" else free
    if denominator < 1:
        raise FitError(
            f"Hypothesis {null.name}: expected more than {count} seeds for {count} coefficients, got {free + 1}. "
            "So few seeds do not determine the covariance. Record more, or fit with intervals='pooled'."
        )
    value = float(difference @ np.linalg.solve(covariance, difference)) / count * denominator / free
    return Wald(null, "F", value, (count, denominator), float(fdtrc(count, denominator, value)))
