"""Runs with very little in them, as the format allows: every command answers, or refuses in one sentence."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.analyzer.shell import invoke
from tests.stores import segment, write_store

FRAMES = 60
RNG = np.random.default_rng(0)


@pytest.fixture(autouse=True)
def _same_numbers_in_any_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(f"{__name__}.RNG", np.random.default_rng(0))


def walk(*shape: int) -> np.ndarray:
    return np.cumsum(RNG.standard_normal((*shape, FRAMES)), axis=-1).astype(np.float32)


def usual(frames: int = FRAMES) -> dict[str, np.ndarray]:
    return {"conv1.lin.weight": walk(4, 3)[..., :frames], "lin.bias": walk(4)[..., :frames]}


def noise() -> dict[str, np.ndarray]:
    return {"loss": RNG.random(FRAMES)}


STORES: dict[str, Callable[[], dict[str, Any]]] = {
    "no frame yet": lambda: {"parameters": usual(0), "scalars": {"loss": np.zeros(0)}, "status": "running"},
    "one frame": lambda: {"parameters": usual(1), "scalars": {"loss": np.zeros(1)}, "status": "running"},
    "two frames": lambda: {"parameters": usual(2), "scalars": {}},
    "no two frames together": lambda: {"parameters": usual(), "steps": 5 * np.arange(FRAMES), "scalars": noise()},
    "a segment for each frame": lambda: {
        "parameters": usual(), "segments": [segment(n, n) for n in range(FRAMES)], "scalars": noise(),
    },
    "scalars that are not finite": lambda: {
        "parameters": usual(),
        "scalars": {"loss": np.full(FRAMES, np.nan), "epoch": np.full(FRAMES, np.nan), "a": np.full(FRAMES, np.inf)},
    },
    "a loss for each parameter group": lambda: {"parameters": usual(), "scalars": {"loss": RNG.random((FRAMES, 2))}},
    "weights that never move": lambda: {
        "parameters": {"a.weight": np.ones((3, 2, FRAMES))}, "scalars": {"loss": np.ones(FRAMES)},
    },
    "a parameter without weights": lambda: {
        "parameters": {"a.weight": np.zeros((0, 3, FRAMES)), "b.weight": walk(3, 2)},
    },
    "no weights": lambda: {"parameters": {"a.weight": np.zeros((0, 3, FRAMES))}, "scalars": noise()},
    "one weight": lambda: {"parameters": {"a.scale": walk()}, "scalars": noise()},
    "weights that are NaN from the first step on": lambda: {
        "parameters": {"a.weight": np.where(np.arange(FRAMES) > 0, np.nan, walk(3, 2))},
        "scalars": {"loss": np.full(FRAMES, np.nan)},
    },
    "weights whose squares overflow": lambda: {
        "parameters": {"a.weight": 1e300 * walk(3, 2).astype(np.float64)},
        "scalars": {"loss": 1e300 * RNG.random(FRAMES)},
    },
}  # fmt: skip
COMMANDS = (
    "info STORE",
    "temperature STORE --window 10 --format csv --plot FIGURE",
    "temperature STORE --by row --format json",
    "temperature STORE --lag 1,3 --plot FIGURE",
    "temperature STORE --start auto",
    "velocity STORE --by element --plot FIGURE",
    "equilibration STORE --plot FIGURE",
    "rows STORE --plot FIGURE",
    "distribution STORE --plot FIGURE",
    "dynamics STORE --plot FIGURE",
    "dynamics STORE --by row --lags 0,1,30 --format json",
    "spectrum STORE --plot FIGURE",
    "modes STORE --plot FIGURE",
    "check STORE",
)


@pytest.mark.parametrize("name", STORES)
def test_every_command_answers_or_says_why_not(tmp_path: Path, name: str) -> None:
    store = write_store(tmp_path / "run.zarr", **STORES[name]())
    for command in COMMANDS:
        places = {"STORE": store, "FIGURE": tmp_path / "figure.svg"}
        result = invoke(*(places.get(word, word) for word in command.split()))
        assert isinstance(result.exception, (SystemExit, type(None))), (command, result.exception)
        assert result.exit_code in (0, 1), command
        lines = result.stderr.strip().splitlines()
        assert all(line.startswith(("Error: ", "Warning: ", "Wrote ")) for line in lines), (command, lines)
        assert result.exit_code == 0 or sum(line.startswith("Error: ") for line in lines) == 1, command
        if command.endswith("json") and result.exit_code == 0:
            assert "records" in json.loads(result.stdout)


@pytest.mark.parametrize("name", STORES)
def test_a_report_stands_and_foresaw_all_that_is_missing(tmp_path: Path, name: str) -> None:
    store = write_store(tmp_path / "run.zarr", **STORES[name]())
    result = invoke("report", store, "-o", tmp_path / "report.html")
    assert result.exit_code == 0, result.stderr
    assert "Wrote " in result.stderr
    assert "Overview" in (tmp_path / "report.html").read_text()


def test_a_loss_without_a_finite_value_is_left_out(tmp_path: Path) -> None:
    store = write_store(tmp_path / "run.zarr", **STORES["scalars that are not finite"]())
    series = json.loads(invoke("equilibration", store, "--format", "json").stdout)["records"]
    assert [record["quantity"] for record in series] == ["temperature", "temperature"]


def test_no_figure_is_said(tmp_path: Path) -> None:
    store = write_store(tmp_path / "run.zarr", **STORES["two frames"]())
    result = invoke("equilibration", store, "--plot", tmp_path / "figure.svg")
    assert result.exit_code == 0
    assert "there is nothing to draw" in result.stderr
    assert not (tmp_path / "figure.svg").exists()


def test_a_figure_without_a_place_is_refused_at_once(tmp_path: Path) -> None:
    store = write_store(tmp_path / "run.zarr", **STORES["two frames"]())
    result = invoke("temperature", store, "--plot", tmp_path / "none" / "figure.svg")
    assert result.exit_code == 2
    assert "--plot: expected an existing folder" in result.stderr
    assert result.stdout == ""
