"""Masks of rows: as many as asked for, the right ones, and numpy alone reads them."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import analyzer
from analyzer import errors
from tests.analyzer.shell import invoke
from tests.analyzer.unequal_rows import RANK, VARIANCE, walk
from tests.patience import PATIENCE

KINDS = ("hot", "cold", "random", "small_norm")
NORMS = np.array([5.0, 1, 8, 3, 7, 2, 6, 4])
"""RMS weights of the rows of `a.weight`, in hundreds: large beside what 800 steps move."""


@pytest.fixture
def store(make: Callable[..., Path]) -> Path:
    rng = np.random.default_rng(0)
    frames = {
        "a.weight": walk(rng, VARIANCE, 6, 800) + 1000 * NORMS[:, None, None],
        "a.bias": walk(rng, np.ones(8), 1, 800)[:, 0],
        "b.weight": walk(rng, np.ones(3), 2, 800),
        "one.weight": walk(rng, np.ones(1), 2, 800),
    }
    return make(parameters=frames, scalars={}, chunk_steps=256)


def test_hot_cold_random_and_small_norm(store: Path) -> None:
    answer = analyzer.open_run(store).thermo.rows(start=100, stop=700)
    masks = analyzer.row_masks(answer, fraction=0.25, seed=3)
    rank = np.array(RANK)
    assert set(masks) - {"store", "run_id", "start_step", "stop_step", "lag", "fraction", "seed"} == {
        f"{kind}/{name}" for kind in KINDS for name in ("a.weight", "b.weight")
    }, "neither a bias nor a single row has any"
    assert np.flatnonzero(masks["hot/a.weight"]).tolist() == np.flatnonzero(rank <= 2).tolist()
    assert np.flatnonzero(masks["cold/a.weight"]).tolist() == np.flatnonzero(rank >= 7).tolist()
    assert np.flatnonzero(masks["small_norm/a.weight"]).tolist() == np.flatnonzero(NORMS <= 2).tolist()
    for kind in KINDS:
        assert masks[f"{kind}/a.weight"].dtype == bool
        assert masks[f"{kind}/a.weight"].shape == (8,)
        assert masks[f"{kind}/a.weight"].sum() == 2
        assert masks[f"{kind}/b.weight"].sum() == 1, "a quarter of three rows is one"
    assert masks["store"] == str(store)
    assert (masks["start_step"], masks["stop_step"], masks["lag"]) == (100, 700, 1)
    assert (masks["fraction"], masks["seed"]) == (0.25, 3)


def test_norms_are_those_at_the_end_of_the_window(make: Callable[..., Path]) -> None:
    """Row 0 grows and row 1 shrinks: until step 200 row 0 is smaller, at the end row 1."""
    time = np.arange(401.0)
    frames = np.stack([1 + 0.01 * time, 5 - 0.01 * time])[:, None] + 0 * np.ones((2, 3, 1))
    run = analyzer.open_run(make(parameters={"a.weight": frames}, scalars={}, chunk_steps=64))
    early = analyzer.row_masks(run.thermo.rows(stop=150), 0.5)
    late = analyzer.row_masks(run.thermo.rows(start=150), 0.5)
    assert early["small_norm/a.weight"].tolist() == [True, False]
    assert late["small_norm/a.weight"].tolist() == [False, True]


def test_random_rows_follow_from_seed_and_name(store: Path) -> None:
    run = analyzer.open_run(store)
    answer = run.thermo.rows()
    one, same = (analyzer.row_masks(answer, 0.5, seed=1)["random/a.weight"] for _ in range(2))
    alone = analyzer.row_masks(run.thermo.rows(layer="a"), 0.5, seed=1)["random/a.weight"]
    np.testing.assert_array_equal(one, same)
    np.testing.assert_array_equal(one, alone)
    drawn = {tuple(analyzer.row_masks(answer, 0.5, seed=n)["random/a.weight"].tolist()) for n in range(10)}
    assert len(drawn) > 5


@pytest.mark.parametrize(("fraction", "count"), [(0.01, 1), (0.2, 2), (0.5, 4), (0.99, 7)])
def test_at_least_one_row_and_never_all(store: Path, fraction: float, count: int) -> None:
    masks = analyzer.row_masks(analyzer.open_run(store).thermo.rows(layer="a"), fraction)
    assert {int(masks[f"{kind}/a.weight"].sum()) for kind in KINDS} == {count}


def test_a_training_script_needs_numpy_alone(store: Path, tmp_path: Path) -> None:
    """As in the docstring, with a plain array for the weight."""
    file = tmp_path / "masks.npz"
    told = invoke("rows", store, "--masks", file, "--fraction", 0.25, "--seed", 5, "--format", "csv")
    assert told.exit_code == 0, told.output
    assert f"Wrote {file}" in told.stderr
    code = f"""
import sys, numpy as np
masks = np.load({str(file)!r})
weight = np.ones((8, 6))
for name in ("a.weight", "a.bias"):
    if f"hot/{{name}}" in masks:
        weight[masks[f"hot/{{name}}"]] = 0
zeroed = np.flatnonzero(weight.sum(axis=1) == 0).tolist()
print(zeroed, str(masks["store"]), int(masks["seed"]), "analyzer" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=PATIENCE)
    hottest = np.flatnonzero(np.array(RANK) <= 2).tolist()
    assert done.stdout.strip() == f"{hottest} {store} 5 False", done.stderr


@pytest.mark.parametrize("fraction", [0.0, 1.0, -0.1, 1.5, float("nan"), "half"])
def test_a_fraction_outside_its_domain(store: Path, fraction: object) -> None:
    with pytest.raises(errors.OptionError, match="--fraction: expected a number between 0 and 1, got"):
        analyzer.row_masks(analyzer.open_run(store).thermo.rows(), fraction)  # type: ignore[arg-type]


def test_what_has_no_order_has_no_masks(store: Path, make: Callable[..., Path]) -> None:
    run = analyzer.open_run(store)
    with pytest.raises(errors.OptionError, match="--masks: expected rows \\(--by row\\), got --by column"):
        analyzer.row_masks(run.thermo.rows(by="column"))
    with pytest.raises(errors.OptionError, match="expected a parameter of two or more rows"):
        analyzer.row_masks(run.thermo.rows(layer="one"))
    frames = walk(np.random.default_rng(1), np.ones(3), 2, 200)
    frames[1, 0, 100:] = np.nan
    broken = analyzer.open_run(make(name="broken.zarr", parameters={"x.weight": frames}, scalars={}))
    with pytest.warns(errors.NonFiniteWarning):
        answer = broken.thermo.rows()
    with pytest.raises(errors.OptionError, match=r"finite temperatures and norms of all rows of x\.weight"):
        analyzer.row_masks(answer)
