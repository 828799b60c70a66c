"""`analyzer check`: what the function says, in every format; a table of 100 columns; one line of error."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr

import analyzer
from analyzer.cli.commands.check import FAMILIES as OFFERED
from analyzer.quantities.checks.check import FAMILIES
from analyzer.quantities.checks.findings import TITLES
from tests.analyzer.shell import invoke
from tests.stores import edit_root

COLUMNS = (
    *("check", "group", "measured", "standard_error", "expected_low", "expected_high", "p_value", "verdict", "note"),
)
ADAM = {"class": "torch.optim.adam.Adam", "defaults": {"betas": [0.9, 0.999]}}
STEPS = 3000


@pytest.fixture
def long(make: Callable[..., Path]) -> Path:
    """Nine layers with long names, steps of Adam's size, a learning rate."""
    rng = np.random.default_rng(0)
    frames = {
        f"convolution_{n}.lin.weight": np.cumsum(3e-4 * rng.normal(size=(6, 4, STEPS + 1)), axis=-1) for n in range(10)
    }
    path = make(parameters=frames, scalars={"learning_rate": np.full((STEPS + 1, 1), 1e-3)}, chunk_steps=512)
    edit_root(path, lambda root: root["attributes"].update(optimizer=[ADAM]))
    return path


@pytest.mark.parametrize("form", ["csv", "json", "netcdf", "parquet"])
def test_every_format_says_what_the_function_says(long: Path, tmp_path: Path, form: str) -> None:
    output = tmp_path / f"answer.{form}"
    options = ("--layer", "*_1", "--layer", "*_2", "--stop", 2500, "--seed", 3, "--sample-weights", 16)
    result = invoke("check", long, *options, "--format", form, "--output", output)
    assert (result.exit_code, result.stderr) == (0, f"Wrote {output}\n")
    truth = analyzer.open_run(long).thermo.check(layer=["*_1", "*_2"], stop=2500, seed=3, sample_weights=16)
    assert set(truth["check"].values) == set(TITLES)
    if form == "netcdf":
        with xr.open_dataset(output, engine="h5netcdf") as dataset:
            xr.testing.assert_equal(dataset.load(), truth)
            assert dataset.attrs["optimizer"] == "Adam"
        return
    if form == "json":
        document = json.loads(output.read_text())
        assert (document["quantity"], document["store"]) == ("checks", str(long))
        assert document["attrs"]["learning_rate"] == 1e-3
        assert document["records"][0]["standard_error"] is None, "NaN has no place in JSON"
        found = pd.DataFrame(document["records"])
    else:
        found = pd.read_csv(output) if form == "csv" else pd.read_parquet(output)
    assert tuple(found.columns) == COLUMNS
    assert found["verdict"].fillna("").tolist() == truth["verdict"].values.tolist()
    assert found["note"].fillna("").tolist() == truth["note"].values.tolist()
    np.testing.assert_allclose(found["measured"].to_numpy(float), truth["measured"], rtol=1e-12)
    np.testing.assert_allclose(found["p_value"].to_numpy(float), truth["p_value"], rtol=1e-12)


def test_the_table_is_grouped_and_fits_a_terminal(long: Path) -> None:
    result = invoke("check", long)
    assert (result.exit_code, result.stderr) == (0, "")
    lines = result.stdout.splitlines()
    assert [line for line in lines if line in TITLES.values()] == list(TITLES.values())
    assert max(map(len, lines)) <= 100
    assert " … and 5 more: --format csv" in lines, "45 pairs of layers, of which 40 are shown"
    assert "Expected 1; Adam's null: equal T if s² is equal" in lines
    assert "Expected 0.0263 to 0.5" in lines
    assert "steps 0 to 3000, optimizer Adam, learning rate 0.001;" in result.stdout
    assert "verdicts at p < 0.05" in lines[-1]


def test_what_all_rows_share_is_said_once(long: Path) -> None:
    lines = invoke("check", long, "--stop", 20, "--only", "correlation", "--only", "adam").stdout.splitlines()
    shared = [line for line in lines if "independent batches of time, at least" in line]
    assert len(shared) == 1
    assert shared[0].startswith("Not measured, correlation: ")
    assert not [line for line in lines if "×" in line], "pairs without a number are not listed"


def test_options_and_errors(long: Path, tmp_path: Path) -> None:
    assert OFFERED == FAMILIES
    some = invoke("check", long, "--only", "floor", "--by", "model", "--no-cache", "--format", "csv")
    assert some.stdout.splitlines()[1].startswith("floor,model,")
    assert not Path(f"{long}.moments").exists()
    own = invoke(
        "check", long, "--only", "norm", "--group", "mine=*_3.*", "--cache", tmp_path / "kept", "--start", "50%"
    )
    assert "mine" in own.stdout
    assert "steps 1500 to 3000" in own.stdout
    auto = invoke("check", long, "--only", "norm", "--start", "auto", "--format", "json")
    latest = int(analyzer.open_run(long).thermo.equilibration()["equilibrium_step"].max())
    assert json.loads(auto.stdout)["attrs"]["start_step"] == latest
    for options, code, text in (
        (("--by", "row"), 1, "Error: --by row: expected groups of whole parameters"),
        (("--significance", 2), 1, "Error: --significance: expected a number between 0 and 1, got 2.0"),
        (("--sample-steps", 2), 1, "Error: --sample-steps: expected a whole number of at least 16, got 2"),
        (("--exclude", "x"), 1, "Error: --exclude 'x': expected a pattern"),
        (("--only", "x"), 2, "'x' is not one of"),
        (("--window", 10), 2, "No such option"),
    ):
        refused = invoke("check", long, *options)
        assert (refused.exit_code, refused.stdout) == (code, "")
        assert text in refused.stderr
    missing = invoke("check", tmp_path / "nothing.zarr")
    assert missing.exit_code == 1
    assert "expected a store, got nothing at that path" in missing.stderr


def test_processes_find_the_same(long: Path) -> None:
    options = ("check", long, "--no-cache", "--layer", "*_1", "--layer", "*_2", "--format", "json")
    assert invoke(*options, "--scheduler", "processes", "--workers", 2).stdout == invoke(*options).stdout


def test_a_run_that_is_not_finite_warns_in_one_line(make: Callable[..., Path], frames: dict[str, np.ndarray]) -> None:
    frames["lin.bias"][3, 50:] = np.nan
    result = invoke("check", make(parameters=frames), "--only", "floor")
    assert result.exit_code == 0
    assert result.stderr.splitlines() == [
        "Warning: lin.bias: NaN or infinite weights from frame 50 on; the temperatures of its groups are NaN."
    ]
