"""The blocks whose displacements say what ⟨v⟩² is without a drift: how long they are, window by window."""

from __future__ import annotations

from typing import Any

import numpy as np

from analyzer.blocks import squared_lengths
from analyzer.clips import block_lengths
from analyzer.plan import Plan, Span

Array = np.ndarray[Any, np.dtype[Any]]


def squared_block_lengths(plan: Plan) -> Array:
    """Σ over blocks of (velocities in the block)² of every window (windows,), as `DISPLACED` was summed.

    The blocks of an aligned query are the fine ones, those of another as long as `block_lengths` says; a velocity over
    a seam between two tasks is a block of one.
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
    if span.blocks is not None:
        return squared_lengths(span.blocks.fine, part)
    length, velocities = block_lengths(part), part.count - 1
    full = np.maximum(velocities // length, 1) - 1
    return np.asarray(full * length**2 + (velocities - full * length) ** 2)
