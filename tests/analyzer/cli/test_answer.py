"""Every command's answer: in five formats, with usage errors apart from refusals."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr

import analyzer
from analyzer.cli.table import refuse_long
from analyzer.errors import MemoryLimitError
from tests.analyzer.shell import invoke


@pytest.mark.parametrize("form", ["csv", "json", "netcdf", "parquet"])
def test_every_format_says_the_same(store: Path, tmp_path: Path, form: str) -> None:
    suffix = {"netcdf": "nc"}.get(form, form)
    output = tmp_path / f"answer.{suffix}"
    result = invoke("temperature", store, "--window", 30, "--output", output)
    assert result.exit_code == 0, result.output
    assert result.stdout == ""
    truth = analyzer.open_run(store).thermo.temperature(window=30)["temperature"].values
    if form == "csv":
        found = pd.read_csv(output)["temperature"].to_numpy()
    elif form == "json":
        found = np.array([record["temperature"] for record in json.loads(output.read_text())["records"]])
    elif form == "parquet":
        found = pd.read_parquet(output)["temperature"].to_numpy()
    else:
        with xr.open_dataset(output, engine="h5netcdf") as dataset:
            assert dataset.attrs["convention"] == "paper"
            assert dataset["temperature"].attrs["units"] == "weight^2 step^-2"
            found = dataset["temperature"].values
    np.testing.assert_allclose(found.reshape(truth.shape), truth, rtol=1e-15)
    assert list(tmp_path.glob(".*part")) == []


@pytest.mark.parametrize(
    "arguments",
    [
        ("temperature",),
        ("temperature", "STORE", "--window", "ten"),
        ("temperature", "STORE", "--start", "early"),
        ("temperature", "STORE", "--plot", "x.bmp"),
        ("temperature", "STORE", "--format", "parquet"),
        ("temperature", "STORE", "--memory-limit", "lots"),
        ("temperature", "STORE", "--mass", "heavy"),
        ("temperature", "STORE", "--output", "/nowhere/at/all.csv"),
        ("cool", "STORE"),
    ],
)
def test_usage_errors_exit_2(store: Path, arguments: tuple[str, ...]) -> None:
    result = invoke(*(str(store) if a == "STORE" else a for a in arguments))
    assert result.exit_code == 2
    assert "Error" in result.stderr or "Usage" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("--by", "rows"), "--by: expected one of model"),
        (("--window", 1000), "--window: expected at most 99 steps"),
        (("--layer", "x*"), "--layer 'x*': expected a pattern that matches one of: conv1, lin"),
        (("--scheduler", "tcp://127.0.0.1:1"), "--scheduler"),
    ],
)
def test_refusals_are_one_line_on_stderr_and_exit_1(store: Path, arguments: tuple[object, ...], text: str) -> None:
    result = invoke("temperature", store, *arguments)
    assert result.exit_code == 1
    assert result.stdout == ""
    assert text in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1


def test_temperatures_near_the_floor_are_counted_on_stderr(make: Callable[..., Path]) -> None:
    """The floor at weights of size 1 is (2^-23)^2 / 12: a still tensor and one that moves by an ulp are near it."""
    rng = np.random.default_rng(0)
    still = np.ones((2, 2, 40), np.float32)
    crawling = (1 + np.float32(2**-23) * (np.arange(40) % 2)).astype(np.float32) * np.ones((2, 2, 1), np.float32)
    moving = rng.normal(size=(2, 2, 40)).astype(np.float32)
    path = make(parameters={"a.weight": still, "b.weight": crawling, "c.weight": moving}, scalars={})
    told = invoke("temperature", path, "--by", "parameter")
    assert told.exit_code == 0
    assert "Warning: temperatures below 10 times their floor, which rounding alone gives: 2 of 3." in told.stderr
    assert "floor" not in invoke("temperature", path, "--by", "parameter", "--parameter", "c.*").stderr


def test_a_table_that_nobody_reads_is_refused_before_anything_is_computed(
    store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("analyzer.cli.table.MOST_ROWS", 100)
    assert invoke("temperature", store, "--by", "row").exit_code == 0
    monkeypatch.setattr("analyzer.cli.execution._run", lambda *_: pytest.fail("nothing should be computed"))
    for command in ("temperature", "velocity"):
        result = invoke(command, store, "--by", "element")
        assert result.exit_code == 1
        assert "Table: expected fewer than 100 rows, got 122 rows" in result.stderr
        assert "--format csv --output FILE" in result.stderr


def test_a_table_holds_the_memory_limit() -> None:
    refuse_long(9_999, 10, 1)
    refuse_long(500_000, 12, None)
    refuse_long(500_000, 12, 1 << 30)
    with pytest.raises(MemoryLimitError, match="text of at most 600,000,000 bytes, got 500,000 rows") as caught:
        refuse_long(500_000, 12, 600_000_000)
    assert caught.value.bytes > 600_000_000
    with pytest.raises(MemoryLimitError, match="fewer than 1,000,000 rows"):
        refuse_long(1_000_000, 1, None)
