"""Rows of a parameter, hot and cold: their temperatures, whether they differ, and how stable their ranking is.

The test compares means over batches of steps, which one pass of the engine computes. Batches have lengths that are
powers of two, and begin at multiples of their length (`analyzer.query.batches.in_batches`). Each parameter joins
neighbouring batches until one is longer than the correlation of its 𝒯(t) (`analyzer.statistics.heterogeneity.judge`).
A window has 32 to 64 batches. From 8,192 velocities on, a batch is one or more whole bins of 256 frames, so that kept
sums answer. A shorter window has shorter batches and is decoded, in a time that grows with its length. If only kept
sums are left, a short window has fewer batches, of 256 frames, and perhaps no verdict.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import xarray as xr

from analyzer.engine.measure import Column, Measurement, measure, result, unit_of
from analyzer.engine.norms import rms_at_end
from analyzer.engine.sums import SQUARES, ULP
from analyzer.errors import GroupError, OptionError, TrajectoryMissingError, WindowError
from analyzer.quantities.answers import RowTables
from analyzer.quantities.equilibration import from_equilibrium
from analyzer.quantities.errorbars import inefficiencies, window_variances
from analyzer.query.groups import Globs
from analyzer.query.kinds import COMPARED
from analyzer.query.query import Query, query_of
from analyzer.query.windows import BIN_FRAMES, Bound, Lag, require_even
from analyzer.statistics.heterogeneity import LEAST_BATCHES, UNDECIDED, Judgement, judge
from analyzer.tree import trajectory

Array = np.ndarray[Any, np.dtype[Any]]

FLOORS = 10
"""A temperature below this many floors says little about the training: it is mostly rounding."""
_FEWEST_KEPT = 32
"""Fewest whole bins in a window at which batches are at least as long as a bin."""


def rows(
    run: xr.DataTree,
    *,
    by: str = "row",
    start: Bound = None,
    stop: Bound = None,
    lag: Lag = None,
    parameter: Globs = None,
    layer: Globs = None,
    exclude: Globs = None,
    frozen: bool = False,
    steps_per_epoch: int | None = None,
    unequal_epochs: bool = False,
    memory_limit: int | None = None,
    cache: bool | str = True,
) -> RowTables:
    """Rows of every parameter from hot to cold, and whether they differ (paper, figure 4).

    Parameters
    ----------
    run
        A run, as `open_run` gives it, or a tree derived from one.
    by
        "row" (axis 0 of parameters with two or more), "column", "output", "input" or "head".
    start, stop, lag, parameter, layer, exclude, frozen, steps_per_epoch, unequal_epochs, memory_limit, cache
        As for `temperature`. `start="auto"` begins where the run is in equilibrium; in a long window, at the next edge
        of a kept bin.

    Returns
    -------
    RowTables
        In memory: a named tuple of two Datasets. Each variable can also be taken by its name, as `answer["verdict"]`.
        `answer.whole` is one Dataset of both; `analyzer.table(answer)` is a pandas frame, one line a row.
        `rows`, dims (group, window), one group for each row, one window: `weights`; `temperature` T = ½⟨v²⟩ (paper's
        convention, m = k_B = 1) with `standard_error`, `n_eff` and `unreliable` as in `temperature`;
        `mean_squared_velocity` ⟨v²⟩; `rank` within the parameter, 1 for the hottest; `rms_weight`, the root mean
        square of the row's weights in the window's last frame; `floor`, the temperature that rounding alone gives.
        `tests`, dim (tested,), the parameters: the test is made at two batch lengths, and the one with the larger
        p-value counts. Of it: `f`, `numerator` and `denominator` (degrees of freedom), `p_value`, `sphericity` (see
        `analyzer.statistics.heterogeneity.RowsDiffer`), the number `blocks` of its batches and their length
        `block_steps` in steps; `inefficiency` of 𝒯(t) in steps; `verdict` "differ" (p < 0.05), "no difference found"
        or "undecided", with the `reason`; `hottest_over_coldest`; `rank_stability`, Spearman's correlation of the
        ranks in the two halves of the window.

    Raises
    ------
    GroupError
        No parameter has rows.
    WindowError, TooFewFramesError
        The window is too short to be cut into batches.
    AnalyzerError
        As for `temperature`.

    Notes
    -----
    The test takes batches of steps as repeated measurements. Elements are never permuted, since those of one row share
    the error signal of their unit. A verdict is given only where its rate of false alarms was measured
    (tests/benchmarks/COVERAGE.md) and some row is above ten times its floor; else it is "undecided". "No difference
    found" does not mean equality. There is no correction for testing several parameters.

    Examples
    --------
    >>> answer = rows(analyzer.open_run("runs/gcn.zarr"), parameter="conv2.lin.weight")
    >>> answer.rows["rank"].dims, answer.tests["verdict"].dims
    (('group', 'window'), ('tested',))
    """
    query = query_of(locals())
    return RowTables.of(rows_of(run, query)[0])


Compute = Callable[[xr.Dataset, list[Measurement]], xr.Dataset]
"""Takes a lazy dataset and the measurements behind it; returns the dataset in memory."""


def compute_at_once(dataset: xr.Dataset, measured: list[Measurement]) -> xr.Dataset:
    """The dataset in memory, computed by dask's default."""
    return dataset.compute()


def rows_of(run: xr.DataTree, query: Query, compute: Compute = compute_at_once) -> tuple[xr.Dataset, list[Measurement]]:
    """As `rows`, for a query; also returns the measurement behind it. `compute` brings the sums into memory."""
    if query.start == "auto":
        query = from_bin(run, from_equilibrium(run, query))
    sums, measurement = sums_of(run, query)
    return judged(compute(sums, [measurement]), measurement), [measurement]


def from_bin(run: xr.DataTree, query: Query) -> Query:
    """Move the start of a query to the next edge of a kept bin: a run in equilibrium stays so.

    A window that is short, and decoded anyway, keeps its start.
    """
    known = trajectory(run)
    steps = known.line.steps
    if not isinstance(query.start, int):
        return query
    edge = -(-int(np.searchsorted(steps, query.start)) // BIN_FRAMES) * BIN_FRAMES
    fewest = 1 if known.kept_alone else _FEWEST_KEPT
    return query if edge + fewest * BIN_FRAMES >= steps.size else replace(query, start=int(steps[edge]))


def sums_of(run: xr.DataTree, query: Query) -> tuple[xr.Dataset, Measurement]:
    """The lazy sums for `judged`. Every fault of the query is raised here, before anything is read.

    Returns
    -------
    xarray.Dataset
        Dims (group, window): temperatures; `batches` (group, batch) and, at a lag of one stride, `series`.
    Measurement
        The measurement behind them.
    """
    if query.by not in COMPARED:
        raise OptionError(
            f"--by: expected one of {', '.join(COMPARED)}, got {query.by!r}. Rows of a parameter are compared with "
            "each other. Write --by row",
            by=query.by,
        )
    shortest = BIN_FRAMES if trajectory(run).kept_alone else 1
    try:
        measurement = measure(run, replace(query, window=None, batches=True, shortest_batch=shortest))
    except GroupError as error:
        raise GroupError(
            f"Rows: {str(error).partition(': ')[2].partition('. ')[0]}. There is nothing to rank. Choose others with "
            "--parameter or --layer, or record weights of two or more axes.",
            by=query.by,
        ) from error
    require_batches(measurement, "a comparison of rows")
    units = f"weight^2 {unit_of(measurement.plan.sampling)}^-2"
    columns = {
        "temperature": Column(units, "temperature"),
        "mean_squared_velocity": Column(units, "mean squared velocity"),
        "floor": Column(units, "temperature of rounding"),
    }
    extra: dict[str, Any] = {"batches": (("group", "batch"), measurement.moments.batches)}
    if measurement.moments.series is not None:
        extra["series"] = (("tested", "pair"), measurement.moments.series)
    return result(measurement, "rows", _columns, columns, extra), measurement


def require_batches(measurement: Measurement, what: str) -> None:
    """Refuse a measurement whose window has too few velocities for batches, or whose kept sums have no batches.

    Raises
    ------
    WindowError, TrajectoryMissingError
    """
    require_even(measurement.run.line, measurement.plan.sampling, what)
    velocities = int(measurement.plan.sampling.windows.velocities[0])
    if velocities < LEAST_BATCHES:
        raise WindowError(
            f"Rows: expected a window of at least {LEAST_BATCHES} velocities, got {velocities}. Rows are compared over "
            "batches of them. Widen --start and --stop, choose a shorter --lag, or record longer.",
            velocities=velocities,
        )
    if measurement.moments.batches is None:
        raise TrajectoryMissingError(
            "Rows: expected kept sums whose bins divide the window, got others. Without batches there is no test. Ask "
            "for the whole run, or restore the trajectory."
        )


def _columns(table: Array, weights: Array, count: Array) -> tuple[Array, ...]:
    squared = table[SQUARES] / (weights * count)
    return 0.5 * squared, squared, table[ULP] / (12 * weights)


_TESTS = {
    "rows": ("1", "rows compared"),
    "f": ("1", "variance between rows over the variance expected from their scatter in time"),
    "numerator": ("1", "degrees of freedom of the rows"),
    "denominator": ("1", "degrees of freedom of the scatter"),
    "p_value": ("1", "p-value of equal rows"),
    "sphericity": ("1", "Box's epsilon"),
    "blocks": ("1", "batches of the test"),
    "block_steps": ("step", "length of a batch"),
    "inefficiency": ("step", "statistical inefficiency of the parameter"),
    "hottest_over_coldest": ("1", "ratio of the hottest to the coldest row"),
    "rank_stability": ("1", "rank correlation of the halves of the window"),
    "verdict": ("", "do the rows differ"),
    "reason": ("", "why it is undecided"),
}


def judged(sums: xr.Dataset, measurement: Measurement) -> xr.Dataset:
    """The answer of `rows`, from the computed sums of `sums_of`."""
    owners = measurement.plan.grouping.columns["parameter"]
    found = _judgements(sums, measurement)
    error, n_eff, unreliable, rank = (np.full(owners.size, np.nan) for _ in range(4))
    for name, (judgement, _) in found.items():
        some, ranked = owners == name, judgement.ranking
        error[some], n_eff[some], unreliable[some] = ranked.standard_error, ranked.n_eff, ranked.unreliable
        rank[np.flatnonzero(some)[ranked.order]] = np.arange(1, ranked.order.size + 1)
    units = sums["temperature"].attrs["units"]
    norm = rms_at_end(measurement)
    of_rows: dict[str, tuple[Array, str, str]] = {
        "rank": (rank.astype(np.int64), "1", "rank in the parameter, 1 for the hottest"),
        "standard_error": (error, units, "standard error of the temperature"),
        "n_eff": (n_eff, "1", "independent samples of the temperature"),
        "unreliable": (unreliable == 1, "", "too few independent samples for a reliable standard error"),
        "rms_weight": (norm, "weight", "rms weight in the last frame"),
    }
    per_lag = measurement.plan.sampling.steps_per_lag
    assert per_lag is not None
    tests = [_test(judgement, inefficiency, per_lag) for judgement, inefficiency in found.values()]
    dims = ("group", "window")
    data: dict[str, Any] = {
        name: (dims, values[:, np.newaxis], {"units": unit, "long_name": title})
        for name, (values, unit, title) in of_rows.items()
    }
    for name, (unit, title) in _TESTS.items():
        kind = object if name in ("verdict", "reason") else None
        values = np.array([test[name] for test in tests], dtype=kind)
        data[name] = ("tested", values, {"units": unit, "long_name": title})
    names = np.array(list(found), dtype=object)
    answer = sums.drop_vars(["batches", "series"], errors="ignore").assign(data)
    answer = answer.assign_coords(tested=("tested", names, {"long_name": "parameter"}))
    first = ("weights", "velocities", "rank", "temperature", "standard_error", "n_eff", "unreliable")
    answer = answer[[*first, "mean_squared_velocity", "rms_weight", "floor", *_TESTS]]
    answer.attrs |= {"convention": "paper", "k_B": 1.0, "mass": 1.0, "units": units}
    return answer


def _judgements(sums: xr.Dataset, measurement: Measurement) -> dict[str, tuple[Judgement, float]]:
    """The judgement of each parameter, and its inefficiency in lags, by name."""
    sampling, grouping, plan = measurement.plan.sampling, measurement.plan.grouping, measurement.plan
    assert sampling.batch is not None
    weights, owners = grouping.weights, grouping.columns["parameter"]
    counts = np.bincount(sampling.batch, weights=sampling.count - 1)
    means = 0.5 * sums["batches"].values / (weights[:, np.newaxis] * counts)
    heat, floor = sums["temperature"].values[:, 0], sums["floor"].values[:, 0]
    series = sums["series"].values if "series" in sums else None
    answer: dict[str, tuple[Judgement, float]] = {}
    with np.errstate(invalid="ignore", divide="ignore"):  # weights that are not finite have been named already
        origin = measurement.moments.origin
        g = inefficiencies(series, sampling, origin)[:, 0]
        variance = None if series is None else window_variances(series, sampling, origin)[:, 0]
        for name in dict.fromkeys(owners.tolist()):
            some = owners == name
            place = plan.parameters.index(name) if series is not None else 0
            own = float(g[place])
            found = judge(means[some], counts, weights[some], own, None if variance is None else variance[place])
            if not found.reason and (heat[some] < FLOORS * floor[some]).all():
                reason = f"all rows are below {FLOORS} times what rounding alone gives; take a longer lag"
                found = replace(found, verdict=UNDECIDED, reason=reason)
            answer[name] = found, own
    return answer


def _test(found: Judgement, inefficiency: float, per_lag: int) -> dict[str, Any]:
    test, mean = found.test, found.ranking.mean
    finite = mean[np.isfinite(mean)]
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = float(np.divide(finite.max(), finite.min())) if finite.size else np.nan
    return {
        "rows": mean.size,
        "f": test.f,
        "numerator": test.numerator,
        "denominator": test.denominator,
        "p_value": test.p_value,
        "sphericity": test.sphericity,
        "blocks": test.batches,
        "block_steps": found.length * per_lag,
        "inefficiency": inefficiency * per_lag,
        "hottest_over_coldest": ratio,
        "rank_stability": found.ranking.stability,
        "verdict": found.verdict,
        "reason": found.reason,
    }
