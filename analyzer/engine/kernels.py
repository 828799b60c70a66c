"""The kernels of the pass, on plain arrays, as the rest of the engine calls them.

Decoded frames are added by numba (`analyzer.engine.compiled`, which documents the kernels). A question from kept sums
adds so few numbers that loading numba would take most of its time. numpy adds those, to the same bits
(`analyzer.engine.plain`), unless the compiled kernels are loaded already or there are many numbers.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np

from analyzer.engine import plain

Array = np.ndarray[Any, np.dtype[Any]]

_FEW = 1 << 22
"""Most numbers that numpy adds; beyond it the compiled kernels are loaded. A guess, not measured."""

_added = 0  # numbers that numpy has added in this process

_PRECISION = {"bfloat16": (7, -133), "float16": (10, -24), "float32": (23, -149), "float64": (52, -1074)}
"""By dtype: bits of the fraction, and exponent of the smallest positive number."""


def reduce_stretches(*arguments: Any) -> None:
    """See `analyzer.engine.compiled.reduce_stretches`."""
    _compiled("reduce_stretches")(*arguments)


def add_squares(*arguments: Any) -> None:
    """See `analyzer.engine.compiled.add_squares`."""
    _compiled("add_squares")(*arguments)


def add_batches(groups: Array, sums: Array, table: Array) -> None:
    """See `analyzer.engine.compiled.add_batches`."""
    _fitting("add_batches", sums.size)(groups, sums, table)


def add_moments(groups: Array, sums: Array, table: Array) -> None:
    """See `analyzer.engine.compiled.add_moments`."""
    _fitting("add_moments", sums.size)(groups, sums, table)


def gather_stretches(held: Array, *arguments: Any) -> None:
    """See `analyzer.engine.compiled.gather_stretches`."""
    _fitting("gather_stretches", held.size)(held, *arguments)


def add_windows(groups: Array, stretches: Array, sums: Array, *arguments: Any) -> None:
    """See `analyzer.engine.compiled.add_windows`."""
    _fitting("add_windows", sums.size)(groups, stretches, sums, *arguments)


def _fitting(name: str, numbers: int) -> Callable[..., None]:
    """The compiled kernel, or the numpy one while few numbers have been added and the others are not loaded."""
    global _added
    if f"{__package__}.compiled" in sys.modules or _added + numbers > _FEW:
        return _compiled(name)
    _added += numbers
    kernel: Callable[..., None] = getattr(plain, name)
    return kernel


def _compiled(name: str) -> Callable[..., None]:
    """A compiled kernel, loaded with all others on the first call."""
    from analyzer.engine import compiled

    kernel: Callable[..., None] = getattr(compiled, name)
    return kernel


@lru_cache
def ulps_by_exponent(stored: str, original_dtype: str) -> Array:
    """δ² by the exponent bits of a frame stored as float32 (256,) or float64 (2048,); see `squared_ulp`."""
    count, fraction = (256, 23) if stored == "float32" else (2048, 52)
    bits: Array = np.arange(count, dtype=np.uint64) << np.uint64(fraction)
    frames: Array = bits.astype(f"u{np.dtype(stored).itemsize}").view(stored)
    with np.errstate(over="ignore"):  # for weights beyond 1e170, which no model has, infinity is right
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
