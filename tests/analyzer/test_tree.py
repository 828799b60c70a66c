"""Trees that were built by hand: what they must carry, and what they then answer."""

from __future__ import annotations

from typing import Any

import dask.array as da
import numpy as np
import pytest
import xarray as xr

import analyzer
from analyzer.errors import DamagedStoreError, GroupError, TreeError, WindowError
from analyzer.tree import trajectory
from tests.stores import write_store


def frames(count: int = 40, shape: tuple[int, ...] = (3, 4), seed: int = 0) -> np.ndarray:
    return np.cumsum(np.random.default_rng(seed).normal(size=(*shape, count)), axis=-1)


def build(values: Any, steps: Any, attrs: dict[str, Any] | None = None, **root: Any) -> xr.DataTree:
    own = {"name": "out.weight", "layer": "out", "module": "out"} if attrs is None else attrs
    weight = xr.Dataset({"weight": (("a", "b", "step"), values, own)})
    return xr.DataTree.from_dict({"/": xr.Dataset(coords={"step": steps}, attrs=root), "/parameters/out": weight})


def test_a_tree_of_arrays_answers_as_a_store_does(tmp_path) -> None:
    values = frames()
    store = write_store(tmp_path / "run.zarr", {"out.weight": values})
    for made in (values, da.from_array(values, chunks=(2, 2, 7))):
        run = analyzer.as_run(build(made, np.arange(40)))
        for by in ("layer", "row", "column", "element", "model", "module", "parameter"):
            mine = run.thermo.temperature(by=by, window=10).load()
            theirs = analyzer.open_run(store).thermo.temperature(by=by, window=10).load()
            assert np.allclose(mine["temperature"], theirs["temperature"], rtol=1e-12)
    assert 0.5 * (np.diff(values) ** 2).mean() == pytest.approx(
        run.thermo.temperature().load()["temperature"].item(), rel=1e-12
    )
    assert run.thermo.velocity()["parameters/out/weight"].sizes["step"] == 39


def test_steps_of_uneven_spacing_have_a_window_each() -> None:
    steps = [0, 1, 2, 3, 13, 23, 33]
    values = frames(7)
    run = analyzer.as_run(build(values, steps))
    answer = run.thermo.temperature(by="layer").load()
    assert answer["start_step"].values.tolist() == [0, 3]
    assert answer["steps_per_lag"].values.tolist() == [1, 10]
    for n, own in enumerate((values[..., :4], values[..., 3:])):
        assert answer["temperature"].values[0, n] == pytest.approx(0.5 * (np.diff(own) ** 2).mean(), rel=1e-12)
    with pytest.raises(WindowError, match="0 to 3 every 1, 3 to 33 every 10"):
        run.thermo.temperature(window=3)
    velocity = run.thermo.velocity()
    assert velocity["steps_per_lag"].values.tolist() == [1, 1, 1, 10, 10, 10]


def test_strides_and_segments_that_a_tree_names_count() -> None:
    steps = [0, 1, 2, 5, 6, 7]
    gap = analyzer.as_run(build(frames(6), steps, stride=1)).thermo.temperature().load()
    assert (gap.sizes["window"], gap["left_out"].item()) == (1, 3)
    listed = [
        {"first_frame": 0, "first_step": 0, "stride": 1},
        {"first_frame": 3, "first_step": 5, "stride": 1, "continuous": False},
    ]
    cut = analyzer.as_run(build(frames(6), steps, stride=1, segments=listed)).thermo.temperature().load()
    assert cut["velocities"].values.tolist() == gap["velocities"].values.tolist()


def test_parts_of_an_uneven_tree_keep_their_stretches(tmp_path) -> None:
    steps = [*range(20), *range(21, 60, 2)]
    listed = [
        {"first_frame": 0, "first_step": 0, "stride": 1, "continuous": False},
        {"first_frame": 20, "first_step": 21, "stride": 2, "continuous": True},
    ]
    values = frames(len(steps))
    store = write_store(tmp_path / "run.zarr", {"out.weight": values}, steps=steps, segments=listed)
    run = analyzer.open_run(store)
    whole = run.thermo.temperature().load()
    assert whole["steps_per_lag"].values.tolist() == [1, 2]
    for tree, kept in ((run * 1, slice(None)), (run.isel(step=slice(5, 30)), slice(5, 30))):
        with xr.set_options(keep_attrs=True):
            tree = run.isel(step=kept) if kept != slice(None) else run.map_over_datasets(lambda one: one * 1.0)
        answer = tree.thermo.temperature().load()
        assert answer["steps_per_lag"].values.tolist() == [1, 2]
        first = values[..., kept][..., : 20 - (kept.start or 0)]
        assert answer["temperature"].values[0, 0] == pytest.approx(0.5 * (np.diff(first) ** 2).mean(), rel=1e-12)
    thin = run.isel(step=slice(None, None, 2)).thermo.temperature().load()
    assert thin["steps_per_lag"].values.tolist() == [2, 4]


def damaged(change: str) -> Any:
    values, steps = frames(), np.arange(40)
    named = {"name": "out.weight", "layer": "out", "module": "out"}
    if change == "no tree":
        return xr.Dataset()
    if change == "no parameters":
        return xr.DataTree.from_dict({"/": xr.Dataset(coords={"step": steps})})
    if change == "twice":
        tree = build(values, steps)
        tree["parameters/other"] = tree["parameters/out"].copy()
        return tree
    if change == "complex":
        return build(values + 0j, steps)
    if change == "segments":
        tree = build(values, steps)
        tree.attrs["segments"] = [{"first_frame": 0}]
        return tree
    if change == "no step":
        tree = build(values, steps)
        tree["parameters/out"] = tree["parameters/out"].to_dataset(inherit=False).assign(mask=("m", [1.0], named))
        return tree
    if change in named:
        return build(values, steps, {key: value for key, value in named.items() if key != change})
    return build(values, {"halves": steps + 0.5, "words": list("ab" * 20), "back": steps[::-1]}[change])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("no tree", "expected a DataTree"),
        ("no parameters", "a group 'parameters'"),
        ("no step", "dimension 'step'"),
        ("name", "attribute 'name'"),
        ("layer", "attribute 'layer'"),
        ("module", r"attribute 'module'.*help\(analyzer\.tree\)"),
        ("twice", "got two"),
        ("complex", "real numbers"),
        ("halves", "whole numbers"),
        ("words", "whole numbers"),
        ("back", "increasing steps"),
        ("segments", r"attribute 'segments' of the run: .*Mend the attribute, or leave it out"),
    ],
)
def test_what_is_missing_is_said(change: str, message: str) -> None:
    with pytest.raises(TreeError, match=message):
        analyzer.as_run(damaged(change))


def test_unsigned_steps_that_decrease_are_refused(tmp_path) -> None:
    """Their differences would wrap around to large positive numbers."""
    steps = np.array([0, 1, 3, 2], dtype=np.uint64)
    with pytest.raises(TreeError, match="steps out of order"):
        analyzer.as_run(build(frames(4), steps))
    with pytest.raises(DamagedStoreError, match=r"strictly increasing steps, got \[3, 2\] at frame 2"):
        analyzer.open_run(write_store(tmp_path / "run.zarr", {"out.weight": frames(4)}, steps=steps))


def test_what_a_tree_lacks_is_named() -> None:
    with pytest.raises(TreeError, match="got DataTree without the group"):
        analyzer.as_run(xr.DataTree(xr.Dataset(coords={"step": [0, 1]})))
    with pytest.raises(TreeError, match="got DataTree without the coordinate and the group"):
        analyzer.as_run(xr.DataTree())


def test_heads_that_an_array_cannot_have() -> None:
    own = {"name": "out.weight", "layer": "out", "module": "out", "heads": 3, "head_axis": 0}
    for wrong in ({"heads": 0}, {"head_axis": 2}, {"head_axis": -1}):
        run = analyzer.as_run(build(frames(), np.arange(40), own | wrong))
        assert run.thermo.temperature(by="row").sizes["group"] == 3
        with pytest.raises(GroupError, match="--by head: expected a parameter with"):
            run.thermo.temperature(by="head")
    for wrong in ({"heads": "three"}, {"heads": float("inf")}, {"aliases": 1}):
        with pytest.raises(TreeError, match="parameters/out/weight: expected attributes of the right types, got"):
            analyzer.as_run(build(frames(), np.arange(40), own | wrong))


def test_steps_of_a_run_are_in_memory_once(tmp_path) -> None:
    store = write_store(tmp_path / "run.zarr", {"out.weight": frames()})
    run = analyzer.open_run(store)
    assert np.shares_memory(run["step"].values, trajectory(run).line.steps)
