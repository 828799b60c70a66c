"""The spectral density of correlated samples at frequency zero, from a window's slowest cosines.

The projections of N samples on cosines are Λ_j = √(2/N) Σ_t (x_t − x̄) cos(π j (t + ½)/N), j = 1 … 64. The mean has the
variance S/N, with S the density at frequency zero, and each Λ_j has the variance S as long as the window is longer than
the correlations. From the squares of the first K follows the S of an error bar: (x̄ − true mean)/√(S/N) is Student's t
with K degrees of freedom. (The equal-weighted cosine estimator: Müller, J. Econometrics 141:1331, 2007; Lazarus, Lewis,
Stock and Watson, J. Bus. Econ. Stat. 36:541, 2018.) The others, which are independent of these, say whether the window
changes slowly, and how many samples are effective.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]

PROJECTIONS = 12
"""Number of cosines from which S is estimated. Their t quantile is 1.11 times the normal one. More would narrow the
interval by a few percent, but miss slow changes: then a correlation time of N/100 lowers the coverage to 93 %. Of fewer
than 48 cosines it is a quarter. Of windows that wander with a time of 0.03 N, in 32 batches, 93.4 % of the unflagged
bars from 7 of their 31 cosines hold the truth, and 92.5 % of those from 10 (6,000 systems)."""
FEW_PROJECTIONS = 4
"""Number of cosines in a window that changes slowly, and the least. Their t quantile is 1.42 times the normal one."""
_BROAD = 64
"""The slowest cosines are compared with the faster ones, up to this number."""
_FLAT = 36
"""From the next cosine on, the fastest are what those after the twelfth are compared with."""
SLOW = 0.01
"""p-value below which slow cosines count as stronger than faster ones (an F test): the window changes too slowly for
its length, and its bar is flagged. Compared are the 13th to 24th and those from the 37th on: the bar has none of them.
So 1 % of good windows are flagged, 7 in 10 of 50 correlation times, and nearly all of 20, even if only a small part of
the variance is correlated that long. Of fewer than 48 cosines the second quarter is compared with the last half."""
VERY_SLOW = 1e-4
"""The same for the four slowest cosines: for drifts of the whole. They are a part of the bar. So the bars that stay
unflagged are those that came out small, the more so the larger this p-value is: of the windows above 94.2 % hold the
truth with 1e-4, and 93.4 % with 0.001. With 1e-5 windows of 4,096 samples that wander with a time of N/2 would mislead
in 10 % and more, with 1e-4 they do in 8 % (2,000 systems)."""
_FULLY = (0.1, 0.001)
"""p-values of that test. Below the first, the four slowest cosines begin to count; at the second, only they count."""
LEAST_BATCHES = 4
"""With fewer batches there is no error bar: an honest interval would reach far below zero."""
NORMAL = 1.959963984540054
"""`mean ± NORMAL * standard_error` is the 95 % interval of every estimate here: `scipy.special.ndtri(0.975)`."""
_STUDENT = (
    (3, 3.1824463052837078), (4, 2.7764451051977934), (5, 2.5705818356363146), (6, 2.4469118511449786),
    (7, 2.364624251592784), (8, 2.306004135204166), (9, 2.262157162798205), (10, 2.228138851986274),
    (11, 2.200985160091639), (12, 2.1788128296672284),
)  # fmt: skip
"""Quantile 0.975 of Student's t by degrees of freedom: `scipy.special.stdtrit`, whose import would take longer than a
question from kept sums."""


@dataclass(frozen=True)
class Density:
    """S of groups, in units of the squared deviations, and its reliability; all arrays are (groups,).

    Attributes
    ----------
    value
        S of the error bar.
    ratio
        The t quantile over 1.96.
    other
        S of n_eff: from cosines that the bar does not have, if there are eight or more and the window is not slow.
    slow
        Whether the slowest cosines are stronger than chance allows.
    """

    value: Array
    ratio: Array
    other: Array
    slow: Array


def density_of(counts: Array, deviations: Array) -> Density:
    """Estimate S from sums of deviations from the mean, (groups, batches), over batches of `counts` samples."""
    groups, batches = deviations.shape
    most = min(batches - 1, _BROAD)
    if batches < LEAST_BATCHES or not counts.sum():
        unknown = np.full(groups, np.nan)
        return Density(unknown, unknown, unknown, np.zeros(groups, dtype=bool))
    samples = counts.sum()
    waves = cosines(counts, most)
    # Not a product of matrices, whose last digits would depend on the number of groups.
    squares = 2 / samples * np.einsum("gb,bj->gj", deviations, waves) ** 2
    many = min(max(most // 4, FEW_PROJECTIONS), PROJECTIONS, most)
    value, ratio = squares[:, :many].mean(axis=1), np.full(groups, _student_ratio(many))
    if most < 2 * FEW_PROJECTIONS:
        return Density(value, ratio, value, np.zeros(groups, dtype=bool))
    slowest = squares[:, :FEW_PROJECTIONS].mean(axis=1)
    begin = PROJECTIONS if most >= 2 * PROJECTIONS else FEW_PROJECTIONS
    with np.errstate(divide="ignore", invalid="ignore"):
        chance = _chance(slowest / squares[:, begin:].mean(axis=1), FEW_PROJECTIONS, most - begin)
        # As the evidence grows, the weight moves from all cosines of the bar to the four slowest: no error bar jumps.
        doubt = np.log(np.maximum(chance, 1e-300) / _FULLY[0]) / np.log(_FULLY[1] / _FULLY[0])
        fewer = _student_ratio(FEW_PROJECTIONS)
        wider = np.sqrt(slowest) * fewer > np.sqrt(value) * ratio
        share = np.where(wider & np.isfinite(doubt), np.clip(doubt, 0, 1), 0.0)
        value = np.where(share > 0, value ** (1 - share) * slowest**share, value)
        slow, band = chance < VERY_SLOW, many // 2 * 2
        fast = _FLAT if most >= _FLAT + PROJECTIONS else many + band
        if most > fast:
            falls = squares[:, many : many + band].mean(axis=1) / squares[:, fast:].mean(axis=1)
            slow |= _chance(falls, band, most - fast) < SLOW
        other = np.where(slow, value, squares[:, many:].mean(axis=1))
    return Density(value, ratio ** (1 - share) * fewer**share, other, slow)


def cosines(counts: Array, most: int = PROJECTIONS) -> Array:
    """Return the slowest cosines of a window at the middles of its batches, (batches, most).

    `counts` (batches,) are the samples of each batch. If the deviations of a series from its mean add up to d
    (batches,) in its batches, its projections are Λ = √(2/samples)·d @ cosines.
    """
    middle = (np.cumsum(counts) - counts / 2) / counts.sum()
    return np.asarray(np.cos(np.pi * np.outer(middle, np.arange(1, most + 1))))


def _chance(ratio: Array, even: int, freedom: int) -> Array:
    """Return the probability that F exceeds a ratio: a closed form for an even number of degrees of freedom above."""
    share = freedom / (freedom + even * ratio)
    total = term = np.ones_like(share)
    for k in range(1, even // 2):
        term = term * (freedom / 2 + k - 1) / k * (1 - share)
        total = total + term
    return np.asarray(share ** (freedom / 2) * total)


def _student_ratio(freedom: int) -> float:
    return dict(_STUDENT)[freedom] / NORMAL
