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
from analyzer.quantities.per_rate import check_per, per_rate
from analyzer.quantities.schedule import columns_of, rates_of
from analyzer.query.groups import By, Globs
from analyzer.query.query import Query, query_of
from analyzer.query.windows import Bound, Lag, Window, stride_in
from analyzer.statistics.drift import drift_null

Array = np.ndarray[Any, np.dtype[Any]]

CONVENTIONS = {"paper": 1.0, "md": 2.0}
"""T over K/(k_B d): the paper has T = K/(k_B d), molecular dynamics K = (d/2) k_B T."""


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
        Steps, or percent of the step range as in "50%" and, exactly a third, "100/3%". `start="auto"`: from where
        temperatures, displacements and the loss are in equilibrium (`equilibration`), with an `EquilibriumWarning` if
        any of them still drifts: in the last stretch of constant settings, and with window "rate" in each of them.
    lag
        Steps between the two frames of a velocity, or "epoch" (the ends of consecutive complete epochs); default: the
        stride, 1 for a run with every step. For a lag over one stride, displacements do not overlap and restart in each
        window. A list of lags gives a further dimension `lag`, from one pass over the frames: T(L).
    remove_drift
        Report the fluctuation alone as `temperature`: ½ m (⟨v²⟩ − ⟨v⟩²) of each weight, averaged over the group.
    mass
        Of each weight: a number, or a mapping from globs over parameter names to numbers (others: 1).
    k_B
        Boltzmann's constant, in units of the answer's choice.
    convention
        "paper" or "md".
    parameter, layer, exclude
        Globs over parameter names and layers; excluded parameters do not count in d. A name that exists is itself,
        whatever signs are in it.
    frozen
        Count frozen weights in d, too: those of parameters that require no gradient or are in no optimizer, and did
        not move. They are no degrees of freedom, and are left out by default; the attribute
        `frozen_weights_left_out` says how many.
    steps_per_epoch
        Takes the place of a recorded `epoch`: epochs end at its multiples. It is needed where a boundary between two
        epochs was not logged: values that are missing are filled only between two equal ones.
    unequal_epochs
        Allow lag "epoch" where epochs differ in length.
    memory_limit
        Bytes; a query that is projected to need more is refused.
    cache
        Keep sums of bins beside the store and answer from them, where the query's windows and lag end on bin edges
        (whole run, epochs); a folder to keep them there; False for neither. The answer is the same to the bit.
    errors
        Whether to give error bars.
    per
        "eta2": also T/η², which stays where the learning rate changes, with its standard error and what the optimizer
        leads one to expect.

    Returns
    -------
    xarray.Dataset
        Dims (group, window), lazy when the run is: `weights` (d, by group), `velocities` (d × velocities of a weight),
        `temperature`, `temperature_drift` = ½ m ⟨v⟩², `drift_null`, what that is expected to be without any drift (see
        Notes), `temperature_thermal`, `floor` = m δ²/12, what rounding alone would give (δ: spacing of the original
        dtype at the window's edge frames), all in weight² step⁻² / k_B (weight² lag⁻² for other lags). NaN for a group
        with a NaN or infinite weight, with a `NonFiniteWarning`.
        Of sums that were kept without their trajectory, a window that does not end on bin edges has the temperature
        alone: the other columns are NaN (`remove_drift` is refused).
        With error bars: `standard_error` of the temperature (mean ± 1.96 of it is a 95 % interval; NaN below n_eff 20),
        `n_eff`, the independent samples that the window's 𝒯(t) is worth, and `unreliable`, where these are fewer than
        200 (500 for a single weight); see `analyzer.statistics.uncertainty`.
        `learning_rate` η of the window, NaN where it changes or differs between the parameters of a group;
        `learning_rate_change`, its highest over its lowest value; `remark`, which says what changes within the window.
        With `per="eta2"`: `temperature_per_eta2` with `temperature_per_eta2_error`, and `expected_low`,
        `expected_high` and `expectation` (paper's convention, m = k_B = 1). Where η changes, T/η² is the mean of
        𝒯(t)/η(t)²: of whole parameters, at lag 1 of a run with every step; else it is NaN.
        With lag "epoch" also `temperature_half_phase` and `velocities_half_phase`, see Notes. With a list of lags, all
        but the weights over (lag, group, window), with the coordinates `lag`, as text, and `steps_per_lag`.

    Raises
    ------
    TooFewFramesError, WindowError, EpochError, GroupError, SelectionError, OptionError, MemoryLimitError, TreeError
        At once.
    TrajectoryMissingError
        Only sums were kept of the run, and they do not answer.
    StoreChangedError
        The store is another one than was opened. When computed, like the following.
    CorruptChunkError, MissingChunkError
        A chunk is damaged or absent.

    Notes
    -----
    `temperature_drift` has an expectation of T g/N even without any drift (g: statistical inefficiency of the
    velocity, N: velocities of the window): it is not zero for pure noise. `drift_null` is that expectation, from the
    displacements of bins of 256 velocities (a quarter of the window, if that is less), biased low by g/(2·256) of
    itself, and too high for weights that a minimum confines; NaN where the bins are too few or too short. With lag
    "epoch" displacements are taken for independent. See `analyzer.statistics.uncertainty.drift_null`.

    Where minibatches are drawn without replacement, each is seen once an epoch, and the displacement between the ends
    of two epochs is that of a bridge, smaller than that of as many independent steps; how much smaller depends on the
    phase. So lag "epoch" reports both: `temperature` from the ends e_k of consecutive complete epochs, displacements
    w(e_k+1) − w(e_k), and `temperature_half_phase` by the same formula from their middles m_k, displacements
    w(m_k+1) − w(m_k), where m_k is half an epoch (whole strides, rounded down: the attribute `half_phase_steps`) after
    the end before it. Displacements from middle to middle are as many steps long as those from end to end
    (`steps_per_lag`; others are left out unless `unequal_epochs`), lie whole inside their window, and cross neither gap
    nor resumption. A window of one epoch holds none: NaN. What the kept sums cannot answer is decoded.

    Examples
    --------
    >>> run = analyzer.open_run("runs/gcn.zarr")
    >>> answer = temperature(run, by="row", window="epoch").compute()
    >>> answer["temperature"].dims
    ('group', 'window')
    """
    one, several = (lag, None) if lag is None or isinstance(lag, (int, str)) else (None, list(lag))
    query = query_of(locals(), lag=one, lags=several, batches=errors)
    physics: dict[str, Any] = {"remove_drift": remove_drift, "mass": mass, "k_B": k_B, "convention": convention}
    answer, measured = temperature_of(run, query, per=per, **physics)
    warn_of_empty(measured, "its drift and floor")
    return answer


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
    """`temperature` of a query, and the measurements that it rests on: one for each lag."""
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
    """The measurements of queries, and by their number those half an epoch later of the ones with lag "epoch"."""
    epochs = [n for n, query in enumerate(queries) if query.lag == "epoch"]
    later = [replace(queries[n], half_phase=True, batches=False) for n in epochs]
    try:
        found = measure_together(run, [*queries, *later], mass)
    except (EpochError, TrajectoryMissingError):  # no two middles in a window, or none whose sums were kept
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
        raise unanswered(opened.store)  # of each weight's mean velocity, kept sums know nothing here
    units = f"weight^2 {unit_of(measurement.plan.sampling)}^-2"
    columns = {
        "temperature": Column(units, "temperature", squares_only=not remove_drift),
        "temperature_drift": Column(units, "temperature of the mean velocity"),
        "drift_null": Column(units, "temperature of the mean velocity that is expected without a drift"),
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
    """The dataset with the temperature half an epoch later, NaN where there is none."""
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


@np.errstate(divide="ignore", invalid="ignore")  # of no weights: NaN, as it should be
def _columns(
    table: Array, weights: Array, count: Array, *, scale: float, remove_drift: bool, lengths: Array
) -> tuple[Array, ...]:
    total = 0.5 * scale * table[SQUARES] / (weights * count)
    drift = 0.5 * scale * table[SQUARED_SUM] / (weights * count**2)
    # A difference of equal numbers may fall below zero by rounding; a variance does not.
    thermal = np.maximum(total - drift, 0)
    null = 0.5 * scale * drift_null(table[DISPLACED], table[SQUARED_SUM], table[SQUARES], lengths, count) / weights
    return thermal if remove_drift else total, drift, null, thermal, scale * table[ULP] / (12 * weights)


def _scale(convention: Any, k_B: Any) -> float:
    if convention not in CONVENTIONS:
        raise OptionError(
            f"--convention: expected 'paper' (T = K/(k_B d)) or 'md' (twice that), got {convention!r}. The two "
            "differ by a "
            "factor of 2. Write --convention paper",
            convention=convention,
        )
    if not isinstance(k_B, (int, float)) or not math.isfinite(k_B) or k_B < 1e-300:
        raise OptionError(
            f"--k-b: expected a positive finite number (1e-300 at least), got {k_B!r}. Temperatures are divided by "
            "it. Leave it out for 1.",
            k_B=k_B,
        )
    return CONVENTIONS[convention] / float(k_B)
