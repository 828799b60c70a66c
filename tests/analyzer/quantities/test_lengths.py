"""What a run is too short for: the length that a sentence names is one that does."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

import analyzer
from analyzer.quantities.lengths import for_error_bars, for_lags, for_sections
from tests.analyzer.shell import invoke
from tests.stores import write_store


def run_of(path: Path, steps: int) -> xr.DataTree:
    rng = np.random.default_rng(steps)
    frames = {name: np.cumsum(rng.normal(size=(3, 2, steps + 1)), axis=-1) for name in ("a.weight", "b.weight")}
    return analyzer.open_run(write_store(path / f"{steps}.zarr", frames, chunk_steps=512))


def length_in(text: str) -> int:
    """The length that would do."""
    return int(re.findall(r"([\d,]+) would do", text)[0].replace(",", ""))


def test_the_length_for_error_bars_is_one_that_does(tmp_path: Path) -> None:
    said = for_error_bars(analyzer.temperature(run_of(tmp_path, 60)).compute())
    assert said.startswith("60 steps are too short for the error bars, which take 200 independent samples (n eff)")
    assert 200 <= length_in(said) <= 500
    longer = analyzer.temperature(run_of(tmp_path, 2 * length_in(said))).compute()
    assert not longer["unreliable"].any()
    assert for_error_bars(longer) == ""
    windows = for_error_bars(analyzer.temperature(run_of(tmp_path, 61), window=30).compute())
    assert windows.startswith("Windows of 30")


def test_the_lengths_for_lags_and_sections_are_those_that_do(tmp_path: Path) -> None:
    short = run_of(tmp_path, 40)
    lags, sections = for_lags(analyzer.dynamics(short).compute()), for_sections(analyzer.spectrum(short).compute())
    assert (length_in(lags), length_in(sections)) == (2048, 72)
    assert for_lags(analyzer.dynamics(run_of(tmp_path, 2048), lags=[1, 2]).compute()) == ""
    assert for_sections(analyzer.spectrum(run_of(tmp_path, 72)).compute()) == ""
    assert for_sections(analyzer.spectrum(run_of(tmp_path, 71)).compute())


def made(n_eff: float, velocities: int, remark: str = "", error: float = 1e-9) -> xr.Dataset:
    cell = ("group", "window")
    return xr.Dataset(
        {
            "temperature": (cell, [[1e-8]]),
            "unreliable": (cell, [[True]]),
            "standard_error": (cell, [[error]]),
            "n_eff": (cell, [[n_eff]]),
            "remark": (cell, [[remark]]),
            "weights": ("group", [12]),
            "velocities": (cell, [[12 * velocities]]),
        },
        coords={"start_step": ("window", [0]), "stop_step": ("window", [velocities])},
    )


def test_no_length_is_promised_where_more_of_the_same_would_not_help() -> None:
    assert "begin later (--start 50%)" in for_error_bars(made(2.0, 4000))
    assert "would do" not in for_error_bars(made(2.0, 4000))
    assert "begin later" in for_error_bars(made(3000.0, 4000))
    assert "few bursts make up T for the error bars, above" in for_error_bars(made(3000.0, 4000, error=1e-8))
    assert for_error_bars(made(2.0, 4000, "η changes ×10 within this window")) == ""
    assert length_in(for_error_bars(made(100.0, 4000))) == 8000
    assert length_in(for_error_bars(made(float("nan"), 1))) == 200
    assert "begin later" not in for_error_bars(made(2.0, 150)), "150 steps of 12 weights are not 1,800"


@pytest.mark.parametrize(("steps", "short"), [(700, True), (1500, True), (2560, False)])
def test_parts_of_parameters_are_told_of_batches_and_not_of_slow_changes(
    tmp_path: Path, steps: int, short: bool
) -> None:
    """With fewer than four batches of 256 steps there is no n_eff, with fewer than ten there is a flag."""
    answer = analyzer.temperature(run_of(tmp_path, steps), by="row").compute()
    said = for_error_bars(answer)
    if short:
        assert bool(answer["n_eff"].isnull().all()) == (steps < 1024)
        told = f"{steps:,} steps are too short for the error bars, which take 10 batches of 256 steps: 2,560 would do."
        assert said == told
    else:
        assert said == ""


@pytest.mark.parametrize("command", ["temperature", "rows", "dynamics", "spectrum"])
def test_a_short_run_is_told_so_once_and_below_the_table(tmp_path: Path, command: str) -> None:
    run_of(tmp_path, 40)
    done = invoke(command, tmp_path / "40.zarr")
    assert done.exit_code == 0
    assert done.stdout.count("too short for") == 1
    assert done.stderr == ""


def test_checks_that_nothing_was_measured_for_are_one_line(tmp_path: Path) -> None:
    run_of(tmp_path, 12)
    lines = invoke("check", tmp_path / "12.zarr").stdout.splitlines()
    (line,) = (line for line in lines if "independent batches" in line)
    assert line.startswith("Not measured, equipartition, row equipartition, correlation: ")
    assert "times as long" in line
