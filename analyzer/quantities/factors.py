"""Rows × columns: how far ⟨v²⟩ of a matrix factorises, the factors, and what they do not explain.

The gradient of a weight is the error signal of its output times the activity of its input, summed over nodes and
graphs. If the two fluctuate independently, ⟨v²⟩ under plain SGD is a row factor times a column factor.
"""

from __future__ import annotations

import glob
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import xarray as xr

from analyzer.engine.measure import Column, Measurement, attrs_of, measure, result, unit_of
from analyzer.engine.sums import SQUARES, ULP
from analyzer.errors import GroupError
from analyzer.quantities.equilibration import from_equilibrium
from analyzer.quantities.rows import FLOORS, Compute, compute_at_once, from_bin, require_batches
from analyzer.query.groups import Globs, group, select
from analyzer.query.query import Query, query_of
from analyzer.query.windows import BIN_FRAMES, Bound, Lag
from analyzer.statistics.separability import Separability, separability, unanswered
from analyzer.store.schema import Parameter
from analyzer.tree import trajectory

Array = np.ndarray[Any, np.dtype[Any]]

MOST_WEIGHTS = 1 << 20
"""Weights of the largest matrix that is factorised. Their batches take 512 MiB, the work on them twice as much."""


def factors(
    run: xr.DataTree,
    *,
    start: Bound = None,
    stop: Bound = None,
    lag: Lag = None,
    parameter: Globs = None,
    layer: Globs = None,
    exclude: Globs = None,
    steps_per_epoch: int | None = None,
    unequal_epochs: bool = False,
    memory_limit: int | None = None,
    cache: bool | str = True,
) -> xr.Dataset:
    """The share of the variance of ln⟨v²⟩ that rows and columns of each matrix explain, their factors, and the rest.

    The rows of a matrix are the places along its first axis; its columns are all places along the others, flattened,
    as in ``weight.reshape(len(weight), -1)``. ⟨v²⟩ ≈ scale × row factor × column factor, fitted by least squares of the
    logarithms over the weights that moved by more than rounding.

    Parameters
    ----------
    run
        A run, as `open_run` gives it, or a tree derived from one.
    start, stop, lag, parameter, layer, exclude, steps_per_epoch, unequal_epochs, memory_limit, cache
        As for `rows`.

    Returns
    -------
    xarray.Dataset
        In memory. Dim (tested,), the parameters: `separable_share`, the share of the variance of ln⟨v²⟩ that the fit
        explains, without sampling errors, with its 95 % interval `separable_share_low`, `separable_share_high`, and
        `separable_share_unreliable`; `measured_share`, the same with sampling errors; `chance_share`, the mean share of
        matrices of this size without structure, `chance_share_high`, the share that 5 % of such matrices exceed, and
        `separable_share_adjusted` = (share − chance)/(1 − chance); `sampling_error`, the relative error of an element's
        ⟨v²⟩ (rms); `left_rms`, the rms of ln⟨v²⟩ that the fit does not explain, without sampling errors;
        `factor_scale`, the geometric mean of the fit; `matrix_rows`, `matrix_columns`; `weights_at_rest`, weights that
        did not move at all, `rows_at_rest` and `columns_at_rest`, rows and columns of only such weights;
        `weights_near_floor`, weights that moved, but by less than ten times what rounding alone gives (neither kind is
        in the fit); `separable_reason`, why there is no answer, else empty.
        Dim (factor_row,): `row_factor`, `row_factor_low`, `row_factor_high` (95 %); coordinates `row_of`, the
        parameter, and `row_number`. Dim (factor_column,): the same for columns. The geometric mean of a parameter's
        factors is 1. The factor is 0 for a row or column at rest, NaN for one near the floor.
        Dim (element,): `element_ratio`, ⟨v²⟩ over the fit, 0 at rest, NaN where there is no fit; coordinates
        `element_of`, `element_row`, `element_column`.

    Raises
    ------
    GroupError
        No parameter has both rows and columns.
    WindowError, TooFewFramesError
        The window is too short to be cut into batches.
    AnalyzerError
        As for `temperature`.

    Notes
    -----
    The interval is for this matrix at these weights: it tells how uncertain the share is because the window is finite.
    In small matrices rows and columns explain much by chance: compare with `chance_share`. See `docs/factorisation.md`.

    Examples
    --------
    >>> answer = factors(analyzer.open_run("runs/gcn.zarr"), parameter="conv2.lin.weight")
    >>> answer["separable_share"].dims
    ('tested',)
    """
    query = query_of(locals(), by="element")
    return factors_of(run, query)[0]


def factors_of(
    run: xr.DataTree, query: Query, compute: Compute = compute_at_once
) -> tuple[xr.Dataset, list[Measurement]]:
    """As `factors`, for a query with any `by`; also returns the measurement. `compute` brings the sums into memory.

    The list of measurements is empty if all matrices are too large to be factorised.
    """
    if query.start == "auto":
        query = from_bin(run, from_equilibrium(run, query))
    known = trajectory(run)
    matrices = matrices_of(known.parameters, query)
    small = [p for p in matrices if p.weights <= MOST_WEIGHTS]
    found: dict[str, _Found] = {}
    measured = []
    attrs: dict[str, Any] = {"quantity": "factors", "by": "element", **known.identity}
    units = "weight^2 step^-2"
    if small:
        sums, measurement = _sums_of(run, replace(query, parameter=[glob.escape(p.name) for p in small]))
        measured = [measurement]
        sampling = measurement.plan.sampling
        units = f"weight^2 {unit_of(sampling)}^-2"
        windows = {"start_step": int(sampling.windows.start_step[0]), "stop_step": int(sampling.windows.stop_step[-1])}
        attrs = attrs_of(measurement.run, sampling, measurement.plan.grouping, "factors") | windows
        found = _found(compute(sums, measured), measurement, small)
    return _dataset(matrices, found, units).assign_attrs({**attrs, "units": units}), measured


def matrices_of(parameters: Sequence[Parameter], query: Query) -> list[Parameter]:
    """Return the parameters of a query that have rows and columns.

    Raises
    ------
    GroupError
        No parameter has both.
    SelectionError
        A pattern matches nothing.
    """
    chosen = select(parameters, query.parameter, query.layer, query.exclude)
    try:
        names = group(chosen, "row").rules
    except GroupError as error:
        listed = ", ".join(p.name for p in chosen[:20])
        raise GroupError(
            f"Factors: expected a parameter with rows and columns, got none among {listed}. "
            "There is nothing to factorise. Choose others with --parameter or --layer, or record weights of two axes.",
            by="row",
        ) from error
    return [p for p in chosen if p.name in names]


def _sums_of(run: xr.DataTree, query: Query) -> tuple[xr.Dataset, Measurement]:
    """The lazy sums of every element of the chosen matrices in batches, and the measurement."""
    shortest = BIN_FRAMES if trajectory(run).kept_alone else 1
    asked = replace(query, by="element", window=None, layer=None, exclude=None, batches=True, shortest_batch=shortest)
    measurement = measure(run, asked)
    require_batches(measurement, "a factorisation into rows and columns")
    units = f"weight^2 {unit_of(measurement.plan.sampling)}^-2"
    columns = {"temperature": Column(units, "temperature"), "floor": Column(units, "temperature of rounding")}
    extra = {"batches": (("group", "batch"), measurement.moments.batches)}
    return result(measurement, "factors", _columns, columns, extra), measurement


def _columns(table: Array, weights: Array, count: Array) -> tuple[Array, ...]:
    return 0.5 * table[SQUARES] / (weights * count), table[ULP] / (12 * weights)


@dataclass(frozen=True)
class _Found:
    """The result for one matrix.

    Attributes
    ----------
    at_rest, rows_at_rest, columns_at_rest, near_floor
        Numbers of weights, rows, columns and weights.
    """

    separability: Separability
    at_rest: int
    rows_at_rest: int
    columns_at_rest: int
    near_floor: int


def _found(sums: xr.Dataset, measurement: Measurement, matrices: Sequence[Parameter]) -> dict[str, _Found]:
    sampling, owners = measurement.plan.sampling, measurement.plan.grouping.columns["parameter"]
    assert sampling.batch is not None
    counts = np.bincount(sampling.batch, weights=sampling.count - 1)
    heat, floor = sums["temperature"].values[:, 0], sums["floor"].values[:, 0]
    answer = {}
    with np.errstate(invalid="ignore", over="ignore"):  # weights that are not finite have been named already
        for p in matrices:
            own = owners == p.name
            shape = (p.shape[0], math.prod(p.shape[1:]))
            means = (sums["batches"].values[own] / counts).reshape(*shape, counts.size)
            still = (heat[own] == 0).reshape(shape)
            near = int((~still.ravel() & (heat[own] < FLOORS * floor[own])).sum())
            least = 2 * FLOORS * floor[own].reshape(shape)  # T = ½⟨v²⟩
            answer[p.name] = _Found(
                separability(counts, means, least),
                int(still.sum()),
                int(still.all(axis=1).sum()),
                int(still.all(axis=0).sum()),
                near,
            )
    return answer


_SHARES: dict[str, tuple[str, str, str]] = {
    "separable_share": ("share", "1", "share of the variance of ln⟨v²⟩ that rows and columns explain"),
    "separable_share_low": ("low", "1", "lower end of its 95 % interval"),
    "separable_share_high": ("high", "1", "upper end of its 95 % interval"),
    "separable_share_adjusted": ("adjusted", "1", "share beyond chance"),
    "separable_share_unreliable": ("unreliable", "", "the interval cannot be relied on"),
    "measured_share": ("measured", "1", "share with sampling errors"),
    "chance_share": ("chance", "1", "mean share of matrices without structure"),
    "chance_share_high": ("chance_high", "1", "share that 5 % of matrices without structure exceed"),
    "sampling_error": ("sampling_error", "1", "relative standard error of the ⟨v²⟩ of an element, rms"),
    "left_rms": ("left", "1", "rms of ln⟨v²⟩ that the fit does not explain"),
    "separable_reason": ("reason", "", "why there is no share"),
}
_COUNTS = {
    "weights_at_rest": ("at_rest", "weights that did not move"),
    "rows_at_rest": ("rows_at_rest", "rows of which no weight moved"),
    "columns_at_rest": ("columns_at_rest", "columns of which no weight moved"),
    "weights_near_floor": ("near_floor", f"weights that moved, below {FLOORS} times what rounding alone gives"),
}


def _dataset(matrices: Sequence[Parameter], found: dict[str, _Found], units: str) -> xr.Dataset:
    shapes = {p.name: (p.shape[0], math.prod(p.shape[1:])) for p in matrices}
    large = f"it has more than {MOST_WEIGHTS:,} weights"
    told = [found[name].separability if name in found else unanswered(shapes[name], large) for name in shapes]
    data: dict[str, Any] = {}
    for name, (field, unit, title) in _SHARES.items():
        kind = object if name == "separable_reason" else None
        values = np.array([getattr(one, field) for one in told], dtype=kind)
        data[name] = ("tested", values, {"units": unit, "long_name": title})
    scale = np.array([one.scale for one in told])
    data["factor_scale"] = ("tested", scale, {"units": units, "long_name": "geometric mean of the fit"})
    for n, name in enumerate(("matrix_rows", "matrix_columns")):
        counted = np.array([shape[n] for shape in shapes.values()], dtype=np.int64)
        data[name] = ("tested", counted, {"units": "1", "long_name": name.removeprefix("matrix_")})
    for name, (field, title) in _COUNTS.items():
        # In a matrix that is too large nothing was counted: NaN, so that the column is of floats.
        numbers = [getattr(found[p], field) if p in found else np.nan for p in shapes]
        data[name] = ("tested", np.array(numbers), {"units": "1", "long_name": title})
    coords: dict[str, Any] = {"tested": ("tested", np.array(list(shapes), dtype=object), {"long_name": "parameter"})}
    for n, kind_ in enumerate(("row", "column")):
        dim = f"factor_{kind_}"
        lengths = [shape[n] for shape in shapes.values()]
        coords[f"{kind_}_of"] = (dim, _owners(list(shapes), lengths), {"long_name": "parameter"})
        coords[f"{kind_}_number"] = (dim, _joined([np.arange(n) for n in lengths]), {"long_name": kind_})
        for end in ("", "_low", "_high"):
            title = {"": f"factor of the {kind_}", "_low": "lower end", "_high": "upper end"}[end]
            values = _joined([getattr(one, f"{kind_}{end}") for one in told])
            data[f"{kind_}_factor{end}"] = (dim, values, {"units": "1", "long_name": title})
    sizes = [math.prod(shape) for name, shape in shapes.items() if name in found]
    places = [np.indices(shapes[name]).reshape(2, -1) for name in found]
    coords["element_of"] = ("element", _owners(list(found), sizes), {"long_name": "parameter"})
    for n, name in enumerate(("element_row", "element_column")):
        coords[name] = (
            "element",
            _joined([place[n] for place in places]),
            {"long_name": name.removeprefix("element_")},
        )
    ratio = _joined([one.separability.ratio.ravel() for one in found.values()])
    data["element_ratio"] = ("element", ratio, {"units": "1", "long_name": "⟨v²⟩ over rows × columns"})
    return xr.Dataset(data, coords=coords)


def _owners(names: Sequence[str], lengths: Sequence[int]) -> Array:
    return np.repeat(np.array(list(names), dtype=object), lengths)


def _joined(parts: Sequence[Array]) -> Array:
    return np.concatenate(parts) if parts else np.zeros(0)
