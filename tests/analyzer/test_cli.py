from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr

import analyzer
from tests.analyzer.shell import invoke, shell
from tests.stores import edit_root


def test_json_is_one_object_with_the_documented_keys(store: Path) -> None:
    result = invoke("temperature", store, "--by", "row", "--format", "json")
    assert result.exit_code == 0
    document = json.loads(result.stdout)
    assert list(document) == ["quantity", "store", "attrs", "records"]
    assert document["quantity"] == "temperature"
    assert document["store"] == str(store)
    assert {"convention": "paper", "lag": 1, "k_B": 1.0, "units": "weight^2 step^-2"}.items() <= document[
        "attrs"
    ].items()
    record = document["records"][0]
    names = "layer parameter row start_step stop_step weights velocities temperature standard_error n_eff unreliable"
    assert list(record)[:12] == [*names.split(), "temperature_drift"]
    assert (record["layer"], record["parameter"], record["row"]) == ("conv1", "conv1.lin.weight", 0)
    assert (record["weights"], record["velocities"]) == (3, 3 * 99)
    truth = analyzer.open_run(store).thermo.temperature(by="row").compute()
    assert [r["temperature"] for r in document["records"]] == truth["temperature"].values[:, 0].tolist()


@pytest.mark.parametrize(
    ("by", "columns"),
    [
        ("model", []),
        ("layer", ["layer"]),
        ("module", ["layer", "module"]),
        ("parameter", ["layer", "parameter"]),
        ("column", ["layer", "parameter", "column"]),
        ("output", ["layer", "parameter", "output"]),
        ("input", ["layer", "parameter", "input"]),
        ("element", ["layer", "parameter", "index"]),
    ],
)
def test_records_carry_the_columns_of_their_group(store: Path, by: str, columns: list[str]) -> None:
    document = json.loads(invoke("temperature", store, "--by", by, "--format", "json").stdout)
    names = list(document["records"][0])
    assert names[: names.index("start_step")] == columns


def test_not_a_number_prints_as_null_and_is_named_on_stderr(make: Callable[..., Path], frames: dict[str, Any]) -> None:
    frames["lin.bias"][3, 50:] = np.nan
    steps = np.arange(100) * 2
    result = invoke("temperature", make(parameters=frames, steps=steps, stride=2), "--format", "json")
    assert result.exit_code == 0
    values = {record["layer"]: record["temperature"] for record in json.loads(result.stdout)["records"]}
    assert values["lin"] is None
    assert values["conv1"] > 0
    assert "Warning: lin.bias: NaN or infinite weights from step 100 on" in result.stderr
    assert "--exclude lin.bias" in result.stderr


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


def test_csv_goes_to_stdout(store: Path) -> None:
    result = invoke("velocity", store, "--by", "element", "--parameter", "lin.bias", "--format", "csv")
    table = pd.read_csv(io.StringIO(result.stdout))
    assert table["index"].tolist() == list(range(10))
    np.testing.assert_allclose(table["rms_velocity"] ** 2, table["mean_squared_velocity"])


def test_table_names_its_units(store: Path) -> None:
    result = invoke("temperature", store)
    assert "temperature in weight^2 step^-2, lag 1, convention paper" in result.stdout
    assert "conv1" in result.stdout
    assert "…" not in result.stdout


@pytest.mark.parametrize("suffix", ["png", "pdf", "svg"])
def test_plots_are_written(store: Path, tmp_path: Path, suffix: str) -> None:
    for n, arguments in enumerate((["--by", "layer"], ["--by", "row"], ["--by", "row", "--window", "10"])):
        target = tmp_path / f"{n}.{suffix}"
        result = invoke("temperature", store, *arguments, "--plot", target)
        assert result.exit_code == 0, result.output
        head = target.read_bytes()[:400]
        assert {"png": b"PNG", "pdf": b"%PDF", "svg": b"<svg"}[suffix] in head + target.read_bytes()[:4000]


def test_mass_and_constants_reach_the_answer(store: Path) -> None:
    def value(*arguments: object) -> float:
        return float(
            json.loads(invoke("temperature", store, "--format", "json", *arguments).stdout)["records"][0]["temperature"]
        )

    plain = value()
    assert value("--convention", "md", "--k-b", 4) == pytest.approx(plain / 2)
    assert value("--mass", 2) == pytest.approx(2 * plain)
    assert value("--mass", "conv1*=2", "--mass", "lin*=3") == pytest.approx(2 * plain)
    assert value("--remove-drift") < plain


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


def test_info_describes_the_store(store: Path) -> None:
    known = json.loads(invoke("info", store, "--format", "json").stdout)
    assert known["frames"] == 100
    assert known["weights"] == 24 + 8 + 80 + 10
    assert known["raw_bytes"] == 122 * 4 * 100
    assert [p["parameter"] for p in known["parameters"]] == ["conv1.lin.weight", "conv1.bias", "lin.weight", "lin.bias"]
    text = invoke("info", store).stdout
    assert "10 x 8" in text
    assert "complete" in text


def test_info_recognises_a_run_that_nobody_writes_any_more(make: Callable[..., Path]) -> None:
    store = make(status="running")
    assert "nobody any more" in invoke("info", store).stdout
    edit_root(store, lambda root: root["attributes"].update(heartbeat=pd.Timestamp.now("UTC").isoformat()))
    assert "a live writer" in invoke("info", store).stdout


def test_in_a_shell(store: Path, tmp_path: Path) -> None:
    done = shell("temperature", store, "--by", "layer", "--format", "csv")
    assert done.returncode == 0
    assert done.stderr == ""
    assert done.stdout.startswith("layer,start_step,stop_step,weights,velocities,temperature")
    refused = shell("temperature", tmp_path / "none.zarr")
    assert refused.returncode == 1
    assert refused.stdout == ""
    assert refused.stderr.startswith("Error: ")
    assert "Traceback" not in refused.stderr


def test_help_and_info_load_nothing_heavy(store: Path) -> None:
    """Half a second is the promise (`--help`, `info`); what can be tested without a clock is what they import."""
    code = f"""
import sys
from click.testing import CliRunner
from analyzer.cli import cli
commands = ["--help"], ["temperature", "--help"], ["info", {str(store)!r}]
results = [CliRunner().invoke(cli, command).exit_code for command in commands]
heavy = "numpy", "xarray", "zarr", "dask", "numba", "pandas", "matplotlib", "scipy", "torch", "rich"
print(results, sorted(set(heavy) & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "[0, 0, 0] []", done.stderr


def test_version() -> None:
    begin = time.monotonic()
    assert analyzer.__version__ in invoke("--version").stdout
    assert time.monotonic() > begin


def test_temperatures_near_the_floor_are_counted_on_stderr(make: Callable[..., Path]) -> None:
    """The floor at weights of size 1 is (2^-23)^2 / 12: a still tensor and one that moves by an ulp are near it."""
    rng = np.random.default_rng(0)
    still = np.ones((2, 2, 40), np.float32)
    crawling = (1 + np.float32(2**-23) * (np.arange(40) % 2)).astype(np.float32) * np.ones((2, 2, 1), np.float32)
    moving = rng.normal(size=(2, 2, 40)).astype(np.float32)
    path = make(parameters={"a.weight": still, "b.weight": crawling, "c.weight": moving}, scalars={})
    told = invoke("temperature", path, "--by", "parameter")
    assert told.exit_code == 0
    assert "Warning: 2 of 3 temperatures are below 10 times their floor" in told.stderr
    assert "floor" not in invoke("temperature", path, "--by", "parameter", "--parameter", "c.*").stderr


def test_what_is_no_plain_file_is_written_to_and_not_replaced(store: Path, tmp_path: Path) -> None:
    """As root, to put a file in the place of /dev/null would break the machine."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with subprocess.Popen(["cat", str(pipe)], stdout=subprocess.PIPE, text=True) as reader:
        assert invoke("temperature", store, "--format", "csv", "--output", pipe).exit_code == 0
        assert reader.communicate(timeout=30)[0].startswith("layer,")
    assert pipe.is_fifo()
    link, target = tmp_path / "link.csv", tmp_path / "target.csv"
    link.symlink_to(target)
    assert invoke("temperature", store, "--output", link).exit_code == 0
    assert link.is_symlink()
    assert target.read_text().startswith("layer,")


def test_a_disk_that_is_full_is_one_line(store: Path) -> None:
    result = invoke("temperature", store, "--format", "csv", "--output", "/dev/full")
    assert result.exit_code == 1
    assert "--output /dev/full: expected a file that can be written, got: No space left on device" in result.stderr


def test_a_reader_that_leaves_early_gets_no_traceback(store: Path) -> None:
    command = f"{sys.executable} -m analyzer temperature {store} --by element --format csv | head -n 1"
    done = subprocess.run(command, shell=True, capture_output=True, text=True, timeout=60)
    assert done.stdout.startswith("layer,")
    assert "Traceback" not in done.stderr
