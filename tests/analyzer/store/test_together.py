"""Stores that are opened together: their paths, copies and branches of a run, names."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import analyzer
from analyzer import errors
from analyzer.store.together import branched_at
from analyzer.sweep import matching
from tests.analyzer.test_sweep import branch
from tests.stores import segment, write_store


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


def test_an_earlier_state_of_a_run_is_a_copy_and_no_branch(tmp_path: Path) -> None:
    frames = np.cumsum(np.ones((2, 2, 61)), axis=-1)
    branch(tmp_path, "a", frames)
    write_store(tmp_path / "b.zarr", {"lin.weight": frames[..., :31]}, segments=[segment(0, 0, session="0" * 32)],
                run_id="e" * 32)  # fmt: skip
    with pytest.raises(errors.SweepError, match="expected each run once"):
        analyzer.open_sweep(tmp_path / "*.zarr")


@pytest.mark.parametrize(
    ("paths", "names"),
    [
        (["a/one", "a/one.zarr"], ["one", "one.zarr"]),
        (["x/a-b/c", "x/a/b-c", "y/c"], ["c", "b-c", "c-2"]),
        (["seed", "seed.zarr.zarr"], ["seed.zarr", "seed.zarr.zarr"]),
    ],
)
def test_no_run_is_lost_for_its_name(
    make: Callable[..., Path], tmp_path: Path, paths: list[str], names: list[str]
) -> None:
    for n, path in enumerate(paths):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        make(path, hyperparameters={"seed": n})
    sweep = analyzer.open_sweep([tmp_path / path for path in paths])
    assert sweep["run"].values.tolist() == names
    assert sweep["seed"].values.tolist() == list(range(len(paths)))
    assert len(sweep.children) == len(paths)


def test_a_folder_that_exists_is_itself_before_it_is_a_pattern(make: Callable[..., Path], tmp_path: Path) -> None:
    for folder in ("sweep[1]", "sweep1"):
        (tmp_path / folder).mkdir()
        make(f"{folder}/run.zarr")
    assert matching(f"{tmp_path}/sweep[1]/*.zarr") == [f"{tmp_path}/sweep[1]/run.zarr"]
    assert matching(f"{tmp_path}/sweep[12]/*.zarr") == [f"{tmp_path}/sweep1/run.zarr"]


def test_branches_share_frames_up_to_the_stride_of_their_segment() -> None:
    """The stride of the root is the greatest common divisor of those of its segments."""
    first = {"first_frame": 0, "first_step": 0, "stride": 2}
    own = {"first_frame": 10, "stride": 10, "continuous": True}
    one, other = ({"stride": 2, "segments": [first, own | {"first_step": step}]} for step in (28, 48))
    assert branched_at(one, other) == 38
