"""`analyzer rows --factors`: the factors of the function beside the rows, in every form; refusals in one line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr

import analyzer
from tests import systems
from tests.analyzer.shell import invoke
from tests.analyzer.unequal_rows import walk


@pytest.fixture
def store(make: Callable[..., Path]) -> Path:
    """`a.weight` with a row and an element at rest, `thin.weight` with one column, a bias."""
    heat = np.exp(systems.matrix_of_share(np.random.default_rng(0), (6, 8), 0.8))
    heat[2] = heat[4, 5] = 0
    frames = {
        "a.weight": walk(np.random.default_rng(1), heat.ravel(), 1, 640).reshape(6, 8, 641),
        "a.bias": walk(np.random.default_rng(2), np.ones(6), 1, 640)[:, 0],
        "thin.weight": walk(np.random.default_rng(3), np.ones(4), 1, 640),
    }
    return make(parameters=frames, scalars={}, chunk_steps=128)


def test_json_has_shares_and_factors(store: Path) -> None:
    result = invoke("rows", store, "--start", 100, "--factors", "--format", "json")
    assert result.exit_code == 0, result.output
    document = json.loads(result.stdout)
    assert list(document) == ["quantity", "store", "attrs", "records", "tests", "row_factors", "column_factors"]
    plain = json.loads(invoke("rows", store, "--start", 100, "--format", "json").stdout)
    assert document["records"] == plain["records"], "rows are as without factors"
    truth = analyzer.open_run(store).thermo.factors(start=100)
    first, second = document["tests"]
    assert first | {key: first[key] for key in plain["tests"][0]} == first
    assert {key: first[key] for key in plain["tests"][0]} == plain["tests"][0]
    for name in (
        "separable_share", "separable_share_low", "separable_share_high", "separable_share_adjusted", "chance_share",
        "measured_share", "weights_at_rest", "rows_at_rest",
    ):  # fmt: skip
        assert first[name] == truth[name].sel(tested="a.weight").item(), name
    assert (first["weights_at_rest"], first["rows_at_rest"], first["separable_reason"]) == (9, 1, "")
    assert (second["separable_share"], second["separable_reason"]) == (None, "it has only one column")
    assert [one["factor"] for one in document["row_factors"][:6]] == truth["row_factor"].values[:6].tolist()
    assert document["row_factors"][2] == {
        "parameter": "a.weight",
        "row": 2,
        "factor": 0,
        "factor_low": 0,
        "factor_high": 0,
    }
    assert [(one["parameter"], one["column"]) for one in document["column_factors"]] == [
        *(("a.weight", n) for n in range(8)),
        ("thin.weight", 0),
    ]
    assert [one["factor_high"] for one in document["column_factors"][:8]] == truth["column_factor_high"].values[
        :8
    ].tolist()


def test_the_table_says_what_is_explained_and_what_is_at_rest(store: Path) -> None:
    result = invoke("rows", store, "--factors")
    assert result.exit_code == 0, result.output
    own = analyzer.open_run(store).thermo.factors().sel(tested="a.weight")
    share, low, high = (100 * own[f"separable_share{end}"].item() for end in ("", "_low", "_high"))
    (line,) = [line for line in result.stdout.splitlines() if "rows × columns explain" in line]
    assert line.startswith(f"a.weight: rows × columns explain {share:.4g} % ({low:.4g} to {high:.4g}")
    assert line.endswith("at rest: 9 weights, with 1 whole row (2)")
    assert "by chance 29 %" in line  # 11/38: five rows and eight columns of 39 weights that moved
    assert "thin.weight: no factors: it has only one column" in result.stdout
    assert "row factor" in result.stdout
    without = invoke("rows", store).stdout
    assert "explain" not in without
    assert "factor" not in without


@pytest.mark.parametrize("form", ["csv", "parquet", "netcdf"])
def test_files_have_the_factors(store: Path, tmp_path: Path, form: str) -> None:
    output = tmp_path / {"csv": "rows.csv", "parquet": "rows.parquet", "netcdf": "rows.nc"}[form]
    result = invoke("rows", store, "--factors", "--output", output)
    assert result.exit_code == 0, result.output
    truth = analyzer.open_run(store).thermo.factors()
    if form == "netcdf":
        with xr.open_dataset(output, engine="h5netcdf") as found:
            for name in truth.data_vars:
                np.testing.assert_array_equal(found[name], truth[name], err_msg=str(name))
            assert found.attrs["quantity"] == "rows"
        return
    frame = pd.read_csv(output) if form == "csv" else pd.read_parquet(output)
    assert len(frame) == 10
    np.testing.assert_allclose(frame["row_factor"], truth["row_factor"], rtol=1e-12)
    np.testing.assert_allclose(frame["separable_share"], np.repeat(truth["separable_share"].values, [6, 4]), rtol=1e-12)


@pytest.mark.parametrize("suffix", ["png", "svg"])
def test_the_figure_is_that_of_factors(store: Path, tmp_path: Path, suffix: str) -> None:
    target = tmp_path / f"factors.{suffix}"
    result = invoke("rows", store, "--factors", "--plot", target)
    assert result.exit_code == 0, result.output
    assert {"png": b"PNG", "svg": b"<svg"}[suffix] in target.read_bytes()[:4000]


def test_where_nothing_can_be_drawn_it_is_said(store: Path, tmp_path: Path) -> None:
    result = invoke("rows", store, "--factors", "--parameter", "thin.weight", "--plot", tmp_path / "none.png")
    assert result.exit_code == 0
    assert "nothing to draw" in result.stderr
    assert not (tmp_path / "none.png").exists()


def test_factors_stand_beside_rows_alone(store: Path) -> None:
    result = invoke("rows", store, "--factors", "--by", "column")
    assert result.exit_code == 1
    assert result.stderr.startswith("Error: --factors: expected --by row, got --by column.")
    assert len(result.stderr.splitlines()) == 1
