"""What a verdict is, and how it shows a range of numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

HOLDS, FAILS, OPEN = "holds", "does not hold", "not decidable"
NOT_YET = "not yet"
"""Stands in place of a verdict while branches that it needs are missing."""


@dataclass(frozen=True)
class Verdict:
    """A claim, what was measured, and the verdict with its reason."""

    claim: str
    says: str
    measured: str
    verdict: str
    why: str


def span(values: Sequence[float]) -> str:
    """Smallest and largest of some numbers, in words."""
    if not values:
        return "–"
    low, high = float(np.min(values)), float(np.max(values))
    return f"{low:.2f}" if f"{low:.2f}" == f"{high:.2f}" else f"{low:.2f} to {high:.2f}"
