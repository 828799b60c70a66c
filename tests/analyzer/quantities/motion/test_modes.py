"""Modes of a run: the same as the covariance of the whole array gives, whatever the cut."""

from __future__ import annotations

import json
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
import xarray as xr

import analyzer
from analyzer import errors
from analyzer.engine import plan
from analyzer.engine.lookback import gram
from tests.analyzer.shell import invoke, shell
from tests.stores import segment, write_store


def walk(seed: int, *shape: int) -> np.ndarray:
    return np.cumsum(np.random.default_rng(seed).standard_normal(shape), axis=-1).astype(np.float32)


@pytest.mark.parametrize("span", [1, 1024])
@pytest.mark.parametrize("by", ["model", "layer", "row"])
def test_equal_to_the_covariance_of_the_whole_array(tmp_path: Path, by: str, span: int) -> None:
    frames = 901
    parameters = {"conv1.lin.weight": 100 + walk(0, 4, 3, frames), "lin.weight": 2 * walk(1, 3, 2, frames)}
    path = write_store(tmp_path / "run.zarr", parameters, row_cut=2)
    with mock.patch.multiple(plan, SPAN_FRAMES=span, KEPT_FRAMES=100), mock.patch.object(gram, "_TILE", 5):
        run = analyzer.open_run(path)
        answer = run.thermo.modes(by=by, frames=200, modes=2).compute()
        weights = run.thermo.mode_weights(by=by, frames=200, modes=2).compute()
        tree = run.map_over_datasets(lambda dataset: dataset * 1)
        xr.testing.assert_allclose(tree.thermo.modes(by=by, frames=200, modes=2).compute(), answer, rtol=1e-9)
    assert answer.attrs["steps_between_frames"] == 5
    assert answer["step"].values.tolist() == [*range(0, frames, 5)]
    flat = {name: values.reshape(-1, frames)[:, ::5].astype(float) for name, values in parameters.items()}
    groups = {
        "model": [np.concatenate([*flat.values()])],
        "layer": [*flat.values()],
        "row": [row[:, ::5].astype(float) for values in parameters.values() for row in values],
    }[by]
    for n, x in enumerate(groups):
        x = x - x.mean(axis=1, keepdims=True)
        u, s, vt = np.linalg.svd(x, full_matrices=False)
        np.testing.assert_allclose(answer["variance_share"][n], (s**2 / (s**2).sum())[:2], rtol=1e-9)
        np.testing.assert_allclose(answer["participation_ratio"][n], (s**2).sum() ** 2 / (s**4).sum(), rtol=1e-9)
        for mode in range(2):
            found, truth = answer["projection"].values[n, mode], s[mode] * vt[mode]
            sign = np.sign(found @ truth)
            np.testing.assert_allclose(found, sign * truth, atol=1e-8 * s[0])
            if by == "layer":
                name = [*parameters][n]
                own = weights[name].values[mode].reshape(-1)
                np.testing.assert_allclose(own, sign * u[:, mode], atol=1e-8)
                np.testing.assert_allclose(own @ x, found, atol=1e-8 * s[0])
    assert sum(float((weights[name].sel(mode=1) ** 2).sum()) for name in weights) == pytest.approx(len(groups))


def test_weights_far_from_0_lose_nothing(tmp_path: Path) -> None:
    """Products of weights near 10⁷ are known to 10⁻², their variance is near 100: the first frame comes off before."""
    values = 1e7 + np.cumsum(np.random.default_rng(4).standard_normal((3, 4, 200)), axis=-1)
    run = analyzer.open_run(write_store(tmp_path / "run.zarr", {"lin.weight": values}))
    answer = run.thermo.modes(modes=4).compute()
    x = (values - values[..., :1]).reshape(12, -1)
    u, s, _ = np.linalg.svd(x - x.mean(axis=1, keepdims=True), full_matrices=False)
    np.testing.assert_allclose(answer["variance_share"][0], (s**2 / (s**2).sum())[:4], rtol=1e-9)
    modes = run.thermo.mode_weights(modes=4).compute()["lin.weight"].values.reshape(4, -1)
    np.testing.assert_allclose(np.abs(modes @ u[:, :4]), np.eye(4), atol=1e-8)


def test_a_walk_and_a_minimum(tmp_path: Path) -> None:
    """Weights that walk look like a random walk; weights that relax within five steps do not."""
    rng = np.random.default_rng(3)
    confined = rng.standard_normal((20, 20, 600))
    for t in range(1, 600):
        confined[..., t] += 0.8 * confined[..., t - 1]
    path = write_store(tmp_path / "run.zarr", {"a.weight": walk(2, 20, 20, 600), "b.weight": confined})
    answer = analyzer.open_run(path).thermo.modes(modes=3).compute()
    assert answer["verdict"].values[0, 0] == "not distinguishable from a random walk by this criterion"
    assert answer["variance_share"].values[0, 0] == pytest.approx(6 / np.pi**2, abs=0.06)
    assert answer["verdict"].values[1, 0] == "unlike a random walk"
    assert answer["participation_ratio"].values[1] > 20 * answer["participation_ratio"].values[0]


def test_gaps_and_too_few_frames_are_refused(tmp_path: Path) -> None:
    steps = np.arange(100)
    steps[60:] += 7
    path = write_store(tmp_path / "run.zarr", {"a.weight": walk(0, 3, 2, 100)}, steps=steps)
    with pytest.raises(errors.WindowError, match="The longest stretch: --start 0 --stop 59"):
        analyzer.open_run(path).thermo.modes()
    assert analyzer.open_run(path).thermo.modes(stop=59).attrs["frames"] == 60
    with pytest.raises(errors.TooFewFramesError, match="expected at least 16 frames, got 11"):
        analyzer.open_run(path).thermo.modes(stop=10)
    resumed = [segment(0, 0), segment(50, 50)]
    path = write_store(tmp_path / "resumed.zarr", {"a.weight": walk(0, 3, 2, 100)}, segments=resumed)
    with pytest.raises(errors.WindowError, match="neither a gap nor a resumption"):
        analyzer.open_run(path).thermo.modes()
    for options in ({"frames": 3}, {"modes": 0}):
        with pytest.raises(errors.OptionError, match="expected a number of at least"):
            analyzer.open_run(path).thermo.modes(**options)
    with pytest.raises(errors.OptionError, match="--modes: expected at most 50, the number of frames"):
        analyzer.open_run(path).thermo.modes(stop=49, modes=2**31)
    with pytest.raises(errors.MemoryLimitError, match="Take fewer --frames"):
        analyzer.open_run(path).thermo.modes(stop=49, memory_limit=1000)


def test_processes_give_the_bits_of_threads(tmp_path: Path) -> None:
    path = write_store(tmp_path / "run.zarr", {"a.weight": walk(0, 9, 7, 700), "b.weight": walk(1, 5, 700)})
    options = ("modes", path, "--format", "json")
    threads = json.loads(invoke(*options).stdout)["records"]
    assert json.loads(shell(*options).stdout)["records"] == threads
    processes = shell(*options, "--scheduler", "processes", "--workers", 2)
    assert json.loads(processes.stdout)["records"] == threads


def test_a_weight_that_is_not_finite_is_named(tmp_path: Path) -> None:
    bad = walk(0, 3, 2, 200)
    bad[0, 0, 100:] = np.nan
    path = write_store(tmp_path / "run.zarr", {"a.weight": walk(1, 3, 2, 200), "b.weight": bad})
    done = invoke("modes", path, "--modes", 1, "--format", "json")
    assert "b.weight: NaN or infinite weights from step 100 on" in done.stderr
    assert [record["variance_share"] is None for record in json.loads(done.stdout)["records"]] == [False, True]
