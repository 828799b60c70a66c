"""Lengths of the bins whose displacements estimate what ⟨v⟩² would be without a drift, window by window."""

from __future__ import annotations

from typing import Any

import numpy as np

from analyzer.engine.bins import squared_lengths
from analyzer.engine.plan import Plan, Span
from analyzer.query.clips import bin_lengths

Array = np.ndarray[Any, np.dtype[Any]]


def squared_bin_lengths(plan: Plan) -> Array:
    """Σ over bins of (velocities in the bin)² of every window (windows,), for the bins that `DISPLACED` sums over.

    These are the fine bins for an aligned query, else bins of `bin_lengths`. A velocity over a seam between two tasks
    is a bin of its own.
    """
    total = np.zeros(plan.sampling.windows.velocities.size)
    inside = np.zeros_like(total)
    for span in plan.spans:
        part = span.part
        window = part.windows[part.window]
        np.add.at(total, window, _of_stretches(span))
        np.add.at(inside, window, part.count - 1)
    return total + (plan.sampling.windows.velocities - inside)


def _of_stretches(span: Span) -> Array:
    part = span.part
    if span.bins is not None:
        return squared_lengths(span.bins.fine, part)
    length, velocities = bin_lengths(part), part.count - 1
    full = np.maximum(velocities // length, 1) - 1
    return np.asarray(full * length**2 + (velocities - full * length) ** 2)
