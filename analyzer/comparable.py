"""What the runs of a sweep must share to be compared: the meaning of axes, frozen weights, one lag for all."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from typing import Any, cast

import numpy as np
import xarray as xr

from analyzer.errors import StrideWarning, SweepError, WindowError, caller_level
from analyzer.query.groups import By
from analyzer.query.timeline import Timeline
from analyzer.query.windows import Bound, Lag, stride_in
from analyzer.store.schema import Parameter
from analyzer.sweep import children_of
from analyzer.tree import trajectory


def comparable(sweep: xr.DataTree, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options of a question to every run of a sweep. If the runs differ in stride, they have a `lag`.

    Raises
    ------
    SweepError
        Groups would hold other weights in each run, or there is no time that all runs have frames for.

    Warns
    -----
    StrideWarning
        The default lag is not the stride of every run.
    """
    check_axes(sweep, options.get("by", "layer"))
    check_frozen(sweep, options.get("frozen", False))
    lag = common_lag(sweep, *(options.get(name) for name in ("lag", "start", "stop")))
    return {**options} if lag is None else {**options, "lag": lag}


def check_axes(sweep: xr.DataTree, by: By) -> None:
    """Refuse groups that follow from the meaning of axes, where the meaning differs between runs.

    Raises
    ------
    SweepError
        The message names two runs.
    """
    if by not in ("output", "input", "head"):
        return
    first: tuple[str, dict[str, str]] | None = None
    for name, run in children_of(sweep).items():
        axes = {p.name: _meaning_of_axes(p) for p in trajectory(run).parameters}
        first = first or (name, axes)
        odd = [parameter for parameter in axes if axes[parameter] != first[1].get(parameter, axes[parameter])]
        if odd:
            raise SweepError(
                f"--by {by}: expected axes of one meaning in all runs, got {first[1][odd[0]]} of {odd[0]} in "
                f"{first[0]} and {axes[odd[0]]} in {name}. Their groups differ. Ask by row or column, or open the "
                "runs separately.",
                parameter=odd[0],
            )


def _meaning_of_axes(p: Parameter) -> str:
    """The meaning of a parameter's axes in words: all that decides its groups by output, input and head."""
    heads = "" if p.heads is None else f" with {p.heads} heads along axis {p.head_axis}"
    return f"{list(p.axes)}{heads}" + (f" in {p.head_blocks} blocks" if heads and p.head_blocks > 1 else "")


def check_frozen(sweep: xr.DataTree, frozen: bool) -> None:
    """Refuse runs in which different weights are frozen: a group would hold other weights in each. `frozen` counts all.

    Raises
    ------
    SweepError
        The message names two runs.
    """
    first: tuple[str, set[str]] | None = None
    for name, run in children_of(sweep).items() if not frozen else ():
        held = {p.name for p in trajectory(run).parameters if p.frozen}
        first = first or (name, held)
        if odd := sorted(held ^ first[1]):
            cold, free = (first[0], name) if odd[0] in first[1] else (name, first[0])
            raise SweepError(
                f"Sweep: expected the same weights to be frozen in all runs, got {odd[0]} frozen in {cold} and trained "
                f"in {free}. Their groups are not of the same weights. Count all: --frozen (frozen=True), or leave it "
                f"out: --exclude {odd[0]}",
                parameter=odd[0],
                runs=(cold, free),
            )


def common_lag(
    sweep: xr.DataTree, lag: Lag | Sequence[Lag], start: Bound = None, stop: Bound = None
) -> Lag | list[Lag]:
    """Return the lag that was asked for, or several, each as one time in every run of a sweep.

    The default is the stride; where the runs have several, it is the shortest time that is a multiple of them all.

    Raises
    ------
    SweepError
        A lag is no multiple of every stride, or the frames of a run are not evenly spaced from `start` to `stop`.

    Warns
    -----
    StrideWarning
        The default is not the stride of every run.
    """
    is_one = isinstance(lag, str) or not np.iterable(lag)
    asked: list[Any] = [lag] if is_one else list(cast("Sequence[Lag]", lag))
    strides = {name: _stride(name, trajectory(run).line, start, stop) for name, run in children_of(sweep).items()}
    if len(set(strides.values())) < 2:
        return asked[0] if is_one else asked
    common = math.lcm(*strides.values())
    for one in asked:
        if isinstance(one, (int, np.integer)) and one > 0 and one % common:
            raise SweepError(
                f"--lag: expected a time that all runs have frames for, a multiple of {common} steps, got {one}: "
                f"{_extremes(strides)}. Displacements over different times are not one quantity. Write --lag {common}",
                lag=one,
                strides=strides,
            )
    if None in asked:
        warnings.warn(lag_instead(strides), StrideWarning, stacklevel=caller_level())
    answer: list[Lag] = [common if one is None else one for one in asked]
    return answer[0] if is_one else answer


def lag_instead(strides: Mapping[str, int]) -> str:
    """Return a sentence on the lag that runs of several strides have by default, their least common multiple."""
    common = math.lcm(*strides.values())
    return (
        f"--lag: expected one stride in all runs, but {_extremes(strides)}. Velocities are taken over {common} steps "
        "in every run, since displacements over different times are not one quantity. To choose it yourself: --lag "
        f"{common}"
    )


def strides_of(sweep: xr.DataTree) -> dict[str, int]:
    """Return the stride of each run."""
    return {name: trajectory(run).line.stride for name, run in children_of(sweep).items()}


def _extremes(strides: Mapping[str, int]) -> str:
    low, high = min(strides, key=lambda name: strides[name]), max(strides, key=lambda name: strides[name])
    return f"{low} has a frame every {strides[low]} steps and {high} every {strides[high]}"


def several_strides(strides: Mapping[str, int], quantity: str) -> SweepError:
    """The error for a quantity at the lag of one stride, asked of runs that have several strides."""
    listed = ", ".join(f"{stride} in {name}" for name, stride in list(strides.items())[:5])
    return SweepError(
        f"{quantity}: expected one stride in all runs, got {listed}. Their velocities are displacements over different "
        "times, which are not one quantity. Ask the runs of each stride separately.",
        strides=dict(strides),
    )


def _stride(name: str, line: Timeline, start: Bound, stop: Bound) -> int:
    """Return the stride of a run in a range."""
    if not line.evens:
        return line.stride
    try:
        return stride_in(line, None if start == "auto" else start, stop)
    except WindowError as error:
        raise SweepError(f"{name}: {error}", run=name) from error
