"""The null of the drift temperature: what ½⟨v⟩² is expected to be without a drift, from stores."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

import analyzer
from tests import oracles
from tests.analyzer.shell import invoke

FRAMES = 4097
SHAPE = (30, 30)


@cache
def walk(rho: float, drift: float = 0.0, frames: int = FRAMES) -> np.ndarray:
    """AR(1) velocities of 900 weights, σ = 1e-3, and a drift in units of σ, of either sign."""
    position = oracles.ar1_velocities(np.random.default_rng(11), 900, frames, rho, 1e-3)
    sign = np.where(np.arange(900) % 2, 1.0, -1.0)[:, None]
    return (position + 1e-3 * drift * sign * np.arange(frames)).reshape(*SHAPE, frames)


@pytest.mark.parametrize("rho", [0.0, 0.5, 0.9, -0.3])
@pytest.mark.parametrize("options", [{}, {"start": 1}, {"by": "row"}, {"stop": 2000}])
def test_the_null_of_correlated_velocities(make: Callable[..., Path], rho: float, options: dict[str, object]) -> None:
    """T_drift without drift is T·g/N, g = (1 + ρ)/(1 − ρ), whether the query is aligned with blocks or not.

    Blocks of 256 (500 where stop is 2000: a quarter would be 500, blocks have at most 256) are low by 2ρ/((1 − ρ²)·256)
    of it; 900 weights of at least 7 blocks scatter by √(2/(900·6)) = 2 %.
    """
    run = analyzer.open_run(make(parameters={"lin.weight": walk(rho)}, scalars={}, chunk_steps=512))
    answer = run.thermo.temperature(**options).compute()
    velocities = answer["velocities"].values[0, 0] / answer["weights"].values[0]
    theory = 0.5e-6 * (1 + rho) / (1 - rho) / velocities
    assert answer["drift_null"].mean().item() == pytest.approx(theory, rel=0.12)
    # Nor is the drift that was measured any other than chance: 900 weights, χ² of one degree.
    drift = answer["temperature_drift"].mean().item()
    assert drift == pytest.approx(answer["drift_null"].mean().item(), rel=0.25)


def test_a_drift_is_told_from_its_null(make: Callable[..., Path]) -> None:
    """A drift of V = 0.2 σ: T_drift is ½V², many times the null, and the null is that of the run without it."""
    still = analyzer.open_run(make("still.zarr", parameters={"lin.weight": walk(0.9)}, scalars={}, chunk_steps=512))
    moving = analyzer.open_run(
        make("moving.zarr", parameters={"lin.weight": walk(0.9, 0.2)}, scalars={}, chunk_steps=512)
    )
    null, shifted = (run.thermo.temperature().compute() for run in (still, moving))
    assert shifted["temperature_drift"].item() == pytest.approx(0.5 * (2e-4) ** 2, rel=0.3)
    assert shifted["temperature_drift"].item() > 5 * shifted["drift_null"].item()
    assert shifted["drift_null"].item() == pytest.approx(null["drift_null"].item(), rel=0.05)


def test_one_epoch_of_adam_has_a_null_of_six_percent(make: Callable[..., Path]) -> None:
    """ρ = 0.9, N = 313: g/N = 19/313 = 6.1 %. Blocks end in the middle of epochs and are shorter: low by up to 20 %."""
    frames = 313 * 5 + 1
    epoch = np.maximum(np.ceil(np.arange(frames) / 313) - 1, 0)
    path = make(parameters={"lin.weight": walk(0.9, frames=frames)}, scalars={"epoch": epoch}, chunk_steps=512)
    answer = analyzer.open_run(path).thermo.temperature(window="epoch").compute()
    share = (answer["drift_null"] / answer["temperature"]).values[0]
    assert share.shape == (5,)
    assert (share > 0.75 * 19 / 313).all()
    assert (share < 1.05 * 19 / 313).all()


@pytest.mark.parametrize("window", [24, 200, 1000, None])
def test_blocks_equal_the_definition(make: Callable[..., Path], window: int | None) -> None:
    """Of an unaligned query in one chunk: blocks of min(256, N/4), the last with the rest; ½ s/N by definition."""
    frames = walk(0.0, frames=1600)
    run = analyzer.open_run(make(parameters={"lin.weight": frames}, scalars={}, chunk_steps=2048))
    answer = run.thermo.temperature(window=window, start=3, errors=False).compute()
    for n, (begin, end) in enumerate(zip(answer["start_step"].values, answer["stop_step"].values, strict=True)):
        count = end - begin
        length = max(min(256, count // 4), 2)
        edges = np.append(begin + length * np.arange(max(count // length, 1)), end)
        moved = np.diff(frames[..., edges].astype(float), axis=-1)
        squared = float((np.diff(edges) ** 2).sum())
        spread = (moved**2).sum() - (moved.sum(axis=-1) ** 2).sum() * squared / count**2
        expected = 0.5 * spread / (count - squared / count) / count / 900
        measured = answer["drift_null"].values[0, n]
        assert measured == pytest.approx(expected, rel=1e-9) or (count < 20 and np.isnan(measured))


def test_where_it_is_not_known(make: Callable[..., Path]) -> None:
    """Windows of one or two velocities have no blocks; in windows of 40, blocks of 10 do not see g = 19."""
    run = analyzer.open_run(make(parameters={"lin.weight": walk(0.9, frames=400)}, scalars={}, chunk_steps=512))
    assert np.isnan(run.thermo.temperature(window=2)["drift_null"].compute()).all()
    assert np.isnan(run.thermo.temperature(window=40)["drift_null"].compute()).all()


def test_kept_cold_and_modified_runs_agree(make: Callable[..., Path]) -> None:
    frames = walk(0.5)
    epoch = np.maximum(np.ceil(np.arange(FRAMES) / 400) - 1, 0)
    path = make(parameters={"lin.weight": frames, "lin.bias": frames[0]}, scalars={"epoch": epoch}, chunk_steps=128)
    run = analyzer.open_run(path)
    for options in ({}, {"window": "epoch"}, {"by": "row"}, {"lag": "epoch"}, {"by": "row", "parameter": "*weight"}):
        cold = run.thermo.temperature(cache=False, **options).compute()
        run.thermo.temperature(**options).compute()
        xr.testing.assert_identical(run.thermo.temperature(**options).compute(), cold)
        tree = (run * 1.0).thermo.temperature(**options).compute()
        if options != {"window": "epoch"}:  # its blocks are those of the chunks, not those of epochs
            both = (cold["drift_null"].mean().item(), tree["drift_null"].mean().item())
            assert both[0] == pytest.approx(both[1], rel=0.1)


def test_mass_convention_and_the_shell(make: Callable[..., Path]) -> None:
    path = make(parameters={"lin.weight": walk(0.0)}, scalars={}, chunk_steps=512)
    run = analyzer.open_run(path)
    paper = run.thermo.temperature()["drift_null"].compute().item()
    other = run.thermo.temperature(mass=3.0, k_B=2.0, convention="md")["drift_null"].compute()
    assert other.item() == pytest.approx(3 * paper)
    assert other.attrs["units"] == "weight^2 step^-2"
    document = json.loads(invoke("temperature", path, "--format", "json").stdout)
    assert document["records"][0]["drift_null"] == pytest.approx(paper, rel=1e-12)
    assert ",drift_null," in invoke("temperature", path, "--format", "csv").stdout
    assert "drift null" not in invoke("temperature", path).stdout, "a table has no room for it"
