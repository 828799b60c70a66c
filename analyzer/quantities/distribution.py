"""The distribution of velocities of a run, beside Maxwell and Boltzmann's at the measured temperature."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from analyzer.engine.measure import Measurement
from analyzer.engine.sample import Sample, velocity_sample
from analyzer.quantities.velocity import velocity_summary_of
from analyzer.query.groups import By, Globs, require_whole
from analyzer.query.query import Query, query_of
from analyzer.query.windows import Bound, require_even
from analyzer.statistics.distribution import histogram, maxwell_boltzmann
from analyzer.statistics.stretches import standardised

Array = np.ndarray[Any, np.dtype[Any]]

EDGES = np.linspace(-6.0, 6.0, 61)
"""Edges of the bins, in units of the rms velocity. One Gaussian velocity in five hundred million lies outside."""
SAMPLE = Sample(512, 2048)


def distribution(
    run: xr.DataTree,
    *,
    by: By = "layer",
    start: Bound = None,
    stop: Bound = None,
    parameter: Globs = None,
    layer: Globs = None,
    exclude: Globs = None,
    frozen: bool = False,
    sample_weights: int = SAMPLE.weights,
    sample_steps: int = SAMPLE.steps,
    seed: int = SAMPLE.seed,
    cache: bool | str = True,
    memory_limit: int | None = None,
) -> xr.Dataset:
    """Histograms of the velocities of groups, beside Maxwell and Boltzmann's distribution.

    Parameters
    ----------
    run
        A run, as `open_run` gives it, or a tree derived from one.
    by
        Groups of whole parameters: "layer", "model", "module", "parameter", or a mapping of globs.
    start, stop
        Steps, or percent of the step range; `start="auto"`: where the run is in equilibrium.
    parameter, layer, exclude
        Globs over parameter names and layers.
    frozen
        Count frozen weights, too; see `temperature`.
    sample_weights, sample_steps, seed
        Size and seed of the sample: weights of each group, and steps of each weight (in 16 stretches, if the run has
        more steps).
    cache, memory_limit
        As for `temperature`.

    Returns
    -------
    xarray.Dataset
        In memory, dims (group, bin). `density`: velocities divided by the rms of their group. `density_by_weight`:
        velocities of each weight less their mean, divided by that weight's own rms, so that it does not matter if
        weights differ in temperature. Each has an `_error`, NaN below 20 independent samples in time.
        `maxwell_boltzmann` (bin): the Gaussian density that both have in equilibrium (`density` only if all weights of
        the group are equally hot). `outside` and `outside_by_weight`: shares of velocities beyond 6 rms. `rms_velocity`
        and `temperature` ½⟨v²⟩: of the whole group over the whole range.

    Raises
    ------
    OptionError, GroupError
        When called, before any frame is read.
    TrajectoryMissingError
        Only sums were kept.
    AnalyzerError
        As for `temperature`.

    Examples
    --------
    >>> answer = distribution(analyzer.open_run("runs/gcn.zarr"))
    >>> answer["density"].dims
    ('group', 'bin')
    """
    query = query_of(locals())
    return distribution_of(run, query, Sample(sample_weights, sample_steps, seed))[0]


def distribution_of(run: xr.DataTree, query: Query, sample: Sample) -> tuple[xr.Dataset, list[Measurement]]:
    """As `distribution`, for a query; also returns the measurement behind it."""
    dataset, [measurement] = velocity_summary_of(run, query)
    require_even(measurement.run.line, measurement.plan.sampling, "a distribution of velocities")
    require_whole(measurement.plan.grouping, "A sample of every row would be as large as the run.")
    answer = dataset.isel(window=0, drop=True).compute()
    rms = answer["rms_velocity"].values
    found = [
        _densities(
            velocity_sample(measurement, n, sample, limit=query.memory_limit),
            float(rms[n]),
            int(measurement.plan.grouping.weights[n]),
        )
        for n in range(rms.size)
    ]
    columns = {name: np.array([one[name] for one in found]) for name in found[0]}
    unit = {"units": "1"}
    data: dict[str, Any] = {
        name: (("group", "bin")[: values.ndim], values, {**unit, "long_name": _TITLES[name]})
        for name, values in columns.items()
    }
    data["maxwell_boltzmann"] = ("bin", maxwell_boltzmann(EDGES), {**unit, "long_name": "Maxwell–Boltzmann density"})
    squared = {"units": "weight^2 step^-2", "long_name": "temperature"}
    data["temperature"] = ("group", 0.5 * answer["mean_squared_velocity"].values, squared)
    centres = 0.5 * (EDGES[1:] + EDGES[:-1])
    coords = {
        "velocity": ("bin", centres, {**unit, "long_name": "velocity / rms velocity"}),
        "lower": ("bin", EDGES[:-1], {**unit, "long_name": "lower edge of the bin"}),
        "upper": ("bin", EDGES[1:], {**unit, "long_name": "upper edge of the bin"}),
    }
    windows = measurement.plan.sampling.windows
    attrs = {
        **{name: value for name, value in answer.attrs.items() if name != "units"},
        "quantity": "distribution",
        "start_step": int(windows.start_step[0]),
        "stop_step": int(windows.stop_step[-1]),
        "sample_weights": sample.weights,
        "sample_steps": sample.steps,
        "seed": sample.seed,
    }
    answer = answer[["weights", "rms_velocity"]].assign_coords(coords).assign(data)
    answer.attrs = attrs
    return answer, [measurement]


def beyond(answer: xr.Dataset, rms: float, density: str = "density") -> xr.DataArray:
    """Share of velocities beyond ±`rms`, by group. `density` may also be "maxwell_boltzmann"."""
    width = answer["upper"] - answer["lower"]
    within = (answer["lower"] > -rms - 1e-9) & (answer["upper"] < rms + 1e-9)
    inside = (answer[density] * width).where(within, 0.0).sum("bin", skipna=False)
    return (1.0 - inside).clip(min=0.0)  # rounding may leave a negative share


_TITLES = {
    "density": "density",
    "density_error": "standard error of the density",
    "density_by_weight": "density, each weight at its own temperature",
    "density_by_weight_error": "standard error of that density",
    "outside": "share beyond the outermost bins",
    "outside_by_weight": "share beyond the outermost bins, each weight at its own temperature",
    "sampled": "velocities in the sample",
}


def _densities(velocities: Array, rms: float, weights: int) -> dict[str, Any]:
    usable = rms > 0 and velocities.size > 0 and bool(np.isfinite(velocities).all())
    scaled = (velocities / rms, standardised(velocities)) if usable else (velocities[:0], velocities[:0])
    together, alone = (histogram(some, EDGES, of=weights) for some in scaled)
    return {
        "density": together.density,
        "density_error": together.error,
        "density_by_weight": alone.density,
        "density_by_weight_error": alone.error,
        "outside": together.outside,
        "outside_by_weight": alone.outside,
        "sampled": velocities.size,
    }
