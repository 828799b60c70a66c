"""What physics leads one to expect of measured numbers: each check as a function from numbers to findings.

A verdict stands only where an expectation is valid; where none is, the note says why.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
from scipy.special import ndtr

from analyzer.optimizers import Optimizer, Rate
from analyzer.statistics.adam import CONSISTENT, SPARSE, signal_to_noise, white
from analyzer.statistics.cross_correlation import cross_correlation
from analyzer.statistics.heterogeneity import rows_differ
from analyzer.statistics.normality import Normality
from analyzer.statistics.uncertainty import NORMAL

Array = np.ndarray[Any, np.dtype[Any]]
NAN = float("nan")

FEWEST_BLOCKS = 10
"""Independent blocks of time below which means over them are not compared."""
_BLUNT = 1.0
"""Standard error of an excess kurtosis above which even a Student t of ten degrees of freedom, 1, would pass unseen."""
PERSISTS = 10.0
"""T/floor above which a velocity is more than rounding (claim C3)."""

TITLES = {
    "norm_drift": "Norm drift: −⟨w(t−1)·v(t)⟩/(½⟨v²⟩) = 1 − (|w_N|² − |w_0|²)/Σv²: 1 in equilibrium (|w| stays)",
    "equipartition": "Equipartition: F of the groups' temperatures over blocks of time, 1 if all have the same",
    "row_equipartition": "Equipartition of rows: F of the rows of a tensor over blocks of time, 1 if all have the same",
    "kurtosis": "Excess kurtosis of velocities, each weight by its own rms: 0 for Maxwell-Boltzmann",
    "distance": "Kolmogorov-Smirnov distance of velocities, each weight by its own rms, from the Gaussian",
    "adam_temperature": "T/η²: for Adam ½(1−β1)/(1+β1) (white gradients) to ½ (consistent ones), to about 12 %",
    "signal_to_noise": "Signal-to-noise s² of gradients: T/η² = ½(s² + a)/(1 + s²), a = (1−β1)/(1+β1)",
    "floor": "T/floor: over 10 is more than rounding; the lowest twentieth of the window decides",
    "correlation": "Correlation of temperatures in time: 0 if independent",
}
"""Every check, and where its expectation comes from."""


@dataclass(frozen=True)
class Finding:
    """One measured number beside what is expected of it.

    Attributes
    ----------
    check
        One of `TITLES`.
    group
        Of which weights: a group, a tensor, two groups.
    measured, standard_error
        ±1.96 of the error is a 95 % interval; NaN where there is none.
    expected_low, expected_high
        Range of what is expected, the two equal for one value, NaN for none.
    p_value
        Of the expectation.
    verdict
        In words, or "" where none is valid.
    note
        What else to know: why there is no verdict, how many samples.
    """

    check: str
    group: str
    measured: float
    standard_error: float = NAN
    expected_low: float = NAN
    expected_high: float = NAN
    p_value: float = NAN
    verdict: str = ""
    note: str = ""


def norm_drift(labels: Sequence[str], change: Array, squares: Array) -> list[Finding]:
    """1 − Δ|w|²/Σv² of every group: from Δ|w|² = Σ (2 w(t−1)·v(t) + v²), which holds whatever moved the weights."""
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = 1 - change / np.where(squares > 0, squares, np.nan)
    notes = ["" if s > 0 else "no velocity" if s == 0 else "NaN or infinite weights" for s in squares]
    return [
        Finding("norm_drift", label, float(value), expected_low=1.0, expected_high=1.0, note=note)
        for label, value, note in zip(labels, ratio, notes, strict=True)
    ]


def expects_equality(optimizer: Optimizer | None, why: str, rate: Rate) -> tuple[bool, str]:
    """Whether equal temperatures are what an optimizer leads one to expect, and what it does lead one to.

    Adam divides each gradient by its own rms: with one η, T/η² differs only as far as signal-to-noise ratios do. Under
    SGD T ∝ η²C, and the noise C of gradients spans decades between layers and rows.
    """
    if optimizer is None:
        return False, f"no null: {why}"
    if optimizer.is_adam:
        if rate.value is None:
            return False, f"no null: {rate.why}"
        return True, f"{optimizer.name}'s null: equal T, but for s²"
    if optimizer.is_sgd:
        return False, "SGD: T ∝ η²C, equal T not expected"
    return False, f"no null: {optimizer.name}"


def equipartition(
    check: str, group: str, means: Array, null: tuple[bool, str], significance: float, kinds: str = "groups"
) -> Finding:
    """Whether groups have one temperature: an analysis of variance with blocks of time as repeated measurements.

    Parameters
    ----------
    means
        (groups, blocks) mean of 𝒯 over blocks of equal length; groups that never move are left out.
    null
        Whether equality is expected, and why.
    kinds
        What the groups are, for the note.
    """
    total = means.sum(axis=1)
    moving = means[total != 0] if means.shape[1] else means  # NaN stays, and makes all NaN
    still = f", {len(means) - len(moving)} at T = 0 left out" if len(moving) < len(means) else ""
    if len(moving) < 2 or means.shape[1] < FEWEST_BLOCKS:
        few = f"{means.shape[1]} of the {FEWEST_BLOCKS} independent blocks of time that it takes: record longer"
        why = few if len(moving) > 1 else f"fewer than two {kinds} move"
        return Finding(check, group, NAN, expected_low=1.0, expected_high=1.0, note=why)
    answer = rows_differ(moving)
    verdict = ""
    if null[0] and np.isfinite(answer.p_value):
        verdict = "differ" if answer.p_value < significance else "equal within error"
    ratio = total[total != 0].max() / total[total != 0].min()
    note = f"{len(moving)} {kinds}, hottest/coldest {ratio:.3g}{still}; {null[1]}"
    return Finding(check, group, answer.f, NAN, 1.0, 1.0, answer.p_value, verdict, note)


def gaussian(group: str, found: Normality, significance: float, unfit: str = "") -> list[Finding]:
    """Whether velocities are Gaussian, by their kurtosis and by their distribution; `unfit` says why not to judge."""
    size = f"{found.weights} weights × {found.samples:,} steps"
    worth = f"worth {found.n_eff:,.0f}; {size}" if np.isfinite(found.n_eff) else size
    pairs = (
        ("kurtosis", found.kurtosis, found.kurtosis_error, found.kurtosis_p, size),
        ("distance", found.distance, NAN, found.distance_p, worth),
    )
    return [
        Finding(
            check, group, value, error, 0.0, 0.0, p, "" if unfit else _gaussian(p, significance, error), unfit or note
        )
        for check, value, error, p, note in pairs
    ]


def _gaussian(p_value: float, significance: float, error: float = NAN) -> str:
    if np.isnan(p_value):
        return ""
    if p_value >= significance and error > _BLUNT:
        return "undecided"
    return "not Gaussian" if p_value < significance else "Gaussian within error"


def adam_temperature(
    group: str,
    temperature: float,
    error: float,
    optimizer: Optimizer | None,
    why: str,
    rate: Rate,
    steps: int,
    significance: float,
) -> list[Finding]:
    """T/η² against Adam's range, and the signal-to-noise ratio that it implies.

    The formula is 2 % too high for Student's three degrees of freedom and 12 % for sparse gradients, so "below" begins
    12 % under the value of white ones. Beyond that are gradients near Adam's ε, or weights that hardly get any.
    """
    if rate.value is None:
        return [Finding("adam_temperature", group, NAN, note=rate.why)]
    ratio, spread = temperature / rate.value**2, error / rate.value**2
    beta1 = optimizer.beta1 if optimizer is not None and optimizer.is_adam else None
    if beta1 is None or steps != 1:
        if optimizer is None:
            reason = why
        elif beta1 is not None:
            reason = f"velocities over {steps} steps: no expectation"
        else:
            reason = "SGD: C/(2 − ηh), no expectation" if optimizer.is_sgd else f"{optimizer.name}: no expectation"
        return [Finding("adam_temperature", group, ratio, spread, note=reason)]
    low = white(beta1)
    outside = max((1 - SPARSE) * low - ratio, ratio - CONSISTENT, 0.0)
    p_value = float(2 * ndtr(-outside / spread)) if spread > 0 else NAN
    verdict, note = "", "no error bar: n_eff below 20" if np.isfinite(ratio) else "NaN or infinite weights"
    if np.isfinite(p_value):
        beyond = outside > 0 and p_value < significance
        verdict = ("below" if ratio < low else "above") if beyond else "inside"
        note = "as far below as sparse gradients are" if not beyond and ratio + NORMAL * spread < low else ""
    s2, s2_error = signal_to_noise(ratio, spread, beta1)
    none = "" if s2 >= 0 else "below white gradients: no such s²" if s2 < 0 else "at ½ or above: no such s²"
    return [
        Finding("adam_temperature", group, ratio, spread, low, CONSISTENT, p_value, verdict, note),
        Finding("signal_to_noise", group, float(s2), float(s2_error), note=none),
    ]


def floor(group: str, ratio: float, error: float, lowest: float) -> Finding:
    """Whether a velocity is more than rounding, all the time.

    Parameters
    ----------
    ratio, error
        T/floor over the window, and its standard error.
    lowest
        The least of its twentieths. It decides: it is what was measured, no estimate of something else.
    """
    if not np.isfinite(ratio):
        return Finding("floor", group, ratio, NAN, PERSISTS, np.inf, note="no floor: the frames are not there, or NaN")
    verdict = "persists" if lowest > PERSISTS else "near rounding"
    return Finding("floor", group, ratio, error, PERSISTS, np.inf, NAN, verdict, f"lowest {lowest:.3g}")


def correlation(labels: Sequence[str], means: Array, significance: float, unfit: str = "") -> list[Finding]:
    """Whether the temperatures of groups move together, for every two that move, from their means over blocks of time.

    A common drift of a run that has not settled correlates as well.
    """
    moving = np.flatnonzero(means.sum(axis=1) != 0)
    if means.shape[1] < FEWEST_BLOCKS:
        unfit = f"{means.shape[1]} of the {FEWEST_BLOCKS} independent blocks of time that it takes: record longer"
    pairs = [(a, b, f"{labels[moving[a]]} × {labels[moving[b]]}") for a, b in combinations(range(moving.size), 2)]
    if unfit:
        return [Finding("correlation", name, NAN, NAN, 0.0, 0.0, note=unfit) for _, _, name in pairs]
    answer = cross_correlation(means[moving])
    found = []
    for a, b, name in pairs:
        r, error, p = (float(values[a, b]) for values in (answer.r, answer.standard_error, answer.p_value))
        verdict = "" if np.isnan(p) else "correlated" if p < significance else "none seen"
        note = f"{means.shape[1]} blocks, worth {answer.n_eff[a, b]:.0f}" if np.isfinite(p) else "NaN or constant"
        found.append(Finding("correlation", name, r, error, 0.0, 0.0, p, verdict, note))
    return found
