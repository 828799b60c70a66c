"""Physical checks of a run: measured numbers beside what physics or the optimizer predicts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import xarray as xr

from analyzer.engine.measure import Measurement, measure
from analyzer.engine.sample import Sample, norm_changes, velocity_sample
from analyzer.engine.sums import SQUARES
from analyzer.errors import GroupError, OptionError, TrajectoryMissingError
from analyzer.quantities.checks import findings as expect
from analyzer.quantities.checks.findings import FEWEST_BATCHES, Finding
from analyzer.quantities.checks.optimizers import Updates, learning_rate_of, optimizer_of
from analyzer.quantities.equilibration import from_equilibrium
from analyzer.quantities.temperature import temperature_of
from analyzer.quantities.tracks import temperature_series
from analyzer.query.groups import By, Globs, require_whole, titles_of
from analyzer.query.query import Query, query_of
from analyzer.query.windows import BIN_FRAMES, Bound, require_even, stride_in
from analyzer.statistics.normality import normality
from analyzer.version import version

Array = np.ndarray[Any, np.dtype[Any]]

FAMILIES = ("norm", "equipartition", "normality", "adam", "floor", "correlation")
_MOST_BATCHES = 64
_SUMS_ONLY = "only sums were kept: the frames are needed"


@dataclass(frozen=True)
class _Evidence:
    """The numbers of a run that most checks use.

    Attributes
    ----------
    labels
        Names of the groups.
    temperature, error, inefficiency, floor
        (groups,) each; the inefficiency in samples.
    series
        (groups, samples) 𝒯 of every step.
    """

    measurement: Measurement
    labels: list[str]
    temperature: Array
    error: Array
    inefficiency: Array
    floor: Array
    series: Array
    updates: Updates

    @property
    def length(self) -> int:
        """Samples in a batch: at least twice the statistical inefficiency of the slowest group that moves."""
        slowest = self.inefficiency[self.temperature > 0]
        slowest = slowest[np.isfinite(slowest)]
        wanted = 2 * float(slowest.max()) if slowest.size else 1.0
        return int(np.ceil(max(wanted, self.series.shape[1] / _MOST_BATCHES)))

    @property
    def batches(self) -> Array:
        """(groups, batches) means of 𝒯."""
        count = self.series.shape[1] // self.length
        whole = self.series[:, : count * self.length].reshape(len(self.labels), count, self.length)
        return np.asarray(whole.mean(axis=2))


def check(
    run: xr.DataTree,
    *,
    by: By = "layer",
    only: str | Sequence[str] | None = None,
    start: Bound = None,
    stop: Bound = None,
    parameter: Globs = None,
    layer: Globs = None,
    exclude: Globs = None,
    frozen: bool = False,
    sample_weights: int = Sample.weights,
    sample_steps: int = Sample.steps,
    seed: int = Sample.seed,
    significance: float = 0.05,
    cache: bool | str = True,
    memory_limit: int | None = None,
) -> xr.Dataset:
    """Measured numbers of a run beside their expectation, with a verdict where the expectation is valid.

    Parameters
    ----------
    run
        A run, as `open_run` gives it, or a tree derived from one.
    by
        Groups of whole parameters: "layer", "model", "module", "parameter", or a mapping of globs.
    only
        Some of "norm", "equipartition", "normality", "adam", "floor", "correlation"; default: all.
    start, stop
        Steps, or percent of the step range; `start="auto"`: where the run is in equilibrium.
    parameter, layer, exclude
        Globs over parameter names and layers.
    frozen
        Count frozen weights, too; see `temperature`.
    sample_weights, sample_steps, seed
        Size and seed of the sample for "normality": weights of each group, and steps of each weight (in 16 stretches,
        if the run has more steps).
    significance
        p-value below which an expectation is rejected. At 0.05, one of twenty true expectations is rejected by chance.
    cache, memory_limit
        As for `temperature`.

    Returns
    -------
    xarray.Dataset
        In memory, dim `finding`: coordinates `check` and `group`; `measured`, `standard_error`, `expected_low` and
        `expected_high` (equal for one value, NaN for none), `p_value`, `verdict` ("" for none) and `note`. Checks:
        `norm_drift`; `equipartition` and `row_equipartition`; `kurtosis` and `distance`; `adam_temperature` and
        `signal_to_noise`; `floor`; `correlation`. `analyzer.quantities.checks.findings.TITLES` says where each
        expectation comes from.

    Raises
    ------
    OptionError, GroupError
        When called, before any frame is read.
    AnalyzerError
        As for `temperature`.

    Notes
    -----
    For whole runs, kept sums alone answer all checks but "normality". A check that they cannot answer says so in its
    note.

    Examples
    --------
    >>> table = check(analyzer.open_run("runs/gcn.zarr")).to_dataframe()
    >>> table["check"].iloc[0]
    'norm_drift'
    """
    query = query_of(locals())
    drawn = Sample(sample_weights, sample_steps, seed)
    return check_of(run, query, only=only, sample=drawn, significance=significance)[0]


def check_of(
    run: xr.DataTree,
    query: Query,
    *,
    only: str | Sequence[str] | None = None,
    sample: Sample | None = None,
    significance: float = 0.05,
) -> tuple[xr.Dataset, list[Measurement]]:
    """As `check`, for a query; also returns the measurement behind it."""
    drawn = sample or Sample()
    families = _families(only)
    if not 0 < significance < 1:
        raise OptionError(
            f"--significance: expected a number between 0 and 1, got {significance!r}. It is the rate at which true "
            "expectations are rejected. Write --significance 0.05",
            significance=significance,
        )
    query = replace(from_equilibrium(run, query), window=None, lag=None, batches=True)
    known = _evidence(run, query)
    found: list[Finding] = []
    if "norm" in families:
        found += _norm(known)
    if "equipartition" in families:
        found += _equipartition(run, query, known, significance)
    if "normality" in families:
        found += _normality(known, drawn, query.memory_limit, significance)
    if "adam" in families:
        found += _adam(known, significance)
    if "floor" in families:
        found += _floor(known)
    if "correlation" in families:
        unfit = known.updates.rate.why if known.updates.rate.changes else ""
        found += expect.correlation(known.labels, known.batches, significance, unfit)
    return _dataset(found, known, drawn, significance), [known.measurement]


def _families(only: str | Sequence[str] | None) -> tuple[str, ...]:
    asked = FAMILIES if only is None else (only,) if isinstance(only, str) else tuple(only)
    unknown = [name for name in asked if name not in FAMILIES]
    if unknown or not asked:
        raise OptionError(
            f"only: expected some of {', '.join(FAMILIES)}; got {', '.join(map(repr, unknown)) or 'none'}. There is no "
            "such check. Mend the name, or leave it out for all.",
            only=only,
        )
    return asked


def _evidence(run: xr.DataTree, query: Query) -> _Evidence:
    dataset, [measurement] = temperature_of(run, query)
    require_even(measurement.run.line, measurement.plan.sampling, "physical checks")
    require_whole(measurement.plan.grouping, "Only whole parameters have a temperature at every step.")
    assert measurement.moments.series is not None
    # Computed together with the rest: a second call would decode the frames again.
    answer = dataset.assign(series=(("group", "pair"), measurement.moments.series)).compute()
    sampling = measurement.plan.sampling
    series, _ = temperature_series(measurement, answer["series"].values)
    after = np.concatenate(
        [np.arange(f + 1, f + n) for f, n in zip(sampling.first.tolist(), sampling.count.tolist(), strict=True)]
    )
    windows = sampling.windows
    optimizer, why = optimizer_of(run, measurement.run.line, int(windows.start_step[0]), int(windows.stop_step[-1]))
    columns = (answer[name].values[:, 0] for name in ("temperature", "standard_error", "n_eff", "floor"))
    temperature, error, n_eff, floor = columns
    return _Evidence(
        measurement=measurement,
        labels=titles_of(measurement.plan.grouping.label),
        temperature=temperature,
        error=error,
        inefficiency=series.shape[1] / n_eff,
        floor=floor,
        series=series,
        updates=Updates(optimizer, why, learning_rate_of(run, after)),
    )


def _norm(known: _Evidence) -> list[Finding]:
    try:
        change = norm_changes(known.measurement)
    except TrajectoryMissingError:
        return [Finding("norm_drift", label, np.nan, note=_SUMS_ONLY) for label in known.labels]
    weights = known.measurement.plan.grouping.weights
    return expect.norm_drift(known.labels, change, 2 * weights * known.series.sum(axis=1))


def _equipartition(run: xr.DataTree, query: Query, known: _Evidence, significance: float) -> list[Finding]:
    null = expect.expects_equality(known.updates)
    found = []
    if len(known.labels) > 1:
        name = "all groups"
        found.append(expect.equipartition("equipartition", name, known.batches, null, significance))
    try:
        parameters, means = _rows(run, query, known)
    except GroupError:  # biases and attention vectors alone
        return found
    except TrajectoryMissingError:
        return [*found, Finding("row_equipartition", "all rows", np.nan, note=_SUMS_ONLY)]
    for name in dict.fromkeys(parameters.tolist()):
        rows = means[parameters == name]
        if len(rows) > 1:
            found.append(expect.equipartition("row_equipartition", name, rows, null, significance, "rows"))
    return found


def _rows(run: xr.DataTree, query: Query, known: _Evidence) -> tuple[Array, Array]:
    """The parameter of every row (rows,), and means of 𝒯 over batches (rows, batches)."""
    samples, length = known.series.shape[1], known.length
    query = replace(query, by="row")
    if samples >= FEWEST_BATCHES * BIN_FRAMES or samples < 2 * length:
        # Batches of a long run are whole bins, so that kept sums answer and nothing is decoded.
        measurement = measure(run, query)
        if measurement.moments.batches is None:
            raise TrajectoryMissingError(_SUMS_ONLY)
        sums = np.asarray(measurement.moments.batches)
        drawn = measurement.plan.sampling
        assert drawn.batch is not None
        counts = np.bincount(drawn.batch, weights=drawn.count - 1)
    else:
        line = known.measurement.run.line
        measurement = measure(
            run, replace(query, window=length * stride_in(line, query.start, query.stop), batches=False)
        )
        sums = np.asarray(measurement.moments.squares)[SQUARES]
        counts = measurement.plan.sampling.windows.velocities.astype(np.float64)
    sums, counts = _gathered(sums, counts, length)
    grouping = measurement.plan.grouping
    return grouping.columns["parameter"], 0.5 * sums / (counts * grouping.weights[:, np.newaxis])


def _gathered(sums: Array, counts: Array, length: int) -> tuple[Array, Array]:
    """Join neighbouring batches until they hold about `length` velocities. Short ones at ends and gaps are left out."""
    whole = counts >= 0.75 * counts.max()
    sums, counts = sums[:, whole], counts[whole]
    together = max(int(np.ceil(0.75 * length / counts.max())), 1)
    starts = np.arange(0, counts.size // together * together, together)
    if not starts.size:
        return sums[:, :0], counts[:0]
    last = int(starts[-1]) + together
    return np.add.reduceat(sums[:, :last], starts, axis=1), np.add.reduceat(counts[:last], starts)


def _normality(known: _Evidence, sample: Sample, limit: int | None, significance: float) -> list[Finding]:
    found: list[Finding] = []
    unfit = known.updates.rate.why if known.updates.rate.changes else ""
    for group, label in enumerate(known.labels):
        try:
            velocities = velocity_sample(known.measurement, group, sample, limit=limit)
        except TrajectoryMissingError:
            found += [Finding(check, label, np.nan, note=_SUMS_ONLY) for check in ("kurtosis", "distance")]
            continue
        answer = normality(velocities, seed=sample.seed)
        why = unfit
        if not np.isfinite(answer.distance):
            why = "no weight moves" if known.temperature[group] == 0 else "too short, or NaN or infinite weights"
        found += expect.gaussian(label, answer, significance, why)
    return sorted(found, key=lambda finding: finding.check == "distance")


def _adam(known: _Evidence, significance: float) -> list[Finding]:
    steps = known.measurement.plan.sampling.steps_per_lag
    assert steps is not None
    rest = (known.updates, steps, significance)
    found = [
        finding
        for label, temperature, error in zip(known.labels, known.temperature, known.error, strict=True)
        for finding in expect.adam_temperature(label, float(temperature), float(error), *rest)
    ]
    return sorted(found, key=lambda finding: finding.check == "signal_to_noise")


def _floor(known: _Evidence) -> list[Finding]:
    samples = known.series.shape[1]
    edges = np.linspace(0, samples, min(20, samples), endpoint=False).astype(np.int64)
    means = np.add.reduceat(known.series, edges, axis=1) / np.diff(np.append(edges, samples))
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio, error = known.temperature / known.floor, known.error / known.floor
        lowest = means.min(axis=1) / known.floor
    return [
        expect.floor(label, *map(float, row)) for label, *row in zip(known.labels, ratio, error, lowest, strict=True)
    ]


def _dataset(found: Sequence[Finding], known: _Evidence, sample: Sample, significance: float) -> xr.Dataset:
    titles = {
        "measured": "measured value",
        "standard_error": "standard error",
        "expected_low": "smallest value expected",
        "expected_high": "largest value expected",
        "p_value": "p-value of the expectation",
        "verdict": "verdict, if one is valid",
        "note": "note",
    }
    values = {f.name: [getattr(finding, f.name) for finding in found] for f in fields(Finding)}
    data = {
        name: (
            "finding",
            np.array(values[name], dtype=object if name in ("verdict", "note") else float),
            {"long_name": t},
        )
        for name, t in titles.items()
    }
    coords = {name: ("finding", np.array(values[name], dtype=object)) for name in ("check", "group")}
    windows = known.measurement.plan.sampling.windows
    attrs: dict[str, Any] = {
        "quantity": "checks",
        "by": known.measurement.plan.grouping.by,
        "start_step": int(windows.start_step[0]),
        "stop_step": int(windows.stop_step[0]),
        "optimizer": "" if known.updates.optimizer is None else known.updates.optimizer.name,
        "significance": float(significance),
        "sample_weights": sample.weights,
        "sample_steps": sample.steps,
        "seed": sample.seed,
        "thermotrace_version": version(),
    }
    if known.updates.rate.value is not None:
        attrs["learning_rate"] = known.updates.rate.value
    return xr.Dataset(data, coords=coords, attrs=attrs | known.measurement.run.identity)
