"""Rows, hot and cold: known temperatures are ranked and told apart, equal ones are not, however the store is cut."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
import xarray as xr
from scipy import stats

import analyzer
from analyzer import errors
from analyzer.engine import frames as frames_module
from analyzer.engine import spans
from analyzer.quantities import rows as row_temperatures
from analyzer.query.query import Query
from analyzer.statistics.heterogeneity import joined
from analyzer.store.reading import read
from tests import systems
from tests.analyzer.unequal_rows import RANK, VARIANCE, walk
from tests.stores import write_store

Make = Callable[..., Path]


@pytest.fixture
def unequal(make: Make) -> Path:
    """`a.weight` has rows of known temperatures; `a.bias` has none; `conv.kernel` has four axes and equal rows."""
    rng = np.random.default_rng(0)
    frames = {
        "a.weight": walk(rng, VARIANCE, 6, 2000),
        "a.bias": walk(rng, np.ones(8), 1, 2000)[:, 0],
        "conv.kernel": walk(rng, np.ones(5), 12, 2000).reshape(5, 3, 2, 2, 2001),
    }
    axes = {"conv.kernel": {"axes": ["output", "input", "", ""], "heads": None, "head_axis": None}}
    return make(parameters=frames, scalars={}, chunk_steps=256, attributes=axes)


def test_known_temperatures_are_ranked_and_differ(unequal: Path) -> None:
    """A row's T is known to √(2/(6·2000)) = 1.3 %, and neighbours differ by 30 %: no rank can be wrong."""
    run = analyzer.open_run(unequal)
    answer = run.thermo.rows()
    own = answer.isel(group=answer["parameter"].values == "a.weight", window=0)
    assert own["rank"].values.tolist() == RANK
    assert (np.abs(own["temperature"] - 0.5 * VARIANCE) < 4 * own["standard_error"]).all()
    np.testing.assert_allclose(own["standard_error"] / own["temperature"], np.sqrt(2 / 12_000), rtol=0.5)
    np.testing.assert_array_equal(own["mean_squared_velocity"], 2 * own["temperature"])
    last = run["parameters/a/weight"].values[..., -1]
    np.testing.assert_allclose(own["rms_weight"], np.sqrt((last**2).mean(axis=1)), rtol=1e-12)
    hot, cold = own["temperature"].values.max(), own["temperature"].values.min()
    test = answer.sel(tested="a.weight")
    assert test["verdict"].item() == "differ"
    assert test["p_value"] < 1e-30
    assert test["rank_stability"] == 1
    assert test["hottest_over_coldest"] == hot / cold
    assert (test["rows"], test["reason"].item()) == (8, "")
    assert 12 <= test["blocks"] <= 64
    assert test["block_steps"] >= 3 * test["inefficiency"]
    equal = answer.sel(tested="conv.kernel")
    assert (equal["rows"], equal["verdict"].item()) == (5, "no difference found")
    assert equal["f"] < 3
    assert answer["tested"].values.tolist() == ["a.weight", "conv.kernel"], "a bias has no rows"
    assert answer.attrs["units"] == "weight^2 step^-2"


def test_the_rows_temperatures_are_those_of_the_other_command(unequal: Path) -> None:
    run = analyzer.open_run(unequal)
    for by in ("row", "column", "output", "input"):
        answer, same = run.thermo.rows(by=by, start=100), run.thermo.temperature(by=by, start=100).compute()
        np.testing.assert_allclose(answer["temperature"], same["temperature"], rtol=1e-12)
        np.testing.assert_allclose(answer["floor"], same["floor"], rtol=1e-12)
        assert answer["group"].values.tolist() == same["group"].values.tolist()
        np.testing.assert_array_equal(answer["weights"], same["weights"])


def test_columns_are_the_rows_of_the_transposed_parameter(make: Make) -> None:
    frames = walk(np.random.default_rng(1), VARIANCE, 6, 500)
    there = analyzer.open_run(make(name="rows.zarr", parameters={"a.weight": frames}, scalars={})).thermo.rows()
    turned = make(name="columns.zarr", parameters={"a.weight": frames.swapaxes(0, 1)}, scalars={})
    other = analyzer.open_run(turned).thermo.rows(by="column")
    for name in ("temperature", "rank", "standard_error", "rms_weight", "f", "p_value", "blocks"):
        np.testing.assert_allclose(there[name], other[name], rtol=1e-9, err_msg=name)
    np.testing.assert_array_equal(there["row"], other["column"])


def test_equal_rows_and_rows_of_equal_elements_differ_in_one_of_twenty(make: Make) -> None:
    """Forty parameters of equal rows: from 0 to 7 differ with a probability of 99.9 % at a rate of 5 %.

    In half of them the elements of a row share one signal, so their means scatter as that of one element: an analysis
    of variance over elements would call nearly all of those different.
    """
    rng = np.random.default_rng(2)
    frames = {}
    for n in range(40):
        velocity = systems.autoregression(rng, 6 if n % 2 else 24, 600, 0.8, 1.0).reshape(6, -1, 600)
        velocity = np.broadcast_to(velocity, (6, 4, 600))
        frames[f"l{n}.weight"] = np.concatenate([np.zeros((6, 4, 1)), velocity], axis=2).cumsum(axis=2)
    answer = analyzer.open_run(make(parameters=frames, scalars={}, chunk_steps=256)).thermo.rows()
    assert (answer["verdict"] != "undecided").all()
    assert int((answer["verdict"] == "differ").sum()) <= 7
    shared = [frames[f"l{n}.weight"] for n in range(1, 40, 2)]
    naive = [stats.f_oneway(*(np.diff(x) ** 2).mean(axis=2) + 1e-3 * rng.random((6, 4))).pvalue for x in shared]
    assert sum(p < 0.05 for p in naive) == 20


@pytest.mark.parametrize(
    "changes", [{"chunk_steps": 2048}, {"row_cut": 3}, {"compression": "pcodec", "chunk_steps": 100}]
)
def test_the_answer_does_not_depend_on_chunks(tmp_path: Path, changes: dict[str, object]) -> None:
    frames = {"a.weight": walk(np.random.default_rng(3), np.linspace(1, 1.2, 8), 4, 1200)}
    same = {"scalars": {}, "run_id": "one", "steps": np.arange(1201)}
    one = write_store(tmp_path / "one.zarr", frames, **{"chunk_steps": 256} | same)  # type: ignore[arg-type]
    other = write_store(tmp_path / "other.zarr", frames, **{"chunk_steps": 256} | same | changes)  # type: ignore[arg-type]
    first = analyzer.open_run(one).thermo.rows()
    xr.testing.assert_allclose(first.whole, analyzer.open_run(other).thermo.rows().whole, rtol=1e-12)
    tree = analyzer.open_run(one).map_over_datasets(lambda node: node.chunk(step=77) if "step" in node.dims else node)
    xr.testing.assert_allclose(first.whole, tree.thermo.rows().whole, rtol=1e-12)
    xr.testing.assert_allclose(first.whole, analyzer.open_run(one).load().thermo.rows().whole, rtol=1e-12)


def test_a_long_run_is_answered_from_kept_sums_and_without_the_trajectory(make: Make) -> None:
    """From 32 blocks of 256 frames on batches are whole blocks; the last frame is an edge, whose weights are kept."""
    rng = np.random.default_rng(4)
    frames = {"a.weight": walk(rng, VARIANCE[:4], 3, 9000), "b.weight": walk(rng, np.ones(3), 2, 9000)}
    path = make(parameters=frames, scalars={}, chunk_steps=1024)
    bare = analyzer.open_run(path).thermo.rows(cache=False)
    analyzer.open_run(path).thermo.temperature(by="layer").compute()
    with mock.patch.object(frames_module, "read", wraps=read) as reader:
        kept = analyzer.open_run(path).thermo.rows()
    assert not reader.call_args_list
    xr.testing.assert_identical(kept.whole, bare.whole)
    assert (bare["block_steps"] % 256 == 0).all()
    same = analyzer.open_run(path).thermo.temperature(by="row").compute()
    for name in ("temperature", "standard_error", "n_eff"):
        np.testing.assert_allclose(kept[name], same[name], rtol=1e-9, err_msg=name)
    shutil.rmtree(path)
    alone = analyzer.open_run(f"{path}.moments").thermo.rows(layer="b")
    some = kept.isel(group=kept["layer"].values == "b").sel(tested=["b.weight"])
    xr.testing.assert_equal(alone.whole.drop_vars("inefficiency"), some.whole.drop_vars("inefficiency"))
    masks = analyzer.row_masks(analyzer.open_run(f"{path}.moments").thermo.rows(), 0.5)
    for kind, masked in masks.items():
        if "/" in kind:
            np.testing.assert_array_equal(masked, analyzer.row_masks(kept, 0.5)[kind])


def test_kept_sums_of_a_short_run_are_ranked_without_a_verdict(make: Make) -> None:
    path = make(parameters={"a.weight": walk(np.random.default_rng(5), VARIANCE, 6, 2000)}, scalars={}, chunk_steps=256)
    truth = analyzer.open_run(path).thermo.rows()
    analyzer.open_run(path).thermo.temperature().compute()
    shutil.rmtree(path)
    answer = analyzer.open_run(f"{path}.moments").thermo.rows()
    assert answer["rank"].values[:, 0].tolist() == RANK
    np.testing.assert_array_equal(answer["rms_weight"], truth["rms_weight"])
    assert (answer["blocks"].item(), answer["verdict"].item()) == (8, "undecided")
    _, measured = row_temperatures.sums_of(analyzer.open_run(f"{path}.moments"), Query(by="row"))
    with pytest.raises(errors.TrajectoryMissingError, match="got only sums of them"):
        spans.frame_at(measured.plan.bundles[0], measured.plan.frames[0], measured.plan.spans[-1], 7)
    with pytest.raises(errors.TrajectoryMissingError, match="expected a question that the kept sums answer"):
        analyzer.open_run(f"{path}.moments").thermo.rows(start=100)


def test_auto_answers_without_the_trajectory(make: Make) -> None:
    """Whatever the step that equilibrium begins at, kept sums have an edge soon after."""
    scale = np.where(np.arange(5000) < 700, 2.0, 1.0)
    velocity = np.random.default_rng(10).standard_normal((4, 3, 5000)) * scale
    frames = np.concatenate([np.zeros((4, 3, 1)), velocity], axis=2).cumsum(axis=2)
    path = make(parameters={"a.weight": frames}, scalars={}, chunk_steps=1024)
    analyzer.open_run(path).thermo.temperature().compute()
    shutil.rmtree(path)
    answer = analyzer.open_run(f"{path}.moments").thermo.rows(start="auto")
    assert answer["start_step"].item() >= 700
    assert answer["start_step"].item() % 256 == 0
    assert answer["verdict"].item() == "no difference found"


def test_auto_begins_at_a_whole_block(make: Make) -> None:
    """Hotter by 4 until step 1,000, and long: the equilibrium begins there, the window at the next multiple of 256."""
    scale = np.where(np.arange(10_000) < 1000, 2.0, 1.0)
    velocity = np.random.default_rng(7).standard_normal((4, 3, 10_000)) * scale
    frames = np.concatenate([np.zeros((4, 3, 1)), velocity], axis=2).cumsum(axis=2)
    run = analyzer.open_run(make(parameters={"a.weight": frames}, scalars={}, chunk_steps=1024))
    latest = int(run.thermo.equilibration()["equilibrium_step"].max())
    answer = run.thermo.rows(start="auto")
    begin = int(answer["start_step"].item())
    assert latest >= 1000
    assert begin % 256 == 0
    assert 0 <= begin - latest < 256
    exact = run.thermo.rows(start=latest)
    assert exact["start_step"].item() == latest, "a step that was asked for is the step that is taken"


def test_longer_lags_and_epochs(make: Make) -> None:
    """Over a lag of L independent steps T is L times that of one."""
    frames = {"a.weight": walk(np.random.default_rng(7), VARIANCE, 6, 3000)}
    epoch = np.maximum(np.ceil(np.arange(3001) / 30) - 1, 0)
    run = analyzer.open_run(make(parameters=frames, scalars={"epoch": epoch}, chunk_steps=256))
    for lag, steps, count in ((10, 10, 300), ("epoch", 30, 99)):
        answer = run.thermo.rows(lag=lag)
        near = np.sqrt(2 / (6 * count)) * 4
        np.testing.assert_allclose(answer["temperature"].values[:, 0], 0.5 * steps * VARIANCE, rtol=near)
        assert answer["verdict"].item() == "differ"
        assert answer["rank"].values[0, 0] in (4, 5, 6)
        assert 2700 < answer["block_steps"] * answer["blocks"] < 3000 + answer["block_steps"]
        assert answer.attrs["units"] == "weight^2 lag^-2"
    last = frames["a.weight"][..., 3000]
    np.testing.assert_allclose(answer["rms_weight"].values[:, 0], np.sqrt((last**2).mean(axis=1)), rtol=1e-12)


def test_gaps_leave_short_blocks_out_of_the_test(make: Make) -> None:
    steps = np.arange(2001)
    steps[700:] += 10_000
    frames = {"a.weight": walk(np.random.default_rng(8), VARIANCE, 6, 2000)}
    frames["a.weight"][..., 700:] += 1e6  # what lies behind a gap need not follow from what lies before
    answer = analyzer.open_run(make(parameters=frames, steps=steps, scalars={}, chunk_steps=256)).thermo.rows()
    assert answer["rank"].values[:, 0].tolist() == RANK
    np.testing.assert_allclose(answer["temperature"].values[:, 0], 0.5 * VARIANCE, rtol=0.06)
    assert answer["verdict"].item() == "differ"
    assert answer["blocks"].item() >= 12


def test_undecided_where_it_was_not_measured(make: Make) -> None:
    rng = np.random.default_rng(9)
    slow = systems.autoregression(rng, 12, 600, 0.99, 1.0).reshape(4, 3, 600)
    broken = walk(rng, np.ones(4), 3, 600)
    broken[2, 1, 300:] = np.nan
    frames = {
        "slow.weight": np.concatenate([np.zeros((4, 3, 1)), slow], axis=2).cumsum(axis=2),
        "one.weight": walk(rng, np.ones(1), 3, 600),
        "broken.weight": broken,
        "dead.weight": np.ones((3, 2, 601)),
    }
    run = analyzer.open_run(make(parameters=frames, scalars={}, chunk_steps=256))
    with pytest.warns(errors.NonFiniteWarning, match=r"broken\.weight"):
        answer = run.thermo.rows()
    told = dict(zip(answer["tested"].values.tolist(), answer["reason"].values.tolist(), strict=True))
    verdicts = dict(zip(answer["tested"].values.tolist(), answer["verdict"].values.tolist(), strict=True))
    assert set(verdicts.values()) == {"undecided"}
    assert told["dead.weight"] == "all rows are below 10 times what rounding alone gives; take a longer lag"
    assert told["slow.weight"].startswith("12 batches are needed, each 3 times as long as 𝒯 is correlated (")
    assert told["one.weight"] == "there is only one row"
    assert told["broken.weight"] == "a row has NaN or infinite weights"
    ranks = answer["rank"].values[answer["parameter"].values == "broken.weight", 0]
    assert ranks[2] == 4, "what is not finite comes last"
    with pytest.warns(errors.NonFiniteWarning):
        early = run.thermo.rows(parameter="broken.*", stop=500)
    assert early["verdict"].item() == "undecided"
    assert run.thermo.rows(parameter="broken.*", stop=299)["verdict"].item() != "undecided"


def test_rows_at_the_floor_are_undecided_and_one_hot_row_is_enough(make: Make) -> None:
    """Weights near 1 that move by an ulp, 2^-23, now and then: T is ¼ of ulp², three times the floor of ulp²/12."""
    rng = np.random.default_rng(11)
    ulps = rng.integers(0, 2, (4, 3, 400)) * np.array([0, 1, 1, 1])[:, None, None]
    cold = (1 + 2.0**-23 * ulps).astype(np.float32)
    warm = cold.copy()
    warm[3] = (1 + 1e-3 * rng.standard_normal((3, 400)).cumsum(axis=1)).astype(np.float32)
    path = make(parameters={"cold.weight": cold, "warm.weight": warm}, scalars={}, chunk_steps=64)
    answer = analyzer.open_run(path).thermo.rows()
    assert answer["p_value"].sel(tested="cold.weight") < 0.05
    assert answer["verdict"].values.tolist() == ["undecided", "differ"]


def test_blocks_are_longer_than_the_correlation_and_not_too_many() -> None:
    assert joined(np.full(40, 8.0), 1.0).tolist() == list(range(40))
    assert joined(np.full(40, 8.0), 5.0).tolist() == list(range(0, 40, 2)), "3 · 5 = 15 samples take two batches of 8"
    assert joined(np.full(40, 8.0), 5.4).tolist() == list(range(0, 40, 3))
    assert joined(np.ones(600), 1.0).size == 60
    assert joined(np.full(5, 8.0), np.nan).size == 5


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"parameter": "*.bias"}, errors.GroupError, "Rows: expected a parameter with two or more axes, got none of"),
        ({"by": "head", "layer": "a"}, errors.GroupError, "Rows: expected a parameter with attention heads, got none"),
        ({"by": "layer"}, errors.OptionError, "--by: expected one of row, column, output, input, head, got 'layer'"),
        ({"stop": 11}, errors.WindowError, "expected a window of at least 12 velocities, got 11"),
        ({"lag": 400}, errors.WindowError, "expected a window of at least 12 velocities, got 5"),
        ({"lag": "epoch"}, errors.EpochError, "expected a recorded scalar 'epoch'"),
        ({"layer": "x*"}, errors.SelectionError, "--layer 'x*': expected a pattern that matches"),
        ({"memory_limit": 1000}, errors.MemoryLimitError, "expected at most"),
    ],
)
def test_refusals(unequal: Path, options: dict[str, object], error: type[Exception], text: str) -> None:
    with pytest.raises(error) as refused:
        analyzer.open_run(unequal).thermo.rows(**options)
    assert text in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_sweep_has_a_dimension_run(make: Make) -> None:
    for n in range(3):
        frames = {"a.weight": walk(np.random.default_rng(n), VARIANCE, 6, 800)}
        make(name=f"{n}.zarr", parameters=frames, scalars={}, chunk_steps=256, hyperparameters={"seed": n})
    sweep = analyzer.open_sweep(make(name="3.zarr", parameters=frames, scalars={}, chunk_steps=256).parent / "*.zarr")
    answer = sweep.thermo.rows()
    assert answer["rank"].dims == ("run", "group", "window")
    assert answer["p_value"].dims == ("run", "tested")
    assert (answer["verdict"] == "differ").all()


def test_the_public_name_is_the_function(unequal: Path) -> None:
    run = analyzer.open_run(unequal)
    xr.testing.assert_identical(analyzer.rows(run, layer="a").whole, run.thermo.rows(layer="a").whole)
