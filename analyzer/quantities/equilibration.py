"""Equilibration of a run: from which step on temperature, displacement and loss are stationary, and whether they drift.

Under Adam 𝒯(t) is stationary long before the model is, so three series are looked at: 𝒯(t) and the mean squared
displacement over 256 steps for every group, and the recorded loss.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import xarray as xr

from analyzer.engine.measure import Measurement, Query, measure
from analyzer.engine.sums import SQUARES
from analyzer.errors import EquilibriumWarning
from analyzer.query.groups import By, Globs, require_whole, titles_of
from analyzer.query.windows import BIN_FRAMES, Bound, Timeline, require_even, stride_in
from analyzer.statistics.equilibrium import DRIFTING, Equilibrium, detect
from analyzer.store.names import loss_of
from analyzer.tree import scalars_of
from analyzer.version import version

Array = np.ndarray[Any, np.dtype[Any]]

LOSS = "loss"
_MOST_SAMPLES = 1 << 14
"""Longer series are averaged in bins first: a hundred starts are tried, and each takes a Fourier transform."""
_FEWEST = 40
"""Samples of a series below which nothing is looked for."""


@dataclass(frozen=True)
class Track:
    """One series of a run: what it is, of which group, and at which steps its samples stand.

    Attributes
    ----------
    values
        (samples,) float64.
    steps
        (samples,) the step of each sample; of a bin, its last.
    """

    quantity: str
    group: str
    units: str
    values: Array
    steps: Array

    @property
    def apart(self) -> int:
        """Steps between two samples."""
        return int(np.median(np.diff(self.steps)))

    @property
    def begin(self) -> int:
        """The step before the first sample."""
        return int(self.steps[0]) - self.apart


def equilibration(
    run: xr.DataTree,
    *,
    by: By = "layer",
    start: Bound = None,
    stop: Bound = None,
    parameter: Globs = None,
    layer: Globs = None,
    exclude: Globs = None,
    loss: str = LOSS,
    cache: bool | str = True,
    memory_limit: int | None = None,
) -> xr.Dataset:
    """From which step on a run is in equilibrium: t0 = argmax (N − t0)/g(t0) of every series, and its drift from there.

    J. D. Chodera, J. Chem. Theory Comput. 12:1799 (2016), over about a hundred candidates for t0.

    Parameters
    ----------
    run
        A run, as `open_run` gives it, or a tree derived from one.
    by
        Groups of whole parameters: "model", "layer", "module", "parameter", or a mapping of globs.
    start, stop
        Steps, or percent of the step range.
    parameter, layer, exclude
        Globs over parameter names and layers.
    loss
        Name of the logged scalar; it is left out where the run has none. Where none is called "loss", that name means
        "train/loss", "train_loss" and the like.
    cache, memory_limit
        As for `temperature`.

    Returns
    -------
    xarray.Dataset
        In memory, dims (group, window) with one window: one group for each series, `quantity` "temperature" (½⟨v²⟩ of
        every step), "displacement" (mean squared over 256 steps) or "loss". `equilibrium_step` t0, and the range that
        it is known to, `equilibrium_low` to `equilibrium_high` (95 % for a sudden change, less for a slow one: see
        `analyzer.statistics.equilibrium.detect`); `inefficiency` g in steps; `n_eff` and `mean` from t0 on; `drift` of
        a linear fit from t0 on, per step, with `drift_error` and `p_value` of no drift; `verdict` "stationary",
        "drifting" or "undecided" (n_eff < 20). A series of fewer than 40 samples is left out.

    Raises
    ------
    GroupError
        The groups divide parameters: they have no series.
    AnalyzerError
        As for `temperature`.

    Examples
    --------
    >>> answer = equilibration(analyzer.open_run("runs/gcn.zarr"))
    >>> sorted(set(answer["quantity"].values.tolist()))
    ['loss', 'temperature']
    """
    query = Query(
        by=by,
        start=start,
        stop=stop,
        parameter=parameter,
        layer=layer,
        exclude=exclude,
        memory_limit=memory_limit,
        cache=cache,
    )
    return equilibration_of(run, query, loss)[0]


def equilibration_of(run: xr.DataTree, query: Query, loss: str = LOSS) -> tuple[xr.Dataset, list[Track]]:
    """`equilibration` of a query, and the series that it judges."""
    series = _tracks(run, query, loss)
    return _judged(series), series


def _tracks(run: xr.DataTree, query: Query, loss: str) -> list[Track]:
    """The series of a run, computed."""
    measurement = measure(run, query)
    require_whole(measurement.plan.grouping, "A series of every row would be as large as the run.")
    line = measurement.run.line
    require_even(line, measurement.plan.sampling, "a search for equilibrium")
    first, last = measurement.plan.sampling.windows.start_step[0], measurement.plan.sampling.windows.stop_step[-1]
    series = temperature_series(measurement)
    shown = titles_of(measurement.plan.grouping.label)
    answer = [
        Track("temperature", name, "weight^2 step^-2", values, series[1])
        for name, values in zip(shown, series[0], strict=True)
    ]
    lag = BIN_FRAMES * stride_in(line, query.start, query.stop)
    if last - first >= _FEWEST * lag:
        squares, ends = _displacements(run, replace(query, lag=lag, window=lag), measurement)
        answer += [
            Track("displacement", name, "weight^2", values, ends) for name, values in zip(shown, squares, strict=True)
        ]
    logged = scalars_of(run)
    name = loss if loss in logged or loss != LOSS else loss_of(logged)
    if name is not None and name in logged:
        answer += _logged(name, logged[name], line, int(first), int(last))
    return [track for track in map(_binned, answer) if track.values.size >= _FEWEST]


_COLUMNS = {
    "equilibrium_step": ("step", "start of equilibrium"),
    "equilibrium_low": ("step", "earliest start of equilibrium"),
    "equilibrium_high": ("step", "latest start of equilibrium"),
    "inefficiency": ("step", "statistical inefficiency"),
    "n_eff": ("1", "independent samples from there on"),
    "mean": ("", "mean from there on"),
    "drift": ("", "drift per step"),
    "drift_error": ("", "standard error of the drift"),
    "p_value": ("1", "p-value of no drift"),
    "verdict": ("", "verdict"),
}


def _judged(series: Sequence[Track]) -> xr.Dataset:
    """What `equilibration` returns, from the series."""
    rows = [_row(track, detect(track.values)) for track in series]
    data = {
        name: (
            ("group", "window"),
            np.array([row[name] for row in rows]).reshape(-1, 1),
            {"units": u, "long_name": title},
        )
        for name, (u, title) in _COLUMNS.items()
    }
    titles = _objects(f"{t.quantity} {t.group}".strip() for t in series)
    begin, end = min((t.begin for t in series), default=0), max((int(t.steps[-1]) for t in series), default=0)
    coords: dict[str, Any] = {
        "group": ("group", titles, {"long_name": "series"}),
        "quantity": ("group", _objects(t.quantity for t in series), {"long_name": "quantity"}),
        "of": ("group", _objects(t.group for t in series), {"long_name": "group of weights"}),
        "units": ("group", _objects(t.units for t in series), {"long_name": "units of the series"}),
        "window": ("window", [0], {"long_name": "window"}),
        "start_step": ("window", [begin], {"units": "step", "long_name": "window start (excluded)"}),
        "stop_step": ("window", [end], {"units": "step", "long_name": "window end (included)"}),
    }
    return xr.Dataset(data, coords=coords, attrs={"quantity": "equilibration", "thermotrace_version": version()})


def _row(track: Track, result: Equilibrium) -> dict[str, Any]:
    start, low, high = (int(frame[0]) for frame in (result.start, result.low, result.high))
    return {
        "equilibrium_step": step_at(track, start),
        "equilibrium_low": step_at(track, low),
        "equilibrium_high": step_at(track, high),
        "inefficiency": result.inefficiency[0] * track.apart,
        "n_eff": result.n_eff[0],
        "mean": track.values[start:].mean(),
        "drift": result.drift[0] / track.apart,
        "drift_error": result.drift_error[0] / track.apart,
        "p_value": result.p_value[0],
        "verdict": str(result.verdict[0]),
    }


def step_at(track: Track, samples: int) -> int:
    """Return the step at which a series has `samples` samples behind it."""
    return int(track.steps[samples - 1]) if samples else track.begin


def _objects(values: Iterable[str]) -> Array:
    return np.array(list(values), dtype=object)


def from_equilibrium(run: xr.DataTree, query: Query) -> Query:
    """The query, its start "auto" replaced by the latest t0: the step from which all series of a run are stationary.

    Warns
    -----
    EquilibriumWarning
        Some of them still drift: equilibrium has not been reached.
    """
    if query.start != "auto":
        return query
    answer, _ = equilibration_of(run, replace(query, by="layer", window=None, lag=None, start=None, batches=False))
    drifting = answer["group"].values[answer["verdict"].values[:, 0] == DRIFTING]
    start = int(answer["equilibrium_step"].max()) if answer.sizes["group"] else None
    if drifting.size:
        warnings.warn(
            f"--start auto: expected a run in equilibrium, but from step {start} on these still drift: "
            f"{', '.join(map(str, drifting))}. Their means depend on the window. Train longer.",
            EquilibriumWarning,
            stacklevel=2,
        )
    return replace(query, start=start)


def temperature_series(measurement: Measurement, known: Array | None = None) -> tuple[Array, Array]:
    """½⟨v²⟩ of every group and step, without the steps at gaps, and the steps; `known` is the series if computed."""
    assert measurement.moments.series is not None
    sampling, origin = measurement.plan.sampling, measurement.moments.origin
    series = np.asarray(measurement.moments.series) if known is None else known
    places = np.concatenate(
        [np.arange(f, f + n - 1) for f, n in zip(sampling.first.tolist(), sampling.count.tolist(), strict=True)]
    )
    weights = measurement.plan.grouping.weights[:, np.newaxis]
    with np.errstate(divide="ignore", invalid="ignore"):  # of no weights: NaN, as it should be
        values = 0.5 * series[:, places - origin] / weights
    return values, measurement.run.line.steps[places + 1]


def _displacements(run: xr.DataTree, query: Query, known: Measurement) -> tuple[Array, Array]:
    """Mean squared displacement of every group over every 256 steps, and the steps at which they end."""
    measurement = measure(run, query)
    windows = measurement.plan.sampling.windows
    squares = np.asarray(measurement.moments.table)[SQUARES]
    there = (windows.velocities > 0) & ~windows.partial
    return squares[:, there] / known.plan.grouping.weights[:, np.newaxis], windows.stop_step[there]


def _logged(name: str, array: xr.DataArray, line: Timeline, first: int, last: int) -> list[Track]:
    values = np.asarray(array.values, dtype=np.float64)
    if values.ndim != 1:
        return []
    there = np.isfinite(values) & (line.steps > first) & (line.steps <= last)
    return [Track(name, "", str(array.attrs.get("units", "")), values[there], line.steps[there])]


def _binned(track: Track) -> Track:
    """The series, averaged in bins where it is long."""
    width = -(-track.values.size // _MOST_SAMPLES)
    if width <= 1:  # 0: of a loss that was NaN throughout, no sample is left
        return track
    whole = track.values.size // width * width
    means = track.values[:whole].reshape(-1, width).mean(axis=1)
    return replace(track, values=means, steps=track.steps[width - 1 : whole : width])
