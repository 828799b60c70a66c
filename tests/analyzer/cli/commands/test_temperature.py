"""`analyzer temperature`: its json, its options and its pictures."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import analyzer
from tests.analyzer.shell import invoke


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
