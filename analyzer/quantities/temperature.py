"""Temperature: the mean kinetic energy of a group's weights, over a window."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import xarray as xr

from analyzer.engine.drift import squared_bin_lengths
from analyzer.engine.masses import Mass
from analyzer.engine.measure import Column, Measurement, measure_together, own_groups, result, unit_of, warn_of_empty
from analyzer.engine.plan import unanswered
from analyzer.engine.sums import DISPLACED, SQUARED_SUM, SQUARES, ULP
from analyzer.errors import EpochError, OptionError, TrajectoryMissingError
from analyzer.quantities.equilibration import from_equilibrium
from analyzer.quantities.errorbars import COLUMNS, error_bars
from analyzer.quantities.lags import along_lags, labels_of_lags
from analyzer.quantities.rates.per_rate import check_per, per_rate
from analyzer.quantities.rates.schedule import columns_of, rates_of
from analyzer.query.groups import By, Globs
from analyzer.query.query import KEYWORDS, Query, query_of
from analyzer.query.windows import Bound, Lag, Window, stride_in
from analyzer.statistics.drift import drift_null

Array = np.ndarray[Any, np.dtype[Any]]

CONVENTIONS = {"paper": 1.0, "md": 2.0}
"""The factor before K/(k_B d): 1 in the paper, 2 in molecular dynamics, where K = (d/2) k_B T."""


def temperature(
    run: xr.DataTree,
    *,
    by: By = "layer",
    window: Window = None,
    start: Bound = None,
    stop: Bound = None,
    lag: Lag | Sequence[Lag] = None,
    remove_drift: bool = False,
    mass: Mass = 1.0,
    k_B: float = 1.0,
    convention: str = "paper",
    parameter: Globs = None,
    layer: Globs = None,
    exclude: Globs = None,
    frozen: bool = False,
    steps_per_epoch: int | None = None,
    unequal_epochs: bool = False,
    memory_limit: int | None = None,
    cache: bool | str = True,
    errors: bool = True,
    per: str | None = None,
) -> xr.Dataset:
    """Thermodynamic temperature of groups of weights over windows of a run.

    T = ⟨Σ_k ½ m_k v_k²⟩ / (k_B d), the mean over the velocities of a window, v_k(t) = w_k(t) − w_k(t − lag), d the
    number of weights in the group (paper, eqs. 4-6). `convention="md"` gives twice that: (d/2) k_B T = K.

    Parameters
    ----------
    run
        A run, as `open_run` gives it, or any tree derived from one.
    by
        "model", "layer", "module", "parameter", "row", "column", "output", "input", "head", "element", or a mapping
        from a group's name to globs over parameter names.
    window
        Length in steps, "epoch", "rate" (one window for each stretch of at least 256 steps within which no recorded
        setting changes: learning rate, momentum, …), or None for the whole range. Windows tile from `start`; a shorter
        last one is `partial`.
    start, stop
        Steps, or percent of the step range: "50%", or "100/3%" for exactly a third. `start="auto"` begins where
        temperatures, displacements and the loss are in equilibrium (`equilibration`), in the last stretch of constant
        settings; with window "rate", in each stretch. An `EquilibriumWarning` names those that still drift.
    lag
        Steps between the two frames of a velocity, or "epoch" (the ends of consecutive complete epochs); default: the
        stride, 1 for a run with every step. At a lag beyond one stride, displacements do not overlap, and begin anew
        in each window. A list of lags gives a further dimension `lag`, from one pass over the frames: T(L).
    remove_drift
        Report only the fluctuation as `temperature`: ½ m (⟨v²⟩ − ⟨v⟩²) of each weight, averaged over the group.
    mass
        Mass of each weight: a number, or a mapping from globs over parameter names to numbers (others: 1).
    k_B
        Boltzmann's constant: temperatures are divided by it.
    convention
        "paper" or "md".
    parameter, layer, exclude
        Globs over parameter names and layers; excluded parameters do not count in d. A glob that is equal to a name
        means that name, even with signs such as * in it.
    frozen
        Count frozen weights in d, too: those of parameters that require no gradient or are in no optimizer, and did
        not move. They are no degrees of freedom. By default they are left out, and the attribute
        `frozen_weights_left_out` has their number.
    steps_per_epoch
        Length of an epoch, used instead of the recorded `epoch`: epochs end at its multiples. It is needed if a
        boundary between two epochs was not logged, since missing values are filled only between two equal ones.
    unequal_epochs
        Allow lag "epoch" where epochs differ in length.
    memory_limit
        Bytes; a query that is projected to need more is refused.
    cache
        True: keep sums of bins beside the store, and answer from them if the query's windows and lag end on bin edges
        (whole run, epochs). A folder: keep them there. False: neither. The answer is the same to the bit.
    errors
        Whether to compute error bars.
    per
        "eta2": also T/η², which a schedule of the learning rate leaves constant, with its standard error and the range
        that the optimizer should give.

    Returns
    -------
    xarray.Dataset
        Dims (group, window), lazy when the run is: `weights` (d, by group), `velocities` (d × velocities of a weight),
        `temperature`; `temperature_drift` = ½ m ⟨v⟩²; `drift_null`, the value that this has on average without any
        drift (see Notes); `temperature_thermal`; `floor` = m δ²/12, which rounding alone would give (δ: spacing of the
        original dtype at the window's edge frames); all in weight² step⁻² / k_B (weight² lag⁻² for other lags). NaN for
        a group with a NaN or infinite weight, with a `NonFiniteWarning`.
        If only kept sums are left of a run, a window that does not end on bin edges has only the temperature: the other
        columns are NaN (`remove_drift` is refused).
        With error bars: `standard_error` of the temperature (mean ± 1.96 of it is a 95 % interval; NaN below n_eff 20);
        `n_eff`, the effective number of independent samples of 𝒯(t) in the window; `unreliable`, True if n_eff is below
        200 (500 for a single weight); see `analyzer.statistics.uncertainty`.
        `learning_rate` η of the window, NaN where it changes or differs between the parameters of a group;
        `learning_rate_change`, its highest over its lowest value; `remark`, which says what changes within the window.
        With `per="eta2"`: `temperature_per_eta2` with `temperature_per_eta2_error` and the flag of that error,
        `temperature_per_eta2_unreliable`; `expected_low`, `expected_high` and `expectation` (paper's convention,
        m = k_B = 1). Where η changes, T/η² is the mean of 𝒯(t)/η(t)², for groups of whole parameters at lag 1 of a run
        with every step; for others it is NaN.
        With lag "epoch" also `temperature_half_phase` and `velocities_half_phase`, see Notes. With a list of lags, all
        variables but `weights` have dims (lag, group, window), with the coordinates `lag`, as text, and
        `steps_per_lag`.

    Raises
    ------
    TooFewFramesError, WindowError, EpochError, GroupError, SelectionError, OptionError, MemoryLimitError, TreeError
        When called, before any frame is read.
    TrajectoryMissingError
        Only kept sums are left of the run, and they do not answer this question.
    StoreChangedError
        The store was replaced since it was opened. Raised when the answer is computed, as are the following.
    CorruptChunkError, MissingChunkError
        A chunk is damaged or missing.

    Notes
    -----
    The expectation of `temperature_drift` is T g/N even without any drift (g: statistical inefficiency of the velocity,
    N: velocities of the window): it is not zero for pure noise. `drift_null` estimates it from the displacements of
    bins of 256 velocities (or a quarter of the window, if that is less). The estimate is too low by the fraction
    g/(2·256), and too high for weights that a minimum confines; it is NaN if the bins are too few or too short. At lag
    "epoch" displacements count as independent. See `analyzer.statistics.drift.drift_null`.

    If minibatches are drawn without replacement, each is seen once an epoch. Then the displacement between the ends of
    two epochs is that of a bridge, smaller than that of as many independent steps; how much smaller depends on the
    phase. So lag "epoch" reports two phases. `temperature` takes displacements w(e_k+1) − w(e_k) between the ends e_k
    of consecutive complete epochs. `temperature_half_phase` takes displacements w(m_k+1) − w(m_k) between their middles
    m_k, where m_k is half an epoch after the end before it (whole strides, rounded down: the attribute
    `half_phase_steps`). Displacements between middles are as many steps long as those between ends (`steps_per_lag`;
    others are left out unless `unequal_epochs`), lie inside one window, and cross neither gap nor resumption. A window
    of one epoch holds none: NaN.

    Examples
    --------
    >>> run = analyzer.open_run("runs/gcn.zarr")
    >>> answer = temperature(run, by="row", window="epoch").compute()
    >>> answer["temperature"].dims
    ('group', 'window')
    """
    return temperature_from(**locals())[0]


def temperature_from(run: xr.DataTree, **keywords: Any) -> tuple[xr.Dataset, list[Measurement]]:
    """As `temperature`, by its keywords; also returns the measurements behind it, one for each lag."""
    lag = keywords.get("lag")
    one, several = (lag, None) if isinstance(lag, str) or not np.iterable(lag) else (None, list(lag))
    query = query_of(keywords, lag=one, lags=several, batches=keywords.pop("errors", True))
    physics = {name: value for name, value in keywords.items() if name not in KEYWORDS}
    answer, measured = temperature_of(run, query, **physics)
    warn_of_empty(measured, "its drift and floor")
    return answer, measured


def temperature_of(
    run: xr.DataTree,
    query: Query,
    *,
    remove_drift: bool = False,
    mass: Mass = 1.0,
    k_B: float = 1.0,
    convention: str = "paper",
    per: str | None = None,
) -> tuple[xr.Dataset, list[Measurement]]:
    """As `temperature`, for a query; also returns the measurements behind it, one for each lag."""
    scale = _scale(convention, k_B)
    check_per(per)
    query = from_equilibrium(run, query)
    attrs = _physics(query, remove_drift, mass, k_B, convention)
    if query.lags is None:
        measured, halves = _measured(run, [query], mass)
        dataset = _dataset(run, measured[0], halves.get(0), query, scale=scale, remove_drift=remove_drift, per=per)
        return dataset.assign_attrs(attrs), measured
    labels = labels_of_lags(run, query)
    queries = [replace(query, lag=lag) for lag in query.lags]
    measured, halves = _measured(run, queries, mass)
    parts = [
        _dataset(run, one, halves.get(n), asked, scale=scale, remove_drift=remove_drift, per=per).assign_attrs(attrs)
        for n, (one, asked) in enumerate(zip(measured, queries, strict=True))
    ]
    return along_lags(parts, query.lags, labels), measured


def _measured(
    run: xr.DataTree, queries: Sequence[Query], mass: Mass
) -> tuple[list[Measurement], dict[int, Measurement]]:
    """The measurements of queries; and, by number of the query, those half an epoch later for the lag "epoch"."""
    epochs = [n for n, query in enumerate(queries) if query.lag == "epoch"]
    later = [replace(queries[n], half_phase=True, batches=False) for n in epochs]
    try:
        found = measure_together(run, [*queries, *later], mass)
    except (EpochError, TrajectoryMissingError):  # no window holds two middles, or kept sums lack those frames
        return measure_together(run, queries, mass), {}
    return found[: len(queries)], dict(zip(epochs, found[len(queries) :], strict=True))


def _dataset(
    run: xr.DataTree,
    measurement: Measurement,
    half: Measurement | None,
    query: Query,
    *,
    scale: float,
    remove_drift: bool,
    per: str | None,
) -> xr.Dataset:
    """The temperatures of one measurement; at lag "epoch" with those half an epoch later."""
    opened = measurement.run.opened
    if remove_drift and measurement.plan.squares_only and opened is not None:
        raise unanswered(opened.store)  # the drift needs each weight's mean velocity, which is not among these sums
    units = f"weight^2 {unit_of(measurement.plan.sampling)}^-2"
    columns = {
        "temperature": Column(units, "temperature", squares_only=not remove_drift),
        "temperature_drift": Column(units, "temperature of the mean velocity"),
        "drift_null": Column(units, "temperature of the mean velocity expected without a drift"),
        "temperature_thermal": Column(units, "temperature of the fluctuation"),
        "floor": Column(units, "temperature of rounding"),
    }

    def formula_of(measurement: Measurement) -> Any:
        lengths = squared_bin_lengths(measurement.plan)
        return partial(_columns, scale=scale, remove_drift=remove_drift, lengths=lengths)

    bars = error_bars(measurement, 0.5 * scale, units) if query.batches else None
    dataset = result(measurement, "temperature", formula_of(measurement), columns, bars)
    if bars is not None:
        first = ["weights", "velocities", "temperature", *COLUMNS]
        dataset = dataset[[*first, *(name for name in columns if name not in first)]]
    if query.lag == "epoch":
        shifted = None if half is None else result(half, "temperature", formula_of(half), columns)
        dataset = _with_half_phase(dataset, stride_in(measurement.run.line, query.start, query.stop), shifted)
    rates = rates_of(run, measurement)
    dataset = dataset.assign(columns_of(rates))
    if per is not None:
        dataset = per_rate(run, dataset, measurement, rates, query, 0.5 * scale, remove_drift)
    return dataset.assign_attrs(units=units)


def _physics(query: Query, remove_drift: bool, mass: Mass, k_B: float, convention: str) -> dict[str, Any]:
    attrs: dict[str, Any] = {
        "convention": convention,
        "k_B": float(k_B),
        "mass": json.dumps(dict(mass)) if isinstance(mass, Mapping) else float(mass),
        "drift_removed": int(remove_drift),
    }
    return attrs | own_groups(query.by)


def _with_half_phase(dataset: xr.Dataset, stride: int, shifted: xr.Dataset | None) -> xr.Dataset:
    """Add the temperature half an epoch later to a dataset; NaN where there is none."""
    if shifted is None:
        values = xr.full_like(dataset["velocities"], np.nan, dtype=np.float64)
        counts = xr.zeros_like(dataset["velocities"])
    else:
        values, counts = shifted["temperature"], shifted["velocities"]
    units = dataset["temperature"].attrs["units"]
    dims = dataset["temperature"].dims
    title = "temperature half an epoch later"
    steps = dataset.attrs["steps_per_lag"]
    return dataset.assign(
        temperature_half_phase=(dims, values.data, {"units": units, "long_name": title}),
        velocities_half_phase=(
            dims,
            counts.data,
            {"units": "1", "long_name": "velocities averaged half an epoch later"},
        ),
    ).assign_attrs(half_phase_steps=steps // (2 * stride) * stride)


@np.errstate(divide="ignore", invalid="ignore")  # for a group without weights, NaN is right
def _columns(
    table: Array, weights: Array, count: Array, *, scale: float, remove_drift: bool, lengths: Array
) -> tuple[Array, ...]:
    total = 0.5 * scale * table[SQUARES] / (weights * count)
    drift = 0.5 * scale * table[SQUARED_SUM] / (weights * count**2)
    # A variance is not negative, but rounding may make the difference of two equal numbers so.
    thermal = np.maximum(total - drift, 0)
    null = 0.5 * scale * drift_null(table[DISPLACED], table[SQUARED_SUM], table[SQUARES], lengths, count) / weights
    return thermal if remove_drift else total, drift, null, thermal, scale * table[ULP] / (12 * weights)


def _scale(convention: Any, k_B: Any) -> float:
    if convention not in CONVENTIONS:
        raise OptionError(
            f"--convention: expected 'paper' (T = K/(k_B d)) or 'md' (twice that), got {convention!r}. The two "
            "differ by a factor of 2. Write --convention paper",
            convention=convention,
        )
    if not isinstance(k_B, (int, float)) or not math.isfinite(k_B) or k_B < 1e-300:
        raise OptionError(
            f"--k-b: expected a positive finite number (1e-300 at least), got {k_B!r}. Temperatures are divided by "
            "it. Leave it out for 1.",
            k_B=k_B,
        )
    return CONVENTIONS[convention] / float(k_B)
