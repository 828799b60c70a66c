"""Hyperparameters of finished runs: typed, for every segment that there was, and without touching frames or sums."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner

import analyzer
from recorder import Recorder
from recorder.__main__ import main
from recorder.errors import StoreFormatError, StoreLockedError, UsageError
from recorder.writer.finished.annotate import annotate, parse_value
from tests.analyzer.shell import invoke


def record(store: Path, mode: str = "w-", **hyperparameters: object) -> None:
    model = torch.nn.Linear(2, 2)
    with Recorder(store, model, mode=mode, hyperparameters=hyperparameters) as recorder:
        recorder.start()
        for _ in range(300):
            with torch.no_grad():
                model.weight += torch.randn(2, 2)
            recorder.step()


def attributes(store: Path) -> dict[str, object]:
    return json.loads((store / "zarr.json").read_text())["attributes"]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 1e-3), ("32", 32), ("-7", -7), ("0.5", 0.5), (".5", 0.5), ("5.", 5.0), ("007", "007"), ("true", True),
        ("False", False), ("none", None), ("null", None), ("Adam", "Adam"), ("[1, 2]", [1, 2]), ("[1", "[1"),
        ('"32"', "32"), ("1_000", "1_000"), ("nan", "nan"), ("1e999", "1e999"), ("", ""), ("a=b", "a=b"),
        ('{"a": NaN}', {"a": "nan"}), ("9" * 20, int("9" * 20)), ("[1e999, -1e999]", ["inf", "-inf"]),
        (f"[1e305, {10**305}]", [1e305, str(10**305)]),
        (r'["\ud800"]', [r"\ud800"]),
    ],
)  # fmt: skip
def test_values_are_typed(text: str, value: object) -> None:
    found = parse_value(text)
    assert found == value
    assert type(found) is type(value)


def test_a_sweep_sees_what_was_forgotten_and_kept_sums_stay(tmp_path: Path) -> None:
    for n in range(3):
        record(tmp_path / f"{n}.zarr", seed=n)
        assert invoke("cache", "fill", tmp_path / f"{n}.zarr").exit_code == 0
    before = analyzer.open_run(tmp_path / "0.zarr").thermo.temperature().load()
    sums = [path for path in (tmp_path / "0.zarr.moments").rglob("*") if path.is_file()]
    kept = {path: path.stat().st_mtime_ns for path in sums if path.name != "zarr.json" and "step" not in path.parts}
    frames = {path: path.stat().st_mtime_ns for path in (tmp_path / "0.zarr/parameters").rglob("*") if path.is_file()}
    assert kept
    for n in range(3):
        done = CliRunner().invoke(main, ["annotate", str(tmp_path / f"{n}.zarr"), f"learning_rate={10.0**-n}"])
        assert done.exit_code == 0
        assert "learning_rate: None → " in done.stdout
    sweep = analyzer.open_sweep([tmp_path / f"{n}.zarr" for n in range(3)])
    assert sweep["learning_rate"].values.tolist() == [1.0, 0.1, 0.01]
    assert sweep["seed"].values.tolist() == [0, 1, 2]
    after = analyzer.open_run(tmp_path / "0.zarr").thermo.temperature().load()
    assert after["temperature"].equals(before["temperature"])
    assert kept == {path: path.stat().st_mtime_ns for path in kept}
    assert frames == {path: path.stat().st_mtime_ns for path in frames}
    verified = invoke("verify", tmp_path / "0.zarr")
    assert (verified.exit_code, "0 faults" in verified.stdout) == (0, True)


def test_it_holds_for_the_segments_that_there_were(tmp_path: Path) -> None:
    store = tmp_path / "run.zarr"
    record(store, batch_size=8)
    record(store, "a", batch_size=16)
    annotate(store, {"learning_rate": 0.1})
    record(store, "a", batch_size=16, learning_rate=0.2)
    assert attributes(store)["annotated"] == {"learning_rate": 2}
    run = analyzer.open_run(store)
    steps = run["step"].values
    for start, stop, rate, batch in ((0, 300, 0.1, 8), (310, 580, 0.1, 16), (int(steps[-1]) - 100, None, 0.2, 16)):
        from analyzer.query.changes import setting_in

        end = int(steps[-1]) if stop is None else stop
        found = setting_in("hyperparameters", run.attrs, steps, start, end)
        assert (found["learning_rate"], found["batch_size"]) == (rate, batch)


def test_names_are_taken_away(tmp_path: Path) -> None:
    record(tmp_path / "run.zarr", seed=0, depth=3)
    assert annotate(tmp_path / "run.zarr", {"seed": 1}, ["depth"]) == {"seed": (0, 1), "depth": (3, None)}
    assert attributes(tmp_path / "run.zarr")["hyperparameters"] == {"seed": 1}
    with pytest.raises(UsageError, match="The run has seed"):
        annotate(tmp_path / "run.zarr", {}, ["depth"])


def test_a_run_that_is_being_written_is_refused(tmp_path: Path) -> None:
    with Recorder(tmp_path / "run.zarr", torch.nn.Linear(2, 2)) as recorder:
        recorder.start()
        with pytest.raises(StoreLockedError):
            annotate(tmp_path / "run.zarr", {"seed": 1})
    annotate(tmp_path / "run.zarr", {"seed": 1})


def test_a_run_that_died_is_to_be_recovered_first(tmp_path: Path) -> None:
    record(tmp_path / "run.zarr")
    document = json.loads((tmp_path / "run.zarr/zarr.json").read_text())
    document["attributes"] |= {"status": "running", "recording": {"session": "a"}}
    (tmp_path / "run.zarr/zarr.json").write_text(json.dumps(document))
    os.utime(tmp_path / "run.zarr/zarr.json", (1, 1))
    with pytest.raises(StoreFormatError, match="recorder recover"):
        annotate(tmp_path / "run.zarr", {"seed": 1})


@pytest.mark.parametrize("arguments", [[], ["seed"], ["=3"], ["--remove", "nothing"]])
def test_what_is_no_setting_is_refused(tmp_path: Path, arguments: list[str]) -> None:
    record(tmp_path / "run.zarr")
    done = CliRunner().invoke(main, ["annotate", str(tmp_path / "run.zarr"), *arguments])
    assert done.exit_code in (1, 2)
    assert "annotated" not in attributes(tmp_path / "run.zarr")


def test_numbers_that_json_lacks_become_texts(tmp_path: Path) -> None:
    """Other tools write them into attributes. Neither a change of settings nor a resumption fails at them."""
    store = tmp_path / "run.zarr"
    record(store, seed=1)
    root = json.loads((store / "zarr.json").read_text())
    root["attributes"] |= {"best": float("nan"), "limits": [float("-inf"), 0.5]}
    (store / "zarr.json").write_text(json.dumps(root).replace("0.5", "1e999"))
    annotate(store, {"seed": 2})
    record(store, "a")
    found = json.loads((store / "zarr.json").read_text(), parse_constant=pytest.fail)["attributes"]
    assert (found["best"], found["limits"], found["status"]) == ("nan", ["-inf", "inf"], "complete")
