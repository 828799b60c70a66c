"""Error bars of temperatures: those of `analyzer.statistics.uncertainty` on series and batches taken by plain numpy."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

import analyzer
from analyzer.quantities import errorbars
from analyzer.statistics import uncertainty
from tests.analyzer.shell import invoke
from tests.stores import segment

FRAMES = 1501


@pytest.fixture
def long(make: Callable[..., Path]) -> tuple[Path, dict[str, np.ndarray]]:
    """Velocities correlated as Adam's, 1,500 of them."""
    rng = np.random.default_rng(3)

    def walk(*shape: int) -> np.ndarray:
        velocity = rng.normal(size=(*shape, FRAMES))
        for step in range(1, FRAMES):
            velocity[..., step] += 0.8 * velocity[..., step - 1]
        return np.cumsum(1e-3 * velocity, axis=-1).astype(np.float32)

    frames = {"conv1.lin.weight": walk(6, 5), "conv1.bias": walk(6), "lin.weight": walk(3, 6)}
    epoch = np.repeat(np.arange(15.0), 101)[:FRAMES]
    return make(parameters=frames, scalars={"epoch": epoch}, chunk_steps=64), frames


def squares(*arrays: np.ndarray) -> np.ndarray:
    """½v² of every weight and step."""
    flat = np.concatenate([a.reshape(-1, a.shape[-1]).astype(np.float64) for a in arrays])
    return 0.5 * np.diff(flat, axis=1) ** 2


def same(answer: xr.Dataset, truth: uncertainty.Uncertainty, window: int = 0) -> None:
    for name in errorbars.COLUMNS:
        np.testing.assert_allclose(
            answer[name].values[:, window].astype(float), getattr(truth, name).astype(float), rtol=1e-9
        )


def test_layers_have_the_error_bars_of_their_series(long: tuple[Path, dict[str, np.ndarray]]) -> None:
    path, frames = long
    layers = [squares(frames["conv1.lin.weight"], frames["conv1.bias"]), squares(frames["lin.weight"])]
    series = np.stack([layer.mean(axis=0) for layer in layers])
    epoch = np.repeat(np.arange(15.0), 101)[1:FRAMES]
    answer = analyzer.open_run(path).thermo.temperature().compute()
    of = answer["weights"].values
    truth = uncertainty.from_series(series, epoch=epoch, weights=of)
    same(answer, truth)
    np.testing.assert_allclose(answer["temperature"][:, 0], truth.mean, rtol=1e-12)
    ranged = analyzer.open_run(path).thermo.temperature(start=100, stop=900).compute()
    same(ranged, uncertainty.from_series(series[:, 100:900], weights=of))


def test_every_window_has_its_own(long: tuple[Path, dict[str, np.ndarray]]) -> None:
    path, frames = long
    series = squares(frames["lin.weight"]).mean(axis=0)[np.newaxis]
    answer = analyzer.open_run(path).thermo.temperature(layer="lin", window=400).compute()
    assert answer["partial"].values.tolist() == [False, False, False, True]
    for window, low in enumerate(range(0, 1500, 400)):
        same(answer, uncertainty.from_series(series[:, low : low + 400], weights=18), window)


def test_convention_and_constants_scale_the_error_with_the_temperature(
    long: tuple[Path, dict[str, np.ndarray]],
) -> None:
    run = analyzer.open_run(long[0])
    one = run.thermo.temperature(by="row").compute()
    other = run.thermo.temperature(by="row", convention="md", k_B=0.5, mass=3.0).compute()
    for name, factor in (("temperature", 12), ("standard_error", 12), ("n_eff", 1)):
        np.testing.assert_allclose(other[name], factor * one[name], rtol=1e-12)


@pytest.mark.parametrize(("by", "weights"), [("row", 5), ("element", 1)])
def test_rows_and_elements_have_the_scatter_of_their_batches_and_an_n_eff_of_their_own(
    long: tuple[Path, dict[str, np.ndarray]], by: str, weights: int
) -> None:
    path, frames = long
    answer = analyzer.open_run(path).thermo.temperature(by=by, parameter="conv1.lin.weight").compute()
    energy = 0.5 * np.diff(frames["conv1.lin.weight"].astype(float), axis=-1) ** 2
    edges = [0, 256, 512, 768, 1024, 1280, 1500]
    groups = energy.reshape(-1, weights, 1500).mean(axis=1)
    sums = np.stack([groups[:, a:b].sum(axis=-1) for a, b in itertools.pairwise(edges)], 1)
    whole = energy.reshape(-1, 1500).mean(axis=0)
    known = np.full(len(groups), whole.var() / whole.mean() ** 2)
    of = np.full(len(groups), weights)
    same(answer, uncertainty.from_batches(np.diff(edges), sums, weights=of, relative_variance=known))
    assert np.unique(answer["n_eff"]).size == len(groups)


def test_short_displacements_at_a_long_lag_are_one_batch_each(long: tuple[Path, dict[str, np.ndarray]]) -> None:
    path, frames = long
    answer = analyzer.open_run(path).thermo.temperature(by="parameter", parameter="lin.weight", lag=5).compute()
    moved = np.diff(frames["lin.weight"][..., ::5].astype(float), axis=-1)
    series = 0.5 * (moved**2).reshape(-1, 300).mean(axis=0)[np.newaxis]
    same(answer, uncertainty.from_batches(np.ones(300), series, weights=18))


@pytest.mark.parametrize("by", ["layer", "row", "element"])
def test_a_gap_leaves_the_rest_its_error_bars(
    make: Callable[..., Path], long: tuple[Path, dict[str, np.ndarray]], by: str
) -> None:
    _, frames = long
    steps = np.arange(FRAMES)
    steps[700:] += 300
    path = make("gap.zarr", parameters=frames, steps=steps, scalars={}, segments=[segment(0, 0)], chunk_steps=64)
    answer = analyzer.open_run(path).thermo.temperature(by=by).compute()
    assert np.isfinite(answer["standard_error"]).all()
    if by == "layer":
        series = squares(frames["lin.weight"]).mean(axis=0)[np.newaxis]
        present = np.arange(1500) != 699
        same(answer.isel(group=[1]), uncertainty.from_series(series, present=present, weights=18))


@pytest.mark.parametrize("options", [{"by": "layer"}, {"by": "row", "window": 700}, {"lag": 5}], ids=str)
def test_a_modified_tree_and_the_store_agree(long: tuple[Path, dict[str, np.ndarray]], options: dict[str, Any]) -> None:
    run = analyzer.open_run(long[0])
    stored = run.thermo.temperature(**options).compute()
    doubled = (run * 2).thermo.temperature(**options).compute()
    np.testing.assert_allclose(doubled["standard_error"], 4 * stored["standard_error"], rtol=1e-9)
    np.testing.assert_allclose(doubled["n_eff"], stored["n_eff"], rtol=1e-9)


def test_a_longer_lag_counts_displacements(long: tuple[Path, dict[str, np.ndarray]]) -> None:
    path, _ = long
    answer = analyzer.open_run(path).thermo.temperature(lag=5).compute()
    assert (answer["n_eff"] <= 300).all()
    assert np.isfinite(answer["standard_error"]).all()


def test_too_short_a_window_has_no_error_bar_and_says_so(store: Path) -> None:
    answer = analyzer.open_run(store).thermo.temperature(window=10).compute()
    assert answer["standard_error"].isnull().all()
    assert answer["unreliable"].all()
    assert "unreliable" in invoke("temperature", store).stdout


def test_error_bars_can_be_left_out(store: Path) -> None:
    assert "standard_error" not in analyzer.open_run(store).thermo.temperature(errors=False)
    assert "standard error" not in invoke("temperature", store, "--no-errors").stdout


@pytest.mark.parametrize("options", [{}, {"by": "row"}, {"by": "element", "window": "epoch"}], ids=str)
def test_sums_alone_give_the_same_error_bars(long: tuple[Path, dict[str, np.ndarray]], options: dict[str, Any]) -> None:
    path, _ = long
    before = analyzer.open_run(path).thermo.temperature(cache=False, **options).compute()
    assert invoke("cache", "fill", path).exit_code == 0
    path.rename(path.with_name("away.zarr"))
    xr.testing.assert_equal(analyzer.open_run(f"{path}.moments").thermo.temperature(**options).compute(), before)


def test_sums_alone_leave_out_error_bars_that_need_the_frames(long: tuple[Path, dict[str, np.ndarray]]) -> None:
    path, _ = long
    before = analyzer.open_run(path).thermo.temperature(lag="epoch", unequal_epochs=True).compute()
    assert invoke("cache", "fill", path).exit_code == 0
    path.rename(path.with_name("away.zarr"))
    alone = analyzer.open_run(f"{path}.moments").thermo.temperature(lag="epoch", unequal_epochs=True).compute()
    np.testing.assert_allclose(alone["temperature"], before["temperature"], rtol=1e-12)
