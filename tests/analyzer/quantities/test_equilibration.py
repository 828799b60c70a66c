"""Equilibrium of a run: series with a known transient, found within the spacing of the candidates."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from unittest import mock

import numpy as np
import pandas as pd
import pytest
import xarray as xr

import analyzer
from analyzer import errors
from tests.analyzer.shell import invoke
from tests.stores import segment

STEPS, T0 = 4000, 1000
SPACING = STEPS // 100


def walk(rng: np.random.Generator, scale: np.ndarray, *shape: int) -> np.ndarray:
    velocity = rng.normal(size=(*shape, STEPS)) * scale
    return np.concatenate([np.zeros((*shape, 1)), np.cumsum(velocity, axis=-1)], axis=-1)


@pytest.fixture
def settling(make: Callable[..., Path]) -> Path:
    """`hot` cools until step 1,000, `cold` is stationary from the start; the loss falls until step 2,000."""
    rng = np.random.default_rng(0)
    cooling = 1 + 3 * np.maximum(1 - np.arange(STEPS) / T0, 0)
    frames = {"hot.weight": walk(rng, cooling, 6, 6), "cold.weight": walk(rng, np.ones(STEPS), 6, 6)}
    time = np.arange(STEPS + 1)
    loss = 1 + np.maximum(1 - time / 2000, 0) + 0.05 * rng.normal(size=STEPS + 1)
    loss[::7] = np.nan  # logged now and then
    return make(parameters=frames, scalars={"loss": loss}, chunk_steps=512)


@pytest.fixture(autouse=True)
def short_blocks() -> Iterator[None]:
    """Displacements over 50 steps, so that 4,000 hold 80 of them."""
    with mock.patch("analyzer.quantities.tracks.BIN_FRAMES", 50):
        yield


def test_every_series_has_its_own_start(settling: Path) -> None:
    answer = analyzer.open_run(settling).thermo.equilibration()
    assert answer["group"].values.tolist() == [
        *("temperature hot", "temperature cold", "displacement hot", "displacement cold", "loss")
    ]
    start = dict(zip(answer["group"].values.tolist(), answer["equilibrium_step"].values[:, 0].tolist(), strict=True))
    # The last tenth of a cooling by 3 is within the noise: t0 may come early by that much.
    assert T0 - 0.25 * T0 <= start["temperature hot"] <= T0 + 2 * SPACING
    assert start["temperature cold"] <= 5 * SPACING
    assert T0 - 0.4 * T0 <= start["displacement hot"] <= T0 + 100
    assert 1500 <= start["loss"] <= 2000 + 2 * SPACING
    assert set(answer["verdict"].values[:, 0]) == {"stationary"}
    np.testing.assert_allclose(answer["mean"].values[:2, 0], 0.5, rtol=0.05)
    np.testing.assert_allclose(answer["mean"].values[2:4, 0], 50, rtol=0.1)
    assert (answer["n_eff"].values[:2, 0] > 1500).all()


def test_a_run_that_still_drifts_is_called_so(make: Callable[..., Path]) -> None:
    rng = np.random.default_rng(1)
    frames = {"a.weight": walk(rng, np.linspace(1, 2, STEPS), 6, 6)}
    path = make(parameters=frames, scalars={}, chunk_steps=512)
    answer = analyzer.open_run(path).thermo.equilibration()
    assert answer["verdict"].values[0, 0] == "drifting"
    assert answer["drift"].values[0, 0] > 0
    assert answer["p_value"].values[0, 0] < 0.05
    with pytest.warns(errors.EquilibriumWarning, match=r"these still drift: temperature a"):
        analyzer.open_run(path).thermo.temperature(start="auto")


def test_start_auto_is_the_latest_of_all(settling: Path) -> None:
    run = analyzer.open_run(settling)
    latest = int(run.thermo.equilibration()["equilibrium_step"].max())
    answer = run.thermo.temperature(by="row", start="auto").compute()
    assert answer["start_step"].item() == latest
    same = run.thermo.temperature(by="row", start=latest).compute()
    np.testing.assert_array_equal(answer["temperature"], same["temperature"])
    assert run.thermo.velocity_summary(start="auto").compute()["start_step"].item() == latest


def test_long_series_are_averaged_first(settling: Path) -> None:
    run = analyzer.open_run(settling)
    whole = run.thermo.equilibration()
    with mock.patch("analyzer.quantities.tracks._MOST_SAMPLES", 1000):
        binned = run.thermo.equilibration()
    np.testing.assert_allclose(binned["equilibrium_step"], whole["equilibrium_step"], atol=6 * SPACING)
    np.testing.assert_allclose(binned["mean"], whole["mean"], rtol=0.05)
    assert (binned["inefficiency"].values[:2] >= 4).all(), "a bin of four steps is the least that it knows"


def test_gaps_are_left_out(make: Callable[..., Path]) -> None:
    rng = np.random.default_rng(2)
    steps = np.arange(STEPS + 1)
    steps[2000:] += 500
    frames = {"a.weight": walk(rng, np.ones(STEPS), 6, 6)}
    frames["a.weight"][..., 2000:] += 1e6  # what lies behind a gap need not follow from what lies before
    path = make(parameters=frames, steps=steps, scalars={}, segments=[segment(0, 0)], chunk_steps=512)
    answer = analyzer.open_run(path).thermo.equilibration()
    np.testing.assert_allclose(answer["mean"].values[0, 0], 0.5, rtol=0.05)
    assert set(answer["verdict"].values[:, 0]) == {"stationary"}


def test_short_runs_have_nothing_to_say(store: Path) -> None:
    answer = analyzer.open_run(store).thermo.equilibration(stop=30)
    assert answer.sizes["group"] == 0
    assert analyzer.open_run(store).thermo.temperature(start="auto", stop=30).compute()["start_step"].item() == 0


def test_groups_that_divide_parameters_have_no_series(store: Path) -> None:
    with pytest.raises(errors.GroupError, match="expected groups of whole parameters"):
        analyzer.open_run(store).thermo.equilibration(by="row")


def test_start_auto_reaches_the_half_phase_too(make: Callable[..., Path]) -> None:
    rng = np.random.default_rng(3)
    epoch = np.maximum(np.ceil(np.arange(STEPS + 1) / 100) - 1, 0)
    path = make(parameters={"a.weight": walk(rng, np.ones(STEPS), 6, 6)}, scalars={"epoch": epoch}, chunk_steps=512)
    run = analyzer.open_run(path)
    latest = int(run.thermo.equilibration()["equilibrium_step"].max())
    found = run.thermo.temperature(start="auto", lag="epoch").compute()
    same = run.thermo.temperature(start=latest, lag="epoch").compute()
    np.testing.assert_array_equal(found["temperature_half_phase"], same["temperature_half_phase"])
    assert np.isfinite(found["temperature_half_phase"]).all()


COLUMNS = (
    *(
        "quantity",
        "of",
        "units",
        "start_step",
        "stop_step",
        "equilibrium_step",
        "equilibrium_low",
        "equilibrium_high",
        "inefficiency",
        "n_eff",
        "mean",
    ),
    *("drift", "drift_error", "p_value", "verdict", "reason", "statistic", "threshold"),
    *("drift_percent", "drift_percent_low", "drift_percent_high"),
)


@pytest.mark.parametrize("form", ["csv", "json", "netcdf", "parquet"])
def test_the_command_says_what_the_function_says(settling: Path, tmp_path: Path, form: str) -> None:
    output = tmp_path / f"answer.{form}"
    result = invoke("equilibration", settling, "--stop", 3500, "--format", form, "--output", output)
    assert result.exit_code == 0, result.output
    assert result.stderr == f"Wrote {output}\n"
    truth = analyzer.open_run(settling).thermo.equilibration(stop=3500)
    if form == "netcdf":
        with xr.open_dataset(output, engine="h5netcdf") as dataset:
            assert dataset.attrs["quantity"] == "equilibration"
            for name in ("equilibrium_step", "drift", "verdict", "units"):
                np.testing.assert_array_equal(dataset[name], truth[name])
        return
    if form == "json":
        document = json.loads(output.read_text())
        assert (document["quantity"], document["store"]) == ("equilibration", str(settling))
        found = pd.DataFrame(document["records"])
    else:
        found = pd.read_csv(output) if form == "csv" else pd.read_parquet(output)
    assert tuple(found.columns) == COLUMNS
    assert found["quantity"].tolist() == ["temperature", "temperature", "displacement", "displacement", "loss"]
    for name in ("equilibrium_step", "n_eff", "drift", "p_value"):
        np.testing.assert_allclose(found[name].to_numpy(dtype=float), truth[name].values[:, 0], rtol=1e-12)
    assert found["verdict"].tolist() == truth["verdict"].values[:, 0].tolist()


def test_the_table_and_its_options(settling: Path, tmp_path: Path) -> None:
    table = invoke("equilibration", settling, "--layer", "cold", "--no-cache").stdout
    assert "\n\nequilibration, steps 0 to " in table, "no units and no lag: each series has its own"
    assert "hot" not in table
    assert "stationary" in table
    own = invoke("equilibration", settling, "--group", "all=*", "--loss", "nothing")
    assert own.exit_code == 1
    assert "--loss: expected a logged scalar of" in own.stderr
    assert "one of: loss; got 'nothing'" in own.stderr
    csv = invoke("equilibration", settling, "--group", "all=*", "--format", "csv", "--cache", tmp_path / "kept").stdout
    assert pd.read_csv(io.StringIO(csv))["of"].fillna("").tolist() == ["all", "all", ""]
    for options, code, text in (
        (("--by", "row"), 1, "expected groups of whole parameters"),
        (("--layer", "x"), 1, "--layer 'x': expected a pattern"),
        (("--start", "auto"), 2, "expected a step or a percentage such as 50%, got 'auto'"),
        (("--window", 10), 2, "No such option"),
    ):
        refused = invoke("equilibration", settling, *options)
        assert (refused.exit_code, refused.stdout) == (code, "")
        assert text in refused.stderr


def test_processes_find_the_same(settling: Path) -> None:
    options = ("equilibration", settling, "--no-cache", "--format", "json")
    assert invoke(*options, "--scheduler", "processes", "--workers", 2).stdout == invoke(*options).stdout


def test_a_series_that_is_too_short_is_said_so(store: Path) -> None:
    result = invoke("equilibration", store, "--stop", 30, "--format", "csv")
    assert result.exit_code == 0
    assert result.stdout == ",".join(COLUMNS) + "\n"
    assert result.stderr == "Warning: no series has the 40 samples that are needed; record 40 steps or more.\n"


@pytest.mark.parametrize("command", ["temperature", "velocity"])
def test_start_auto_in_the_shell(settling: Path, command: str) -> None:
    latest = int(analyzer.open_run(settling).thermo.equilibration()["equilibrium_step"].max())
    found = invoke(command, settling, "--start", "auto", "--format", "csv")
    assert (found.exit_code, found.stderr) == (0, "")
    assert found.stdout == invoke(command, settling, "--start", latest, "--format", "csv").stdout
    assert invoke(command, settling, "--stop", "auto").exit_code == 2


@pytest.mark.parametrize("command", ["temperature", "velocity"])
def test_start_auto_of_a_run_that_drifts_warns_in_one_line(
    make: Callable[..., Path], tmp_path: Path, command: str
) -> None:
    rng = np.random.default_rng(1)
    path = make(parameters={"a.weight": walk(rng, np.linspace(1, 2, STEPS), 6, 6)}, scalars={}, chunk_steps=512)
    more = ("--raw", "--output", tmp_path / "v.zarr") if command == "velocity" else ("--plot", tmp_path / "a.png")
    result = invoke(command, path, "--start", "auto", *more)
    assert result.exit_code == 0
    warning, *rest = result.stderr.splitlines()
    assert warning.startswith("Warning: --start auto: expected a run in equilibrium, but from step ")
    assert re.search(
        r"still drift: temperature a \(\+\d+ % of its mean\)\. Their means depend on the window\. Train longer\.$",
        warning,
    )
    assert [line.split()[0] for line in rest] == ["Wrote"]


def test_how_well_a_start_is_known_in_files_and_in_a_picture(settling: Path, tmp_path: Path) -> None:
    run = analyzer.open_run(settling)
    answer = run.thermo.equilibration()
    low, start, high = (answer[f"equilibrium_{name}"].values[:, 0] for name in ("low", "step", "high"))
    assert (low <= start).all()
    assert (start <= high).all()
    assert (high - low < STEPS).all()
    document = json.loads(invoke("equilibration", settling, "--format", "json").stdout)
    assert [record["equilibrium_high"] for record in document["records"]] == high.tolist()
    picture, file = tmp_path / "t0.png", tmp_path / "t0.nc"
    done = invoke("equilibration", settling, "--output", file, "--plot", picture)
    assert done.exit_code == 0, done.output
    assert picture.stat().st_size > 10_000
    with xr.open_dataset(file, engine="h5netcdf") as read:
        assert read["equilibrium_low"].values[:, 0].tolist() == low.tolist()
        assert read["verdict"].values[:, 0].tolist() == answer["verdict"].values[:, 0].tolist()
    csv = pd.read_csv(io.StringIO(invoke("equilibration", settling, "--format", "csv").stdout))
    assert csv["equilibrium_low"].tolist() == low.tolist()
