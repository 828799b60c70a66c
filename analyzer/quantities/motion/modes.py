"""Modes: the directions in which the weights of a group move, and whether a random walk would look the same."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import xarray as xr

from analyzer.engine.lookback.gram import GramPlan, gram_arrays, plan_gram, projections
from analyzer.engine.lookback.passage import Asked, Lazy, Passed, ask_evenly
from analyzer.engine.measure import attrs_of, coords_of, in_memory_as, own_groups
from analyzer.errors import OptionError, TooFewFramesError, WindowError
from analyzer.quantities.equilibration import from_equilibrium
from analyzer.query.groups import By, Globs
from analyzer.query.query import Query, query_of
from analyzer.query.windows import Bound
from analyzer.statistics.modes import modes_of, verdict_of

Array = np.ndarray[Any, np.dtype[Any]]

FRAMES, MODES = 2000, 10
"""Default numbers of frames and of modes, at most."""
_FEWEST = 16
"""Fewest frames from which modes are computed."""


def modes(
    run: xr.DataTree,
    *,
    by: By = "layer",
    frames: int = FRAMES,
    modes: int = MODES,
    start: Bound = None,
    stop: Bound = None,
    parameter: Globs = None,
    layer: Globs = None,
    exclude: Globs = None,
    frozen: bool = False,
    memory_limit: int | None = None,
) -> xr.Dataset:
    """Principal components of the trajectory of groups of weights, and whether a random walk would look the same.

    The modes are the eigenvectors of the covariance of a group's weights over equally spaced frames. They are computed
    from the Gram matrix of the frames, so that all weights need not be in memory at once.

    Parameters
    ----------
    run
        A run, as `open_run` gives it, or any tree derived from one.
    by
        As for `temperature`. Every group has a matrix of frames × frames.
    frames
        Most frames that are used. They are equally spaced, from the first of the range on.
    modes
        Number of modes of each group: those with the largest variance.
    start, stop
        As for `temperature`. The range may hold neither a gap nor the start of a segment that is not continuous.
    parameter, layer, exclude
        Globs over parameter names and layers.
    frozen
        Count frozen weights, too; see `temperature`.
    memory_limit
        Bytes; a question that is projected to need more is refused.

    Returns
    -------
    xarray.Dataset
        Dims (group, mode, frame), lazy when the run is; `mode` from 1, `frame` with the coordinate `step`.
        `variance_share` (group, mode): share of the variance over time of all weights. `participation_ratio` (group):
        the number of modes, if all shared the variance equally. `projection` (group, mode, frame): projection of the
        weights on the mode, less its mean, in units of a weight; the sign of a mode is chosen so that it ends no lower
        than it begins. `cosine_content` (group, mode), 0 to 1, with `verdict`: near 1, the mode is "not distinguishable
        from a random walk by this criterion" (B. Hess, Phys. Rev. E 62:8438, 2000); other criteria may distinguish
        them. `update_angle` (group, mode): degrees between the mode and the displacements from each frame to the next
        (root mean square of the cosine).
        NaN where nothing moves, where a weight is NaN or infinite, and for modes beyond those that the frames span.

    Raises
    ------
    TooFewFramesError, WindowError, GroupError, SelectionError, OptionError, MemoryLimitError, TreeError
        When called, before any frame is read.
    TrajectoryMissingError
        Only sums were kept of the run.

    See Also
    --------
    mode_weights : The weights of each mode.

    Examples
    --------
    >>> run = analyzer.open_run("runs/gcn.zarr")
    >>> answer = modes(run, by="layer", modes=2).compute()
    >>> answer["projection"].dims
    ('group', 'mode', 'frame')
    """
    query = query_of(locals(), cache=False)
    return modes_with(run, query, frames, modes)[0]


def modes_with(
    run: xr.DataTree, query: Query, frames: int = FRAMES, modes: int = MODES
) -> tuple[xr.Dataset, list[Passed]]:
    """As `modes`, for a query; also returns the passage that computes it."""
    asked, plan = _planned(run, query, frames, modes)
    groups, count = asked.grouping.weights.size, plan.frames.size
    arrays, nonfinite = gram_arrays(plan, partial(_finished, count=modes), _shapes(groups, modes, count))
    coords = {name: value for name, value in coords_of(asked.sampling, asked.grouping).items() if value[0] == "group"}
    coords["mode"] = ("mode", np.arange(1, modes + 1), {"long_name": "mode, by falling variance"})
    coords["step"] = ("frame", asked.run.line.steps[plan.frames], {"units": "step", "long_name": "step"})
    data: dict[str, Any] = {
        "weights": ("group", asked.grouping.weights, {"units": "1", "long_name": "degrees of freedom"})
    }
    for name, (units, title) in _COLUMNS.items():
        dims = {"participation_ratio": ("group",), "projection": ("group", "mode", "frame")}
        data[name] = (dims.get(name, ("group", "mode")), arrays[name], {"units": units, "long_name": title})
    windows = asked.sampling.windows
    attrs = attrs_of(asked.run, asked.sampling, asked.grouping, "modes")
    attrs = {name: value for name, value in attrs.items() if name not in ("lag", "steps_per_lag")} | {
        "start_step": int(windows.start_step[0]),
        "stop_step": int(windows.stop_step[-1]),
        "frames": count,
        "steps_between_frames": int((plan.frames[1] - plan.frames[0]) * asked.run.line.stride),
    }
    attrs |= own_groups(query.by)
    dataset = xr.Dataset(data, coords=coords, attrs=attrs)
    return in_memory_as(asked.run, dataset), [Passed(asked.run, plan.passage, Lazy(nonfinite))]


def mode_weights(
    run: xr.DataTree,
    *,
    by: By = "layer",
    frames: int = FRAMES,
    modes: int = 1,
    start: Bound = None,
    stop: Bound = None,
    parameter: Globs = None,
    layer: Globs = None,
    exclude: Globs = None,
    frozen: bool = False,
    memory_limit: int | None = None,
) -> xr.Dataset:
    """The components of each mode: for every parameter, its part of the unit vector of its group.

    The Gram matrices are computed when this is called. The run is decoded once more when the answer is computed.

    Parameters
    ----------
    run, by, frames
        As for `modes`.
    modes
        Number of modes.
    start, stop, parameter, layer, exclude, frozen, memory_limit
        As for `modes`.

    Returns
    -------
    xarray.Dataset
        One variable for each parameter, by its dotted name, dims (mode, …its own…), without units. Their squares add up
        to 1 over the parameters of a group. Σ_k e_k (w_k(t) − ⟨w_k⟩) is the projection of `modes`.

    Raises
    ------
    AnalyzerError
        As for `modes`.

    Examples
    --------
    >>> run = analyzer.open_run("runs/gcn.zarr")
    >>> first = mode_weights(run, by="model")["conv1.lin.weight"].sel(mode=1)
    """
    query = query_of(locals(), cache=False)
    return mode_weights_of(run, query, frames, modes)


def mode_weights_of(run: xr.DataTree, query: Query, frames: int = FRAMES, modes: int = 1) -> xr.Dataset:
    """As `mode_weights`, for a query."""
    asked, plan = _planned(run, query, frames, modes)
    shape = (asked.grouping.weights.size, modes, plan.frames.size)
    [factors] = gram_arrays(plan, partial(_factors, count=modes), {"factors": (shape, np.float64)})[0].values()
    known = {p.name: p.shape for p in asked.run.parameters if p.name in asked.grouping.rules and p.weights}
    arrays = projections(plan, np.asarray(factors), known)
    data = {}
    for name, values in arrays.items():
        dims = asked.run.arrays[name].dims[:-1]
        data[name] = (("mode", *dims), values, {"long_name": f"weights of modes, {name}", "units": "1"})
    attrs = {"quantity": "mode weights", "by": asked.grouping.by, **asked.run.identity}
    answer = xr.Dataset(data, coords={"mode": np.arange(1, modes + 1)}, attrs=attrs)
    return in_memory_as(asked.run, answer)


_COLUMNS = {
    "variance_share": ("1", "share of the variance"),
    "participation_ratio": ("1", "participation ratio"),
    "cosine_content": ("1", "cosine content"),
    "verdict": ("", "verdict"),
    "update_angle": ("degree", "angle between mode and displacement"),
    "projection": ("weight", "projection on the mode"),
}


def _shapes(groups: int, modes: int, frames: int) -> dict[str, tuple[tuple[int, ...], Any]]:
    of_mode = (groups, modes)
    return {
        "variance_share": (of_mode, np.float64),
        "participation_ratio": ((groups,), np.float64),
        "cosine_content": (of_mode, np.float64),
        "verdict": (of_mode, object),
        "update_angle": (of_mode, np.float64),
        "projection": ((*of_mode, frames), np.float64),
    }


def _planned(run: xr.DataTree, query: Query, frames: int, modes: int) -> tuple[Asked, GramPlan]:
    for name, value, least in (("frames", frames, _FEWEST), ("modes", modes, 1)):
        if not isinstance(value, (int, np.integer)) or isinstance(value, bool) or value < least:
            raise OptionError(f"--{name}: expected a number of at least {least}, got {value!r}. Write --{name} {least}")
    asked = ask_evenly(run, from_equilibrium(run, query), "modes")
    _check_whole(asked)
    low, high = int(asked.sampling.first[0]), int(asked.sampling.first[-1] + asked.sampling.count[-1] - 1)
    apart = -(-(high - low) // (int(frames) - 1))
    picked = np.arange(low, high + 1, apart)
    if picked.size < _FEWEST:
        raise TooFewFramesError(
            f"Range: expected at least {_FEWEST} frames, got {picked.size}. Modes of fewer frames are not meaningful. "
            "Widen --start and --stop, or record longer.",
            frames=int(picked.size),
        )
    if modes > picked.size:
        raise OptionError(
            f"--modes: expected at most {picked.size}, the number of frames that the modes are taken from, got "
            f"{modes}. Frames span no more. Write --modes {picked.size}, or take more: --frames"
        )
    return asked, plan_gram(asked, picked)


def _check_whole(asked: Asked) -> None:
    """Refuse a range with a gap or a resumption in it: its frames are not equally spaced, or not of one motion."""
    sampling, steps = asked.sampling, asked.run.line.steps
    low = int(np.searchsorted(steps, sampling.windows.start_step[0]))
    high = int(np.searchsorted(steps, sampling.windows.stop_step[-1], side="right")) - 1
    if not asked.run.line.breaks[low + 1 : high + 1].any():
        return
    longest = int(np.argmax(sampling.count))
    first = int(sampling.first[longest])
    last = first + int(sampling.count[longest]) - 1
    raise WindowError(
        f"Range: expected neither a gap nor a resumption in steps {steps[low]} to {steps[high]}, got one. Modes take "
        f"equally spaced frames of one motion. The longest stretch: --start {steps[first]} --stop {steps[last]}",
        start=int(steps[first]),
        stop=int(steps[last]),
    )


def _finished(grams: list[Array], *, count: int) -> dict[str, Array]:
    found = [modes_of(gram, count) for gram in grams]
    content = np.stack([one.cosine_content for one in found])
    return {
        "variance_share": np.stack([one.share for one in found]),
        "participation_ratio": np.array([one.participation_ratio for one in found]),
        "cosine_content": content,
        "verdict": verdict_of(content),
        "update_angle": np.stack([one.update_angle for one in found]),
        "projection": np.stack([one.projection for one in found]),
    }


def _factors(grams: list[Array], *, count: int) -> dict[str, Array]:
    return {"factors": np.stack([modes_of(gram, count).factors for gram in grams])}
