"""What a table shows in 100 characters, and what --wide adds."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from analyzer.cli.columns import WIDTH, columns_of, fewer, width_of
from tests.analyzer.shell import invoke
from tests.stores import write_store

Make = Callable[..., Path]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rng = np.random.default_rng(0)
    names = [f"net{n}.attn.weight" for n in range(12)]
    frames = {name: np.cumsum(1e-3 * rng.normal(size=(6, 4, 600)), axis=-1) for name in names}
    scalars = {"loss": 1 + rng.normal(size=600) ** 2}
    return write_store(tmp_path_factory.mktemp("columns") / "run.zarr", frames, scalars=scalars)


@pytest.mark.parametrize(
    "command",
    [
        "temperature",
        "temperature --by parameter --window 300",
        "temperature --by row --window 300",
        "temperature --by parameter --lag 1,2,4",
        "velocity --by parameter",
        "velocity --by row --window 300",
        "rows",
        "equilibration",
        "distribution --by parameter",
        "dynamics --by parameter --window 300",
        "spectrum --by parameter",
        "modes --by parameter",
    ],
)
def test_a_table_fits_100_columns(run: Path, command: str) -> None:
    name, *options = command.split()
    done = invoke(name, run, *options)
    assert done.exit_code == 0, done.output
    heading, rule = done.stdout.splitlines()[1:3]
    assert heading.strip()
    assert len(rule) <= WIDTH, heading


@pytest.fixture(scope="module")
def long_names(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rng = np.random.default_rng(1)
    names = [f"model.decoder.layers.{n}.encoder_attn.out_proj.weight" for n in (0, 1, 10)]
    frames = {name: np.cumsum(1e-3 * rng.normal(size=(6, 4, 60)), axis=-1) for name in names}
    attributes = {name: {"layer": name.rpartition(".")[0]} for name in names}
    return write_store(tmp_path_factory.mktemp("long") / "run.zarr", frames, attributes=attributes)


@pytest.mark.parametrize("command", ["temperature --by row --window 30", "check --only equipartition", "info"])
def test_long_names_are_cut_in_tables_alone(long_names: Path, command: str) -> None:
    name, *options = command.split()
    table = invoke(name, long_names, *options).stdout
    cut = [line for line in table.splitlines() if "…" in line]
    assert cut
    assert max(map(len, cut)) <= WIDTH
    assert "whole names" in table
    whole = "model.decoder.layers.10.encoder_attn.out_proj.weight"
    wide = invoke(name, long_names, *options, "--wide").stdout
    assert whole in wide
    assert "…" not in wide
    for form in ("json", "csv")[: 1 if name == "info" else 2]:
        assert whole in invoke(name, long_names, *options, "--format", form).stdout


def test_the_rest_is_there_with_wide(run: Path) -> None:
    narrow, wide = invoke("temperature", run).stdout, invoke("temperature", run, "--wide").stdout
    assert "T ± standard error" in narrow
    assert "steps 0 to 599" in narrow
    assert "--wide adds: temperature of the drift, floor" in narrow
    heading = wide.splitlines()[1].split("   ")
    titles = [title.strip() for title in heading if title.strip()]
    for title in ("start step", "stop step", "temperature", "standard error", "temperature of the drift", "floor"):
        assert title in titles
    assert "½⟨v⟩²" in wide
    assert "temperature drift" not in wide
    assert "--wide" not in wide


def test_a_value_and_its_error_are_one_column_and_the_signs_stand_below_each_other() -> None:
    frame = pd.DataFrame({"temperature": [1.25e-8, 3e-9, float("nan")], "standard_error": [2e-10, float("nan"), 1.0]})
    shown, said = columns_of(frame, wide=False)
    assert shown["T ± standard error"].tolist() == ["1.25e-08 ± 2e-10", "3e-09 ± –    ", "–"]
    assert said == []


def test_nothing_is_hidden_from_files(run: Path, tmp_path: Path) -> None:
    assert invoke("temperature", run, "--output", tmp_path / "T.csv").exit_code == 0
    assert {"temperature_drift", "floor", "standard_error"} <= set(pd.read_csv(tmp_path / "T.csv").columns)


def test_a_long_table_says_how_to_get_less(run: Path) -> None:
    text = invoke("temperature", run, "--by", "row").stdout
    assert text.splitlines()[-1] == (
        "72 rows. For fewer: --layer NAME or --parameter NAME. For a file: --format csv --output FILE"
    )
    text = invoke("temperature", run, "--by", "parameter", "--window", "60").stdout
    assert "a longer --window, --by layer" in text.splitlines()[-1]
    assert "For fewer" not in invoke("temperature", run).stdout


def test_ways_to_fewer_rows() -> None:
    assert fewer(60, "layer") == []
    assert fewer(61, "model", windows=61) == [
        "61 rows. For fewer: a longer --window. For a file: --format csv --output FILE"
    ]
    assert "fewer lags, --by model" in fewer(100, "layer", lags=4)[0]


def test_a_remark_that_all_rows_share_is_said_once() -> None:
    remark = "η changes ×4 within this window"
    shown, said = columns_of(pd.DataFrame({"group": ["a", "b"], "remark": [remark, remark]}), wide=False)
    assert (list(shown), said) == (["group"], [remark])
    shown, said = columns_of(pd.DataFrame({"group": ["a", "b"], "remark": [remark, ""]}), wide=False)
    assert shown["changes"].tolist() == ["η ×4", ""]


def test_of_many_changes_the_first_is_shown_where_there_is_no_room() -> None:
    remark = "η changes ×3.77, beta1 changes from 0.938 to 0.95 within this window"
    frame = pd.DataFrame(
        {"layer": "conv1", "start_step": [0, 1400], "stop_step": [1400, 2800], "temperature": 1.234e-9,
         "standard_error": 1e-10, "n_eff": 23.98, "unreliable": True, "remark": [remark, "η changes ×2"],
         "temperature_per_eta2": 0.01234, "temperature_per_eta2_error": 0.00123}
    )  # fmt: skip
    shown, said = columns_of(frame, wide=False)
    assert shown["changes"].tolist() == ["η ×3.77, …", "η ×2"]
    assert width_of(shown) <= WIDTH
    assert "all changes" in said[-1]
