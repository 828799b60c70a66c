"""Temperature: the mean kinetic energy of a group's weights, over a window."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import xarray as xr

from analyzer.errors import EpochError, OptionError
from analyzer.groups import By, Globs
from analyzer.measure import Columns, Mass, Measurement, Query, measure, result, unit_of
from analyzer.moments import SQUARED_SUM, SQUARES, ULP
from analyzer.tree import trajectory
from analyzer.windows import Bound, Lag, Window

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
    lag: Lag = None,
    remove_drift: bool = False,
    mass: Mass = 1.0,
    k_B: float = 1.0,
    convention: str = "paper",
    parameter: Globs = None,
    layer: Globs = None,
    exclude: Globs = None,
    steps_per_epoch: int | None = None,
    unequal_epochs: bool = False,
    memory_limit: int | None = None,
    cache: bool | str = True,
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
        Length in steps, "epoch", or None for the whole range. Windows tile from `start`; a shorter last one is
        `partial`.
    start, stop
        Steps, or percent of the step range as in "50%".
    lag
        Steps between the two frames of a velocity, or "epoch" (the ends of consecutive complete epochs); default: the
        stride, 1 for a run with every step. For a lag over one stride, displacements do not overlap and restart in each
        window.
    remove_drift
        Report the fluctuation alone as `temperature`: ½ m (⟨v²⟩ − ⟨v⟩²) of each weight, averaged over the group.
    mass
        Of each weight: a number, or a mapping from globs over parameter names to numbers (others: 1).
    k_B
        Boltzmann's constant, in units of the answer's choice.
    convention
        "paper" or "md".
    parameter, layer, exclude
        Globs over parameter names and layers; excluded parameters do not count in d.
    steps_per_epoch
        Stands in for a recorded `epoch`.
    unequal_epochs
        Allow lag "epoch" where epochs differ in length.
    memory_limit
        Bytes; a query that is projected to need more is refused.
    cache
        Keep block sums beside the store and answer from them, where the query's windows and lag end on block edges
        (whole run, epochs); a folder to keep them there; False for neither. The answer is the same to the bit.

    Returns
    -------
    xarray.Dataset
        Dims (group, window), lazy when the run is: `weights` (d, by group), `velocities` (d × velocities of a weight),
        `temperature`, `temperature_drift` = ½ m ⟨v⟩², `temperature_thermal`, `floor` = m δ²/12, what rounding alone
        would give (δ: spacing of the original dtype at the window's edge frames), all in weight² step⁻² / k_B
        (weight² lag⁻² for other lags). NaN for a group with a NaN or infinite weight, with a `NonFiniteWarning`.
        With lag "epoch" also `temperature_half_phase` and `velocities_half_phase`, see Notes.

    Raises
    ------
    TooFewFramesError, WindowError, EpochError, GroupError, SelectionError, OptionError, MemoryLimitError, TreeError
        At once.
    CorruptChunkError, MissingChunkError
        When computed.

    Notes
    -----
    `temperature_drift` has an expectation of T g/N even without any drift (g: statistical inefficiency of the
    velocity, N: velocities of the window): it is not zero for pure noise.

    Where minibatches are drawn without replacement, each is seen once an epoch, and the displacement between the ends
    of two epochs is that of a bridge, smaller than that of as many independent steps; how much smaller depends on the
    phase. So lag "epoch" reports both: `temperature` from the ends e_k of consecutive complete epochs, displacements
    w(e_k+1) − w(e_k), and `temperature_half_phase` by the same formula from their middles m_k, displacements
    w(m_k+1) − w(m_k), where m_k is half an epoch (whole strides, rounded down: the attribute `half_phase_steps`) after
    the end before it. Displacements from middle to middle are as many steps long as those from end to end
    (`steps_per_lag`; others are left out unless `unequal_epochs`), lie whole inside their window, and cross neither gap
    nor resumption. A window of one epoch holds none: NaN. What the kept block sums cannot answer is decoded.

    Examples
    --------
    >>> run = analyzer.open_run("runs/gcn.zarr")  # doctest: +SKIP
    >>> temperature(run, by="row", window="epoch").compute()  # doctest: +SKIP
    """
    query = Query(
        by,
        window,
        start,
        stop,
        lag,
        parameter,
        layer,
        exclude,
        steps_per_epoch,
        unequal_epochs,
        memory_limit=memory_limit,
        keep=cache is not False,
        cache=cache if isinstance(cache, str) else None,
    )
    return temperature_of(run, query, remove_drift=remove_drift, mass=mass, k_B=k_B, convention=convention)[0]


def temperature_of(
    run: xr.DataTree,
    query: Query,
    *,
    remove_drift: bool = False,
    mass: Mass = 1.0,
    k_B: float = 1.0,
    convention: str = "paper",
) -> tuple[xr.Dataset, Measurement]:
    """`temperature` of a query, and the measurement that it rests on."""
    scale = _scale(convention, k_B)
    measurement = measure(run, query, mass)
    units = f"weight^2 {unit_of(measurement.plan.sampling)}^-2"
    columns = {
        "temperature": (units, "temperature"),
        "temperature_drift": (units, "temperature of the mean velocity"),
        "temperature_thermal": (units, "temperature of the fluctuation"),
        "floor": (units, "temperature of rounding"),
    }
    formula = partial(_columns, scale=scale, remove_drift=remove_drift)
    dataset = result(measurement, "temperature", formula, columns)
    if measurement.plan.sampling.lag == "epoch":
        dataset = _with_half_phase(dataset, run, query, mass, formula, columns)
    dataset.attrs |= {
        "convention": convention,
        "k_B": float(k_B),
        "mass": json.dumps(dict(mass)) if isinstance(mass, Mapping) else float(mass),
        "drift_removed": int(remove_drift),
        "units": units,
    }
    if isinstance(query.by, Mapping):
        dataset.attrs["groups"] = json.dumps(dict(query.by))
    return dataset, measurement


def _with_half_phase(
    dataset: xr.Dataset, run: xr.DataTree, query: Query, mass: Mass, formula: Any, columns: Columns
) -> xr.Dataset:
    """The dataset with the temperature half an epoch later: a second sampling of the same query."""
    try:
        measurement = measure(run, replace(query, half_phase=True), mass)
    except EpochError:  # no two middles in a window: the ends have been found, so epochs themselves are no fault
        values = xr.full_like(dataset["velocities"], np.nan, dtype=np.float64)
        counts = xr.zeros_like(dataset["velocities"])
    else:
        shifted = result(measurement, "temperature", formula, columns)
        values, counts = shifted["temperature"], shifted["velocities"]
    units = dataset["temperature"].attrs["units"]
    dims = dataset["temperature"].dims
    title = "temperature half an epoch later"
    stride, steps = trajectory(run).line.stride, dataset.attrs["steps_per_lag"]
    return dataset.assign(
        temperature_half_phase=(dims, values.data, {"units": units, "long_name": title}),
        velocities_half_phase=(
            dims,
            counts.data,
            {"units": "1", "long_name": "velocities averaged half an epoch later"},
        ),
    ).assign_attrs(half_phase_steps=steps // (2 * stride) * stride)


def _columns(table: Array, weights: Array, count: Array, *, scale: float, remove_drift: bool) -> tuple[Array, ...]:
    total = 0.5 * scale * table[SQUARES] / (weights * count)
    drift = 0.5 * scale * table[SQUARED_SUM] / (weights * count**2)
    # A difference of equal numbers may fall below zero by rounding; a variance does not.
    thermal = np.maximum(total - drift, 0)
    return thermal if remove_drift else total, drift, thermal, scale * table[ULP] / (12 * weights)


def _scale(convention: Any, k_B: Any) -> float:
    if convention not in CONVENTIONS:
        raise OptionError(
            f"--convention: expected 'paper' (T = K/(k_B d)) or 'md' (twice that), got {convention!r}. The two "
            "differ by a "
            "factor of 2. Write --convention paper",
            convention=convention,
        )
    if not isinstance(k_B, (int, float)) or not math.isfinite(k_B) or k_B <= 0:
        raise OptionError(
            f"--k-b: expected a positive finite number, got {k_B!r}. Temperatures are divided by it. Leave it out "
            "for 1.",
            k_B=k_B,
        )
    return CONVENTIONS[convention] / float(k_B)
