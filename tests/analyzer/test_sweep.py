"""Sweeps: runs side by side, hyperparameters as coordinates."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

import analyzer
from analyzer import errors
from analyzer.query.names import RESERVED
from analyzer.sweep import hyperparameter, matching
from tests.stores import segment, write_store


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


def test_a_path_that_exists_is_itself_whatever_signs_are_in_it(sweep_of: Callable[..., Path], tmp_path: Path) -> None:
    for name in ("lr[1]", "lr1"):
        sweep_of(name, learning_rate=1e-3)
    assert matching(f"{tmp_path}/lr[1].zarr") == [f"{tmp_path}/lr[1].zarr"]
    assert matching(f"{tmp_path}/lr*.zarr") == [f"{tmp_path}/lr1.zarr", f"{tmp_path}/lr[1].zarr"]
    assert matching("s3://runs/lr[1].zarr") == ["s3://runs/lr[1].zarr"]
    assert matching("a" * 5000 + "*") == []
    assert analyzer.open_sweep(f"{tmp_path}/lr[1].zarr")["run"].values.tolist() == ["lr[1]"]


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
    assert np.isnan(sweep["momentum"].values[1])
    with pytest.raises(errors.SweepError, match=r"expected every run to have recorded it, got 1 without: b\."):
        hyperparameter(sweep, "momentum")
    assert sweep.thermo.select(momentum=0.9)["run"].values.tolist() == ["a"]


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


def test_a_hyperparameter_never_replaces_a_result(sweep_of: Callable[..., Path], tmp_path: Path) -> None:
    """A run may call its hyperparameters as we call our variables: they stand beside these, and keep their names."""
    names = sorted(RESERVED)
    for n in range(2):
        sweep_of(f"plain{n}", 1.0 + n, learning_rate=1e-3)
        sweep_of(f"named{n}", 1.0 + n, learning_rate=1e-3, **dict.fromkeys(names, 7.0 + n))
    plain, named = (analyzer.open_sweep(f"{tmp_path}/{kind}*.zarr") for kind in ("plain", "named"))
    for ask in (
        lambda sweep: sweep.thermo.temperature(by="row", window=50),
        lambda sweep: sweep.thermo.temperature(lag=[1, "epoch"], unequal_epochs=True),
        lambda sweep: sweep.thermo.velocity_summary(by="parameter"),
        lambda sweep: sweep.thermo.rows(parameter="lin.weight"),
    ):
        truth, answer = ask(plain).compute(), ask(named).compute()
        for name, variable in truth.variables.items():
            if name != "run":
                xr.testing.assert_identical(answer.variables[name], variable)
        assert answer["hyperparameter_temperature"].values.tolist() == [7.0, 8.0]
        assert all(answer[f"hyperparameter_{name}"].dims == ("run",) for name in names)
    assert named["hyperparameter_floor"].values.tolist() == [7.0, 8.0]
    for name in names:
        assert hyperparameter(named, name).tolist() == [7.0, 8.0]
        assert named.thermo.select(**{name: 8.0})["run"].values.tolist() == ["named1"]
    with pytest.raises(errors.SweepError, match=r"select\(floor=9\): expected a value that a run has"):
        named.thermo.select(floor=9)


def test_a_coordinate_that_a_user_gave_a_sweep_is_no_result(three: xr.DataTree) -> None:
    before = three.thermo.temperature().compute()
    three.coords["temperature"] = ("run", [1.0, 2.0, 3.0])
    answer = three.thermo.temperature().compute()
    xr.testing.assert_equal(answer.drop_vars("hyperparameter_temperature"), before)
    assert answer["hyperparameter_temperature"].values.tolist() == [1.0, 2.0, 3.0]


def test_names_that_become_equal_stay_apart(sweep_of: Callable[..., Path], tmp_path: Path) -> None:
    for n in range(2):
        sweep_of(f"run{n}", **{"sgd/rate": n, "sgd_rate": 10 + n})
    sweep = analyzer.open_sweep(tmp_path / "*.zarr")
    assert sweep["sgd_rate"].values.tolist() == [10, 11]
    assert sweep.thermo.select(**{"sgd/rate": 1})["run"].values.tolist() == ["run1"]
    assert sweep.thermo.select(sgd_rate=10)["run"].values.tolist() == ["run0"]


def test_a_list_is_no_coordinate_and_is_said_to_be_none(three: xr.DataTree) -> None:
    with pytest.raises(errors.SweepError, match=r"'tags': expected one value a run, got a list or an object in run0, "):
        three.thermo.select(tags=[1, 2])


SEEDS = [
    [2**64 - 1, 2**64 - 2, 0],
    [2**63 - 1, 2**63 - 2, -1],
    [10**400, 10**400 + 1, 3],
    [2**64 - 1, -1, 0],
    ["0", 0, None],
    [True, False, 1],
    [12_345_678_901, 12_345_678_902, 0.5],
]


@pytest.mark.parametrize("seeds", SEEDS, ids=lambda seeds: str(seeds)[:20])
def test_seeds_of_any_type_and_size_stay_apart(sweep_of: Callable[..., Path], tmp_path: Path, seeds: list[Any]) -> None:
    for n, seed in enumerate(seeds):
        sweep_of(f"run{n}", seed=seed, batch_size=0)
    sweep = analyzer.open_sweep(tmp_path / "*.zarr")
    for n, seed in enumerate(seeds):
        if seed is not None:
            assert sweep.thermo.select(seed=seed)["run"].values.tolist() == [f"run{n}"]
    answer = sweep.thermo.temperature(by="model").compute()
    assert answer.sizes["run"] == 3
    answer.to_netcdf(tmp_path / "answer.nc", engine="h5netcdf")
    assert len(answer.to_dataframe().to_csv().splitlines()) == 4


def test_paths_of_one_store_are_one_run(sweep_of: Callable[..., Path], tmp_path: Path) -> None:
    path = sweep_of("a")
    sweep_of("b")
    (tmp_path / "latest.zarr").symlink_to(path)
    given = [f"{tmp_path}/*.zarr", path, f"{path}/", f"{tmp_path}/./a.zarr"]
    assert analyzer.open_sweep(given)["run"].values.tolist() == ["a", "b"]


def test_copies_of_a_run_are_refused_by_name(sweep_of: Callable[..., Path], tmp_path: Path) -> None:
    path = sweep_of("a")
    shutil.copytree(path, tmp_path / "copy.zarr")
    with pytest.raises(errors.SweepError, match=r"each run once, got the run \w+ twice: .*a\.zarr and .*copy\.zarr\."):
        analyzer.open_sweep(f"{tmp_path}/*.zarr")
    shutil.rmtree(tmp_path / "copy.zarr")
    sweep = analyzer.open_sweep(f"{tmp_path}/*")
    sweep.thermo.temperature().compute()
    with pytest.raises(errors.SweepError, match=r"a\.zarr and .*a\.zarr\.moments\. A copy, or what was kept of a run"):
        analyzer.open_sweep(f"{tmp_path}/*")


def branch(path: Path, name: str, frames: np.ndarray, **settings: object) -> Path:
    """A store of one run up to step 30, and of a continuation of its own to step 60."""
    segments = [segment(0, 0, session="0" * 32), segment(31, 31, True, session=name * 32, hyperparameters=settings)]
    return write_store(
        path / f"{name}.zarr", {"lin.weight": frames}, segments=segments, run_id="e" * 32, hyperparameters=settings
    )


def test_branches_of_a_run_are_different_runs_from_where_they_part(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    shared = np.cumsum(rng.standard_normal((4, 3, 31)), axis=-1)
    for n, name in enumerate("abcdef"):
        own = shared[..., -1:] + np.cumsum((1 + n) * rng.standard_normal((4, 3, 30)), axis=-1)
        branch(tmp_path, name, np.concatenate([shared, own], axis=-1), learning_rate=1.0 + n)
    sweep = analyzer.open_sweep(tmp_path / "*.zarr")
    with pytest.warns(errors.BranchWarning, match=r"a and b: .*share their frames up to step 30\. .*--start 30"):
        sweep.thermo.temperature().compute()
    with pytest.raises(errors.FitError, match=r"a and b: expected different runs, got branches of one.*--start 30"):
        sweep.thermo.fit()
    answer = sweep.thermo.fit(start=30)
    assert answer["runs"].values.tolist() == [6]
    assert answer["value"].sel(coefficient="b").item() == pytest.approx(2, abs=0.5)
    shutil.copytree(tmp_path / "a.zarr", tmp_path / "z.zarr")
    with pytest.raises(errors.SweepError, match=r"each run once.*a\.zarr and .*z\.zarr"):
        analyzer.open_sweep(tmp_path / "*.zarr")


def test_the_velocities_of_one_run_of_a_sweep(three: xr.DataTree, tmp_path: Path) -> None:
    """A run of a sweep lies below its root: its paths begin with its name."""
    alone = analyzer.open_run(tmp_path / "run1.zarr").thermo.velocity()
    xr.testing.assert_identical(three["run1"].thermo.velocity()["parameters"], alone["parameters"])
