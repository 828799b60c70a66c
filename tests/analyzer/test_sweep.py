"""Sweeps: runs side by side, hyperparameters as coordinates."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

import analyzer
from analyzer import errors
from tests.stores import write_store


@pytest.fixture
def sweep_of(make: Callable[..., Path], frames: dict[str, np.ndarray]) -> Callable[..., Path]:
    """Writes a run whose velocities are `scale` times those of the others, with its hyperparameters."""

    def write(name: str, scale: float = 1.0, **hyperparameters: Any) -> Path:
        scaled = {key: (scale * values).astype(np.float32) for key, values in frames.items()}
        return make(f"{name}.zarr", parameters=scaled, hyperparameters=hyperparameters)

    return write


@pytest.fixture
def three(sweep_of: Callable[..., Path], tmp_path: Path) -> xr.DataTree:
    for n, rate in enumerate((1e-3, 2e-3, 4e-3)):
        sweep_of(f"run{n}", 1.0 + n, learning_rate=rate, batch_size=32, seed=n, note="a" if n else "b", tags=[1, 2])
    return analyzer.open_sweep(tmp_path / "run*.zarr")


def test_hyperparameters_are_coordinates(three: xr.DataTree) -> None:
    assert three["run"].values.tolist() == ["run0", "run1", "run2"]
    assert three["learning_rate"].values.tolist() == [1e-3, 2e-3, 4e-3]
    assert three["inverse_batch_size"].values.tolist() == [1 / 32] * 3
    assert three["seed"].dtype == np.int64
    assert three["note"].values.tolist() == ["b", "a", "a"]
    assert "tags" not in three.coords
    assert three["run1"].attrs["hyperparameters"]["tags"] == [1, 2]


def test_temperatures_have_a_dimension_of_runs(three: xr.DataTree, tmp_path: Path) -> None:
    answer = three.thermo.temperature(by="row", window=50)
    assert answer["temperature"].chunks is not None, "lazy in, lazy out"
    answer = answer.compute()
    assert dict(answer.sizes) == {"run": 3, "group": 18, "window": 2}
    for n in range(3):
        alone = analyzer.open_run(tmp_path / f"run{n}.zarr").thermo.temperature(by="row", window=50).compute()
        for name in ("temperature", "standard_error", "floor"):
            np.testing.assert_array_equal(answer[name][n], alone[name])
    assert answer["learning_rate"].dims == ("run",)
    assert answer["layer"].dims == ("group",)
    assert answer["weights"].dims == ("group",)
    assert answer.attrs["units"] == "weight^2 step^-2"
    assert "run_id" not in answer.attrs


def test_the_runs_of_a_sweep_are_untouched_and_use_what_was_kept(three: xr.DataTree, tmp_path: Path) -> None:
    three.thermo.temperature().compute()
    assert sorted(path.name for path in tmp_path.glob("*.moments")) == [f"run{n}.zarr.moments" for n in range(3)]


def test_runs_of_different_length_have_windows_of_their_own(
    make: Callable[..., Path], frames: dict[str, np.ndarray]
) -> None:
    short = {name: values[..., :40] for name, values in frames.items()}
    paths = [make("long.zarr"), make("short.zarr", parameters=short, scalars={})]
    answer = analyzer.open_sweep(paths).thermo.temperature(window=30).compute()
    assert answer["stop_step"].values.tolist()[0] == [30, 60, 90, 99]
    assert answer["stop_step"].values[1, :2].tolist() == [30, 39]
    assert answer["temperature"][1, :, 2:].isnull().all()
    assert answer["temperature"][1, :, :2].notnull().all()


def test_a_run_of_a_sweep_is_a_run(three: xr.DataTree, tmp_path: Path) -> None:
    alone = analyzer.open_run(tmp_path / "run1.zarr").thermo.temperature(by="row").compute()
    xr.testing.assert_identical(three["run1"].thermo.temperature(by="row").compute(), alone)
    assert three["run1"].thermo.parameter("lin.bias").dims == ("row", "step")


def test_select(three: xr.DataTree) -> None:
    assert three.thermo.select(learning_rate=2e-3)["run"].values.tolist() == ["run1"]
    assert three.thermo.select(note="a", seed=[0, 2])["run"].values.tolist() == ["run2"]
    one = three.thermo.select(learning_rate=4e-3).thermo.temperature().compute()
    assert one.sizes["run"] == 1
    with pytest.raises(errors.SweepError, match=r"expected a value that a run has, got none\. The runs have: 0\.001, "):
        three.thermo.select(learning_rate=5e-3)
    with pytest.raises(errors.SweepError, match=r"expected one that the runs recorded \(learning_rate, batch_size"):
        three.thermo.select(momentum=0.9)
    with pytest.raises(errors.SweepError, match="expected a run with all of"):
        three.thermo.select(note="b", seed=2)


def test_a_hyperparameter_that_some_runs_lack_is_refused_by_their_names(
    sweep_of: Callable[..., Path], tmp_path: Path
) -> None:
    sweep_of("a", learning_rate=1e-3, momentum=0.9)
    sweep_of("b", learning_rate=1e-3)
    sweep = analyzer.open_sweep([tmp_path / "a.zarr", tmp_path / "b.zarr"])
    from analyzer.sweep import hyperparameter

    assert np.isnan(sweep["momentum"].values[1])
    with pytest.raises(errors.SweepError, match=r"expected every run to have recorded it, got 1 without: b\."):
        hyperparameter(sweep, "momentum")
    assert sweep.thermo.select(momentum=0.9)["run"].values.tolist() == ["a"]


def test_runs_of_different_models_are_refused_by_name(make: Callable[..., Path], frames: dict[str, np.ndarray]) -> None:
    paths = [make("a.zarr"), make("b.zarr", parameters={**frames, "lin.bias": frames["lin.bias"][:9]})]
    with pytest.raises(errors.SweepError, match=r"lin\.bias is of shape \[10\] in .*a\.zarr and of shape \[9\] in .*b"):
        analyzer.open_sweep(paths)
    del frames["lin.bias"]
    with pytest.raises(errors.SweepError, match=r"lin\.bias is of shape \[10\] in .*a\.zarr and absent in .*c"):
        analyzer.open_sweep([paths[0], make("c.zarr", parameters=frames)])


def test_nothing_to_open(tmp_path: Path) -> None:
    with pytest.raises(errors.SweepError, match="expected at least one store that the pattern matches, got none"):
        analyzer.open_sweep(tmp_path / "*.zarr")
    with pytest.raises(errors.SweepError, match="expected at least one path"):
        analyzer.open_sweep([])
    with pytest.raises(errors.StoreNotFoundError):
        analyzer.open_sweep(tmp_path / "none.zarr")


def test_runs_of_one_name_are_told_apart_by_their_folders(make: Callable[..., Path], tmp_path: Path) -> None:
    for folder in ("x", "y"):
        (tmp_path / folder).mkdir()
    paths = [make("x/run.zarr"), make("y/run.zarr")]
    assert analyzer.open_sweep(paths)["run"].values.tolist() == ["x-run", "y-run"]


def test_a_sweep_of_sums_alone(three: xr.DataTree, tmp_path: Path) -> None:
    before = three.thermo.temperature().compute()
    for n in range(3):
        (tmp_path / f"run{n}.zarr").rename(tmp_path / f"away{n}")
    after = analyzer.open_sweep(tmp_path / "run*.zarr.moments").thermo.temperature().compute()
    xr.testing.assert_equal(after, before)


def test_names_that_a_tree_cannot_hold_twice_or_takes_for_a_path(tmp_path: Path) -> None:
    """A run called like a coordinate keeps its suffix; a slash in a hyperparameter's name becomes an underscore."""
    frames = {"lin.weight": np.cumsum(np.ones((2, 2, 9), dtype=np.float32), axis=-1)}
    for name, rate in (("run", 1.0), ("seed", 2.0), ("other", 3.0)):
        write_store(tmp_path / f"{name}.zarr", frames, hyperparameters={"seed": 0, "optimizer/rate": rate})
    sweep = analyzer.open_sweep(tmp_path / "*.zarr")
    assert sweep["run"].values.tolist() == ["other", "run.zarr", "seed.zarr"]
    assert sweep["optimizer_rate"].values.tolist() == [3.0, 1.0, 2.0]
    assert sweep.thermo.select(optimizer_rate=2.0).thermo.temperature()["run"].values.tolist() == ["seed.zarr"]
