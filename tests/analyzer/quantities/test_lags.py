"""Several lags in one pass: T(L), b(L), q(L)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import analyzer
from analyzer import errors
from analyzer.engine import frames as frames_module
from analyzer.quantities.temperature import temperature_of
from analyzer.query.query import Query
from analyzer.store import reading
from tests.analyzer.shell import invoke
from tests.stores import write_store

LAGS = [1, 2, 7, 40, "epoch"]


def write(path: Path, frames: int = 700, **options: Any) -> Path:
    """White velocities of variance 4e-6, in epochs of 90 steps."""
    rng = np.random.default_rng(3)
    walk = {
        "conv.lin.weight": np.cumsum(2e-3 * rng.normal(size=(6, 5, frames)), axis=-1).astype(np.float32),
        "conv.bias": np.cumsum(2e-3 * rng.normal(size=(6, frames)), axis=-1).astype(np.float32),
    }
    epoch = np.maximum(np.ceil(np.arange(frames) / 90) - 1, 0)
    return write_store(path, walk, scalars={"epoch": epoch}, **({"chunk_steps": 64} | options))


@pytest.mark.parametrize(
    ("by", "cache", "span"),
    [
        ("layer", False, None),
        ("layer", "empty", (13, 655)),
        ("layer", "kept", None),
        ("row", "empty", None),
        ("row", "kept", (13, 655)),
        ("element", False, (13, 655)),
    ],
)
def test_each_lag_is_bit_for_bit_what_it_is_alone(tmp_path, monkeypatch, by, cache, span):
    monkeypatch.setattr("analyzer.engine.plan.SPAN_FRAMES", 64)
    monkeypatch.setattr("analyzer.engine.plan.KEPT_FRAMES", 256)
    run = analyzer.open_run(write(tmp_path / "run.zarr"))
    options: Any = {"by": by, "cache": cache is not False}
    if span:
        options |= {"start": span[0], "stop": span[1]}
    if cache == "kept":
        analyzer.temperature(run, by=by).compute()
    together = analyzer.temperature(run, lag=LAGS, **options).compute()
    assert together["lag"].values.tolist() == ["1", "2", "7", "40", "epoch"]
    assert together["steps_per_lag"].values.tolist() == [1, 2, 7, 40, 90]
    for n, lag in enumerate(LAGS):
        alone = analyzer.temperature(run, lag=lag, **options | {"cache": False}).compute()
        for name, values in alone.data_vars.items():
            found = together[name] if name == "weights" else together[name].isel(lag=n)
            np.testing.assert_array_equal(found.values, values.values, err_msg=f"{name} at lag {lag}")
        np.testing.assert_array_equal(together["left_out"].isel(lag=n), alone["left_out"])


@pytest.mark.parametrize("by", ["layer", "row"])
def test_every_chunk_is_decoded_once_for_all_lags(tmp_path, monkeypatch, by):
    monkeypatch.setattr("analyzer.engine.plan.SPAN_FRAMES", 64)
    monkeypatch.setattr("analyzer.engine.plan.KEPT_FRAMES", 256)
    seen: list[tuple[str, int]] = []

    def counted(source: Any, region: Any) -> Any:
        seen.extend((source.path, chunk) for chunk in range(region[-1][0] // 64, -(-region[-1][1] // 64)))
        return reading.read(source, region)

    run = analyzer.open_run(write(tmp_path / "run.zarr"))
    monkeypatch.setattr(frames_module, "read", counted)
    lazy = analyzer.temperature(run, by=by, lag=LAGS, cache=False)
    assert not seen
    lazy.compute(scheduler="synchronous")
    assert len(seen) == len(set(seen)) == (2 if by == "layer" else 1) * 11
    seen.clear()
    analyzer.temperature(run, by=by, lag=40, cache=False).compute(scheduler="synchronous")
    assert len(seen) == len(set(seen)), "nor does one lag decode more"


def test_white_velocities_have_a_temperature_in_proportion_to_the_lag(tmp_path):
    """Independent steps of variance σ²: T(L) = ½ L σ², for any L."""
    run = analyzer.open_run(write(tmp_path / "run.zarr", frames=6000))
    found = analyzer.temperature(run, by="model", lag=[1, 3, 10, 30]).compute().isel(group=0, window=0)
    truth = 0.5 * found["steps_per_lag"] * 4e-6
    assert (abs(found["temperature"] - truth) < 4 * found["standard_error"]).all()
    assert found["temperature"].attrs["units"] == "weight^2 lag^-2"


def test_modified_trees_and_masses_answer_as_lag_by_lag(tmp_path):
    run = analyzer.open_run(write(tmp_path / "run.zarr"))
    other = run.isel(step=slice(5, 400)) * 2
    for tree in (run, other):
        together = analyzer.temperature(tree, by="model", lag=[1, 7], mass=3.0, convention="md").compute()
        for n, lag in enumerate([1, 7]):
            alone = analyzer.temperature(tree, by="model", lag=lag, mass=3.0, convention="md")
            np.testing.assert_array_equal(together["temperature"].isel(lag=n), alone["temperature"])


def test_memory_is_projected_for_all_lags_together(tmp_path):
    run = analyzer.open_run(write(tmp_path / "run.zarr"))
    one = temperature_of(run, Query(lag=7))[1][0].plan.memory(2)
    with pytest.raises(errors.MemoryLimitError) as caught:
        temperature_of(run, Query(lags=[7, 9], workers=2, memory_limit=1000))
    assert one < caught.value.needed < 2 * one


@pytest.mark.parametrize(
    ("lags", "error", "text"),
    [
        ([1, 1], errors.OptionError, "expected different lags, got 1, 1"),
        ([], errors.OptionError, "expected different lags, got none"),
        ([1, 5000], errors.WindowError, "Lag 5000"),
        ([1, 0], errors.WindowError, "lag"),
    ],
)
def test_lags_that_cannot_be_are_refused_before_anything_is_read(tmp_path, lags, error, text):
    run = analyzer.open_run(write(tmp_path / "run.zarr"))
    with pytest.raises(error, match=text):
        analyzer.temperature(run, lag=lags)


def test_a_kept_run_without_its_trajectory_answers_the_lags_that_it_can(tmp_path):
    path = write(tmp_path / "run.zarr")
    alone = analyzer.temperature(analyzer.open_run(path), lag="epoch").compute()
    kept = analyzer.open_run(f"{path}.moments")
    both = analyzer.temperature(kept, lag=[1, "epoch"]).compute()
    np.testing.assert_array_equal(both["temperature"].isel(lag=1), alone["temperature"])
    np.testing.assert_array_equal(both["temperature_half_phase"].isel(lag=1), alone["temperature_half_phase"])
    with pytest.raises(errors.TrajectoryMissingError):
        analyzer.temperature(kept, lag=[1, 7])


def test_in_the_shell(tmp_path):
    path = write(tmp_path / "run.zarr")
    picture = tmp_path / "lags.png"
    done = invoke("temperature", path, "--lag", "1, 7,epoch", "--format", "json", "--plot", picture)
    assert done.exit_code == 0, done.output
    records = json.loads(done.stdout)["records"]
    assert [(r["layer"], r["lag"], r["steps_per_lag"]) for r in records] == [
        ("conv", "1", 1),
        ("conv", "7", 7),
        ("conv", "epoch", 90),
    ]
    assert [r["temperature_half_phase"] is None for r in records] == [True, True, False]
    assert picture.stat().st_size > 5000
    refused = invoke("temperature", path, "--lag", "1,7", "--window", 100, "--plot", picture)
    assert refused.exit_code == 1
    assert "--plot: expected one window where there are several lags, got 7" in refused.stderr
    shown = invoke("temperature", path, "--lag", "1,7").stdout
    assert "lag" in shown.splitlines()[1].split()
    assert "temperature in weight^2 lag^-2, convention paper" in shown
    assert "--lag" in invoke("velocity", path, "--lag", "1,7").stderr
    assert invoke("velocity", path, "--lag", "1,7").exit_code == 2
    assert invoke("temperature", path, "--lag", "1,x").exit_code == 2


def record(path: Path, rate: float, seed: int, **options: Any) -> Path:
    """Independent steps of scale rate: T(L) = ½ L rate² to statistics, so b(L) = 2 at every lag."""
    rng = np.random.default_rng([seed, int(1e6 * rate)])
    walk = {"out.weight": np.cumsum(rate * rng.normal(size=(8, 20, 500)), axis=-1)}
    hyperparameters = {"learning_rate": rate, "seed": seed}
    place = path / f"run-{rate}-{seed}.zarr"
    return write_store(place, walk, hyperparameters=hyperparameters, chunk_steps=128, **options)


def test_an_exponent_at_lag_epoch_stands_at_both_phases(tmp_path):
    """Independent steps have no phase: b = 2 from end to end of an epoch and from middle to middle alike."""
    epoch = np.maximum(np.ceil(np.arange(500) / 20) - 1, 0)
    paths = [
        record(tmp_path, rate, seed, scalars={"epoch": epoch}) for rate in (1e-3, 2e-3, 4e-3, 8e-3) for seed in range(3)
    ]
    sweep = analyzer.open_sweep(paths)
    found = sweep.thermo.fit(against="learning_rate", model="power", lag=[1, "epoch"])
    assert found["lag"].values.tolist() == ["1", "epoch", "epoch, half phase"]
    assert found["steps_per_lag"].values[:, 0].tolist() == [1, 20, 20]
    by_run = sweep.thermo.temperature(lag="epoch").isel(window=0).transpose("group", "run")
    for name, n in (("temperature", 1), ("temperature_half_phase", 2)):
        np.testing.assert_array_equal(found["temperature"].isel(lag=n).values, by_run[name].values)
        b = found.sel(coefficient="b").isel(lag=n, group=0)
        assert b["low"] < 2 < b["high"]
    assert np.isnan(found["within"].isel(lag=2)).all()
    assert found["value"].isel(lag=1).values.tolist() != found["value"].isel(lag=2).values.tolist()
    done = invoke("fit", *paths, "--lag", "1,epoch", "--format", "json", "--plot", tmp_path / "b.png")
    assert list(json.loads(done.stdout)["lags"]) == ["1", "epoch", "epoch, half phase"]


def test_exponents_against_lag(tmp_path):
    paths = [record(tmp_path, rate, seed) for rate in (1e-3, 2e-3, 4e-3, 8e-3) for seed in range(3)]
    sweep = analyzer.open_sweep(paths)
    found = sweep.thermo.fit(against="learning_rate", model="power", lag=[1, 4])
    assert dict(found["value"].sizes) == {"lag": 2, "group": 1, "coefficient": 2}
    for n, lag in enumerate([1, 4]):
        alone = sweep.thermo.fit(against="learning_rate", model="power", lag=lag)
        for name in ("value", "low", "high", "temperature", "p_value", "runs"):
            np.testing.assert_array_equal(found[name].isel(lag=n), alone[name])
        b = found.sel(coefficient="b").isel(lag=n, group=0)
        assert b["low"] < 2 < b["high"]
        assert b["high"] - b["low"] < 0.2
    assert found["steps_per_lag"].dims == ("lag", "run")
    by_run = sweep.thermo.temperature(lag=[1, 4])
    assert by_run["temperature"].sizes == {"run": 12, "lag": 2, "group": 1, "window": 1}

    picture = tmp_path / "exponents.png"
    done = invoke("fit", *paths, "--lag", "1,4", "--format", "json", "--plot", picture)
    assert done.exit_code == 0, done.output
    lags = json.loads(done.stdout)["lags"]
    assert [row["value"] for row in lags["4"]["records"]] == found["value"].isel(lag=1, group=0).values.tolist()
    assert picture.stat().st_size > 5000
    assert "lag 4: out: T = " in invoke("fit", *paths, "--lag", "1,4").stdout
