"""Batches: the velocities of a window, cut for error bars."""

from __future__ import annotations

from unittest import mock

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import analyzer
from analyzer.engine import plan
from analyzer.engine.measure import measure
from analyzer.engine.sums import SQUARES
from analyzer.quantities.velocity import pairs
from analyzer.query.batches import in_batches
from analyzer.query.groups import group
from analyzer.query.query import Query
from analyzer.query.timeline import timeline
from analyzer.query.windows import sample
from tests.stores import scratch, segment, write_store
from tests.strategies import Run, queries, runs


@settings(deadline=None, max_examples=60)
@given(run=runs(), data=st.data())
def test_batches_hold_the_velocities_of_their_windows(run: Run, data: st.DataObject) -> None:
    query = data.draw(queries(run))
    line = timeline(run.steps, run.stride)
    try:
        whole = sample(line, window=query.window, start=query.start, stop=query.stop, lag=query.lag)
    except analyzer.AnalyzerError:
        return
    cut = in_batches(whole)
    assert sorted(zip(*pairs(cut), strict=True)) == sorted(zip(*pairs(whole), strict=True))
    assert (np.diff(cut.batch) >= 0).all()
    assert set(np.diff(cut.batch)) <= {0, 1}
    owners = {int(batch): set(cut.window[cut.batch == batch]) for batch in cut.batch}
    assert all(len(windows) == 1 for windows in owners.values()), "no batch lies in two windows"
    velocities = np.bincount(cut.window, weights=cut.count - 1, minlength=whole.windows.velocities.size)
    np.testing.assert_array_equal(velocities, whole.windows.velocities)


@pytest.mark.parametrize(("frames", "length"), [(10, 256), (1000, 256), (8193, 256), (16_385, 512), (187_500, 4096)])
def test_batches_begin_where_blocks_do(frames: int, length: int) -> None:
    cut = in_batches(sample(timeline(np.arange(frames), 1)))
    assert (cut.first % length == 0).all()
    assert (cut.count[:-1] == length + 1).all()
    assert cut.batch is not None
    assert cut.batches == -(-(frames - 1) // length)


def test_a_gap_inside_a_batch_leaves_it_one_batch() -> None:
    steps = np.concatenate([np.arange(400), np.arange(500, 1000)])
    cut = in_batches(sample(timeline(steps, 1)))
    counts = np.bincount(cut.batch, weights=cut.count - 1)
    assert counts.tolist() == [256, 255, 256, 131], "frames 0 to 256, 256 to 512 less the gap at 400, and so on"


def test_displacements_over_a_longer_lag_are_counted_in_displacements() -> None:
    cut = in_batches(sample(timeline(np.arange(1001), 1), lag=10))
    assert np.bincount(cut.batch, weights=cut.count - 1).tolist() == [2] * 50


@settings(deadline=None, max_examples=40)
@given(run=runs(), data=st.data(), frames=st.sampled_from([1, 20, 4096]), by=st.sampled_from(["row", "element"]))
def test_sums_of_batches_add_up_however_the_run_is_cut(run: Run, data: st.DataObject, frames: int, by: str) -> None:
    """Batches against windows, and against batches taken one by one from plain numpy."""
    query = data.draw(queries(run))
    with scratch() as folder, mock.patch.object(plan, "KEPT_FRAMES", frames):
        path = write_store(f"{folder}/run.zarr", **run.arguments)
        asked = Query(by=by, start=query.start, stop=query.stop, window=query.window, lag=query.lag, batches=True)
        try:
            measured = measure(analyzer.open_run(path), asked)
        except analyzer.AnalyzerError:
            return
        drawn = measured.plan.sampling
        batches = measured.moments.batches.compute(scheduler="synchronous")
        table = measured.moments.table.compute(scheduler="synchronous")
    owner = np.array([drawn.window[drawn.batch == n][0] for n in range(drawn.batches)])
    summed = np.zeros(table.shape[1:])
    np.add.at(summed.T, owner, batches.T)
    np.testing.assert_allclose(summed, table[SQUARES], rtol=1e-12, atol=1e-300)
    before, after = pairs(drawn)
    which = np.repeat(drawn.batch, drawn.count - 1)
    name = measured.plan.grouping.columns["parameter"][0]
    values = run.parameters[name].astype(np.float64)
    squares = (values[..., after] - values[..., before]) ** 2
    first = squares.reshape(-1, squares.shape[-1])[0] if by == "element" else squares[0].sum(axis=0)
    np.testing.assert_allclose(batches[0], np.bincount(which, first, drawn.batches), rtol=1e-12, atol=1e-300)


def test_series_of_parameters_come_along_with_batches_of_rows() -> None:
    rng = np.random.default_rng(0)
    values = {"a.weight": rng.normal(size=(4, 3, 100)).astype("f4"), "a.bias": rng.normal(size=(4, 100)).astype("f4")}
    with scratch() as folder:
        path = write_store(f"{folder}/run.zarr", values, segments=[segment(0, 0)])
        measured = measure(analyzer.open_run(path), Query(by="output", batches=True))
        series = measured.moments.series.compute(scheduler="synchronous")
    for row, frames in zip(series, values.values(), strict=True):
        squares = np.diff(frames.astype("f8"), axis=-1).reshape(-1, 99) ** 2
        np.testing.assert_allclose(row, squares.sum(axis=0), rtol=1e-12)


def test_groups_of_whole_parameters_need_no_batches() -> None:
    """They have their series."""
    with scratch() as folder:
        path = write_store(f"{folder}/run.zarr", {"a.weight": np.zeros((2, 2, 50), "f4")})
        measured = measure(analyzer.open_run(path), Query(by="layer", batches=True))
    assert measured.moments.batches is None
    assert measured.moments.series is not None
    assert group(measured.run.parameters, "layer").is_whole
