"""The value of ⟨v⟩² that is expected without a drift: the mean of finitely many velocities is never exactly zero."""

from __future__ import annotations

from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]


def drift_null(displaced: Array, sums: Array, squares: Array, lengths: Array, velocities: Array) -> Array:
    """Return the ⟨v⟩² expected without a drift: ⟨v²⟩·g/N, with g the statistical inefficiency of the velocity.

    The mean of N correlated velocities has variance s/N with s = ⟨v²⟩·g. s is estimated from the displacements Δ of
    bins of n velocities. With a true mean velocity V, E ΣΔ² = sN + V²Σn² and E (ΣΔ)² = sN + V²N². Eliminating V gives
    s = (ΣΔ² − (ΣΔ)² Σn²/N²)/(N − Σn²/N).

    Parameters
    ----------
    displaced, sums, squares
        (...,) summed over the weights of a group: ΣΔ² over all bins, (ΣΔ)² = (Σv)², and Σv². All in weight²/step².
    lengths, velocities
        (...,) the same for each weight of the group: Σn² over the bins, and N = Σn.

    Returns
    -------
    (...,) in the units of `sums` and summed over the group's weights, as those are; at least 0. NaN if there are fewer
    than 1.5 effective bins, N²/Σn², or if the bins are shorter than four times the g that they show: g is then not
    known. Bins of one velocity give g = 1.

    Notes
    -----
    Unbiased for independent bins and any constant drift. For velocities correlated as ρ^t it is too low by a relative
    g/(2n), that is 2ρ/((1 − ρ²)n): 3.7 % for Adam's ρ at n = 256. It is too high, by up to a factor N/n, for weights
    that a minimum confines to less than they would diffuse in n steps, because their ⟨v⟩² falls as 1/N². Each
    independent weight contributes the scatter of a χ² with N²/Σn² − 1 degrees of freedom. If bins differ in length, a
    strong drift adds scatter that is small compared with the drift.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        spread = np.maximum(displaced - sums * lengths / velocities**2, 0) / (velocities - lengths / velocities)
        g = spread / (squares / velocities)
        unknown = (lengths > velocities) & (lengths / velocities < 4 * g)
        return np.where(unknown | (velocities**2 < 1.5 * lengths), np.nan, spread / velocities)
