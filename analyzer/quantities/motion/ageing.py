"""Ageing: whether weights move as far in a time later in the run as they did earlier."""

from __future__ import annotations

from functools import partial
from typing import Any

import dask.array as da
import numpy as np
import xarray as xr

from analyzer.engine.lookback.gram import plan_gram
from analyzer.engine.lookback.passage import Lazy, Passed, ask
from analyzer.engine.lookback.two_times import two_time_arrays
from analyzer.engine.measure import attrs_of, coords_of, in_memory_as, own_groups
from analyzer.errors import WindowError
from analyzer.quantities.equilibration import from_equilibrium
from analyzer.query.groups import By, Globs
from analyzer.query.lags import Lags, listed
from analyzer.query.query import Query, query_of
from analyzer.query.timeline import Timeline
from analyzer.query.windows import Bound

Array = np.ndarray[Any, np.dtype[Any]]

_MOST = 20_000
"""Most pairs of frames of a question."""


def ageing(
    run: xr.DataTree,
    *,
    by: By = "layer",
    waiting: Lags = "1:10000:log",
    lags: Lags = None,
    start: Bound = None,
    stop: Bound = None,
    parameter: Globs = None,
    layer: Globs = None,
    exclude: Globs = None,
    frozen: bool = False,
    memory_limit: int | None = None,
) -> xr.Dataset:
    """Two-time mean squared displacement of groups of weights: Δ(t_w, t_w + τ) = ⟨(w(t_w + τ) − w(t_w))²⟩ over weights.

    In equilibrium it does not depend on the waiting time t_w. A system that ages moves less in the same time, the
    longer one has waited. Each number has a single origin in time, so one run gives no interval; the scatter over the
    seeds of a sweep does.

    Parameters
    ----------
    run
        A run, as `open_run` gives it, or any tree derived from one.
    by
        As for `temperature`.
    waiting
        Waiting times t_w in steps after the first frame of the range: a number, a list, or a text like "1:10000:log".
    lags
        Times τ in steps, in the forms of `waiting`; default: powers of 2 up to the length of the range.
    start, stop
        As for `temperature`.
    parameter, layer, exclude
        Globs over parameter names and layers.
    frozen
        Count frozen weights, too; see `temperature`.
    memory_limit
        Bytes; a question that is projected to need more is refused.

    Returns
    -------
    xarray.Dataset
        Dims (group, waiting, lag), lazy when the run is: `two_time_displacement` in weight². NaN where a frame is
        missing, where a gap or the start of a segment lies between the two, and where a weight is NaN or infinite.
        Waiting times that leave no room for the shortest lag are left out.

    Raises
    ------
    TooFewFramesError, WindowError, GroupError, SelectionError, MemoryLimitError, TreeError
        When called, before any frame is read.
    TrajectoryMissingError
        Only sums were kept of the run.

    Examples
    --------
    >>> run = analyzer.open_run("runs/gcn.zarr")
    >>> ageing(run, waiting=[0, 100], lags="1:100:log").compute()["two_time_displacement"].dims
    ('group', 'waiting', 'lag')
    """
    query = query_of(locals(), cache=False)
    return ageing_of(run, query, waiting, lags)[0]


def ageing_of(
    run: xr.DataTree, query: Query, waiting: Lags = "1:10000:log", lags: Lags = None
) -> tuple[xr.Dataset, list[Passed]]:
    """As `ageing`, for a query; also returns the passage that computes it."""
    asked = ask(run, from_equilibrium(run, query))
    line, windows = asked.run.line, asked.sampling.windows
    begin, end = int(windows.start_step[0]), int(windows.stop_step[-1])
    times, taken = _numbers(line, "waiting", waiting), _numbers(line, "lags", lags, end - begin)
    times = times[begin + times + taken.min() <= end]
    taken = taken[(taken > 0) & (begin + taken <= end)]
    if not times.size or not taken.size or times.size * taken.size > _MOST:
        raise WindowError(
            f"--waiting and --lags: expected at most {_MOST:,} pairs of frames within steps {begin} to {end}, got "
            f"{times.size:,} waiting times and {taken.size:,} lags. Each pair is read. Write --waiting 1:"
            f"{max(end - begin, 2) // 2}:log"
        )
    earlier = np.repeat(begin + times, taken.size)
    later = earlier + np.tile(taken, times.size)
    places = [np.minimum(np.searchsorted(line.steps, steps), line.steps.size - 1) for steps in (earlier, later)]
    crossed = np.cumsum(line.breaks)
    there = (later <= end) & (crossed[places[0]] == crossed[places[1]])
    for place, steps in zip(places, (earlier, later), strict=True):
        there &= line.steps[place] == steps
    if not there.any():
        raise WindowError(
            f"--waiting and --lags: expected two frames without a gap between them in steps {begin} to {end}, "
            "got none. Nothing can be measured. Choose other --waiting or --lags."
        )
    frames = np.unique(np.concatenate([place[there] for place in places]))
    plan = plan_gram(asked, frames)
    pairs = np.stack([np.searchsorted(frames, place[there]) for place in places])
    squares, nonfinite = two_time_arrays(plan, pairs)
    weights = asked.grouping.weights[:, np.newaxis]
    shape = (weights.size, times.size, taken.size)
    spread = partial(_filled, weights=weights, there=there)
    table = da.map_blocks(  # type: ignore[no-untyped-call]
        spread, squares, chunks=((weights.size,), (there.size,)), dtype=np.float64, meta=np.empty((0, 0))
    )
    filled = table.reshape(shape)
    coords = {name: value for name, value in coords_of(asked.sampling, asked.grouping).items() if value[0] == "group"}
    coords["waiting"] = ("waiting", times, {"units": "step", "long_name": f"waiting time after step {begin}"})
    coords["lag"] = ("lag", taken, {"units": "step", "long_name": "lag"})
    data: dict[str, Any] = {
        "weights": ("group", asked.grouping.weights, {"units": "1", "long_name": "degrees of freedom"}),
        "two_time_displacement": (
            ("group", "waiting", "lag"),
            filled,
            {"units": "weight^2", "long_name": "two-time mean squared displacement"},
        ),
    }
    attrs = attrs_of(asked.run, asked.sampling, asked.grouping, "ageing")
    attrs = {name: value for name, value in attrs.items() if name not in ("lag", "steps_per_lag")}
    attrs |= {"start_step": begin, "stop_step": end}
    attrs |= own_groups(query.by)
    dataset = xr.Dataset(data, coords=coords, attrs=attrs)
    return in_memory_as(asked.run, dataset), [Passed(asked.run, plan.passage, Lazy(nonfinite))]


@np.errstate(divide="ignore", invalid="ignore")  # for a group without weights, NaN is right
def _filled(squares: Array, *, weights: Array, there: Array) -> Array:
    answer = np.full((weights.size, there.size), np.nan)
    answer[:, there] = squares / weights
    return answer


def _numbers(line: Timeline, name: str, given: Lags, longest: int = 0) -> Array:
    """Waiting times or lags in steps, in order and each once. The default are powers of 2."""
    if given is None:
        return line.stride * 2 ** np.arange(int(np.log2(max(longest // line.stride, 1))) + 1)
    wanted = listed(given, f"--{name}")
    wrong = [one for one in wanted if isinstance(one, str) or one < 0]
    if wrong:
        raise WindowError(f"--{name}: expected numbers of steps, got {wrong[0]!r}. Write --{name} 1:1000:log")
    is_range = isinstance(given, str) and ":" in given
    # In a range, numbers between two frames are left out. A single number between two frames is refused.
    kept = [int(one) for one in wanted if not is_range or int(one) % line.stride == 0]
    if any(one % line.stride for one in kept) or not kept:
        raise WindowError(
            f"--{name}: expected multiples of the stride ({line.stride} steps), got {given!r}. Frames exist only every "
            f"{line.stride} steps. Write --{name} {line.stride},{10 * line.stride}"
        )
    return np.array(sorted(set(kept)))
