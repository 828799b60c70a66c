"""Sizes of weights in a single frame."""

from __future__ import annotations

from typing import Any

import dask
import numpy as np

from analyzer.engine.measure import Measurement
from analyzer.engine.pieces import bundle_groups
from analyzer.engine.spans import frame_at
from analyzer.query.groups import local_groups

Array = np.ndarray[Any, np.dtype[Any]]


@np.errstate(over="ignore")  # for weights beyond 1e154, which no model has, infinity is right
def rms_at_end(measurement: Measurement) -> Array:
    """Root mean square of the weights of each group (groups,) in the last frame of the sampling.

    Kept sums hold that frame, and answer if the trajectory is gone.
    """
    sampling, grouping = measurement.plan.sampling, measurement.plan.grouping
    frame = int((sampling.first + (sampling.count - 1) * sampling.spacing).max())
    squares = _kept(measurement, frame) if measurement.run.kept_alone else _read(measurement, frame)
    return np.asarray(np.sqrt(squares / grouping.weights))


def _kept(measurement: Measurement, frame: int) -> Array:
    """Σ w² of each group, from kept sums."""
    plan = measurement.plan
    total = np.zeros(plan.grouping.weights.size)
    for bundle, frames in zip(plan.bundles, plan.frames, strict=True):
        labels, numbers = bundle_groups(bundle)
        np.add.at(total, numbers[labels], frame_at(bundle, frames, plan.spans[-1], frame).astype(np.float64) ** 2)
    return total


def _read(measurement: Measurement, frame: int) -> Array:
    """Σ w² of each group, from the arrays of the run."""
    run, grouping = measurement.run, measurement.plan.grouping
    total = np.zeros(grouping.weights.size)
    shapes = {p.name: p.shape for p in run.parameters}
    frames = dask.compute(*(run.arrays[name].isel(step=frame).data for name in grouping.rules))  # type: ignore[attr-defined, no-untyped-call]
    for name, values in zip(grouping.rules, frames, strict=True):
        shape = shapes[name]
        labels, numbers = local_groups(grouping.rules[name], shape, tuple((0, length) for length in shape))
        np.add.at(total, numbers[labels], np.asarray(values, dtype=np.float64).reshape(-1) ** 2)
    return total
