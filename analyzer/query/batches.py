"""Cuts the velocities of a window into batches, for error bars and tests."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from analyzer.query.windows import BIN_FRAMES, Sampling


def in_batches(drawn: Sampling, shortest: int = BIN_FRAMES, batches: int = 32) -> Sampling:
    """Return the same velocities, those of each window cut into batches: some tens where the window is long enough.

    At a lag beyond one stride there are at least `batches` of them, if there are as many displacements.

    Batches begin at multiples of their length, a power of two. Batches of neighbouring frames hold at least `shortest`
    frames, by default the length of a bin (`analyzer.engine.bins`), and begin where bins begin, so that kept sums
    answer. Batches at the ends of a window are shorter.
    """
    velocities = drawn.windows.velocities[drawn.window]
    fewest = np.where(drawn.spacing == 1, 32, batches)
    length = 2 ** np.floor(np.log2(np.maximum(velocities / fewest, 1))).astype(np.int64)
    length = np.where(drawn.spacing == 1, np.maximum(length, shortest), length)
    # In units of the spacing, from the run's first frame where it is 1, else from the stretch's own.
    origin = np.where(drawn.spacing == 1, drawn.first, 0)
    begin, end = origin, origin + drawn.count - 1
    cuts = np.maximum((end - 1) // length - begin // length, 0)
    index = np.repeat(np.arange(cuts.size), cuts + 1)
    offset = np.arange(index.size) - np.repeat(np.cumsum(cuts + 1) - (cuts + 1), cuts + 1)
    cell = (begin // length)[index] + offset
    low = np.where(offset == 0, begin[index], cell * length[index])
    high = np.where(offset == cuts[index], end[index], (cell + 1) * length[index])
    window = drawn.window[index]
    apart = drawn.spacing[index]
    # Where a gap cuts a batch of neighbouring frames, both parts count as one. At a wide spacing each stretch begins a
    # batch of its own.
    owner = np.where(apart == 1, window, index)
    fresh = np.ones(index.size, dtype=bool)
    fresh[1:] = (owner[1:] != owner[:-1]) | (cell[1:] != cell[:-1]) | (window[1:] != window[:-1])
    return replace(
        drawn,
        first=drawn.first[index] + (low - origin[index]) * apart,
        spacing=apart,
        count=high - low + 1,
        window=window,
        batch=np.cumsum(fresh) - 1,
    )
