"""The series of a run that are judged for equilibrium: temperature, displacement and loss."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import xarray as xr

from analyzer.engine.measure import Measurement, measure
from analyzer.engine.sums import SQUARES
from analyzer.query.groups import titles_of
from analyzer.query.query import Query
from analyzer.query.timeline import Timeline
from analyzer.query.windows import BIN_FRAMES, require_even, stride_in
from analyzer.store.names import loss_of
from analyzer.tree import scalars_of

Array = np.ndarray[Any, np.dtype[Any]]

LOSS = "loss"
_MOST_SAMPLES = 1 << 14
"""Longer series are averaged in bins first: about a hundred starts are tried, each with a Fourier transform."""
FEWEST = 40
"""Fewest samples of a series that is judged."""


@dataclass(frozen=True)
class Track:
    """One series of a run: its quantity, its group of weights, its samples and their steps.

    Attributes
    ----------
    values
        (samples,) float64.
    steps
        (samples,) the step of each sample; for a mean over a bin, the bin's last step.
    width
        Steps that a sample covers, up to its own.
    """

    quantity: str
    group: str
    units: str
    values: Array
    steps: Array
    width: int = 1

    @property
    def apart(self) -> int:
        """Steps between two samples."""
        return int(np.median(np.diff(self.steps)))

    @property
    def begin(self) -> int:
        """The step before the first sample."""
        return int(self.steps[0]) - self.apart


def within(series: Sequence[Track], start: int, stop: int) -> list[Track]:
    """The parts of series in a stretch. Long ones are averaged in bins, too short ones are left out."""
    cut = []
    for track in series:
        inside = (track.steps - track.width >= start) & (track.steps <= stop)
        cut.append(replace(track, values=track.values[inside], steps=track.steps[inside]))
    return [track for track in map(_binned, cut) if track.values.size >= FEWEST]


def tracks_of(run: xr.DataTree, query: Query, measurement: Measurement, loss: str) -> list[Track]:
    """The series of a run, computed."""
    line = measurement.run.line
    require_even(line, measurement.plan.sampling, "a search for equilibrium")
    first, last = measurement.plan.sampling.windows.start_step[0], measurement.plan.sampling.windows.stop_step[-1]
    apart = stride_in(line, query.start, query.stop)
    series = temperature_series(measurement)
    shown = titles_of(measurement.plan.grouping.label)
    answer = [
        Track("temperature", name, "weight^2 step^-2", values, series[1], apart)
        for name, values in zip(shown, series[0], strict=True)
    ]
    lag = BIN_FRAMES * apart
    if last - first >= FEWEST * lag:
        squares, ends = _displacements(run, replace(query, lag=lag, window=lag), measurement)
        answer += [
            Track("displacement", name, "weight^2", values, ends, lag)
            for name, values in zip(shown, squares, strict=True)
        ]
    logged = scalars_of(run)
    name = loss if loss in logged or loss != LOSS else loss_of(logged)
    if name is not None and name in logged:
        answer += _logged(name, logged[name], line, int(first), int(last), apart)
    return answer


def step_at(track: Track, samples: int) -> int:
    """Return the step at which a series has `samples` samples behind it."""
    return int(track.steps[samples - 1]) if samples else track.begin


def temperature_series(measurement: Measurement, known: Array | None = None) -> tuple[Array, Array]:
    """½⟨v²⟩ of every group and step, without steps at gaps, and the steps. `known` is the series, if it is computed."""
    assert measurement.moments.series is not None
    sampling, origin = measurement.plan.sampling, measurement.moments.origin
    series = np.asarray(measurement.moments.series) if known is None else known
    places = np.concatenate(
        [np.arange(f, f + n - 1) for f, n in zip(sampling.first.tolist(), sampling.count.tolist(), strict=True)]
    )
    weights = measurement.plan.grouping.weights[:, np.newaxis]
    with np.errstate(divide="ignore", invalid="ignore"):  # for a group without weights, NaN is right
        values = 0.5 * series[:, places - origin] / weights
    return values, measurement.run.line.steps[places + 1]


def _displacements(run: xr.DataTree, query: Query, known: Measurement) -> tuple[Array, Array]:
    """Mean squared displacement of every group over every 256 steps, and the steps at which they end."""
    measurement = measure(run, query)
    windows = measurement.plan.sampling.windows
    squares = np.asarray(measurement.moments.table)[SQUARES]
    there = (windows.velocities > 0) & ~windows.partial
    return squares[:, there] / known.plan.grouping.weights[:, np.newaxis], windows.stop_step[there]


def _logged(name: str, array: xr.DataArray, line: Timeline, first: int, last: int, apart: int) -> list[Track]:
    values = np.asarray(array.values, dtype=np.float64)
    if values.ndim != 1:
        return []
    there = np.isfinite(values) & (line.steps > first) & (line.steps <= last)
    return [Track(name, "", str(array.attrs.get("units", "")), values[there], line.steps[there], apart)]


def _binned(track: Track) -> Track:
    """The series; a long one averaged in bins."""
    width = -(-track.values.size // _MOST_SAMPLES)
    if width <= 1:  # 0 if no sample is left, as of a loss that was always NaN
        return track
    whole = track.values.size // width * width
    means = track.values[:whole].reshape(-1, width).mean(axis=1)
    return replace(track, values=means, steps=track.steps[width - 1 : whole : width])
