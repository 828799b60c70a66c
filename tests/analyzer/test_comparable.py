"""What runs must share to be compared: strides, the meaning of axes, frozen weights."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

import analyzer
from analyzer import errors
from tests.stores import write_store


def test_runs_of_several_strides_have_one_lag(tmp_path: Path) -> None:
    """Runs with a frame every 2 and every 3 steps of the same walks: velocities are over 6 steps in all."""
    walk = np.cumsum(np.random.default_rng(0).normal(size=(3, 4, 601)), axis=-1)
    for stride in (2, 3):
        write_store(tmp_path / f"every{stride}.zarr", {"lin.weight": walk[..., ::stride]}, stride=stride)
    sweep = analyzer.open_sweep(tmp_path / "*.zarr")
    told = r"every2 has a frame every 2 steps and every3 every 3\..*--lag 6"
    with pytest.warns(errors.StrideWarning, match=told) as heard:
        answer = sweep.thermo.temperature().compute()
    assert heard[0].filename == __file__, "the line of the caller"
    assert answer.attrs["steps_per_lag"] == 6
    truth = 0.5 * (np.diff(walk[..., ::6]) ** 2).mean()
    np.testing.assert_allclose(answer["temperature"].values.reshape(-1), [truth, truth], rtol=1e-12)
    xr.testing.assert_equal(sweep.thermo.temperature(lag=6).compute(), answer)
    xr.testing.assert_equal(sweep.thermo.temperature(lag=np.int64(6)).compute(), answer)
    for lag in ([6, 2], np.array([6, 2]), np.int64(2)):
        with pytest.raises(errors.SweepError, match=r"a multiple of 6 steps, got 2: every2 has .*Write --lag 6"):
            sweep.thermo.temperature(lag=lag)
    with (
        pytest.warns(errors.StrideWarning),
        pytest.raises(errors.SweepError, match=r"dynamics: expected one stride in all runs, got 2 in every2, 3 in e"),
    ):
        sweep.thermo.dynamics()


def test_axes_of_two_meanings_are_two_kinds_of_groups(make: Callable[..., Path], frames: dict[str, np.ndarray]) -> None:
    """As where another version recorded them: rows are compared, outputs are not."""
    paths = [make("a.zarr"), make("b.zarr", attributes={"lin.weight": {"axes": ["input", "output"]}})]
    sweep = analyzer.open_sweep(paths)
    assert sweep.thermo.temperature(by="row").sizes["run"] == 2
    with pytest.raises(errors.SweepError, match=r"--by output: expected axes of one meaning .* in a and .* in b\."):
        sweep.thermo.temperature(by="output")
    heads = {"axes": ["input", "output"], "heads": 2, "head_axis": 0}
    paths += [make(f"{n}.zarr", attributes={"lin.weight": heads | {"head_blocks": n}}) for n in (1, 5)]
    with pytest.raises(errors.SweepError, match=r"got .* with 2 heads along axis 0 of lin\.weight in 1 and .* in 5 bl"):
        analyzer.open_sweep(paths[2:]).thermo.temperature(by="head")
    other = make("c.zarr", attributes={"lin.weight": {"layer": "head"}})
    with pytest.raises(errors.SweepError, match=r"lin\.weight is of layer 'lin' .*a\.zarr and of layer 'head' .*c"):
        analyzer.open_sweep([paths[0], other])
