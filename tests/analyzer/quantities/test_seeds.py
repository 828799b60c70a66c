"""Mean and scatter over the seeds of a sweep."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from scipy import stats

import analyzer
from analyzer import errors
from tests.stores import write_store


def sweep_of(folder: Path, rates: tuple[float, ...], seeds: int) -> xr.DataTree:
    for number, rate in enumerate(rates):
        for seed in range(seeds):
            rng = np.random.default_rng((number, seed))
            w = np.cumsum(rate * rng.standard_normal((4, 3, 1200)), axis=-1)
            name = f"{rate}-{seed}"
            write_store(
                folder / f"{name}.zarr", {"lin.weight": w}, hyperparameters={"learning_rate": rate, "seed": seed}
            )
    return analyzer.open_sweep(f"{folder}/*.zarr")


def test_mean_scatter_and_interval_over_seeds(tmp_path: Path) -> None:
    """Three runs of independent steps: the mean over runs of MSD(τ), with Student's t of two degrees of freedom."""
    asked = sweep_of(tmp_path, (1.0, 2.0), 3).thermo.dynamics(lags=[0, 1, 10, 600])
    answer = analyzer.over_seeds(asked.compute())
    assert answer["mean_squared_displacement"].dims == ("set", "group", "window", "lag")
    assert answer["learning_rate"].values.tolist() == [1.0, 2.0]
    assert answer["runs"].values.tolist() == [3, 3]
    each = asked["mean_squared_displacement"].values.reshape(2, 3, 4)
    half = stats.t.ppf(0.975, 2) * stats.sem(each, axis=1)
    column = answer["mean_squared_displacement"]
    np.testing.assert_allclose(column.values.reshape(2, 4), each.mean(axis=1), rtol=1e-12)
    np.testing.assert_allclose(
        answer["mean_squared_displacement_scatter"].values.reshape(2, 4), each.std(axis=1, ddof=1), rtol=1e-9
    )
    error = answer["mean_squared_displacement_error"].values.reshape(2, 4)
    np.testing.assert_allclose(1.959963984540054 * error, half, rtol=1e-9)
    assert np.isfinite(error[:, -1]).all(), "one run has no interval at half its length, three have"
    assert np.isnan(asked["mean_squared_displacement_error"].sel(lag=600)).all()
    lazy = analyzer.over_seeds(asked)
    assert lazy["exponent"].chunks is not None
    xr.testing.assert_allclose(lazy.compute(), answer)


def test_temperatures_too(tmp_path: Path) -> None:
    answer = analyzer.over_seeds(sweep_of(tmp_path, (1.0,), 2).thermo.temperature().compute())
    assert answer["temperature"].sizes == {"set": 1, "group": 1, "window": 1}
    assert answer["temperature_scatter"].item() > 0


def test_what_has_no_scatter_is_refused(tmp_path: Path) -> None:
    sweep = sweep_of(tmp_path, (1.0, 2.0), 1)
    with pytest.raises(errors.SweepError, match="expected runs that differ only in 'seed', got 2 runs of 2 settings"):
        analyzer.over_seeds(sweep.thermo.temperature())
    one = next(iter(sweep.children.values()))
    with pytest.raises(errors.SweepError, match="got the answer of a single run"):
        analyzer.over_seeds(one.thermo.temperature())
