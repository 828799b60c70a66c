"""What ⟨v⟩² is without a drift: a mean over correlated velocities is never zero."""

from __future__ import annotations

from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]


def drift_null(displaced: Array, sums: Array, squares: Array, lengths: Array, velocities: Array) -> Array:
    """⟨v⟩² that is expected when there is no drift: ⟨v²⟩·g/N, g the statistical inefficiency of the velocity.

    ⟨v⟩ over N correlated velocities has variance s/N with s = ⟨v²⟩·g, so ⟨v⟩² is not zero without any drift. s is taken
    from the displacements Δ of blocks of n velocities, about the mean velocity: E ΣΔ² = sN + V²Σn² with a true drift V,
    and E (ΣΔ)² = sN + V²N², so s = (ΣΔ² − (ΣΔ)² Σn²/N²)/(N − Σn²/N), whatever V.

    Parameters
    ----------
    displaced, sums, squares
        (...,) of the weights of a group together: ΣΔ² over all blocks, (ΣΔ)² = (Σv)², and Σv².
    lengths, velocities
        (...,) of each weight: Σn² over the blocks, and N = Σn.

    Returns
    -------
    (...,) summed over the group's weights, as `sums` are; at least 0. NaN with fewer than 1.5 blocks, N²/Σn², and where
    blocks are not four times as long as the g that they show: then g is not known. Blocks of one velocity take g = 1.

    Notes
    -----
    Unbiased for independent blocks, and whatever the drift, as long as that is constant. For velocities correlated as
    ρ^t it is low by g/(2n) of itself (2ρ/((1 − ρ²)n); Adam's at n = 256: 3.7 %). Too high, up to N/n times, for weights
    that a minimum confines to less than they would diffuse in n steps: their ⟨v⟩² falls as 1/N². Its scatter is that of
    a χ² with N²/Σn² − 1 degrees of freedom for each independent weight; a strong drift adds to it where blocks differ
    in length, by little beside the drift.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        spread = np.maximum(displaced - sums * lengths / velocities**2, 0) / (velocities - lengths / velocities)
        g = spread / (squares / velocities)
        unknown = (lengths > velocities) & (lengths / velocities < 4 * g)
        return np.where(unknown | (velocities**2 < 1.5 * lengths), np.nan, spread / velocities)
