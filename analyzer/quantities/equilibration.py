"""Equilibration of a run: from which step on temperature, displacement and loss are stationary, and whether they drift.

Each stretch of constant settings (`analyzer.query.settings`) is judged by itself. Where the learning rate changes all
the time there is no equilibrium, and the answer says so.

Under Adam 𝒯(t) is stationary long before the model is. So three series are judged: 𝒯(t) and the mean squared
displacement over 256 steps for every group, and the recorded loss.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import xarray as xr

from analyzer.engine.measure import measure
from analyzer.errors import EquilibriumWarning, SettingsWarning, WindowError, caller_level
from analyzer.quantities.tracks import FEWEST, LOSS, Track, step_at, tracks_of, within
from analyzer.query.groups import By, Globs, require_whole
from analyzer.query.query import Query, query_of
from analyzer.query.settings import FEWEST_STEPS, constant_stretches, variations
from analyzer.query.timeline import Timeline
from analyzer.query.windows import Bound, sample
from analyzer.statistics.density import NORMAL
from analyzer.statistics.equilibrium import DRIFTING, UNDECIDED, Equilibrium, detect
from analyzer.tree import trajectory
from analyzer.version import version

Array = np.ndarray[Any, np.dtype[Any]]


def equilibration(
    run: xr.DataTree,
    *,
    by: By = "layer",
    start: Bound = None,
    stop: Bound = None,
    parameter: Globs = None,
    layer: Globs = None,
    exclude: Globs = None,
    frozen: bool = False,
    loss: str = LOSS,
    cache: bool | str = True,
    memory_limit: int | None = None,
) -> xr.Dataset:
    """The step from which each series is in equilibrium, t0 = argmax (N − t0)/g(t0), and its drift from there on.

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
    frozen
        Count frozen weights, too; see `temperature`.
    loss
        Name of the logged scalar. Without such a scalar there is no series of the loss. If no scalar is called "loss",
        that name means "train/loss", "train_loss" and the like.
    cache, memory_limit
        As for `temperature`.

    Returns
    -------
    xarray.Dataset
        In memory, dims (group, window), one window for each stretch of constant settings, one group for each series.
        `quantity` is "temperature" (½⟨v²⟩ of every step), "displacement" (mean squared over 256 steps) or "loss".
        `equilibrium_step` t0, with the range `equilibrium_low` to `equilibrium_high` (95 % for a sudden change, less
        for a slow one: see `analyzer.statistics.equilibrium.detect`); `inefficiency` g in steps; `n_eff` and `mean`
        from t0 on; `drift` of a linear fit from t0 on, per step, with `drift_error`; `verdict` "stationary", "drifting"
        or "undecided" (n_eff < 20), with its `reason`: the test, its `statistic` and `threshold`, and the `p_value` of
        no drift; `drift_percent`, the change of the mean from t0 to the end by the tested slope, in percent of the
        mean, with its 95 % interval `drift_percent_low` to `drift_percent_high`. Even a significant drift may be too
        small to matter. A series of fewer than 40 samples is left out. Where settings change and no stretch of 256
        steps is constant, t0 is NaN, the verdict "undecided", and the reason says what changes.

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
    query = query_of(locals())
    return equilibration_of(run, query, loss)[0]


def equilibration_of(run: xr.DataTree, query: Query, loss: str = LOSS) -> tuple[xr.Dataset, list[Track]]:
    """As `equilibration`, for a query; also returns the series that it judges."""
    measurement = measure(run, query)
    require_whole(measurement.plan.grouping, "A series of every row would be as large as the run.")
    line, windows = measurement.run.line, measurement.plan.sampling.windows
    begin, end = int(windows.start_step[0]), int(windows.stop_step[-1])
    series = tracks_of(run, query, measurement, loss)
    stretches = constant_stretches(line, begin, end)
    parts = [within(series, *stretch) for stretch in stretches] or [within(series, begin, end)]
    answer = _judged(parts, stretches, line, (begin, end))
    return answer, [track for part in parts for track in part]


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
    "reason": ("", "the test that the verdict rests on"),
    "statistic": ("1", "statistic of that test"),
    "threshold": ("1", "critical value of the statistic"),
    "drift_percent": ("1", "change of the mean from there to the end, in percent"),
    "drift_percent_low": ("1", "lower end of its 95 % interval"),
    "drift_percent_high": ("1", "upper end of its 95 % interval"),
}


def _judged(
    parts: Sequence[Sequence[Track]], stretches: Sequence[tuple[int, int]], line: Timeline, whole: tuple[int, int]
) -> xr.Dataset:
    """The answer of `equilibration`, from the series of each stretch; without stretches, from those of the range."""
    kinds = {(track.quantity, track.group): track.units for part in parts for track in part}
    bounds = list(stretches) or [whole]
    if stretches:
        rows = [_rows(part, list(kinds), start) for part, (start, _) in zip(parts, bounds, strict=True)]
    else:
        changing = ", ".join(map(str, variations(line, *whole))) or "settings change at a resume"
        why = f"{changing}: no stretch of {FEWEST_STEPS} steps has constant settings"
        known = {(track.quantity, track.group): float(track.values.mean()) for track in parts[0]}
        rows = [[_nothing(why, mean=known[kind]) for kind in kinds]]
    data = {}
    for name, (u, title) in _COLUMNS.items():
        values = np.array([[row[name] for row in part] for part in rows]).T.reshape(len(kinds), len(bounds))
        if name in ("verdict", "reason"):
            values = values.astype(object)
        data[name] = (("group", "window"), values, {"units": u, "long_name": title})
    titles = _objects(f"{quantity} {group}".strip() for quantity, group in kinds)
    low, high = (np.array([bound[n] for bound in bounds]) for n in (0, 1))
    if kinds and len(bounds) == 1:
        low = np.array([min(track.begin for track in parts[0])])
        high = np.array([max(int(track.steps[-1]) for track in parts[0])])
    elif not kinds:
        low, high = np.zeros(1, dtype=np.int64), np.zeros(1, dtype=np.int64)
    coords: dict[str, Any] = {
        "group": ("group", titles, {"long_name": "series"}),
        "quantity": ("group", _objects(quantity for quantity, _ in kinds), {"long_name": "quantity"}),
        "of": ("group", _objects(group for _, group in kinds), {"long_name": "group of weights"}),
        "units": ("group", _objects(kinds.values()), {"long_name": "units of the series"}),
        "window": ("window", np.arange(len(low)), {"long_name": "window"}),
        "start_step": ("window", low, {"units": "step", "long_name": "window start (excluded)"}),
        "stop_step": ("window", high, {"units": "step", "long_name": "window end (included)"}),
    }
    return xr.Dataset(data, coords=coords, attrs={"quantity": "equilibration", "thermotrace_version": version()})


def _rows(part: Sequence[Track], kinds: Sequence[tuple[str, str]], start: int) -> list[dict[str, Any]]:
    """The verdicts of one stretch, on all series that any stretch has."""
    known = {(track.quantity, track.group): _row(track, detect(track.values)) for track in part}
    short = _nothing(f"fewer than {FEWEST} samples in this stretch", step=start)
    return [known.get(kind, short) for kind in kinds]


def _nothing(why: str, *, mean: float = np.nan, step: float = np.nan) -> dict[str, Any]:
    """A row without a result."""
    row: dict[str, Any] = dict.fromkeys(_COLUMNS, np.nan)
    steps = dict.fromkeys(("equilibrium_step", "equilibrium_low", "equilibrium_high"), step)
    return row | steps | {"mean": mean, "verdict": UNDECIDED, "reason": why}


def _row(track: Track, result: Equilibrium) -> dict[str, Any]:
    start, low, high = (int(frame[0]) for frame in (result.start, result.low, result.high))
    mean = track.values[start:].mean()
    with np.errstate(divide="ignore", invalid="ignore"):
        size, error = (100 * float(value[0]) / abs(mean) for value in (result.size, result.size_error))
    return {
        "equilibrium_step": step_at(track, start),
        "equilibrium_low": step_at(track, low),
        "equilibrium_high": step_at(track, high),
        "inefficiency": result.inefficiency[0] * track.apart,
        "n_eff": result.n_eff[0],
        "mean": mean,
        "drift": result.drift[0] / track.apart,
        "drift_error": result.drift_error[0] / track.apart,
        "p_value": result.p_value[0],
        "verdict": str(result.verdict[0]),
        "reason": str(result.reason[0]),
        "statistic": result.statistic[0],
        "threshold": result.threshold[0],
        "drift_percent": size,
        "drift_percent_low": size - NORMAL * error,
        "drift_percent_high": size + NORMAL * error,
    }


def _objects(values: Iterable[str]) -> Array:
    return np.array(list(values), dtype=object)


def from_equilibrium(run: xr.DataTree, query: Query) -> Query:
    """Replace the start "auto" of a query by the latest t0, the step from which all series of the run are stationary.

    Where settings change, the range is the last stretch of constant settings from its t0 on. With windows by rate,
    every stretch begins at its own t0.

    Raises
    ------
    WindowError
        No stretch has constant settings.

    Warns
    -----
    EquilibriumWarning
        Some of the series still drift: equilibrium has not been reached.
    SettingsWarning
        The range ends earlier than asked for.
    """
    if query.start != "auto":
        return query
    answer, _ = equilibration_of(run, replace(query, by="layer", window=None, lag=None, start=None, batches=False))
    steps = answer["equilibrium_step"].values.astype(np.float64)
    if answer.sizes["group"] and np.isnan(steps).all():
        raise WindowError(
            f"--start auto: expected a stretch with constant settings, got none: {answer['reason'].values[0, 0]}. "
            "There is no equilibrium to begin at. Give a step, and ask for T/η², which a schedule leaves constant: "
            "--start 50% --per-eta2"
        )
    if not answer.sizes["group"]:
        return replace(query, start=None)
    latest = steps.max(axis=0).astype(np.int64)
    stops = answer["stop_step"].values
    by_rate = query.window == "rate"
    chosen = range(stops.size) if by_rate else [stops.size - 1]
    _warn_of_drift(answer, latest, list(chosen))
    if by_rate:
        ranges = tuple((int(a), int(b)) for a, b in zip(latest, stops, strict=True) if a < b)
        return replace(query, start=None, window=ranges)
    line = trajectory(run).line
    last = constant_stretches(line, None, _last_step(line, query.stop))[-1][1]
    if last >= _last_step(line, query.stop):
        return replace(query, start=int(latest[-1]))
    warnings.warn(
        f"--start auto: expected constant settings up to step {_last_step(line, query.stop)}, got changes after step "
        f"{last}. The last stretch of constant settings is taken, steps {latest[-1]} to {last}. For all stretches: "
        "--window rate",
        SettingsWarning,
        stacklevel=caller_level(),
    )
    return replace(query, start=int(latest[-1]), stop=last)


def _last_step(line: Timeline, stop: Bound) -> int:
    if stop is None:
        return int(line.steps[-1])
    return int(sample(line, stop=stop).windows.stop_step[-1])


def _warn_of_drift(answer: xr.Dataset, latest: Array, windows: Sequence[int]) -> None:
    """Name the series that drift in the chosen windows, with the size of their drift."""
    said: dict[str, None] = {}
    for window in windows:
        one = answer.isel(window=window)
        for name, verdict, size in zip(
            one["group"].values, one["verdict"].values, one["drift_percent"].values, strict=True
        ):
            if verdict == DRIFTING:
                said[f"{name} ({size:+.2g} % of its mean)"] = None
    if said:
        warnings.warn(
            f"--start auto: expected a run in equilibrium, but from step {latest[windows[0]]} on these still drift: "
            f"{', '.join(said)}. Their means depend on the window. Train longer.",
            EquilibriumWarning,
            stacklevel=caller_level(),
        )
