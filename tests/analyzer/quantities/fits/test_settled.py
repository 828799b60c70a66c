"""A fit says which runs are far from equilibrium, whatever asks for it, from the pass that it makes anyway."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from pathlib import Path
from unittest import mock

import numpy as np
import pytest

import analyzer
from analyzer.engine import frames as frames_module
from analyzer.engine import plan
from analyzer.errors import FitWarning
from analyzer.store import reading
from tests.analyzer.shell import invoke

RATES = (1e-3, 2e-3, 4e-3, 8e-3, 16e-3)


@pytest.fixture
def record(make: Callable[..., Path]) -> Callable[..., str]:
    """Independent Gaussian steps; T of the layer "conv" is 10 at first and falls to 1, with a time of `fall` frames."""

    def write(rate: float, fall: float = 0.0, frames: int = 600) -> str:
        rng = np.random.default_rng([int(1e6 * rate), frames])
        hot = np.sqrt(1 + 9 * np.exp(-np.arange(frames) / fall)) if fall else np.ones(frames)
        parameters = {
            "conv.weight": np.cumsum(rate * hot * rng.normal(size=(6, 6, frames)), axis=-1),
            "out.weight": np.cumsum(rate * rng.normal(size=(2, 6, frames)), axis=-1),
        }
        hyperparameters = {"learning_rate": rate, "batch_size": 32, "seed": 0}
        return str(
            make(
                f"run-{rate}.zarr",
                parameters=parameters,
                hyperparameters=hyperparameters,
                scalars={},
                chunk_steps=128,
            )
        )

    return write


@pytest.mark.parametrize("options", [{}, {"by": "row"}, {"lag": 5}, {"lag": [1, 5]}], ids=str)
def test_runs_far_from_equilibrium_are_named_once_at_the_line_of_the_caller(
    record: Callable[..., str], options: dict[str, object]
) -> None:
    sweep = analyzer.open_sweep([record(rate, fall=60 * (rate in RATES[1:3])) for rate in RATES])
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        answer = sweep.thermo.fit(against="learning_rate", **options)
    (one,) = heard
    assert issubclass(one.category, FitWarning)
    assert one.filename == __file__
    said = str(one.message)
    assert "T changes over the fitted window in 2 of 5 runs, from its first half to its second (run-0.002: conv" in said
    assert "run-0.004: conv" in said
    assert "--start auto" in said
    size = float(said.partition("run-0.002: conv")[2].partition(" %")[0].split()[-1])
    assert -75 < size < -55, "the mean of the halves is 2.8 and 1.0"
    assert answer.attrs["remark"] in said


def test_the_shell_and_json_say_it_and_auto_cures_it(record: Callable[..., str], tmp_path: Path) -> None:
    for rate in RATES:
        record(rate, fall=60 * (rate == RATES[0]), frames=1500)
    pattern, out = tmp_path / "*.zarr", tmp_path / "fit.json"
    told = invoke("fit", pattern, "--format", "json", "--output", out)
    assert told.exit_code == 0, told.output
    assert "T changes over the fitted window in 1 of 5 runs" in told.stderr
    assert "run-0.001: conv -" in json.loads(out.read_text())["attrs"]["remark"]
    auto = invoke("fit", pattern, "--start", "auto")
    assert auto.exit_code == 0, auto.output
    assert "changes over the fitted window" not in auto.stderr


def test_windows_too_short_to_judge_are_said(record: Callable[..., str]) -> None:
    sweep = analyzer.open_sweep([record(rate, frames=12 if rate == RATES[0] else 300) for rate in RATES])
    with pytest.warns(FitWarning, match=r"unknown in 1 of 5 runs \(run-0.001\): fewer than 16 batches.*equilibration"):
        sweep.thermo.fit(against="learning_rate")


def test_what_lies_across_gaps_is_no_change(make: Callable[..., Path]) -> None:
    """Weights move ten steps' way in each of 59 gaps, all in the first half: no velocity is taken across a gap."""
    paths, gaps = [], np.arange(20, 1200, 20)  # 2,400 frames: a bin of the series has three
    for rate in RATES:
        walk = np.cumsum(rate * np.random.default_rng(int(1e6 * rate)).normal(size=(6, 6, 2400)), axis=-1)
        passed = np.searchsorted(gaps, np.arange(2400), side="right")
        settings = {"learning_rate": rate, "batch_size": 32, "seed": 0}
        paths.append(
            make(
                f"run-{rate}.zarr",
                parameters={"conv.weight": walk + 10 * rate * passed},
                steps=np.arange(2400) + 50 * passed,
                hyperparameters=settings,
                scalars={},
            )
        )
    answer = analyzer.open_sweep(paths).thermo.fit(against="learning_rate")
    assert "remark" not in answer.attrs


def test_no_chunk_is_decoded_a_second_time(record: Callable[..., str]) -> None:
    sweep = analyzer.open_sweep([record(rate, fall=60) for rate in RATES])
    with (
        mock.patch.object(plan, "SPAN_FRAMES", 1),
        mock.patch.object(frames_module, "read", wraps=reading.read) as read,
        pytest.warns(FitWarning, match="5 of 5 runs"),
    ):
        sweep.thermo.fit(against="learning_rate", cache=False)
    seen = [(id(call.args[0]), str(call.args[0]), call.args[1]) for call in read.call_args_list]
    assert len(seen) == len(set(seen)) > 0
