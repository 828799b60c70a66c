"""Fits over sweeps: SGD on quadratics, whose exponents are known, through stores, Python and the shell."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

import analyzer
from analyzer import errors
from tests.analyzer.shell import invoke

RATES = (1e-3, 2e-3, 4e-3, 8e-3, 16e-3)
BATCHES = (8, 16, 32, 64, 128)
FRAMES = 600


@pytest.fixture
def record(make: Callable[..., Path]) -> Callable[..., str]:
    """A run of independent Gaussian steps: v = η·noise/√β, so T = ½η²C/β exactly, times a factor of the seed's own."""

    def write(rate: float, batch: int = 32, seed: int = 0, status: str = "complete", bad: float | None = None) -> str:
        rng = np.random.default_rng([seed, int(1e6 * rate), batch])
        scale = rate / np.sqrt(batch) * (1 + 0.03 * (seed % 3 - 1))
        frames = {
            name: np.cumsum(scale * rng.normal(size=(*shape, FRAMES)), axis=-1)
            for name, shape in {"conv.weight": (8, 8), "out.weight": (4, 8)}.items()
        }
        frames["dead.weight"] = np.zeros((2, 2, FRAMES))
        if bad is not None:
            frames["conv.weight"][..., FRAMES // 2 :] = bad
        return str(
            make(
                f"run-{rate}-{batch}-{seed}.zarr",
                parameters=frames,
                hyperparameters={"learning_rate": rate, "batch_size": batch, "seed": seed},
                scalars={},
                chunk_steps=128,
                status=status,
            )
        )

    return write


def by_group(answer: xr.Dataset, group: str, coefficient: str) -> dict[str, float]:
    one = answer.isel(group=answer["group"].values.tolist().index(group)).sel(coefficient=coefficient)
    return {name: one[name].item() for name in ("value", "low", "high", "standard_error")}


def test_the_exponent_of_the_learning_rate_is_two(record: Callable[..., str]) -> None:
    sweep = analyzer.open_sweep([record(rate, seed=seed) for rate in RATES for seed in range(3)])
    with np.errstate(all="ignore"):
        answer = sweep.thermo.fit(against="learning_rate", model="power", alternatives=["square", "linear"])
    for group in ("conv", "out"):
        b = by_group(answer, group, "b")
        assert b["low"] < 2 < b["high"]
        assert b["high"] - b["low"] < 0.1
        a = by_group(answer, group, "a")
        np.testing.assert_allclose(a["value"], 0.5 / 32, rtol=0.3)
    place = answer["group"].values.tolist().index("dead")
    assert answer["value"].values[place].tolist() != answer["value"].values[place].tolist(), "NaN"
    assert "with T <= 0" in answer["notes"].values[place]
    assert answer["intervals"].values[:2].tolist() == ["per-seed"] * 2
    p = answer["p_value"].values[:2]
    assert (p[:, answer["hypothesis"].values.tolist().index("b = 2")] > 0.01).all()
    assert (answer["delta_aicc"].sel(alternative="linear").values[:2] > 10).all()
    np.testing.assert_allclose(answer["leverage"].values[:2].sum(axis=1), 2)


def test_the_joint_exponents(record: Callable[..., str]) -> None:
    sweep = analyzer.open_sweep([record(rate, batch) for rate in RATES[:4] for batch in BATCHES[:4]])
    answer = analyzer.fit(sweep, against=["learning_rate", "batch_size"], model="joint", exclude="dead*")
    for name, truth in (("p", 2.0), ("q", 1.0)):
        found = by_group(answer, "conv", name)
        assert found["low"] - 0.05 < truth < found["high"] + 0.05
    p = dict(zip(answer["hypothesis"].values.tolist(), answer["p_value"].values[0].tolist(), strict=True))
    assert p["(p, q) = (1, 1)"] < 1e-6
    assert p["(p, q) = (2, 0)"] < 1e-6
    assert p["(p, q) = (2, 1)"] > 1e-3


def test_a_seed_that_alone_varied_one_of_two_hyperparameters(record: Callable[..., str]) -> None:
    """Three seeds at every rate, one of them at every batch size too: without it q is unknown, so runs are pooled."""
    paths = [record(rate, seed=seed) for rate in RATES for seed in range(3)]
    paths += [record(1e-3, batch, seed=1) for batch in BATCHES[:2]]
    answer = analyzer.fit(
        analyzer.open_sweep(paths), against=["learning_rate", "batch_size"], model="joint", exclude="dead*"
    )
    assert answer["intervals"].values.tolist() == ["pooled"] * 2
    assert "without one of the seeds the others do not determine it" in answer["notes"].values[0]
    assert by_group(answer, "conv", "q")["value"] == pytest.approx(1, abs=0.1)


def test_unfinished_runs_are_left_out_and_counted(record: Callable[..., str]) -> None:
    paths = [record(rate) for rate in RATES] + [record(3e-3, status="interrupted"), record(5e-3, status="running")]
    sweep = analyzer.open_sweep(paths)
    answer = analyzer.fit(sweep, exclude="dead*")
    assert answer["runs"].values.tolist() == [5, 5]
    assert answer["left_out"].values.tolist() == [2, 2]
    assert "2 unfinished (run-0.003-32-0, run-0.005-32-0)" in answer["notes"].values[0]
    assert np.isnan(answer["fitted"].values[0, 5:]).all()
    assert analyzer.fit(sweep, exclude="dead*", unfinished=True)["runs"].values.tolist() == [7, 7]


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_run_that_diverged_leaves_the_fit_by_name_and_changes_nothing_else(
    record: Callable[..., str], bad: float
) -> None:
    paths = [record(rate, seed=seed) for rate in RATES for seed in range(3)]
    options = {"intervals": "weighted", "exclude": "dead*"}
    truth = analyzer.fit(analyzer.open_sweep(paths), **options)
    diverged = record(7e-2, bad=bad)
    with pytest.warns(analyzer.NonFiniteWarning, match=r"^run-0\.07-32-0: conv\.weight: NaN or infinite weights from"):
        answer = analyzer.fit(analyzer.open_sweep([*paths, diverged]), **options)
    place = answer["group"].values.tolist().index("conv")
    assert answer["left_out"].values[place] == 1
    assert "left out: 1 not finite (run-0.07-32-0)" in answer["notes"].values[place]
    for name in ("value", "low", "high", "intervals"):
        np.testing.assert_array_equal(answer[name].values[place], truth[name].values[place])


def test_against_the_inverse_of_the_batch_size(record: Callable[..., str]) -> None:
    paths = [record(1e-3, batch, seed=1) for batch in BATCHES]
    answer = analyzer.fit(analyzer.open_sweep(paths), against="inverse_batch_size", model="linear", exclude="dead*")
    np.testing.assert_allclose(by_group(answer, "conv", "a")["value"], 0.5e-6, rtol=0.05)
    inverse = analyzer.fit(analyzer.open_sweep(paths), against="batch_size", model="inverse_power", exclude="dead*")
    assert by_group(inverse, "conv", "q")["value"] == pytest.approx(1, abs=0.05)


def test_bad_input_is_named(record: Callable[..., str], make: Callable[..., Path]) -> None:
    one = analyzer.open_run(record(1e-3))
    with pytest.raises(errors.FitError, match="expected a sweep, got a single run"):
        one.thermo.fit()
    few = analyzer.open_sweep([record(rate) for rate in RATES[:3]])
    with pytest.raises(errors.FitError, match=r"expected at least 5 runs for 2 coefficient\(s\), got 3"):
        few.thermo.fit(exclude="dead*")
    same = analyzer.open_sweep([record(1e-3, seed=seed) for seed in range(5)])
    with pytest.raises(errors.FitError, match="expected runs that differ in it, got 5 runs at 0.001"):
        same.thermo.fit(exclude="dead*")
    few = analyzer.open_sweep([record(rate) for rate in RATES[:3]])  # one of its stores was recorded anew
    with pytest.raises(errors.SweepError, match="'momentum': expected one that the runs recorded"):
        few.thermo.fit(against="momentum")
    with pytest.raises(errors.SweepError, match="got several. Name each by itself, as in --against learning_rate"):
        few.thermo.fit(against="learning_rate,batch_size")
    with pytest.raises(errors.FitError, match=r"model joint: expected 2 hyperparameter\(s\), got 1"):
        few.thermo.fit(model="joint")
    with pytest.raises(errors.FitError, match="expected one window a run, got 6"):
        few.thermo.fit(window=100, exclude="dead*")


def test_the_recorded_rate_must_be_that_of_the_attributes(record: Callable[..., str]) -> None:
    paths = [record(rate) for rate in RATES]
    sweep = analyzer.open_sweep(paths)
    first = sweep["run"].values[0]
    rates = xr.DataArray(np.full((FRAMES, 1), 1e-3), dims=("step", "param_group"))
    rates[FRAMES // 2 :] = 1e-4
    sweep[first]["learning_rate"] = rates
    with pytest.raises(errors.FitError, match=r"expected the learning rate 0.001 .* got recorded rates from 0.0001 to"):
        analyzer.fit(sweep, exclude="dead*")
    assert analyzer.fit(sweep, exclude="dead*", stop=FRAMES // 2 - 1)["runs"].values.tolist() == [5, 5]


def test_the_shell_says_the_same(record: Callable[..., str], tmp_path: Path) -> None:
    paths = [record(rate, seed=seed) for rate in RATES for seed in range(3)]
    answer = analyzer.fit(analyzer.open_sweep(paths), exclude="dead*")
    pattern = str(tmp_path / "run-*.zarr")
    done = invoke("fit", pattern, "--exclude", "dead*", "--format", "json", "--compare", "square")
    assert done.exit_code == 0, done.stderr
    document = json.loads(done.stdout)
    assert [r["value"] for r in document["records"]] == answer["value"].values.reshape(-1).tolist()
    assert document["records"][1]["layer"] == "conv"
    assert set(document["delta_aicc"]["conv"]) == {"power", "square"}
    assert len(document["points"]) == 2 * 15
    table = invoke("fit", pattern, "--exclude", "dead*", "--plot", tmp_path / "fit.png")
    assert table.exit_code == 0, table.stderr
    assert "p(b = 2) = " in table.stdout
    assert (tmp_path / "fit.png").stat().st_size > 10_000
    for suffix in ("csv", "nc", "parquet"):
        written = invoke("fit", pattern, "--exclude", "dead*", "--output", tmp_path / f"fit.{suffix}")
        assert written.exit_code == 0, written.stderr
    with xr.open_dataset(tmp_path / "fit.nc", engine="h5netcdf") as back:
        np.testing.assert_array_equal(back["value"], answer["value"])


def test_refusals_in_the_shell_are_one_line(record: Callable[..., str]) -> None:
    done = invoke("fit", record(1e-3))
    assert done.exit_code == 1
    assert done.stderr.startswith("Error: ")
    assert done.stderr.count("\n") == 1
