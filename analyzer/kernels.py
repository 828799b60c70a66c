"""The arithmetic of the one pass, on plain arrays; each kernel has a numpy twin that the tests hold it to.

numba, because the plain numpy expression makes two temporaries of the chunk's size. `nogil` lets dask's threads run;
of fastmath only `reassoc` and `contract`, which vectorise the sum: the full set would assume that no NaN exists.
Signatures are given, so that `cache=True` compiles on the first import on a machine only.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

Array = np.ndarray[Any, np.dtype[Any]]

_SQUARES = [
    f"void({real}[:,::1], int64[::1], int64[::1], int64[::1], float64[:,::1])" for real in ("float32", "float64")
]


@njit(_SQUARES, nogil=True, cache=True, fastmath={"reassoc", "contract"})
def squared_velocities(frames: Array, first: Array, spacing: Array, count: Array, out: Array) -> None:
    """Σv² of every weight over every stretch, v(j) = w(first + j·spacing) − w(first + (j − 1)·spacing).

    Parameters
    ----------
    frames
        (weights, frames), step last and contiguous; float32 or float64.
    first, spacing, count
        (stretches,): a stretch samples `count` frames, `spacing` apart, from frame `first`.
    out
        (weights, stretches), float64, written.
    """
    for weight in range(frames.shape[0]):
        row = frames[weight]
        for stretch in range(first.shape[0]):
            start, stop, apart = (
                first[stretch],
                first[stretch] + (count[stretch] - 1) * spacing[stretch],
                spacing[stretch],
            )
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
            out[weight, stretch] = total


def squared_velocities_reference(frames: Array, first: Array, spacing: Array, count: Array, out: Array) -> None:
    """`squared_velocities` in plain numpy."""
    for stretch, (start, apart, samples) in enumerate(zip(first, spacing, count, strict=True)):
        sampled = frames[:, start : start + (samples - 1) * apart + 1 : apart].astype(np.float64)
        out[:, stretch] = (np.diff(sampled, axis=1) ** 2).sum(axis=1)


@njit("void(int64[::1], float64[:,::1], float64[:,::1])", nogil=True, cache=True)
def add_by_group(group: Array, values: Array, out: Array) -> None:
    """Adds every row of values (weights, n) to the row of out (groups, n) that `group` (weights,) names, in order.

    Without reassociation: the sum of a group has one order, whatever the number of columns.
    """
    for weight in range(group.shape[0]):
        for column in range(values.shape[1]):
            out[group[weight], column] += values[weight, column]


def add_by_group_reference(group: Array, values: Array, out: Array) -> None:
    """`add_by_group` in plain numpy."""
    np.add.at(out, group, values)


def squared_ulp(frames: Array, original_dtype: str) -> Array:
    """δ², δ the spacing of floating-point numbers at each weight in the dtype that the model used.

    Parameters
    ----------
    frames
        Any shape; the stored values.
    original_dtype
        Name of the dtype in the model; bfloat16 is stored widened, with 16 bits of mantissa to spare.

    Returns
    -------
    float64, the shape of `frames`; 0 for dtypes that do not round (integers, booleans).
    """
    if original_dtype == "bfloat16":
        ulp = np.spacing(np.abs(frames.astype(np.float32))).astype(np.float64) * 2.0**16
    elif original_dtype in ("float16", "float32", "float64"):
        with np.errstate(over="ignore", invalid="ignore"):
            ulp = np.spacing(np.abs(frames.astype(original_dtype))).astype(np.float64)
    else:
        ulp = np.zeros(frames.shape)
    return ulp * ulp
