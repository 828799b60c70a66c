"""What a run or a window is too short for, and what length would do: one sentence for each quantity."""

from __future__ import annotations

import math

import numpy as np
import xarray as xr

from analyzer.query.kinds import KINDS
from analyzer.query.windows import BIN_FRAMES
from analyzer.statistics.lagged import LEAST_FRAMES
from analyzer.statistics.spectral import LEAST_SECTIONS
from analyzer.statistics.uncertainty import (
    LEAST_N_EFF,
    RELIABLE_BATCHES,
    RELIABLE_ERROR,
    RELIABLE_N_EFF,
    RELIABLE_N_EFF_ELEMENT,
)

_BATCHES = 8
"""Batches of an error bar of dynamics."""


def for_error_bars(answer: xr.Dataset) -> str:
    """Return which error bars of temperatures are unreliable, and about how long a window would do; "" if none is.

    The length is that of the window, times how many more independent samples are needed; for groups that divide
    parameters at least ten batches of 256 steps. It is not given where the temperature still changes over the window:
    more of such a window would not help. Temperatures of 0 and NaN are not counted, nor those over changing settings,
    which have a remark.
    """
    if "unreliable" not in answer or "temperature" not in answer:
        return ""
    moved = answer["temperature"] > 0
    loose = answer["unreliable"] & moved
    if "remark" in answer:
        loose &= answer["remark"] == ""
    span = (answer["stop_step"] - answer["start_step"]).astype(np.float64)
    needed = xr.full_like(answer["weights"], RELIABLE_N_EFF).where(answer["weights"] != 1, RELIABLE_N_EFF_ELEMENT)
    samples = answer["n_eff"].fillna(1.0).clip(min=1.0)
    each = answer["velocities"] / answer["weights"]
    short = loose & _has_few_batches(answer, each, needed)
    slow = loose & ~short & ((samples >= needed) | ((each >= needed) & (samples < LEAST_N_EFF)))
    few, of = loose & ~slow & ~short, int(moved.sum())
    bursts = slow & (answer["standard_error"] > RELIABLE_ERROR * answer["temperature"])
    slow &= ~bursts
    sentences = []
    what = f"Windows of {int(span.max()):,}" if answer.sizes["window"] > 1 else _span(span)
    if bool(short.any()):
        sentences.append(
            f"{what} steps are too short for {_which(short, of)}, which take {RELIABLE_BATCHES} batches of "
            f"{BIN_FRAMES} steps: {RELIABLE_BATCHES * BIN_FRAMES:,} would do."
        )
    if bool(few.any()):
        length = _round_up(float((span * needed / samples).where(few).max()))
        least = f"{needed.max().item():g} independent samples (n eff)"
        sentences.append(
            f"{what} steps are too short for {_which(few, of)}, which take {least}: about {length:,} would do."
        )
    if bool(bursts.any()):
        sentences.append(
            f"A few bursts make up T for {_which(bursts, of)}, above a quarter of it: take a longer window."
        )
    if bool(slow.any()):
        sentences.append(
            f"T changes too slowly within the window for {_which(slow, of)}: begin later (--start 50%), or take a "
            "longer one."
        )
    return " ".join(sentences)


def _has_few_batches(answer: xr.Dataset, each: xr.DataArray, needed: xr.DataArray) -> xr.DataArray:
    """Whether flagged groups that divide parameters, at lag 1, have too few batches; `each` are a weight's velocities.

    Without an n_eff there are fewer than four. With one that is large enough, their number may be what is missing.
    """
    kind = KINDS.get(str(answer.attrs.get("by")))
    if kind is None or kind.is_whole or answer.attrs.get("lag") != 1:
        return xr.zeros_like(answer["unreliable"])
    n_eff = answer["n_eff"]
    return n_eff.isnull() | ((n_eff >= needed) & (each < RELIABLE_BATCHES * BIN_FRAMES))


def _which(some: xr.DataArray, of: int) -> str:
    count = int(some.sum())
    return "the error bars" if count == of else f"{count:,} of {of:,} error bars"


def for_lags(answer: xr.Dataset) -> str:
    """Return from which length on dynamics have error bars; "" if some have one."""
    if bool(answer["mean_squared_displacement_error"].sel(lag=answer["lag"] > 0).notnull().any()):
        return ""
    span = answer["stop_step"] - answer["start_step"]
    batch = LEAST_FRAMES * int(answer.attrs["lag"])
    return (
        f"{_span(span)} steps are too short for error bars, which take {_BATCHES} batches of {batch:,} steps or of "
        f"twice the lag: {_BATCHES * batch:,} would do for short lags."
    )


def for_sections(answer: xr.Dataset) -> str:
    """Return from which length on a spectrum has error bars; "" if some have one."""
    if bool(answer["spectral_density_error"].notnull().any()):
        return ""
    span, section = answer["stop_step"] - answer["start_step"], int(answer.attrs["section_steps"])
    return (
        f"{_span(span)} steps are too short for error bars, which take {LEAST_SECTIONS} sections of {section:,} steps, "
        f"half overlapping: {(LEAST_SECTIONS + 1) * section // 2:,} would do."
    )


def _span(span: xr.DataArray) -> str:
    low, high = int(span.min()), int(span.max())
    return f"{high:,}" if low == high else f"{low:,} to {high:,}"


def _round_up(length: float) -> int:
    """Return a length in two significant digits, not below it."""
    unit = 10.0 ** max(math.floor(math.log10(length)) - 1, 0)
    return int(math.ceil(length / unit) * unit)
