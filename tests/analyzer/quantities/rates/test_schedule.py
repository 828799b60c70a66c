"""The learning rate as part of the physics: oracles under schedules, from recorded rates."""

from __future__ import annotations

import io
import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr

import analyzer
from analyzer import errors
from analyzer.plots import temperature as plots
from analyzer.query.settings import constant_stretches
from analyzer.tree import trajectory
from tests import oracles
from tests.analyzer.shell import invoke
from tests.stores import edit_root, segment

STIFFNESS, NOISE = 2.0, 1.0
Make = Callable[..., Path]


def sgd(**group: Any) -> list[dict[str, Any]]:
    return [{"class": "torch.optim.sgd.SGD", "defaults": {}, "groups": [{"lr": 0.1, **group}]}]


def recorded(rates: np.ndarray) -> np.ndarray:
    """The array `learning_rate` of updates at given rates: frame 0 has none."""
    return np.concatenate([[np.nan], rates])[:, np.newaxis]


def scheduled(make: Make, rates: np.ndarray, name: str = "run.zarr", weights: int = 60, **more: Any) -> Path:
    frames = oracles.scheduled_sgd(np.random.default_rng(4), weights, rates, STIFFNESS, NOISE)
    given: dict[str, Any] = {
        "parameters": {"a.weight": frames.reshape(6, weights // 6, -1)},
        "scalars": {"learning_rate": recorded(rates)},
        "segments": [segment(0, 0, optimizer=sgd(), hyperparameters={}, stride=more.get("stride", 1))],
        "chunk_steps": 256,
    }
    return make(name, **(given | more))


STEPS = np.repeat([0.1, 0.02, 0.004], 3000)
COSINE = 0.1 * 0.5 * (1 + np.cos(np.pi * np.arange(6000) / 6000)) + 1e-5
ONE_CYCLE = np.concatenate([np.linspace(0.004, 0.1, 1800), 1e-5 + 0.05 * (1 + np.cos(np.pi * np.arange(4200) / 4200))])


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


@pytest.mark.parametrize(("name", "rates"), [("cosine", COSINE), ("one cycle", ONE_CYCLE)])
def test_a_smooth_schedule_has_no_constant_stretch_and_t_over_eta2_its_predicted_mean(
    make: Make, name: str, rates: np.ndarray
) -> None:
    run = analyzer.open_run(scheduled(make, rates))
    equilibrium = run.thermo.equilibration()
    assert set(equilibrium["verdict"].values[:, 0]) == {"undecided"}
    assert np.isnan(equilibrium["equilibrium_step"].values).all()
    factor = rates.max() / rates.min()
    expected = f"η changes ×{factor:.3g}: no stretch of 256 steps has constant settings"
    assert set(equilibrium["reason"].values[:, 0]) == {expected}
    with pytest.raises(errors.WindowError, match=r"--start auto: expected a stretch with constant settings, got none"):
        run.thermo.temperature(start="auto")
    with pytest.raises(errors.WindowError, match=r"--window rate: expected a stretch of at least 256 steps"):
        run.thermo.temperature(window="rate")
    answer = run.thermo.temperature(per="eta2").compute()
    assert answer["remark"].item() == f"η changes ×{factor:.3g} within this window"
    assert np.isnan(answer["learning_rate"].item())
    assert answer["learning_rate_change"].item() == pytest.approx(factor)
    exact = (oracles.scheduled_temperature(rates, STIFFNESS, NOISE) / rates**2).mean()
    found, error = answer["temperature_per_eta2"].item(), answer["temperature_per_eta2_error"].item()
    assert found == pytest.approx(exact, abs=3.5 * error)
    assert error < 0.03 * found
    assert exact == pytest.approx((NOISE / (2 - rates * STIFFNESS)).mean(), rel=0.02), "a slow schedule's bias is small"
    in_parts = run.thermo.temperature(per="eta2", window=1000).compute()
    for n in range(6):
        part = slice(1000 * n, 1000 * (n + 1))
        truth = (oracles.scheduled_temperature(rates, STIFFNESS, NOISE) / rates**2)[part].mean()
        bar = in_parts["temperature_per_eta2_error"].values[0, n]
        assert in_parts["temperature_per_eta2"].values[0, n] == pytest.approx(truth, abs=4 * bar)
    rows = run.thermo.temperature(by="row", per="eta2").compute()
    assert rows["temperature_per_eta2"].isnull().all(), "a row has no series"


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


def test_momentum_that_moves_is_a_remark_and_cuts_stretches(make: Make) -> None:
    momentum = np.full(1201, np.nan)
    momentum[601:] = 0.5
    path = scheduled(
        make, np.repeat(0.1, 1200),
        scalars={"learning_rate": recorded(np.repeat(0.1, 1200)), "param_group%2F0%2Fmomentum": momentum},
        segments=[segment(0, 0, optimizer=sgd(momentum=0.9), stride=1)],
    )  # fmt: skip

    def named(document: dict[str, Any]) -> None:
        nodes = document["consolidated_metadata"]["metadata"]
        nodes["param_group%2F0%2Fmomentum"]["attributes"]["name"] = "param_group/0/momentum"

    edit_root(path, named)
    run = analyzer.open_run(path)
    answer = run.thermo.temperature(per="eta2").compute()
    assert answer["remark"].item() == "momentum changes from 0.5 to 0.9 within this window"
    assert answer["expectation"].item() == "no expectation: momentum changes within the window"
    by_rate = run.thermo.temperature(window="rate").compute()
    assert by_rate["start_step"].values.tolist() == [0, 600]
    assert by_rate["stop_step"].values.tolist() == [600, 1200]


def test_the_range_of_a_stride_leaves_the_first_displacement_of_a_stretch_out(make: Make) -> None:
    """With a stride nobody knows where between two frames the rate changed."""
    rates = np.repeat([0.1, 0.02], 400)
    path = scheduled(make, rates, steps=np.arange(801) * 5, stride=5)
    answer = analyzer.open_run(path).thermo.temperature(window="rate").compute()
    assert answer["start_step"].values.tolist() == [0, 2005]
    assert answer["stop_step"].values.tolist() == [2000, 4000]


def test_stretches_of_constant_settings_within_one_spacing_of_an_uneven_run(make: Make) -> None:
    """Frames 0 to 600 of every step, then of every fifth: the rate changes at step 1,300 and again at step 2,600."""
    steps = np.concatenate([np.arange(601), 600 + 5 * np.arange(1, 681)])
    rates = np.where(steps[1:] <= 1300, 0.1, np.where(steps[1:] <= 2600, 0.02, 0.004))
    said = {"optimizer": sgd(), "hyperparameters": {}}
    segments = [segment(0, 0, **said, stride=1), segment(601, 605, True, **said, stride=5)]
    run = analyzer.open_run(scheduled(make, rates, steps=steps, segments=segments))
    with pytest.raises(errors.WindowError, match=r"equal spacing for --window rate.*--start"):
        run.thermo.temperature(window="rate")
    answer = run.thermo.temperature(window="rate", start=600).compute()
    assert answer["start_step"].values.tolist() == [600, 1305, 2605]
    assert answer["stop_step"].values.tolist() == [1300, 2600, 4000]
    assert answer["learning_rate"].values.tolist() == [[0.1, 0.02, 0.004]]
    whole = run.thermo.temperature(per="eta2").compute()
    assert whole["steps_per_lag"].values.tolist() == [1, 5]
    assert whole["learning_rate"].values[0, 0] == 0.1
    assert np.isnan(whole["learning_rate"].values[0, 1])
    assert whole["remark"].values[0].tolist() == ["", "η changes ×25 within this window"]
    assert np.isfinite(whole["temperature_per_eta2"].values[0, 0])
    found = run.thermo.equilibration(start=600)
    assert found["start_step"].values.tolist() == [600, 1305, 2605]
    assert found.sel(group="temperature a")["inefficiency"].values.min() >= 5
    with pytest.raises(errors.WindowError, match="equal spacing for a search for equilibrium"):
        run.thermo.equilibration()


def test_another_stride_alone_is_no_other_setting(make: Make) -> None:
    steps = np.concatenate([np.arange(601), 600 + 5 * np.arange(1, 201)])
    said = {"optimizer": sgd(), "hyperparameters": {}}
    segments = [segment(0, 0, **said, stride=1), segment(601, 605, True, **said, stride=5)]
    run = analyzer.open_run(scheduled(make, np.repeat(0.1, 800), steps=steps, segments=segments))
    line = trajectory(run).line
    assert line.changes
    assert constant_stretches(line) == [(0, 1600)]


def test_a_figure_has_the_rate_below_and_the_resumptions_above(make: Make) -> None:
    run = analyzer.open_run(scheduled(make, np.repeat([0.1, 0.02], 600)))
    figure = plots.temperature(run.thermo.temperature(window=100).load(), (700,), trajectory(run).line)
    above, below = figure.axes
    assert above.lines[-1].get_xdata()[0] == 700
    (legend,) = figure.legends or [above.get_legend()]
    assert legend.get_texts()[-1].get_text() == "resumed"
    assert below.get_ylabel() == "learning rate η"
    assert set(below.lines[0].get_ydata()) == {0.1, 0.02}


def test_without_a_recorded_rate_the_hyperparameter_stands_in(make: Make) -> None:
    frames = {"a.weight": oracles.random_walk(np.random.default_rng(8), 12, 900, 0.1).reshape(3, 4, -1)}
    path = make(parameters=frames, scalars={}, hyperparameters={"learning_rate": 0.1}, chunk_steps=64)
    answer = analyzer.open_run(path).thermo.temperature(per="eta2").compute()
    assert answer["learning_rate"].item() == 0.1
    assert answer["temperature_per_eta2"].item() == pytest.approx(0.5, rel=0.2)
    bare = analyzer.open_run(make("bare.zarr", parameters=frames, scalars={}, chunk_steps=64))
    with pytest.raises(errors.OptionError, match="--per-eta2: expected a learning rate, recorded or among"):
        bare.thermo.temperature(per="eta2")
    assert np.isnan(bare.thermo.temperature()["learning_rate"].item())
    with pytest.raises(errors.OptionError, match="per: expected 'eta2' or None"):
        bare.thermo.temperature(per="eta")


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
