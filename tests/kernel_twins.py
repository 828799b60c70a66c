"""The kernels of `analyzer.kernels` in plain numpy: what the tests hold them to."""

from __future__ import annotations

from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]


def reduce_stretches(
    frames: Array,
    first: Array,
    spacing: Array,
    count: Array,
    block: Array,
    squares: Array,
    displaced: Array,
    opening: Array,
    closing: Array,
) -> None:
    """`reduce_stretches` in plain numpy."""
    for stretch, (start, apart, samples, length) in enumerate(zip(first, spacing, count, block, strict=True)):
        sampled = frames[:, start : start + (samples - 1) * apart + 1 : apart]
        squares[:, stretch] = (np.diff(sampled.astype(np.float64), axis=1) ** 2).sum(axis=1)
        blocks = max((samples - 1) // length, 1)
        edges = sampled[:, np.append(np.arange(blocks) * length, samples - 1)].astype(np.float64)
        displaced[:, stretch] = (np.diff(edges, axis=1) ** 2).sum(axis=1)
        opening[:, stretch], closing[:, stretch] = sampled[:, 0], sampled[:, -1]


def add_squares(frames: Array, series: Array) -> None:
    """`add_squares` in plain numpy."""
    for row in frames:
        series += np.diff(row.astype(np.float64)) ** 2


def add_rows(groups: Array, values: Array, table: Array) -> None:
    """`add_rows` in plain numpy."""
    np.add.at(table, groups, values)


def add_moments(
    groups: Array, squares: Array, sums: Array, ulp: Array, displaced: Array, skip: int, table: Array
) -> None:
    """`add_moments` in plain numpy."""
    chosen = slice(skip, skip + table.shape[2])
    for row, values in enumerate((squares, sums, sums * sums, ulp, displaced)):
        np.add.at(table[row], groups, values[:, chosen])


def gather_stretches(
    held: Array,
    moved: Array,
    frames: Array,
    low: Array,
    high: Array,
    opens: Array,
    closes: Array,
    squares: Array,
    displaced: Array,
    opening: Array,
    closing: Array,
) -> None:
    """`gather_stretches` in plain numpy."""
    opening[:], closing[:] = frames[opens].T, frames[closes].T
    squares[:], displaced[:] = 0, 0
    for stretch, blocks in enumerate(zip(low, high, strict=True)):
        for block in range(*blocks):
            squares[:, stretch] += held[block]
            displaced[:, stretch] += moved[block]


def add_windows(
    groups: Array,
    window: Array,
    squares: Array,
    displaced: Array,
    opening: Array,
    closing: Array,
    opening_bits: Array,
    closing_bits: Array,
    begins: Array,
    ends: Array,
    place: Array,
    ulps: Array,
    table: Array,
    open_: Array,
) -> None:
    """`add_windows` in plain numpy."""
    fraction = 23 if ulps.size == 256 else 52
    total, moved, ulp, far = np.zeros((4, place.size, groups.size))
    np.add.at(total, window, squares.T)
    np.add.at(far, window, displaced.T)
    np.add.at(moved, window, (closing.astype(np.float64) - opening).T)
    for bits, here in ((opening_bits, begins), (closing_bits, ends)):
        delta = ulps[(bits >> bits.dtype.type(fraction)).astype(np.int64) & (ulps.size - 1)]
        np.add.at(ulp, window, (0.5 * delta * here).T)
    whole = place >= 0
    for row, values in enumerate((total, moved, moved * moved, ulp, far)):
        np.add.at(table[row], (groups[:, np.newaxis], place[whole]), values[whole].T)
    for row, values in enumerate((total, moved, ulp, far)):
        open_[row, ~place[~whole]] = values[~whole]
