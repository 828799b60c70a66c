"""`analyzer rows`: what the function says, as a table, in files and in one line where it is refused."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr

import analyzer
from tests.analyzer.shell import invoke
from tests.analyzer.unequal_rows import RANK, VARIANCE, walk
from tests.patience import PATIENCE


@pytest.fixture
def store(make: Callable[..., Path]) -> Path:
    """`a.weight` has eight rows, `b.weight` twelve equal ones, `b.bias` none."""
    rng = np.random.default_rng(0)
    frames = {
        "a.weight": walk(rng, VARIANCE, 6, 1000),
        "b.weight": walk(rng, np.ones(12), 3, 1000),
        "b.bias": walk(rng, np.ones(12), 1, 1000)[:, 0],
    }
    return make(parameters=frames, scalars={}, chunk_steps=256)


def test_json_has_rows_and_tests(store: Path) -> None:
    result = invoke("rows", store, "--start", 100, "--format", "json")
    assert result.exit_code == 0, result.output
    document = json.loads(result.stdout)
    assert list(document) == ["quantity", "store", "attrs", "records", "tests"]
    assert (document["quantity"], document["store"], document["attrs"]["by"]) == ("rows", str(store), "row")
    truth = analyzer.open_run(store).thermo.rows(start=100)
    records = document["records"]
    names = (
        "layer parameter row start_step stop_step weights velocities rank temperature standard_error n_eff unreliable"
    )
    assert list(records[0]) == [*names.split(), "mean_squared_velocity", "rms_weight", "floor"]
    for name in ("rank", "temperature", "standard_error", "rms_weight"):
        assert [r[name] for r in records] == truth[name].values[:, 0].tolist()
    tests = document["tests"]
    assert [t["parameter"] for t in tests] == ["a.weight", "b.weight"]
    for name in (
        "f",
        "p_value",
        "blocks",
        "block_steps",
        "verdict",
        "reason",
        "rank_stability",
        "hottest_over_coldest",
    ):
        assert [t[name] for t in tests] == truth[name].values.tolist(), name


@pytest.mark.parametrize("form", ["csv", "parquet", "netcdf"])
def test_files_have_every_row(store: Path, tmp_path: Path, form: str) -> None:
    output = tmp_path / {"csv": "rows.csv", "parquet": "rows.parquet", "netcdf": "rows.nc"}[form]
    result = invoke("rows", store, "--output", output)
    assert (result.exit_code, result.stderr) == (0, f"Wrote {output}\n")
    truth = analyzer.open_run(store).thermo.rows()
    if form == "netcdf":
        with xr.open_dataset(output, engine="h5netcdf") as found:
            for name in ("rank", "temperature", "unreliable", "p_value", "verdict", "reason"):
                np.testing.assert_array_equal(found[name], truth[name])
            assert found.attrs["units"] == "weight^2 step^-2"
        return
    frame = pd.read_csv(output) if form == "csv" else pd.read_parquet(output)
    assert frame["rank"].tolist() == truth["rank"].values[:, 0].tolist()
    assert frame["verdict"].tolist() == np.repeat(truth["verdict"].values, [8, 12]).tolist()
    np.testing.assert_allclose(frame["p_value"], np.repeat(truth["p_value"].values, [8, 12]), rtol=1e-12)


def test_the_table_runs_from_hot_to_cold_and_long_ones_are_cut(store: Path, tmp_path: Path) -> None:
    result = invoke("rows", store)
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert "unreliable" not in lines[1]
    rows = [line.split() for line in lines if line.startswith((" a.weight", " b.weight"))]
    first = [row for row in rows if row[0] == "a.weight"]
    assert [int(row[1]) for row in first] == np.argsort(RANK).tolist(), "eight rows are not cut"
    assert [int(row[3]) for row in rows if row[0] == "b.weight"] == [1, 2, 3, 4, 5, 10, 11, 12]
    assert "The 5 hottest and 3 coldest of each parameter; 4 more: --format csv" in lines
    tests = [line for line in lines if line.startswith(("a.weight: ", "b.weight: "))]
    assert tests[0].startswith("a.weight: rows differ (F = ")
    assert "; ranks of the halves correlate 1.00" in tests[0]
    assert tests[1].startswith("b.weight: no difference between rows found (F = ")
    assert "rows in weight^2 step^-2, lag 1, convention paper, steps 0 to 1,000" in lines
    whole = tmp_path / "whole.txt"
    assert invoke("rows", store, "--output", whole).exit_code == 0
    text = whole.read_text()
    assert "more: --format csv" not in text
    assert text.count("\n b.weight") == 12


def test_other_groups_lags_and_selections_reach_the_answer(store: Path, tmp_path: Path) -> None:
    options = ("--by", "column", "--layer", "a", "--lag", 5, "--stop", "50%", "--cache", tmp_path / "kept")
    result = invoke("rows", store, *options, "--format", "csv")
    assert result.exit_code == 0, result.output
    frame = pd.read_csv(io.StringIO(result.stdout))
    truth = analyzer.open_run(store).thermo.rows(by="column", layer="a", lag=5, stop="50%", cache=False)
    assert frame["column"].tolist() == list(range(6))
    np.testing.assert_allclose(frame["temperature"], truth["temperature"].values[:, 0], rtol=1e-12)
    assert frame["stop_step"].tolist() == [500] * 6
    assert not Path(f"{store}.moments").exists()
    text = invoke("rows", store, "--by", "output").stdout
    assert "outputs differ" in text
    processes = ("rows", store, "--no-cache", "--format", "json")
    assert invoke(*processes, "--scheduler", "processes", "--workers", 2).stdout == invoke(*processes).stdout


def test_start_auto_warns_in_one_line_where_a_run_drifts(make: Callable[..., Path]) -> None:
    velocity = np.random.default_rng(1).standard_normal((6, 6, 4000)) * np.linspace(1, 2, 4000)
    frames = np.concatenate([np.zeros((6, 6, 1)), velocity], axis=2).cumsum(axis=2)
    result = invoke("rows", make(parameters={"a.weight": frames}, scalars={}, chunk_steps=512), "--start", "auto")
    assert result.exit_code == 0, result.output
    (warning,) = result.stderr.splitlines()
    assert warning.startswith("Warning: --start auto: expected a run in equilibrium, but from step ")


def test_weights_that_are_not_finite_and_those_near_the_floor_are_named(make: Callable[..., Path]) -> None:
    frames = {"a.weight": walk(np.random.default_rng(2), np.ones(3), 2, 400), "still.weight": np.ones((3, 2, 401))}
    frames["a.weight"][0, 0, 300:] = np.nan
    path = make(parameters={k: v.astype(np.float32) for k, v in frames.items()}, scalars={}, chunk_steps=64)
    result = invoke("rows", path)
    assert result.exit_code == 0, result.output
    assert "Warning: a.weight: NaN or infinite weights from step 300 on" in result.stderr
    assert "Warning: temperatures below 10 times their floor, which rounding alone gives: 3 of 6." in result.stderr
    assert "a.weight: undecided: a row has NaN or infinite weights" in result.stdout


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("--parameter", "*.bias"), "Rows: expected a parameter with two or more axes, got none of: b.bias."),
        (("--by", "head"), "Rows: expected a parameter with attention heads, got none of"),
        (("--stop", 5), "Rows: expected a window of at least 12 velocities, got 5."),
        (("--masks", "m.npz", "--fraction", 0), "--fraction: expected a number between 0 and 1, got 0.0."),
        (("--masks", "m.npz", "--fraction", 1), "--fraction: expected a number between 0 and 1, got 1.0."),
        (("--masks", "m.npz", "--by", "column"), "--masks: expected rows (--by row), got --by column."),
        (("--masks", "m.npz", "--fraction", "nan"), "--fraction: expected a number between 0 and 1, got nan."),
        (("--layer", "x*"), "--layer 'x*': expected a pattern that matches one of: a, b"),
    ],
)
def test_refusals_are_one_line_on_stderr_and_exit_1(store: Path, arguments: tuple[object, ...], text: str) -> None:
    result = invoke("rows", store, *arguments)
    assert (result.exit_code, result.stdout) == (1, "")
    assert text in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1


@pytest.mark.parametrize(
    "arguments",
    [("--by", "layer"), ("--window", 10), ("--plot", "x.bmp"), ("--seed", -1), ("--masks", "/nowhere/m.npz")],
)
def test_usage_errors_exit_2(store: Path, arguments: tuple[object, ...]) -> None:
    assert invoke("rows", store, *arguments).exit_code == 2


def test_help_loads_nothing_heavy() -> None:
    code = """
import sys
from click.testing import CliRunner
from analyzer.cli import cli
result = CliRunner().invoke(cli, ["rows", "--help"])
print(result.exit_code, "masks.npz" in result.output, sorted({"numpy", "xarray", "dask", "pandas"} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=PATIENCE)
    assert done.stdout.strip() == "0 True []", done.stderr
