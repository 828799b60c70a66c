"""Kernels in plain numpy, for small sums: they give the bits of `analyzer.engine.compiled` without loading numba.

Every sum is added in the order of the compiled loop. `numpy.add.at` adds one index after another, as that loop does.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from analyzer.engine.sums import SQUARES, SUM, ULP

Array = np.ndarray[Any, np.dtype[Any]]


@np.errstate(all="ignore")  # as the compiled kernels, which give no warnings: NaN is looked for in the sums later
def add_batches(groups: Array, sums: Array, table: Array) -> None:
    """`compiled.add_batches` in numpy."""
    np.add.at(table, groups, sums[:, SQUARES])


@np.errstate(all="ignore")
def add_moments(groups: Array, sums: Array, table: Array) -> None:
    """`compiled.add_moments` in numpy."""
    for row, values in enumerate((*sums, sums[SUM] * sums[SUM])):
        np.add.at(table[row], groups, values)


@np.errstate(all="ignore")
def gather_stretches(held: Array, frames: Array, places: Array, sums: Array, ends: Array) -> None:
    """`compiled.gather_stretches` in numpy."""
    ends[:] = frames[places[2:]].transpose(2, 0, 1)
    sums[:] = 0
    for stretch, bins in enumerate(zip(*places[:2], strict=True)):
        for one in range(*bins):
            sums[:, :, stretch] += held[:, one].T


@np.errstate(all="ignore")
def add_windows(
    groups: Array, stretches: Array, sums: Array, ends: Array, bits: Array, ulps: Array, table: Array, open_: Array
) -> None:
    """`compiled.add_windows` in numpy."""
    column, *marks = stretches
    starts = np.flatnonzero(np.diff(column, prepend=column[:1] - 1))  # stretches of one window follow each other
    columns = column[starts]
    window = np.searchsorted(starts, np.arange(column.size), side="right") - 1
    of_window = np.zeros((len(open_), columns.size, groups.size))
    for row in range(sums.shape[1]):
        np.add.at(of_window[row], window, sums[:, row].T)
    np.add.at(of_window[SUM], window, (ends[:, 1].astype(np.float64) - ends[:, 0]).T)
    edges = np.empty((2 * column.size, groups.size))  # for each stretch: δ²/2 of its first frame, then of its last
    for edge, here in enumerate(marks):
        edges[edge::2] = np.where(here, _half_ulps(bits[:, edge], ulps), 0.0).T
    np.add.at(of_window[ULP], np.repeat(window, 2), edges)
    whole = columns >= 0
    for row, values in enumerate((*of_window, of_window[SUM] * of_window[SUM])):
        np.add.at(table[row], (groups[:, np.newaxis], columns[whole]), values[whole].T)
    open_[:, ~columns[~whole]] = of_window[:, ~whole]


def _half_ulps(bits: Array, ulps: Array) -> Array:
    """δ²/2 of frames given as unsigned integers, by their exponents."""
    fraction = 23 if ulps.size == 256 else 52
    exponents = (bits >> bits.dtype.type(fraction)).astype(np.int64) & (ulps.size - 1)
    return np.asarray(0.5 * ulps[exponents])
