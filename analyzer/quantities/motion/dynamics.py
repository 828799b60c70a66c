"""Dynamics: how weights move in time. Correlation of velocities, mean squared displacement, exponent and diffusion."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import dask.array as da
import numpy as np
import xarray as xr

from analyzer.engine.lookback.pair_plan import PairPlan, plan_pairs
from analyzer.engine.lookback.pairs import PairSums, pair_arrays
from analyzer.engine.lookback.passage import Asked, Lazy, Passed, ask_evenly
from analyzer.engine.lookback.strips import SQUARES
from analyzer.engine.measure import attrs_of, coords_of, in_memory_as, own_groups, unit_of
from analyzer.quantities.equilibration import from_equilibrium
from analyzer.quantities.rates.per_rate import check_per, require_rate
from analyzer.quantities.rates.schedule import columns_of, rates_of
from analyzer.query.groups import By, Globs
from analyzer.query.lags import Lags, default_lags, frames_of
from analyzer.query.query import Query, query_of
from analyzer.query.windows import Bound, Window
from analyzer.statistics.density import NORMAL
from analyzer.statistics.lagged import lagged

Array = np.ndarray[Any, np.dtype[Any]]

_OVER_RATE = ("autocorrelation", "mean_squared_displacement", "diffusion_coefficient")
"""Columns that are proportional to η² whenever the temperature is."""
_WIDEST = 0.5
"""Largest half width of the exponent's interval from which diffusion is concluded."""


def dynamics(
    run: xr.DataTree,
    *,
    by: By = "layer",
    lags: Lags = None,
    window: Window = None,
    start: Bound = None,
    stop: Bound = None,
    parameter: Globs = None,
    layer: Globs = None,
    exclude: Globs = None,
    frozen: bool = False,
    remove_drift: bool = False,
    per: str | None = None,
    steps_per_epoch: int | None = None,
    memory_limit: int | None = None,
    cache: bool | str = True,
) -> xr.Dataset:
    """Velocity autocorrelation and mean squared displacement of groups of weights, over windows of a run.

    C(τ) = ⟨v(t) v(t + τ)⟩ and MSD(τ) = ⟨(w(t + τ) − w(t))²⟩, means over all pairs of velocities, or frames, of a window
    and over the weights of a group. v(t) = w(t) − w(t − stride). No mean is taken off by default. No pair
    crosses a gap or the start of a segment. C(0) = ⟨v²⟩ is twice the temperature in the paper's convention.

    Parameters
    ----------
    run
        A run, as `open_run` gives it, or any tree derived from one.
    by
        As for `temperature`.
    lags
        Steps, "epoch", a list of them, or a text such as "1,2,5", "1:100" or "1:1000:log"; multiples of the stride.
        Default: 0 to 8, then four to an octave, up to a sixteenth of the window and 4,096 frames.
    window, start, stop
        As for `temperature`.
    parameter, layer, exclude
        Globs over parameter names and layers.
    frozen
        Count frozen weights, too; see `temperature`.
    remove_drift
        Subtract each weight's mean velocity in the window from its velocities and displacements. This lowers
        correlations at long lags, by the variance of that mean.
    per : {None, "eta2"}
        "eta2": also correlation, displacement and diffusion coefficient over the learning rate squared.
    steps_per_epoch, memory_limit, cache
        As for `temperature`. Kept sums answer groups of whole parameters at the default lags, in windows that begin and
        end at multiples of 256 frames or at the ends of the run, without `remove_drift`. All other questions decode.

    Returns
    -------
    xarray.Dataset
        Dims (group, window, lag), lazy when the run is; `lag` in steps. `autocorrelation` C in weight² step⁻²,
        `normalised_autocorrelation` C(τ)/C(0), whether or not lag 0 is asked for, `mean_squared_displacement` in
        weight², `exponent` d ln MSD/d ln τ from the two neighbouring lags, each with a standard error `..._error`
        (mean ± 1.96 of it is a 95 % interval; NaN at lags beyond about a sixteenth of the window, where one run gives
        no interval). `diffusion_coefficient` MSD/(2τ) in weight² step⁻¹ with its error, where the exponent is 1 within
        its interval and the interval is narrower than ±½; else NaN. `origins`: pairs of frames of each weight.
        `n_eff`: effective number of independent stretches of time in the displacement.
        `correlation_time` ½ + Σ C(τ)/C(0) over (group, window), in steps, up to `correlation_cutoff`: twice the first
        lag at which C is not distinguishable from 0. C is taken as linear between two lags. NaN unless one stride is
        among the lags, and the others up to there are no more than a quarter apart, as the default ones are.
        NaN for a group with a NaN or infinite weight.
        The coordinates `origin_spacing` and `averaged_over`, in steps, tell how each lag is estimated. For lags up to
        4,096 frames both are the stride: all origins, single velocities. At longer lags the origins are
        `origin_spacing` apart, and the autocorrelation is that of mean velocities over `averaged_over` steps, at most a
        sixteenth of the lag (`analyzer.engine.lookback.levels`).
        With `per`: `autocorrelation_per_eta2`, `mean_squared_displacement_per_eta2`, `diffusion_coefficient_per_eta2`
        with errors, in units of learning_rate⁻². They are NaN in a window in which the rate changes; `remark` says so.

    Raises
    ------
    TooFewFramesError, WindowError, EpochError, GroupError, SelectionError, OptionError, MemoryLimitError, TreeError
        When called, before any frame is read.
    TrajectoryMissingError
        Only kept sums are left of the run, and they do not answer this question.

    Notes
    -----
    Error bars are from batches of at least max(256, 2τ) frames (`analyzer.statistics.lagged`). `correlation_time`
    misses a small, slow part of C that lies below the error bar. MSD(τ)/(2τ C(0)) at long lags contains it. If the two
    differ (p < 0.01), `correlation_time_error` is NaN. A window tells nothing about motion slower than its longest lag.

    Examples
    --------
    >>> run = analyzer.open_run("runs/gcn.zarr")
    >>> answer = dynamics(run, by="layer", lags="1,2,5,10").compute()
    >>> answer["mean_squared_displacement"].dims
    ('group', 'window', 'lag')
    """
    query = query_of(locals())
    return dynamics_of(run, query, lags, remove_drift=remove_drift, per=per)[0]


def dynamics_of(
    run: xr.DataTree, query: Query, lags: Lags = None, *, remove_drift: bool = False, per: str | None = None
) -> tuple[xr.Dataset, list[Passed]]:
    """As `dynamics`, for a query; also returns the passage that computes it."""
    check_per(per)
    asked = ask_evenly(run, from_equilibrium(run, query), "correlations and displacements by lag")
    sampling, line = asked.sampling, asked.run.line
    low, high = int(sampling.first.min()), int((sampling.first + sampling.count - 1).max())
    taken = frames_of(line, lags, low, high, query.steps_per_epoch)
    if taken is None:
        taken = default_lags(int(sampling.windows.velocities.max()))
    summed = np.union1d(0, taken)  # C(0) normalises C, whether or not it is asked for
    plan = plan_pairs(asked, summed, remove_drift=remove_drift)
    finish = partial(_finished, lags=summed, shown=np.isin(summed, taken), weights=asked.grouping.weights,
                     window=plan.batches.window, length=plan.batches.length, stride=line.stride)  # fmt: skip
    shape = (asked.grouping.weights.size, sampling.windows.velocities.size, taken.size)
    shapes: dict[str, tuple[tuple[int, ...], Any]] = {
        name: (shape[:2] if name.startswith("correlation_") else shape, np.float64)
        for name in _columns(unit_of(sampling))
    }
    arrays, nonfinite = pair_arrays(asked, plan, finish, shapes)
    passed = Passed(asked.run, plan.passage, Lazy(nonfinite))
    answer = _dataset(asked, plan, taken, arrays).assign_attrs(drift_removed=int(remove_drift))
    return answer if per is None else _per_rate(run, answer, passed), [passed]


def _columns(per: str) -> dict[str, tuple[str, str]]:
    """Units and long name of each computed column."""
    velocity, step = f"weight^2 {per}^-2", "standard error of the "
    return {
        "autocorrelation": (velocity, "velocity autocorrelation"),
        "autocorrelation_error": (velocity, f"{step}velocity autocorrelation"),
        "normalised_autocorrelation": ("1", "velocity autocorrelation over its value at lag 0"),
        "normalised_autocorrelation_error": ("1", f"{step}normalised autocorrelation"),
        "mean_squared_displacement": ("weight^2", "mean squared displacement"),
        "mean_squared_displacement_error": ("weight^2", f"{step}mean squared displacement"),
        "exponent": ("1", "local exponent of the mean squared displacement"),
        "exponent_error": ("1", f"{step}exponent"),
        "diffusion_coefficient": ("weight^2 step^-1", "diffusion coefficient"),
        "diffusion_coefficient_error": ("weight^2 step^-1", f"{step}diffusion coefficient"),
        "n_eff": ("1", "independent stretches of time"),
        "correlation_time": ("step", "integrated correlation time"),
        "correlation_time_error": ("step", f"{step}correlation time"),
        "correlation_cutoff": ("step", "lag up to which the correlation is summed"),
    }


def _finished(
    found: PairSums, *, lags: Array, shown: Array, weights: Array, window: Array, length: Array, stride: int
) -> dict[str, Array]:
    """The columns of an answer, from its sums at lag 0 and those that are asked for, which are `shown`."""
    per_window = [
        lagged(found.sums[:, window == n], found.counts[window == n], lags, weights, int(length[n]))
        for n in range(length.size)
    ]

    def stacked(name: str) -> Array:
        every = np.stack([getattr(one, name) for one in per_window], axis=1)
        return every if every.ndim == 2 else every[:, :, shown]

    answer = {
        "autocorrelation": stacked("autocorrelation"),
        "autocorrelation_error": stacked("autocorrelation_error"),
        "normalised_autocorrelation": stacked("normalised"),
        "normalised_autocorrelation_error": stacked("normalised_error"),
        "mean_squared_displacement": stacked("displacement"),
        "mean_squared_displacement_error": stacked("displacement_error"),
        "exponent": stacked("exponent"),
        "exponent_error": stacked("exponent_error"),
        "n_eff": stacked("n_eff"),
        "correlation_time": stacked("time") * stride,
        "correlation_time_error": stacked("time_error") * stride,
        "correlation_cutoff": stacked("cutoff") * stride,
    }
    return answer | _diffusion(answer, lags[shown] * stride)


@np.errstate(divide="ignore", invalid="ignore")  # at lag 0
def _diffusion(answer: Mapping[str, Array], steps: Array) -> dict[str, Array]:
    """MSD/(2τ) where the motion is diffusive: the exponent's interval holds 1 and is not too wide; else NaN."""
    half = NORMAL * answer["exponent_error"]
    diffuses = (np.abs(answer["exponent"] - 1) <= half) & (half <= _WIDEST)
    return {
        f"diffusion_coefficient{end}": np.where(
            diffuses, answer[f"mean_squared_displacement{end}"] / (2 * steps), np.nan
        )
        for end in ("", "_error")
    }


def _per_rate(run: xr.DataTree, answer: xr.Dataset, passed: Passed) -> xr.Dataset:
    """Add to an answer the columns that grow with η², divided by η², and the rates."""
    rates = rates_of(run, passed)
    require_rate(rates)
    rate = np.where(rates.value > 0, rates.value, np.nan)
    square = xr.DataArray(rate**2, dims=("group", "window"))
    for name in _OVER_RATE:
        for end in ("", "_error"):
            units, title = (answer[name + end].attrs[key] for key in ("units", "long_name"))
            over = (answer[name + end] / square).transpose("group", "window", "lag")
            attrs = {"units": f"{units} learning_rate^-2", "long_name": f"{title} over learning rate squared"}
            answer[f"{name}_per_eta2{end}"] = over.assign_attrs(attrs)
    return answer.assign(columns_of(rates))


def _dataset(asked: Asked, plan: PairPlan, lags: Array, arrays: Mapping[str, da.Array]) -> xr.Dataset:
    sampling, grouping, stride = asked.sampling, asked.grouping, asked.run.line.stride
    coords = coords_of(sampling, grouping)
    coords["lag"] = ("lag", lags * stride, {"units": "step", "long_name": "lag"})
    apart, over = np.ones((2, lags.size), dtype=np.int64)
    if plan.levels is not None:
        far = np.isin(lags, plan.levels.lags)
        apart[far], over[far] = plan.levels.apart, plan.levels.mean
    coords["origin_spacing"] = ("lag", apart * stride, {"units": "step", "long_name": "steps between origins"})
    averaged = {"units": "step", "long_name": "steps that a velocity of the correlation is averaged over"}
    coords["averaged_over"] = ("lag", over * stride, averaged)
    origins = np.zeros((sampling.windows.velocities.size, lags.size), dtype=np.int64)
    np.add.at(origins, plan.batches.window, plan.counts[:, np.isin(plan.lags, lags), SQUARES])
    data: dict[str, Any] = {
        "weights": ("group", grouping.weights, {"units": "1", "long_name": "degrees of freedom"}),
        "origins": (("window", "lag"), origins, {"units": "1", "long_name": "pairs of frames of each weight"}),
    }
    for name, (units, title) in _columns(unit_of(sampling)).items():
        dims = ("group", "window", "lag")[: arrays[name].ndim]
        data[name] = (dims, arrays[name], {"units": units, "long_name": title})
    attrs = attrs_of(asked.run, sampling, grouping, "dynamics")
    attrs |= own_groups(asked.query.by)
    dataset = xr.Dataset(data, coords=coords, attrs=attrs)
    return in_memory_as(asked.run, dataset)
