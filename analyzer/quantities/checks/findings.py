"""Physical checks: each is a function from measured numbers to findings.

A finding has a verdict only if its expectation is valid. If not, its note says why.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
from scipy.special import ndtr

from analyzer.quantities.checks.optimizers import Updates
from analyzer.statistics.adam import CONSISTENT, SPARSE, signal_to_noise, white
from analyzer.statistics.cross_correlation import cross_correlation
from analyzer.statistics.density import NORMAL
from analyzer.statistics.heterogeneity import rows_differ
from analyzer.statistics.normality import Normality

Array = np.ndarray[Any, np.dtype[Any]]
NAN = float("nan")

FEWEST_BATCHES = 10
"""Fewest batches of time for a comparison of their means."""
_BLUNT = 1.0
"""Largest standard error of an excess kurtosis for the verdict "Gaussian". Beyond it, even Student's t with ten degrees
of freedom, whose excess kurtosis is 1, would pass."""
PERSISTS = 10.0
"""T/floor above which a velocity is more than rounding. The paper's claim that temperatures persist is judged by it
(C3 in examples/paper/RESULTS.md)."""

TITLES = {
    "norm_drift": "Norm drift: −⟨w(t−1)·v(t)⟩/(½⟨v²⟩) = 1 − (|w_N|² − |w_0|²)/Σv²: 1 in equilibrium (|w| stays)",
    "equipartition": "Equipartition: F of the groups' temperatures over batches of time, 1 if all have the same",
    "row_equipartition": "Equipartition of rows: F of a parameter's rows over batches of time, 1 if all have the same",
    "kurtosis": "Excess kurtosis of velocities, each weight by its own rms: 0 for Maxwell-Boltzmann",
    "distance": "Kolmogorov-Smirnov distance of velocities, each weight by its own rms, from the Gaussian",
    "adam_temperature": "T/η²: for Adam ½(1−β1)/(1+β1) (white gradients) to ½ (consistent ones), to about 12 %",
    "signal_to_noise": "Signal-to-noise s² of gradients: T/η² = ½(s² + a)/(1 + s²), a = (1−β1)/(1+β1)",
    "floor": "T/floor: over 10 is more than rounding; the lowest twentieth of the window decides",
    "correlation": "Correlation of temperatures in time: 0 if independent",
}
"""The title of each check, which states its expectation."""


@dataclass(frozen=True)
class Finding:
    """One measured number and its expected value.

    Attributes
    ----------
    check
        A key of `TITLES`.
    group
        The weights that were measured: a group, a parameter, or two groups.
    measured, standard_error
        The number and its standard error, NaN if unknown. ±1.96 errors are a 95 % interval.
    expected_low, expected_high
        Range of the expected value. Equal if it is one value, NaN if there is none.
    p_value
        p-value of the hypothesis that the expectation holds.
    verdict
        The verdict in words; "" if the expectation is not valid.
    note
        Further facts, such as why there is no verdict or how many samples there are.
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
    """Return 1 − Δ|w|²/Σv² of every group, from the identity Δ|w|² = Σ (2 w(t−1)·v(t) + v²).

    Parameters
    ----------
    labels
        Names of the groups.
    change, squares
        (groups,) Δ|w|² over the window, and Σv² over its steps; both in weight².
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = 1 - change / np.where(squares > 0, squares, np.nan)
    notes = ["" if s > 0 else "no velocity" if s == 0 else "NaN or infinite weights" for s in squares]
    return [
        Finding("norm_drift", label, float(value), expected_low=1.0, expected_high=1.0, note=note)
        for label, value, note in zip(labels, ratio, notes, strict=True)
    ]


def expects_equality(updates: Updates) -> tuple[bool, str]:
    """Return whether these updates should give equal temperatures, and a sentence that says why or why not.

    Adam divides each gradient by its own rms. With one learning rate η, T/η² then differs between weights only as far
    as their signal-to-noise ratios do. Under SGD T ∝ η²C, and the variance C of gradients differs by decades between
    layers and rows.
    """
    optimizer, rate = updates.optimizer, updates.rate
    if optimizer is None:
        return False, f"no null: {updates.why}"
    if optimizer.is_adam:
        if rate.value is None:
            return False, f"no null: {rate.why}"
        return True, f"{optimizer.name}'s null: equal T if s² is equal"
    if optimizer.is_sgd:
        return False, "SGD: T ∝ η²C, equal T not expected"
    return False, f"no null: {optimizer.name}"


def equipartition(
    check: str, group: str, means: Array, null: tuple[bool, str], significance: float, kinds: str = "groups"
) -> Finding:
    """Test whether groups have one temperature: an analysis of variance with batches of time as repeated measurements.

    Parameters
    ----------
    check, group
        As in `Finding`.
    means
        (groups, batches) mean of 𝒯 over batches of equal length. Groups that never move are left out. NaN or infinite
        weights leave no result.
    null
        Whether equality is expected, and why, from `expects_equality`.
    significance
        The groups differ if the p-value is below this.
    kinds
        Plural noun for the groups, for the note.
    """
    if bad := int((~np.isfinite(means).all(axis=1)).sum()):
        why = f"{bad} of {len(means)} {kinds} with NaN or infinite weights"
        return Finding(check, group, NAN, expected_low=1.0, expected_high=1.0, note=why)
    total = means.sum(axis=1)
    moving = means[total != 0] if means.shape[1] else means
    still = f", {len(means) - len(moving)} at T = 0 left out" if len(moving) < len(means) else ""
    if len(moving) < 2 or means.shape[1] < FEWEST_BATCHES:
        why = _too_short(means) if len(moving) > 1 else f"fewer than two {kinds} move"
        return Finding(check, group, NAN, expected_low=1.0, expected_high=1.0, note=why)
    answer = rows_differ(moving)
    verdict = ""
    if null[0] and np.isfinite(answer.p_value):
        verdict = "differ" if answer.p_value < significance else "equal within error"
    ratio = total[total != 0].max() / total[total != 0].min()
    note = f"{len(moving)} {kinds}, hottest/coldest {ratio:.3g}{still}; {null[1]}"
    return Finding(check, group, answer.f, NAN, 1.0, 1.0, answer.p_value, verdict, note)


def _too_short(means: Array) -> str:
    """Return the note of a comparison of (groups, batches) means that has too few batches."""
    times = f"{FEWEST_BATCHES / max(means.shape[1], 1):.2g}"
    found = f"{means.shape[1]} independent batches of time, at least {FEWEST_BATCHES} are needed"
    return f"{found}: record {times} times as long"


def gaussian(group: str, found: Normality, significance: float, unfit: str = "") -> list[Finding]:
    """Judge whether velocities are Gaussian, by kurtosis and by distribution; no verdict if `unfit` gives a reason."""
    size = f"{found.weights} weights × {found.samples:,} steps"
    worth = f"n_eff {found.n_eff:,.0f}; {size}" if np.isfinite(found.n_eff) else size
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
    group: str, temperature: float, error: float, updates: Updates, steps: int, significance: float
) -> list[Finding]:
    """Compare T/η² with the range that Adam's updates allow, and return the signal-to-noise ratio that it implies.

    The formula (`analyzer.statistics.adam`) is too high by up to 12 % for sparse gradients, so "below" begins 12 %
    under the value of white gradients. Lower still are weights whose gradients are near Adam's ε or nearly always zero.

    Parameters
    ----------
    group
        Name of the group.
    temperature, error
        Temperature and its standard error, in weight²/step².
    updates
        Optimizer and learning rate of the window.
    steps
        Steps of a velocity. Only for 1 there is an expectation.
    significance
        T/η² is outside the range if the p-value is below this.
    """
    optimizer, rate = updates.optimizer, updates.rate
    if rate.value is None:
        return [Finding("adam_temperature", group, NAN, note=rate.why)]
    ratio, spread = temperature / rate.value**2, error / rate.value**2
    beta1 = optimizer.beta1 if optimizer is not None and optimizer.is_adam else None
    if beta1 is None or steps != 1:
        if optimizer is None:
            reason = updates.why
        elif beta1 is not None:
            reason = f"velocities over {steps} steps: no expectation"
        elif differing := optimizer.differing & {"betas", "amsgrad"}:
            reason = f"{optimizer.name}: parameter groups differ in {', '.join(sorted(differing))}, no expectation"
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
    """Judge whether a velocity is more than rounding throughout the window.

    Parameters
    ----------
    group
        Name of the group.
    ratio, error
        T/floor over the window, and its standard error.
    lowest
        The lowest T/floor of the twentieths of the window. It alone decides, without an error bar, because the question
        is about the velocities that were recorded.
    """
    if not np.isfinite(ratio):
        return Finding("floor", group, ratio, NAN, PERSISTS, np.inf, note="no floor: frames are missing or NaN")
    verdict = "persists" if lowest > PERSISTS else "near rounding"
    return Finding("floor", group, ratio, error, PERSISTS, np.inf, NAN, verdict, f"lowest {lowest:.3g}")


def correlation(labels: Sequence[str], means: Array, significance: float, unfit: str = "") -> list[Finding]:
    """Correlate the temperatures of every two groups that move, from their means over batches of time.

    A drift that groups share also makes them correlate, as in a run that is not in equilibrium.

    Parameters
    ----------
    labels
        Names of the groups.
    means
        (groups, batches) mean of 𝒯 over batches of equal length.
    significance
        Two groups are correlated if the p-value is below this.
    unfit
        Why there is no verdict; empty to judge.
    """
    moving = np.flatnonzero(means.sum(axis=1) != 0)
    if means.shape[1] < FEWEST_BATCHES:
        unfit = _too_short(means)
    pairs = [(a, b, f"{labels[moving[a]]} × {labels[moving[b]]}") for a, b in combinations(range(moving.size), 2)]
    if unfit:
        return [Finding("correlation", name, NAN, NAN, 0.0, 0.0, note=unfit) for _, _, name in pairs]
    answer = cross_correlation(means[moving])
    found = []
    for a, b, name in pairs:
        r, error, p = (float(values[a, b]) for values in (answer.r, answer.standard_error, answer.p_value))
        verdict = "" if np.isnan(p) else "correlated" if p < significance else "none seen"
        note = f"{means.shape[1]} batches, n_eff {answer.n_eff[a, b]:.0f}" if np.isfinite(p) else "NaN or constant"
        found.append(Finding("correlation", name, r, error, 0.0, 0.0, p, verdict, note))
    return found
