"""Several stores in one question: one tidy table, and one sentence for each store without an answer."""

from __future__ import annotations

import gc
import io
import json
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import analyzer
from analyzer.cli import several
from analyzer.cli.columns import WIDTH
from tests.analyzer.shell import invoke
from tests.stores import segment, write_store

RATES = (1e-3, 2e-3, 4e-3)


@pytest.fixture
def sweep(tmp_path: Path) -> Path:
    """Three runs of 240 steps in a folder, which differ in their learning rate; the epochs have 40 steps."""
    (tmp_path / "runs").mkdir()
    for rate in RATES:
        record(tmp_path / "runs" / f"run-{rate}.zarr", rate)
    return tmp_path / "runs"


def record(path: Path, rate: float, frames: int = 241, **changes: Any) -> Path:
    rng = np.random.default_rng(int(1e6 * rate))
    weights = {
        name: np.cumsum(rate * rng.normal(size=(*shape, frames)), axis=-1)
        for name, shape in {"conv.weight": (3, 2), "out.weight": (4, 3)}.items()
    }
    scalars = {"epoch": np.repeat(np.arange(frames // 40 + 1.0), 40)[:frames], "loss": np.linspace(2, 1, frames)}
    settings = {"learning_rate": rate, "batch_size": 32, "optimizer": "sgd"}
    return write_store(path, weights, **{"scalars": scalars, "hyperparameters": settings, "chunk_steps": 64} | changes)


def csv_of(*arguments: object) -> pd.DataFrame:
    result = invoke(*arguments, "--format", "csv")
    assert result.exit_code == 0, result.output
    return pd.read_csv(io.StringIO(result.stdout))


@pytest.mark.parametrize(
    ("arguments", "ask"),
    [
        (("temperature", "--by", "row"), lambda sweep: sweep.thermo.temperature(by="row")),
        (("temperature", "--window", "epoch"), lambda sweep: sweep.thermo.temperature(window="epoch")),
        (("temperature", "--lag", "1,4"), lambda sweep: sweep.thermo.temperature(lag=[1, 4])),
        (("velocity", "--window", "100"), lambda sweep: sweep.thermo.velocity_summary(window=100)),
        (("rows",), lambda sweep: sweep.thermo.rows()),
        (("dynamics", "--lags", "1,2,5"), lambda sweep: sweep.thermo.dynamics(lags=[1, 2, 5])),
        (("spectrum", "--sections", "32"), lambda sweep: sweep.thermo.spectrum(sections=32)),
    ],
)
def test_the_table_of_the_shell_is_that_of_python(sweep: Path, arguments: tuple[str, ...], ask: Callable) -> None:
    command, *options = arguments
    found = csv_of(command, f"{sweep}/*.zarr", *options)
    truth = analyzer.table(ask(analyzer.open_sweep(f"{sweep}/*.zarr")))
    assert list(found.columns[:5]) == ["run", "learning_rate", "batch_size", "optimizer", "inverse_batch_size"]
    pd.testing.assert_frame_equal(found, pd.read_csv(io.StringIO(truth.to_csv(index=False))))


@pytest.mark.parametrize(
    "arguments",
    [("equilibration",), ("distribution",), ("modes", "--modes", "2"), ("check", "--only", "floor"),
     ("dynamics", "--waiting", "0,10", "--lags", "1,5")],
    ids=" ".join,
)  # fmt: skip
def test_other_commands_join_the_rows_of_each_store(sweep: Path, arguments: tuple[str, ...]) -> None:
    command, *options = arguments
    found = csv_of(command, *sorted(sweep.glob("*.zarr")), *options)
    assert found["run"].unique().tolist() == [f"run-{rate}" for rate in RATES]
    for path in sorted(sweep.glob("*.zarr")):
        own = csv_of(command, path, *options)
        part = found[found["run"] == path.stem].reset_index(drop=True)
        pd.testing.assert_frame_equal(part[own.columns], own, check_dtype=False)


def test_json_and_parquet_say_the_same(sweep: Path, tmp_path: Path) -> None:
    pattern = f"{sweep}/*.zarr"
    truth = csv_of("temperature", pattern)
    document = json.loads(invoke("temperature", pattern, "--format", "json").stdout)
    assert list(document) == ["quantity", "stores", "records", "unanswered", "attrs"]
    assert document["stores"] == [str(path) for path in sorted(sweep.glob("*.zarr"))]
    assert document["unanswered"] == []
    assert (document["attrs"]["convention"], document["attrs"]["lag"]) == ("paper", 1)
    assert not {"store", "run_id"} & set(document["attrs"])
    assert [record["temperature"] for record in document["records"]] == truth["temperature"].tolist()
    assert list(document["records"][0]) == list(truth.columns)
    output = tmp_path / "all.parquet"
    result = invoke("temperature", pattern, "--output", output)
    assert (result.exit_code, result.stderr) == (0, f"Wrote {output}\n")
    frame = pd.read_parquet(output)
    assert frame.attrs["units"] == "weight^2 step^-2"
    pd.testing.assert_frame_equal(pd.read_csv(io.StringIO(frame.to_csv(index=False))), truth)


def test_a_table_says_below_what_all_runs_share(sweep: Path) -> None:
    text = invoke("temperature", f"{sweep}/*.zarr").stdout
    heading = text.splitlines()[1]
    assert "T ± standard error" in heading
    assert "learning rate" in heading
    assert "batch size" not in heading
    assert "recorded learning rate" not in heading, "it is the hyperparameter"
    assert len(text.splitlines()[2]) <= WIDTH
    assert "--wide adds: temperature of the drift" in text
    assert "drift" in invoke("temperature", f"{sweep}/*.zarr", "--wide").stdout.split("─")[0]
    assert text.splitlines()[-1] == "the same in all runs: batch_size = 32, optimizer = sgd"
    assert text.count("run-0.001") == 2


def test_drifting_runs_of_a_sweep_are_in_the_table_alone(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    for name in ("x", "y"):
        frames = {"a.weight": np.cumsum(np.linspace(1, 3, 201) * rng.normal(size=(4, 3, 201)), axis=-1)}
        write_store(tmp_path / f"{name}.zarr", frames)
    done = invoke("equilibration", f"{tmp_path}/*.zarr")
    assert done.stdout.count("drifting") == 2
    assert len(done.stdout.splitlines()[2]) <= WIDTH
    assert done.stderr == ""


def test_a_store_without_an_answer_is_one_sentence(sweep: Path, tmp_path: Path) -> None:
    whole = csv_of("temperature", f"{sweep}/*.zarr", "--window", "100")
    record(sweep / "short.zarr", 1e-3, frames=30)
    (sweep / "empty.zarr").mkdir()
    output = tmp_path / "all.csv"
    result = invoke("temperature", f"{sweep}/*.zarr", "--window", "100", "--output", output)
    assert result.exit_code == 1
    empty, short, wrote = result.stderr.splitlines()
    assert empty.startswith(f"Error: {sweep}/empty.zarr: expected a store with a zarr.json at its root")
    assert short.startswith(f"Error: {sweep}/short.zarr: --window: expected at most 29 steps")
    assert wrote == f"Wrote {output}"
    pd.testing.assert_frame_equal(pd.read_csv(output), whole)
    document = json.loads(invoke("temperature", f"{sweep}/*.zarr", "--window", "100", "--format", "json").stdout)
    assert [one["store"] for one in document["unanswered"]] == [f"{sweep}/empty.zarr", f"{sweep}/short.zarr"]


def test_a_store_that_is_not_there_is_said_once_in_its_own_words(sweep: Path) -> None:
    path = str(sweep / "none.zarr")
    result = invoke("velocity", path, *map(str, sorted(sweep.glob("*.zarr"))))
    assert f"Error: {path}: expected a store, got nothing at that path. Check the path: ls {sweep}\n" in result.stderr
    assert "System" not in result.stderr


def test_no_answer_at_all_writes_nothing(sweep: Path, tmp_path: Path) -> None:
    output = tmp_path / "all.csv"
    result = invoke("temperature", f"{sweep}/*.zarr", "--by", "head", "--output", output)
    assert result.exit_code == 1
    lines = result.stderr.splitlines()
    assert [line.partition(": --by head")[0] for line in lines[:3]] == [
        f"Error: {path}" for path in sorted(sweep.glob("*.zarr"))
    ]
    assert lines[3].startswith("Error: Sweep: expected at least one store with an answer, got none of 3.")
    assert not output.exists()
    result = invoke("temperature", f"{tmp_path}/nothing-*.zarr")
    assert result.exit_code == 1
    assert "expected at least one store that the pattern matches" in result.stderr


def test_answers_are_let_go_one_after_the_other(sweep: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With more rows than are held back, the table is written row by row, and still has all its columns."""
    pattern = f"{sweep}/*.zarr"
    whole = csv_of("temperature", pattern, "--by", "element", "--window", "90")
    alive: list[int] = []
    answers: list[weakref.ref[Any]] = []
    rows = several._rows

    def watched(answer: Any, facts: Any) -> Any:
        gc.collect()
        alive.append(sum(one() is not None for one in answers))
        answers.append(weakref.ref(answer))
        return rows(answer, facts)

    monkeypatch.setattr(several, "_rows", watched)
    monkeypatch.setattr(several, "_MOST_HELD", 1)
    found = csv_of("temperature", pattern, "--by", "element", "--window", "90")
    assert max(alive) <= 1, "besides the one whose rows are written, at most the last is still there"
    pd.testing.assert_frame_equal(found[whole.columns], whole)
    assert set(found.columns) - set(whole.columns) == {"left_out", "steps_per_lag"}
    document = json.loads(invoke("temperature", pattern, "--format", "json").stdout)
    assert len(document["records"]) == 6
    assert document["attrs"]["convention"] == "paper"


def test_runs_of_several_strides_have_one_lag(sweep: Path) -> None:
    thin = {name: np.cumsum(np.random.default_rng(0).normal(size=(*shape, 61)), axis=-1)
            for name, shape in {"conv.weight": (3, 2), "out.weight": (4, 3)}.items()}  # fmt: skip
    write_store(sweep / "thin.zarr", thin, stride=4, hyperparameters={"learning_rate": 1e-3})
    result = invoke("temperature", f"{sweep}/*.zarr", "--format", "json")
    assert result.exit_code == 0
    assert "Velocities are taken over 4 steps in every run" in result.stderr
    assert json.loads(result.stdout)["attrs"]["lag"] == 4
    assert "Velocities" not in invoke("temperature", f"{sweep}/*.zarr", "--lag", 4).stderr
    for command in ("dynamics", "spectrum"):
        refused = invoke(command, f"{sweep}/*.zarr")
        assert (refused.exit_code, refused.stdout) == (1, "")
        assert f"{command}: expected one stride in all runs, got " in refused.stderr
        assert "4 in thin. Their velocities are displacements over different times" in refused.stderr
    ages = invoke("dynamics", f"{sweep}/*.zarr", "--waiting", "0,40", "--lags", "40", "--format", "json")
    assert {record["lag"] for record in json.loads(ages.stdout)["records"]} == {40}, "in steps, whatever the stride"


def test_a_run_stands_at_the_settings_that_it_had_then(sweep: Path) -> None:
    first, then = {"learning_rate": 1e-3, "batch_size": 32}, {"learning_rate": 5e-3, "batch_size": 64}
    record(
        sweep / "resumed.zarr",
        5e-3,
        hyperparameters=then,
        segments=[segment(0, 0, hyperparameters=first), segment(120, 120, True, hyperparameters=then)],
    )
    early = csv_of("temperature", f"{sweep}/*.zarr", "--stop", "100").set_index("run")
    late = csv_of("temperature", f"{sweep}/*.zarr", "--start", "150").set_index("run")
    assert early.loc["resumed", ["learning_rate", "batch_size"]].to_numpy().tolist() == [[1e-3, 32]] * 2
    assert late.loc["resumed", ["learning_rate", "batch_size"]].to_numpy().tolist() == [[5e-3, 64]] * 2


def test_warnings_name_the_run(sweep: Path) -> None:
    frames = {"conv.weight": np.zeros((3, 2, 241)), "out.weight": np.full((4, 3, 241), np.nan)}
    write_store(sweep / "z-broken.zarr", frames)
    result = invoke("temperature", f"{sweep}/*.zarr", "--format", "csv")
    assert result.exit_code == 0
    warned = [line for line in result.stderr.splitlines() if "out.weight" in line]
    assert len(warned) == 1
    assert warned[0].startswith("Warning: z-broken: out.weight: NaN or infinite weights from step 0 on")


@pytest.mark.parametrize(
    "options",
    [("temperature", "--plot", "all.png"), ("temperature", "--output", "all.nc"), ("rows", "--masks", "masks.npz"),
     ("velocity", "--raw", "--output", "raw.zarr"), ("modes", "--weights", "weights.nc")],
    ids=" ".join,
)  # fmt: skip
def test_what_is_of_one_run_is_a_usage_error(sweep: Path, options: tuple[str, ...]) -> None:
    command, *rest = options
    result = invoke(command, f"{sweep}/*.zarr", *rest)
    assert result.exit_code == 2
    assert "expected one run, got several stores" in result.stderr


def test_copies_of_a_run_are_refused(sweep: Path) -> None:
    record(sweep / "a.zarr", 1e-3, run_id="f" * 32)
    record(sweep / "b.zarr", 1e-3, run_id="f" * 32)
    result = invoke("temperature", f"{sweep}/*.zarr")
    assert result.exit_code == 1
    assert "expected each run once" in result.stderr


def test_info_of_several_stores_is_a_table(sweep: Path) -> None:
    record(sweep / "other.zarr", 3e-3, frames=100, hyperparameters={"learning_rate": 3e-3, "frames": 7})
    lines = invoke("info", f"{sweep}/*.zarr").stdout.splitlines()
    assert lines[0].split()[:2] == ["run", "status"]
    assert {"learning_rate", "hyperparameter_frames", "batch_size"} < set(lines[0].split())
    assert [line.split()[0] for line in lines[1:5]] == ["other", *(f"run-{rate}" for rate in RATES)]
    assert lines[-1].startswith("4 stores; the same in all: ")
    document = json.loads(invoke("info", f"{sweep}/*.zarr", "--format", "json").stdout)
    assert [one["frames"] for one in document["stores"]] == [100, 241, 241, 241]
    frame = pd.read_csv(io.StringIO(invoke("info", f"{sweep}/*.zarr", "--format", "csv").stdout))
    assert frame["frames"].tolist() == [100, 241, 241, 241]
    assert frame["learning_rate"].tolist() == [3e-3, *RATES]
    assert frame["hyperparameter_frames"].tolist()[0] == 7
    assert len(pd.read_csv(io.StringIO(invoke("info", sweep / "other.zarr", "--format", "csv").stdout))) == 1


def test_info_goes_on_where_a_store_cannot_be_read(sweep: Path) -> None:
    (sweep / "empty.zarr").mkdir()
    result = invoke("info", f"{sweep}/*.zarr")
    assert result.exit_code == 1
    assert result.stderr.startswith(f"Error: {sweep}/empty.zarr: expected a store")
    assert len(result.stderr.splitlines()) == 1
    assert "3 stores" in result.stdout
