"""The kernels, compiled by numba. The pass calls them through `analyzer.engine.kernels`, which documents them.

The plain numpy expression makes two temporaries of the chunk's size; numba makes none. `nogil` lets dask's threads run.
Of fastmath only `reassoc` and `contract` are on, which vectorise the sum: the full set would assume that no NaN exists.
Signatures are given, so that everything is compiled when this module is first imported. numba keeps the machine code
in a folder; later imports load it from there.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numba import njit, types

from analyzer.engine.sums import DISPLACED, SQUARED_SUM, SQUARES, SUM, ULP

Array = np.ndarray[Any, np.dtype[Any]]


def _read(kind: Any, axes: int) -> Any:
    """The type of an argument that is only read: arrays from a cache or a broadcast are read-only."""
    return types.Array(kind, axes, "C", readonly=True)


def _written(kind: Any, axes: int) -> Any:
    return types.Array(kind, axes, "C")


def _compiled(signatures: Any, **options: Any) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """A decorator that compiles a function, and keeps the machine code where a folder for it can be written."""

    def compiled(function: Callable[..., None]) -> Callable[..., None]:
        try:
            kernel = njit(signatures, nogil=True, cache=True, **options)(function)
        except Exception:
            # numba finds no folder that it may write, the disk is full, or a file that it kept there is cut off, which
            # may raise any error of unpickling. If the code itself is the cause, the next line raises again.
            kernel = njit(signatures, nogil=True, **options)(function)
        made: Callable[..., None] = kernel
        return made

    return compiled


_REDUCE = [
    types.void(_read(real, 2), _read(types.int64, 2), _written(types.float64, 3), _written(real, 3))
    for real in (types.float32, types.float64)
]
_SERIES = [types.void(_read(real, 2), _written(types.float64, 1)) for real in (types.float32, types.float64)]
_BATCHES = types.void(_read(types.int64, 1), _read(types.float64, 3), _written(types.float64, 2))
_ADD = types.void(_read(types.int64, 1), _read(types.float64, 3), _written(types.float64, 3))
_GATHER = [
    types.void(
        _read(types.float64, 3), _read(real, 2), _read(types.int64, 2), _written(types.float64, 3), _written(real, 3)
    )
    for real in (types.float32, types.float64)
]
_WINDOWS = [
    types.void(
        _read(types.int64, 1),
        _read(types.int64, 2),
        _read(types.float64, 3),
        _read(real, 3),
        _read(bits, 3),
        _read(types.float64, 1),
        *[_written(types.float64, 3)] * 2,
    )
    for real, bits in ((types.float32, types.uint32), (types.float64, types.uint64))
]


@_compiled(_REDUCE, fastmath={"reassoc", "contract"})
def reduce_stretches(frames: Array, stretches: Array, sums: Array, ends: Array) -> None:
    """The sums of every weight over every stretch, and the ends of the stretches.

    A velocity is w(first + j·spacing) − w(first + (j − 1)·spacing). The ends are written here, while the frames are in
    cache: gathered afterwards, a column costs a cache line a weight.

    Parameters
    ----------
    frames
        (weights, frames), step last and contiguous; float32 or float64.
    stretches
        (4, stretches): a stretch samples `count` frames, `spacing` apart, from frame `first`; its bins hold `length`
        velocities each, and the last bin also what remains. Rows: first, spacing, count, length.
    sums
        (weights, SUMS, stretches) float64, written, see `analyzer.engine.sums`: Σv², and (Σv)² of every bin, summed
        over the bins.
    ends
        (weights, 2, stretches), as `frames`, written: the first and the last sampled frame.
    """
    for weight in range(frames.shape[0]):
        row = frames[weight]
        for stretch in range(stretches.shape[1]):
            start, apart = stretches[0, stretch], stretches[1, stretch]
            velocities, length = stretches[2, stretch] - 1, stretches[3, stretch]
            stop = start + velocities * apart
            total = 0.0
            if apart == 1:
                earlier, later = row[start:stop], row[start + 1 : stop + 1]
                for index in range(stop - start):
                    velocity = np.float64(later[index]) - np.float64(earlier[index])
                    total += velocity * velocity
            else:
                for index in range(start + apart, stop + 1, apart):
                    velocity = np.float64(row[index]) - np.float64(row[index - apart])
                    total += velocity * velocity
            sums[weight, SQUARES, stretch] = total
            total, begin = 0.0, start
            for end in range(1, velocities // length + 1):
                place = start + end * length * apart
                if place + length * apart > stop:
                    break
                displacement = np.float64(row[place]) - np.float64(row[begin])
                total += displacement * displacement
                begin = place
            displacement = np.float64(row[stop]) - np.float64(row[begin])
            sums[weight, DISPLACED, stretch] = total + displacement * displacement
            ends[weight, 0, stretch] = row[start]
            ends[weight, 1, stretch] = row[stop]


@_compiled(_SERIES)
def add_squares(frames: Array, series: Array) -> None:
    """Σ_weights v(j)² of every pair of neighbouring frames, v(j) = w(j + 1) − w(j), added to a series.

    Weight after weight, without reassociation or contraction: a step's sum has the same bits however the trajectory
    is cut in time, and those of numpy.

    Parameters
    ----------
    frames
        (weights, frames), step last and contiguous; float32 or float64.
    series
        (frames - 1,) float64, added to.
    """
    for weight in range(frames.shape[0]):
        row = frames[weight]
        for index in range(series.shape[0]):
            velocity = np.float64(row[index + 1]) - np.float64(row[index])
            series[index] += velocity * velocity


@_compiled(_BATCHES)
def add_batches(groups: Array, sums: Array, table: Array) -> None:
    """Add Σv² of every stretch to its group's, weight by weight: `sums` (weights, SUMS, n) to `table` (groups, n)."""
    for weight in range(groups.shape[0]):
        for place in range(table.shape[1]):
            table[groups[weight], place] += sums[weight, SQUARES, place]


@_compiled(_ADD)
def add_moments(groups: Array, sums: Array, table: Array) -> None:
    """Add the sums of every weight to its group's moments, weight by weight.

    Without reassociation: the sum of a group has one order, whatever the number of windows.

    Parameters
    ----------
    groups
        (weights,) the group of each weight.
    sums
        (WEIGHT_SUMS, weights, windows), see `analyzer.engine.sums`.
    table
        (MOMENTS, groups, windows), added to.
    """
    for weight in range(groups.shape[0]):
        group = groups[weight]
        for window in range(table.shape[2]):
            for row in range(sums.shape[0]):
                table[row, group, window] += sums[row, weight, window]
            total = sums[SUM, weight, window]
            table[SQUARED_SUM, group, window] += total * total


@_compiled(_GATHER)
def gather_stretches(held: Array, frames: Array, places: Array, sums: Array, ends: Array) -> None:
    """The sums of every weight and stretch, and its ends, from bins.

    In `held` neighbouring weights lie side by side, in `sums` neighbouring stretches do. So 64 weights at once are
    transposed while they are in cache.

    Parameters
    ----------
    held
        (SUMS, bins, weights) the sums of every bin.
    frames
        (edges, weights) the frames between them.
    places
        (4, stretches): a stretch is made of bins `low` to `high` - 1, added in this order, and of the edges `opens` and
        `closes`. Rows: low, high, opens, closes.
    sums
        (weights, SUMS, stretches), written.
    ends
        (weights, 2, stretches), written.
    """
    weights = held.shape[2]
    for begin in range(0, weights, 64):
        end = min(begin + 64, weights)
        for stretch in range(places.shape[1]):
            opens, closes = places[2, stretch], places[3, stretch]
            for weight in range(begin, end):
                ends[weight, 0, stretch] = frames[opens, weight]
                ends[weight, 1, stretch] = frames[closes, weight]
            for row in range(held.shape[0]):
                for weight in range(begin, end):
                    sums[weight, row, stretch] = 0.0
                for one in range(places[0, stretch], places[1, stretch]):
                    for weight in range(begin, end):
                        sums[weight, row, stretch] += held[row, one, weight]


@_compiled(_WINDOWS)
def add_windows(
    groups: Array, stretches: Array, sums: Array, ends: Array, bits: Array, ulps: Array, table: Array, open_: Array
) -> None:
    """Add up each weight's stretches by window; add the result to its group's moments, or to `open_` for open windows.

    All in one pass: sums written out for every weight would be six times the memory traffic of what is read. Weight by
    weight, without reassociation, as `add_moments`.

    Parameters
    ----------
    groups
        (weights,) the group of each weight.
    stretches
        (3, stretches), in order. Rows: the column in `table` of a stretch's window, ~n for the n-th open one; 1 where
        the stretch begins its window, so that its first frame counts toward δ², else 0; 1 where it ends its window.
    sums
        (weights, SUMS, stretches) of every stretch.
    ends
        (weights, 2, stretches) first and last frame; Σv of a stretch telescopes to the difference of the two.
    bits
        The same frames as unsigned integers.
    ulps
        (exponents,) δ² of a frame by its exponent, see `ulps_by_exponent`.
    table
        (MOMENTS, groups, whole windows), added to.
    open_
        (WEIGHT_SUMS, open windows, weights), written.
    """
    fraction = 23 if ulps.size == 256 else 52
    last = stretches.shape[1] - 1
    of_window = np.zeros(open_.shape[0])
    for weight in range(groups.size):
        group = groups[weight]
        for stretch in range(last + 1):
            for row in range(sums.shape[1]):
                of_window[row] += sums[weight, row, stretch]
            of_window[SUM] += np.float64(ends[weight, 1, stretch]) - np.float64(ends[weight, 0, stretch])
            for edge in range(2):
                if stretches[1 + edge, stretch]:
                    of_window[ULP] += 0.5 * ulps[(bits[weight, edge, stretch] >> fraction) & (ulps.size - 1)]
            column = stretches[0, stretch]
            if stretch < last and stretches[0, stretch + 1] == column:
                continue
            if column >= 0:
                for row in range(of_window.size):
                    table[row, group, column] += of_window[row]
                table[SQUARED_SUM, group, column] += of_window[SUM] * of_window[SUM]
            else:
                open_[:, ~column, weight] = of_window
            of_window[:] = 0.0
