"""The arithmetic of the one pass, on plain arrays; each kernel has a numpy twin that the tests hold it to
(`tests/kernel_twins.py`).

numba, because the plain numpy expression makes two temporaries of the chunk's size. `nogil` lets dask's threads run;
of fastmath only `reassoc` and `contract`, which vectorise the sum: the full set would assume that no NaN exists.
Signatures are given, so that `cache=True` compiles on the first import on a machine only.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from numba import njit, types

Array = np.ndarray[Any, np.dtype[Any]]


def _read(kind: Any, axes: int) -> Any:
    """An argument that is only read: what comes from a cache or a broadcast cannot be written."""
    return types.Array(kind, axes, "C", readonly=True)


def _written(kind: Any, axes: int) -> Any:
    return types.Array(kind, axes, "C")


_REDUCE = [
    types.void(
        _read(real, 2), *[_read(types.int64, 1)] * 4, *[_written(types.float64, 2)] * 2, *[_written(real, 2)] * 2
    )
    for real in (types.float32, types.float64)
]
_SERIES = [types.void(_read(real, 2), _written(types.float64, 1)) for real in (types.float32, types.float64)]
_ROWS = types.void(_read(types.int64, 1), _read(types.float64, 2), _written(types.float64, 2))
_ADD = types.void(_read(types.int64, 1), *[_read(types.float64, 2)] * 4, types.int64, _written(types.float64, 3))

_GATHER = [
    types.void(
        *[_read(types.float64, 2)] * 2,
        _read(real, 2),
        *[_read(types.int64, 1)] * 4,
        *[_written(types.float64, 2)] * 2,
        *[_written(real, 2)] * 2,
    )
    for real in (types.float32, types.float64)
]
_WINDOWS = [
    types.void(
        *[_read(types.int64, 1)] * 2,
        *[_read(types.float64, 2)] * 2,
        *[_read(real, 2)] * 2,
        *[_read(bits, 2)] * 2,
        *[_read(types.int64, 1)] * 3,
        _read(types.float64, 1),
        *[_written(types.float64, 3)] * 2,
    )
    for real, bits in ((types.float32, types.uint32), (types.float64, types.uint64))
]

_PRECISION = {"bfloat16": (7, -133), "float16": (10, -24), "float32": (23, -149), "float64": (52, -1074)}
"""Bits of the fraction, and exponent of the smallest positive number."""


@njit(_REDUCE, nogil=True, cache=True, fastmath={"reassoc", "contract"})
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
    """Σv² of every weight over every stretch, v(j) = w(first + j·spacing) − w(first + (j − 1)·spacing), and its ends.

    The ends are written here, while the frames are in cache: gathered afterwards, a column costs a cache line a weight.

    Parameters
    ----------
    frames
        (weights, frames), step last and contiguous; float32 or float64.
    first, spacing, count
        (stretches,): a stretch samples `count` frames, `spacing` apart, from frame `first`.
    block
        (stretches,) velocities in a block of each stretch; what remains belongs to the last.
    squares
        (weights, stretches), float64, written: Σv².
    displaced
        (weights, stretches), float64, written: (Σv)² of every block, summed over the blocks.
    opening, closing
        (weights, stretches), as `frames`, written: the first and the last sampled frame.
    """
    for weight in range(frames.shape[0]):
        row = frames[weight]
        for stretch in range(first.shape[0]):
            start, apart = first[stretch], spacing[stretch]
            stop = start + (count[stretch] - 1) * apart
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
            squares[weight, stretch] = total
            total, begin = 0.0, start
            for end in range(1, (count[stretch] - 1) // block[stretch] + 1):
                place = start + end * block[stretch] * apart
                if place + block[stretch] * apart > stop:
                    break
                displacement = np.float64(row[place]) - np.float64(row[begin])
                total += displacement * displacement
                begin = place
            displacement = np.float64(row[stop]) - np.float64(row[begin])
            displaced[weight, stretch] = total + displacement * displacement
            opening[weight, stretch] = row[start]
            closing[weight, stretch] = row[stop]


@njit(_SERIES, nogil=True, cache=True)
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


@njit(_ROWS, nogil=True, cache=True)
def add_rows(groups: Array, values: Array, table: Array) -> None:
    """Rows summed by group, in their order: `values` (weights, n) added to `table` (groups, n)."""
    for weight in range(groups.shape[0]):
        for place in range(values.shape[1]):
            table[groups[weight], place] += values[weight, place]


@njit(_ADD, nogil=True, cache=True)
def add_moments(
    groups: Array, squares: Array, sums: Array, ulp: Array, displaced: Array, skip: int, table: Array
) -> None:
    """Adds the sums of every weight to its group's, weight by weight.

    Without reassociation: the sum of a group has one order, whatever the number of windows.

    Parameters
    ----------
    groups
        (weights,) the group of each weight.
    squares, sums, ulp, displaced
        (weights, windows) Σv², Σv, δ² and Σ_blocks (Σv)² of each weight.
    skip
        Windows to leave out at the beginning.
    table
        (5, groups, windows to add): Σ squares, Σ sums, Σ sums², Σ ulp, Σ displaced, added to.
    """
    for weight in range(groups.shape[0]):
        group = groups[weight]
        for window in range(table.shape[2]):
            total = sums[weight, skip + window]
            table[0, group, window] += squares[weight, skip + window]
            table[1, group, window] += total
            table[2, group, window] += total * total
            table[3, group, window] += ulp[weight, skip + window]
            table[4, group, window] += displaced[weight, skip + window]


@njit(_GATHER, nogil=True, cache=True)
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
    """Σv², Σ_blocks (Σv)², first and last frame of every weight and stretch, from blocks.

    Blocks lie weight by weight, stretches follow one another in a weight: a tile of weights is turned in cache.

    Parameters
    ----------
    held, moved
        (blocks, weights) Σv² of every block, and (Σv)².
    frames
        (edges, weights) the frames between them.
    low, high
        (stretches,) a stretch is made of blocks low to high - 1, added in this order.
    opens, closes
        (stretches,) its first and last edge.
    squares, displaced, opening, closing
        (weights, stretches), written.
    """
    weights = held.shape[1]
    for begin in range(0, weights, 64):
        end = min(begin + 64, weights)
        for stretch in range(opens.size):
            for weight in range(begin, end):
                squares[weight, stretch], displaced[weight, stretch] = 0.0, 0.0
                opening[weight, stretch] = frames[opens[stretch], weight]
                closing[weight, stretch] = frames[closes[stretch], weight]
            for block in range(low[stretch], high[stretch]):
                for weight in range(begin, end):
                    squares[weight, stretch] += held[block, weight]
                    displaced[weight, stretch] += moved[block, weight]


@njit(_WINDOWS, nogil=True, cache=True)
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
    """Σv², Σv and edge δ² of every weight and window from its stretches: added to its group's, or kept where open.

    In one pass: written out for every weight, they would be six times the traffic of what is read. Weight by weight,
    without reassociation, as `add_moments`.

    Parameters
    ----------
    groups
        (weights,) the group of each weight.
    window
        (stretches,) the window of each stretch, in order.
    squares, displaced, opening, closing
        (weights, stretches) Σv², Σ_blocks (Σv)², first and last frame of every stretch; Σv of a stretch telescopes to
        the difference of the two.
    opening_bits, closing_bits
        The same frames as unsigned integers.
    begins, ends
        (stretches,) 1 where the stretch begins (ends) its window, so that its edge frame counts toward δ², else 0.
    place
        (windows,) the column of a whole window in `table`; ~n for the n-th that is open.
    ulps
        (exponents,) δ² of a frame by its exponent, see `ulps_by_exponent`.
    table
        (5, groups, whole windows): Σ squares, Σ sums, Σ sums², Σ ulp, Σ displaced, added to.
    open_
        (4, open windows, weights): squares, sums, ulp, displaced, written.
    """
    fraction = 23 if ulps.size == 256 else 52
    stretches = window.size
    for weight in range(groups.size):
        group = groups[weight]
        total, moved, ulp, far = 0.0, 0.0, 0.0, 0.0
        for stretch in range(stretches):
            total += squares[weight, stretch]
            far += displaced[weight, stretch]
            moved += np.float64(closing[weight, stretch]) - np.float64(opening[weight, stretch])
            if begins[stretch]:
                ulp += 0.5 * ulps[(opening_bits[weight, stretch] >> fraction) & (ulps.size - 1)]
            if ends[stretch]:
                ulp += 0.5 * ulps[(closing_bits[weight, stretch] >> fraction) & (ulps.size - 1)]
            if stretch + 1 < stretches and window[stretch + 1] == window[stretch]:
                continue
            column = place[window[stretch]]
            if column >= 0:
                table[0, group, column] += total
                table[1, group, column] += moved
                table[2, group, column] += moved * moved
                table[3, group, column] += ulp
                table[4, group, column] += far
            else:
                open_[0, ~column, weight] = total
                open_[1, ~column, weight] = moved
                open_[2, ~column, weight] = ulp
                open_[3, ~column, weight] = far
            total, moved, ulp, far = 0.0, 0.0, 0.0, 0.0


@lru_cache
def ulps_by_exponent(stored: str, original_dtype: str) -> Array:
    """δ² by the exponent bits of a frame stored as float32 (256,) or float64 (2048,); see `squared_ulp`."""
    count, fraction = (256, 23) if stored == "float32" else (2048, 52)
    bits: Array = np.arange(count, dtype=np.uint64) << np.uint64(fraction)
    frames: Array = bits.astype(f"u{np.dtype(stored).itemsize}").view(stored)
    with np.errstate(over="ignore"):  # of weights beyond 1e170, which no model has: infinite, as it should be
        return squared_ulp(frames, original_dtype)


def squared_ulp(frames: Array, original_dtype: str) -> Array:
    """δ², δ the spacing of floating-point numbers at each weight in the dtype that the model used.

    δ = 2^(e − p) for a weight of exponent e and p bits of fraction, and no less than the smallest positive number. The
    exponent is read from the bits, five times faster than `numpy.spacing`.

    Parameters
    ----------
    frames
        Any shape, float32 or float64: the weights, widened where their dtype was narrower.
    original_dtype
        Name of the dtype in the model.

    Returns
    -------
    float64, the shape of `frames`; 0 for dtypes that do not round (integers, booleans), infinite for NaN and infinity.
    """
    if original_dtype not in _PRECISION:
        return np.zeros(frames.shape)
    fraction, least = _PRECISION[original_dtype]
    exponent = np.uint32(0x7F800000) if frames.dtype == np.float32 else np.uint64(0x7FF0000000000000)
    bits: Array = np.bitwise_and(np.ascontiguousarray(frames).view(exponent.dtype), exponent)
    power: Array = bits.view(frames.dtype).astype(np.float64)
    power *= 2.0**-fraction
    np.maximum(power, 2.0**least, out=power)
    return power * power
