"""Clips: the part of a query's velocities that lies in one range of frames."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from analyzer.query.windows import BIN_FRAMES, Sampling

Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True)
class Clip:
    """The part of a sampling that lies in frames start to stop - 1; frame numbers are relative to `start`.

    Attributes
    ----------
    first, spacing, count, window
        (stretches,) as in `Sampling`, with stretches of one frame: their velocities lead over the seams.
    windows, total
        (windows,) numbers of the windows sampled here, and all velocities of each, also those of other ranges.
    edges
        (windows, 2) the window's first and last sampled frame; -1 for one outside this range.
    enters, leaves
        Whether the first stretch continues one of the range before; whether the last continues in the range after.
    batch
        (stretches,) as in `Sampling`.
    """

    first: Array
    spacing: Array
    count: Array
    window: Array
    windows: Array
    total: Array
    edges: Array
    enters: bool
    leaves: bool
    batch: Array | None = None


def clip(sampling: Sampling, start: int, stop: int) -> Clip:
    """The part of a sampling inside frames start to stop - 1."""
    # Stretches and their ends are in step order, so those that touch the range form a slice.
    final = sampling.first + (sampling.count - 1) * sampling.spacing
    chosen = slice(int(np.searchsorted(final, start)), int(np.searchsorted(sampling.first, stop)))
    first, spacing, count = sampling.first[chosen], sampling.spacing[chosen], sampling.count[chosen]
    window, final = sampling.window[chosen], final[chosen]
    skipped = np.maximum(-((first - start) // spacing), 0)
    kept = np.minimum((stop - 1 - first) // spacing, count - 1) - skipped + 1
    here = kept > 0
    enters, leaves = (skipped > 0)[here], ((skipped + kept) < count)[here]
    numbers, places = np.unique(window[here], return_inverse=True)
    local = (first + skipped * spacing - start)[here]
    edges = np.full((numbers.size, 2), -1)
    # A window begins with its first stretch and ends with its last.
    ranges = np.searchsorted(sampling.window, np.stack([numbers, numbers + 1], axis=1))
    begins = sampling.first[ranges[:, 0]]
    ends = (sampling.first + (sampling.count - 1) * sampling.spacing)[ranges[:, 1] - 1]
    for column, frame in enumerate((begins, ends)):
        inside = (frame >= start) & (frame < stop)
        edges[inside, column] = frame[inside] - start
    return Clip(
        first=local,
        spacing=spacing[here],
        count=kept[here],
        window=places.reshape(-1),
        windows=numbers,
        total=sampling.windows.velocities[numbers],
        edges=edges,
        enters=bool(enters[:1].any()),
        leaves=bool(leaves[-1:].any()),
        batch=None if sampling.batch is None else sampling.batch[chosen][here],
    )


def bin_lengths(part: Clip) -> Array:
    """Velocities in a bin of each stretch (stretches,): a quarter of the window's, at most as many as kept bins have.

    Bins end with the range of the clip, so that each bin belongs to one task.
    """
    return np.asarray(np.clip(part.total[part.window] // 4, 2, BIN_FRAMES))
