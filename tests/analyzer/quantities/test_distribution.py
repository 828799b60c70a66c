"""The distribution of velocities against ones that are known, and against numpy's histogram."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from scipy import stats

import analyzer
from analyzer import errors
from analyzer.quantities.distribution import EDGES, beyond
from tests.analyzer.shell import invoke
from tests.stores import write_store

Make = Callable[..., Path]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """Writes a run of some parameters."""

    def write(parameters: Mapping[str, np.ndarray]) -> Path:
        return write_store(tmp_path / f"run{len(list(tmp_path.iterdir()))}.zarr", parameters, chunk_steps=512)

    return write


def walk(velocities: np.ndarray) -> np.ndarray:
    """Frames (…, steps + 1) from 0."""
    return np.cumsum(np.pad(velocities, [(0, 0)] * (velocities.ndim - 1) + [(1, 0)]), axis=-1)


def density(edges: np.ndarray, *scales: float) -> np.ndarray:
    """Mean density in bins of a mixture of Gaussians of these standard deviations."""
    cdf = np.mean([stats.norm.cdf(edges / scale) for scale in scales], axis=0)
    return np.diff(cdf) / np.diff(edges)


def test_counts_are_numpys(make: Make) -> None:
    """All weights and all steps of a short run: the densities are np.histogram's, to the last bit of a division."""
    v = np.random.default_rng(0).standard_t(5, (4, 6, 900))
    answer = analyzer.open_run(make({"a.weight": walk(v)})).thermo.distribution()
    v = np.diff(walk(v), axis=-1)
    rms = np.sqrt((v**2).mean())
    told = answer.isel(group=0)
    assert told["rms_velocity"].item() == pytest.approx(rms, rel=1e-12)
    assert told["temperature"].item() == pytest.approx(0.5 * rms**2, rel=1e-12)
    scaled = v / told["rms_velocity"].item()
    expected = np.histogram(scaled, EDGES)[0] / v.size / np.diff(EDGES)
    np.testing.assert_allclose(told["density"], expected, rtol=1e-12, atol=1e-15)
    assert told["outside"].item() == pytest.approx((np.abs(scaled) > 6).mean(), abs=1e-15)
    own = (v - v.mean(-1, keepdims=True)) / v.std(-1, keepdims=True)
    np.testing.assert_allclose(
        told["density_by_weight"], np.histogram(own, EDGES)[0] / v.size / np.diff(EDGES), rtol=1e-9, atol=1e-15
    )
    assert told["sampled"].item() == v.size
    for rms in (2, 4):
        assert beyond(told, rms).item() == pytest.approx((np.abs(scaled) > rms).mean(), abs=1e-12)


def test_weights_of_two_temperatures_have_heavy_tails_together_and_none_alone(make: Make) -> None:
    """v ~ ½N(0, 1) + ½N(0, 9): over the rms √5 a mixture of widths 1/√5 and 3/√5; each weight alone is Gaussian.

    The densities of many weights are nearly independent of each other: 60 bins within 4.5 standard errors.
    """
    rng = np.random.default_rng(1)
    v = rng.normal(size=(40, 6000)) * np.repeat([1.0, 3.0], 20)[:, np.newaxis]
    told = analyzer.open_run(make({"a.weight": walk(v)})).thermo.distribution().isel(group=0)
    mixture = density(EDGES, 1 / np.sqrt(5), 3 / np.sqrt(5))
    for name, truth in (("density", mixture), ("density_by_weight", told["maxwell_boltzmann"].values)):
        often = truth * 40 * 2048 * 0.2 > 30  # bins with enough velocities for a Gaussian error
        away = (told[name].values - truth)[often] / told[f"{name}_error"].values[often]
        assert often.sum() > 25
        assert np.abs(away).max() < 4.5, away
        assert 0.5 < np.sqrt((away**2).mean()) < 1.5, "the errors are the scatter"
    assert abs(told["density"].values - told["maxwell_boltzmann"].values).max() > 0.1
    assert beyond(told, 3).item() > 3 * beyond(told, 3, "maxwell_boltzmann").item()


def test_still_short_and_infinite_runs(make: Make) -> None:
    rng = np.random.default_rng(4)
    still = {"a.weight": np.ones((3, 2001)), "b.weight": walk(rng.normal(size=(3, 2000)))}
    answer = analyzer.open_run(make(still)).thermo.distribution()
    assert answer["rms_velocity"].values[0] == 0
    assert np.isnan(answer["density"].values[0]).all()
    assert np.isnan(answer["density_by_weight"].values[0]).all()
    assert np.isfinite(answer["density_error"].values[1]).all()
    short = analyzer.open_run(make({"a.weight": walk(rng.normal(size=(3, 18)))})).thermo.distribution()
    assert np.isfinite(short["density"]).all()
    assert np.isnan(short["density_error"]).all()
    broken = walk(rng.normal(size=(3, 300)))
    broken[0, 100] = np.inf
    with pytest.warns(errors.NonFiniteWarning):
        answer = analyzer.open_run(make({"a.weight": broken})).thermo.distribution()
    assert np.isnan(answer["density"]).all()


def test_refusals(make: Make, tmp_path: Path) -> None:
    path = make({"a.weight": walk(np.random.default_rng(5).normal(size=(4, 3, 400)))})
    run = analyzer.open_run(path)
    with pytest.raises(errors.GroupError, match="--by row: expected groups of whole parameters"):
        run.thermo.distribution(by="row")
    with pytest.raises(errors.OptionError, match="--sample-weights: expected a whole number of at least 16"):
        run.thermo.distribution(sample_weights=3)
    with pytest.raises(errors.MemoryLimitError, match="Memory: expected at most"):
        run.thermo.distribution(memory_limit=1000)
    assert invoke("cache", "fill", path).exit_code == 0
    kept = invoke("distribution", f"{path}.moments")
    assert kept.exit_code == 1
    assert kept.stderr.count("\n") == 1


def test_the_command_says_what_the_function_says(make: Make, tmp_path: Path) -> None:
    v = np.random.default_rng(6).normal(size=(8, 5, 1000))
    path = make({"a.weight": walk(v), "b.weight": walk(2 * v)})
    truth = analyzer.open_run(path).thermo.distribution(start=100, sample_weights=20, seed=1)
    options = ("distribution", path, "--start", 100, "--sample-weights", 20, "--seed", 1)
    csv = invoke(*options, "--format", "csv", "--output", tmp_path / "bins.csv", "--plot", tmp_path / "bins.png")
    assert (csv.exit_code, csv.stdout) == (0, "")
    assert (tmp_path / "bins.png").stat().st_size > 10_000
    bins = pd.read_csv(tmp_path / "bins.csv")
    assert len(bins) == 2 * 60
    for name in ("density", "density_error", "density_by_weight"):
        np.testing.assert_allclose(bins[name], truth[name].values.reshape(-1), rtol=1e-12)
    records = json.loads(invoke(*options, "--format", "json").stdout)["records"]
    assert [record["density"] for record in records] == pytest.approx(list(bins["density"]), rel=1e-12)
    assert invoke(*options, "--output", tmp_path / "bins.nc").exit_code == 0
    with xr.open_dataset(tmp_path / "bins.nc", engine="h5netcdf") as dataset:
        xr.testing.assert_equal(dataset.load(), truth)
    table = invoke(*options).stdout.splitlines()
    assert table[-5].split()[:2] == ["Maxwell–Boltzmann", "–"]
    assert table[-5].split()[2:5] == ["4.55", "0.27", "0.00633"]
    assert [line.split()[0] for line in table[3:5]] == ["a", "b"]
    assert max(map(len, table)) < 140
