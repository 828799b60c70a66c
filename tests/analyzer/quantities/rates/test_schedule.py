"""The learning rate as part of the physics: oracles under schedules, from recorded rates."""

from __future__ import annotations

import io
import json
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr

import analyzer
from analyzer import errors
from analyzer.plots import temperature as plots
from analyzer.tree import trajectory
from tests import oracles
from tests.analyzer.scheduled import COSINE, NOISE, STIFFNESS, Make, recorded, scheduled
from tests.analyzer.shell import invoke
from tests.stores import segment

STEPS = np.repeat([0.1, 0.02, 0.004], 3000)


def test_a_step_schedule_has_a_window_for_each_rate(make: Make) -> None:
    """T = η²C/(2 − ηh) in each stretch, from its equilibrium on: 3/(ηh) steps after the step, at most 375."""
    run = analyzer.open_run(scheduled(make, STEPS))
    answer = run.thermo.temperature(window="rate", start="auto", per="eta2").compute()
    assert answer["learning_rate"].values.tolist() == [[0.1, 0.02, 0.004]]
    assert answer["stop_step"].values.tolist() == [3000, 6000, 9000]
    assert set(answer["remark"].values[0]) == {""}
    assert answer["temperature_per_eta2"].attrs["units"] == "weight^2 step^-2 learning_rate^-2"
    for n, rate in enumerate((0.1, 0.02, 0.004)):
        truth = oracles.sgd_temperature(rate, STIFFNESS, NOISE)
        assert answer["temperature"].values[0, n] == pytest.approx(
            truth, abs=3.5 * answer["standard_error"].values[0, n]
        )
        assert answer["temperature_per_eta2"].values[0, n] == pytest.approx(
            NOISE / (2 - rate * STIFFNESS), abs=3.5 * answer["temperature_per_eta2_error"].values[0, n]
        )
    equilibrium = run.thermo.equilibration()
    assert equilibrium["start_step"].values.tolist() == [0, 3000, 6000]
    assert set(equilibrium["verdict"].values.reshape(-1)) == {"stationary"}
    for n, begin in enumerate((0, 3000, 6000)):
        assert begin <= equilibrium["equilibrium_step"].values[0, n] <= begin + 1000


def test_start_auto_takes_the_last_stretch_and_says_where_it_ends(make: Make) -> None:
    run = analyzer.open_run(scheduled(make, STEPS))
    answer = run.thermo.temperature(start="auto")
    assert 6000 <= answer["start_step"].item() < 7500
    falling = np.concatenate([np.repeat(0.1, 3000), np.geomspace(0.1, 1e-4, 800)])
    other = analyzer.open_run(scheduled(make, falling, "falling.zarr"))
    with pytest.warns(errors.SettingsWarning, match=r"up to step 3800, got changes after step 3001.* --window rate"):
        answer = other.thermo.temperature(start="auto")
    assert answer["stop_step"].item() == 3001


def test_constant_rates_divide_rows_and_lags_too(make: Make) -> None:
    run = analyzer.open_run(scheduled(make, np.repeat(0.1, 2000)))
    for options in ({"by": "row"}, {"lag": 5}, {"lag": [1, 2, 5]}, {"convention": "md"}, {"remove_drift": True}):
        answer = run.thermo.temperature(per="eta2", **options).compute()
        np.testing.assert_allclose(answer["temperature_per_eta2"], answer["temperature"] / 0.01, rtol=1e-12)
        np.testing.assert_allclose(answer["temperature_per_eta2_error"], answer["standard_error"] / 0.01, rtol=1e-12)


def test_each_parameter_group_has_its_own_rate(make: Make) -> None:
    """Two groups of one layer, one constant and one under a schedule: T/η² of the layer is the mean over weights."""
    rng = np.random.default_rng(7)
    constant, falling = np.repeat(0.05, 3000), np.geomspace(0.1, 0.01, 3000)
    weight = oracles.scheduled_sgd(rng, 40, constant, STIFFNESS, NOISE).reshape(4, 10, -1)
    bias = oracles.scheduled_sgd(rng, 20, falling, STIFFNESS, NOISE)
    groups = [{"lr": 0.05, "parameters": ["a.weight"]}, {"lr": 0.1, "parameters": ["a.bias"]}]
    path = make(
        parameters={"a.weight": weight, "a.bias": bias},
        scalars={"learning_rate": np.concatenate([recorded(constant), recorded(falling)], axis=1)},
        segments=[segment(0, 0, optimizer=[{"class": "torch.optim.sgd.SGD", "groups": groups}], stride=1)],
        chunk_steps=256,
    )
    run = analyzer.open_run(path)
    by = run.thermo.temperature(by="parameter", per="eta2").compute()
    assert by["learning_rate"].values[0, 0] == 0.05
    assert np.isnan(by["learning_rate"].values[1, 0])
    assert by["remark"].values[:, 0].tolist() == ["", "η changes ×10 within this window"]
    exact = [
        (oracles.scheduled_temperature(rates, STIFFNESS, NOISE) / rates**2).mean() for rates in (constant, falling)
    ]
    for n in range(2):
        bar = by["temperature_per_eta2_error"].values[n, 0]
        assert by["temperature_per_eta2"].values[n, 0] == pytest.approx(exact[n], abs=3.5 * bar)
    layer = run.thermo.temperature(per="eta2").compute()
    np.testing.assert_allclose(
        layer["temperature_per_eta2"].item(), by["temperature_per_eta2"].values[:, 0] @ [40, 20] / 60, rtol=1e-9
    )
    rows = run.thermo.temperature(by="row", per="eta2").compute()
    assert rows["learning_rate"].values[:, 0].tolist() == [0.05] * 4


def test_a_figure_has_the_rate_below_and_the_resumptions_above(make: Make) -> None:
    run = analyzer.open_run(scheduled(make, np.repeat([0.1, 0.02], 600)))
    figure = plots.temperature(run.thermo.temperature(window=100).load(), (700,), trajectory(run).line)
    above, below = figure.axes
    assert above.lines[-1].get_xdata()[0] == 700
    (legend,) = figure.legends or [above.get_legend()]
    assert legend.get_texts()[-1].get_text() == "resumed"
    assert below.get_ylabel() == "learning rate η"
    assert set(below.lines[0].get_ydata()) == {0.1, 0.02}


def test_a_tree_that_was_modified_has_its_own_rates(make: Make) -> None:
    run = analyzer.open_run(scheduled(make, STEPS))
    stored = run.thermo.temperature(window="rate", per="eta2").compute()
    doubled = (run * 1.0).thermo.temperature(window="rate", per="eta2").compute()
    for name in ("learning_rate", "temperature_per_eta2", "start_step"):
        np.testing.assert_allclose(doubled[name], stored[name], rtol=1e-9)
    cut = run.isel(step=slice(0, 4000)).thermo.temperature(window="rate")
    assert cut["stop_step"].values.tolist() == [3000, 3999]


def test_in_the_shell(make: Make, tmp_path: Path) -> None:
    path = scheduled(make, STEPS)
    table = invoke("temperature", path, "--window", "rate", "--start", "auto", "--per-eta2")
    assert table.exit_code == 0, table.output
    assert "T/η² ± standard error" in table.stdout
    assert "T/η² expected: C/(2 − ηh): 0.5 C where ηh is small" in table.stdout
    assert "remark" not in table.stdout
    whole = invoke("temperature", path)
    assert "η changes ×25 within this window" in whole.stdout
    (record,) = json.loads(invoke("temperature", path, "--format", "json").stdout)["records"]
    assert record["learning_rate"] is None
    assert record["remark"] == "η changes ×25 within this window"
    csv = pd.read_csv(io.StringIO(invoke("temperature", path, "--window", "rate", "--format", "csv").stdout))
    assert csv["learning_rate"].tolist() == [0.1, 0.02, 0.004]
    for n, options in enumerate(((), ("--window", 500), ("--window", "rate", "--per-eta2"), ("--by", "row"))):
        picture = tmp_path / f"{n}.png"
        done = invoke("temperature", path, *options, "--plot", picture)
        assert done.exit_code == 0, done.output
        assert picture.stat().st_size > 10_000
    file = tmp_path / "t.nc"
    assert invoke("temperature", path, "--per-eta2", "--output", file).exit_code == 0
    with xr.open_dataset(file, engine="h5netcdf") as read:
        assert read["remark"].values.tolist() == [["η changes ×25 within this window"]]
    smooth = scheduled(make, COSINE, "cosine.zarr")
    refused = invoke("temperature", smooth, "--start", "auto")
    assert refused.exit_code == 1
    assert refused.stderr.count("\n") == 1
    assert "--start 50% --per-eta2" in refused.stderr
    told = invoke("equilibration", smooth, "--plot", tmp_path / "none.png")
    assert told.exit_code == 0, told.output
    assert "Warning: there is no equilibrium: η changes ×" in told.stderr
    assert told.stdout.startswith("No stretch of constant settings"), "one sentence, no table of dashes"
    assert told.stdout.count("\n") == 1
    assert "--per-eta2 --window 700" in told.stdout, "an eighth of 6,000 steps"
    table = invoke("temperature", smooth, "--per-eta2", "--window", 1000).stdout
    assert "T/η² unreliable" in table.splitlines()[1], "it differs from the flag of T, so it is shown"
    assert invoke("equilibration", path, "--plot", tmp_path / "three.png").exit_code == 0


def test_a_sweep_keeps_the_hyperparameter_and_gives_the_recorded_rate_beside_it(make: Make) -> None:
    paths = [
        scheduled(make, np.repeat(rate, 300), f"{rate}.zarr", hyperparameters={"learning_rate": rate})
        for rate in (0.1, 0.2)
    ]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        answer = analyzer.open_sweep(paths).thermo.temperature()
    assert answer["learning_rate"].values.tolist() == [0.1, 0.2]
    assert answer["recorded_learning_rate"].values.reshape(-1).tolist() == [0.1, 0.2]
