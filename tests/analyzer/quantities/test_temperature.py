"""The engine against plain loops over the definition, and the properties that any temperature has."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from unittest import mock

import dask
import numpy as np
import pytest
import xarray as xr
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

import analyzer
from analyzer.engine import frames as frames_module
from analyzer.engine import graph as engine
from analyzer.engine import plan
from analyzer.errors import WindowError
from tests import oracles
from tests.stores import scratch, write_store
from tests.strategies import Query, Run, queries, runs

LAYERS = {
    "conv1": ["conv1.lin.weight", "conv1.bias"],
    "lin": ["lin.weight"],
    "": ["scale"],
}
relaxed = settings(
    deadline=None, max_examples=40, report_multiple_bugs=False, suppress_health_check=[HealthCheck.too_slow]
)


def expected(run: Run, query: Query, parts: list[np.ndarray]) -> dict[str, np.ndarray]:
    """The oracle's columns, one value a window."""
    answers = []
    for begin, end in oracles.tiles(query.start, query.stop, query.window):
        pairs = oracles.displacements(run.steps, run.stride, begin, end, query.lag, run.barriers)
        answers.append(oracles.temperature(parts, pairs))
    return {name: np.array([answer[name] for answer in answers]) for name in answers[0]}


def asked(run: Run, query: Query) -> bool:
    return any(
        oracles.displacements(run.steps, run.stride, begin, end, query.lag, run.barriers)
        for begin, end in oracles.tiles(query.start, query.stop, query.window)
    )


def check(dataset: xr.Dataset, group: int, answer: dict[str, np.ndarray]) -> None:
    total = answer["temperature"]
    np.testing.assert_allclose(dataset["temperature"].values[group], total, rtol=1e-12, atol=0)
    # Drift and fluctuation are differences of what T is the sum of: their rounding is that of T.
    for name in ("temperature_drift", "temperature_thermal"):
        error = np.abs(dataset[name].values[group] - answer[name])
        assert np.all((error <= 1e-12 * np.abs(total)) | (np.isnan(error) & np.isnan(total))), name


@relaxed
@given(data=st.data())
def test_every_group_equals_the_definition_over_any_chunking(data: st.DataObject) -> None:
    run = data.draw(runs())
    query = data.draw(queries(run))
    assume(asked(run, query))
    options = {"start": query.start, "stop": query.stop, "window": query.window, "lag": query.lag}
    with scratch() as folder, ExitStack() as stack:
        # Small tasks and a narrow tree, so that short runs have seams at every level.
        stack.enter_context(mock.patch.object(plan, "SPAN_FRAMES", data.draw(st.sampled_from([1, 8, 1024]))))
        stack.enter_context(mock.patch.object(plan, "KEPT_FRAMES", data.draw(st.sampled_from([1, 16, 4096]))))
        stack.enter_context(mock.patch.object(plan, "BUNDLE_BYTES", data.draw(st.sampled_from([1, 1000, 1 << 20]))))
        stack.enter_context(mock.patch.object(engine, "FAN_IN", data.draw(st.sampled_from([2, 3, 8]))))
        opened = analyzer.open_run(write_store(Path(folder) / "run.zarr", **run.arguments))
        by_layer = opened.thermo.temperature(by="layer", **options)
        assert by_layer.chunks, "lazy in, lazy out"
        by_layer, by_row, by_element = dask.compute(
            by_layer,
            opened.thermo.temperature(by="row", **options),
            opened.thermo.temperature(by="element", **options),
            scheduler="synchronous",
        )
        assert sorted(by_layer["layer"].values) == sorted(LAYERS)
        for layer, names in LAYERS.items():
            group = list(by_layer["layer"].values).index(layer)
            check(by_layer, group, expected(run, query, [run.parameters[name] for name in names]))
        for name, row, group in zip(by_row["parameter"].values, by_row["row"].values, range(10**6), strict=False):
            check(by_row, group, expected(run, query, [run.parameters[name][row]]))
        flat = {name: values.reshape(-1, len(run.steps)) for name, values in run.parameters.items()}
        for group in range(0, by_element.sizes["group"], 3):
            name, index = by_element["parameter"].values[group], by_element["index"].values[group]
            check(by_element, group, expected(run, query, [flat[name][index]]))


@relaxed
@given(data=st.data())
def test_a_modified_tree_is_answered_from_its_own_arrays(data: st.DataObject) -> None:
    """isel, * 2, where, map_over_datasets, a swapped variable: never the answer of the untouched store."""
    run = data.draw(runs(gaps=False))
    frames = len(run.steps)
    assume(frames >= 6)
    low, high = sorted(data.draw(st.sets(st.integers(0, frames - 1), min_size=2, max_size=2)))
    with scratch() as folder:
        opened = analyzer.open_run(write_store(Path(folder) / "run.zarr", **run.arguments))
        names = ["lin.weight"]
        change = data.draw(st.sampled_from(["isel", "times", "map", "swap", "where", "load", "chunk"]))
        parts = {name: run.parameters[name].astype(float) for name in names}
        steps = run.steps
        if change == "isel":
            opened, steps = opened.isel(step=slice(low, high + 1)), steps[low : high + 1]
            parts = {name: values[..., low : high + 1] for name, values in parts.items()}
        elif change == "times":
            opened, parts = opened * 2, {name: (2 * run.parameters[name]).astype(float) for name in names}
        elif change == "map":
            opened = opened.map_over_datasets(lambda ds: ds * 3)
            parts = {name: (3 * run.parameters[name]).astype(float) for name in names}
        elif change == "swap":
            old = opened["parameters/lin/weight"]
            new = old.copy(data=old.data[..., ::-1])
            opened["parameters/lin/weight"] = new
            parts = {name: values[..., ::-1] for name, values in parts.items()}
        elif change == "where":
            opened = opened.map_over_datasets(lambda ds: ds.where(ds != 7.25, 0.0))
            parts = {name: np.where(values == 7.25, 0.0, values) for name, values in parts.items()}
        elif change == "load":
            opened = opened.load()
        else:
            opened = opened.chunk({"step": data.draw(st.integers(1, 9))})
        answer = opened.thermo.temperature(by="layer", layer="lin")
        assert bool(answer.chunks) == (change != "load"), "lazy in, lazy out; eager in, eager out"
        pairs = oracles.displacements(steps, run.stride, int(steps[0]), int(steps[-1]), run.stride)
        truth = oracles.temperature(list(parts.values()), pairs)
        np.testing.assert_allclose(answer["temperature"].values, [[truth["temperature"]]], rtol=1e-12)


@pytest.mark.parametrize("factor", [2.0, 0.25])
def test_scaled_weights_scale_the_temperature_with_the_square(make, frames, factor) -> None:
    plain = analyzer.open_run(make("a.zarr")).thermo.temperature(by="row").compute()
    scaled = {name: (factor * values).astype(values.dtype) for name, values in frames.items()}
    other = analyzer.open_run(make("b.zarr", parameters=scaled)).thermo.temperature(by="row").compute()
    for name in ("temperature", "temperature_drift", "temperature_thermal", "floor"):
        np.testing.assert_allclose(other[name], factor**2 * plain[name], rtol=1e-13)


def test_temperatures_are_weighted_means_of_their_parts(store) -> None:
    thermo = analyzer.open_run(store).thermo
    layer = thermo.temperature(by="layer").compute()
    for finer in ("parameter", "element"):
        parts = thermo.temperature(by=finer).compute()
        for name in ("temperature", "temperature_drift", "temperature_thermal", "floor"):
            for n, group in enumerate(layer["layer"].values):
                mine = parts.isel(group=parts["layer"].values == group)
                mean = (mine[name] * mine["weights"]).sum("group") / mine["weights"].sum()
                np.testing.assert_allclose(layer[name][n], mean, rtol=1e-12)


def test_a_window_is_the_weighted_mean_of_its_sub_windows(store) -> None:
    thermo = analyzer.open_run(store).thermo
    whole = thermo.temperature().compute()
    for window in (7, 20, "epoch"):
        cut = thermo.temperature(window=window).compute()
        assert int(cut["velocities"].sum()) == int(whole["velocities"].sum())
        mean = (cut["temperature"] * cut["velocities"]).sum("window") / cut["velocities"].sum("window")
        np.testing.assert_allclose(mean, whole["temperature"][:, 0], rtol=1e-12)


def test_mass_convention_and_boltzmann_constant(store, frames) -> None:
    thermo = analyzer.open_run(store).thermo
    plain = thermo.temperature(by="parameter").compute()
    for options, factor in (
        ({"convention": "md"}, 2.0),
        ({"mass": 3.0}, 3.0),
        ({"k_B": 4.0}, 0.25),
    ):
        other = thermo.temperature(by="parameter", **options).compute()
        for name in ("temperature", "temperature_drift", "temperature_thermal", "floor"):
            np.testing.assert_allclose(other[name], factor * plain[name], rtol=1e-13)
    mapped = thermo.temperature(by="layer", mass={"conv1.bias": 5.0}).compute()["temperature"].values[0, 0]
    parts = dict(zip(plain["parameter"].values, plain["temperature"].values[:, 0], strict=True))
    assert mapped == pytest.approx((24 * parts["conv1.lin.weight"] + 8 * 5 * parts["conv1.bias"]) / 32, rel=1e-13)


def test_remove_drift_reports_the_fluctuation(store, frames) -> None:
    plain = analyzer.open_run(store).thermo.temperature()
    drift_free = analyzer.open_run(store).thermo.temperature(remove_drift=True)
    np.testing.assert_array_equal(drift_free["temperature"], plain["temperature_thermal"])
    assert drift_free.attrs["drift_removed"] == 1


def test_a_constant_drift_changes_nothing_once_drift_is_removed(make, frames) -> None:
    rng = np.random.default_rng(3)
    still = {name: values.astype(float) for name, values in frames.items()}
    drift = {name: rng.normal(size=(*v.shape[:-1], 1)) * 2e-3 * np.arange(100) for name, v in frames.items()}
    moving = {name: still[name] + drift[name] for name in still}
    one = analyzer.open_run(make("a.zarr", parameters=still)).thermo.temperature(by="row", remove_drift=True)
    other = analyzer.open_run(make("b.zarr", parameters=moving)).thermo.temperature(by="row", remove_drift=True)
    np.testing.assert_allclose(other["temperature"], one["temperature"], rtol=1e-11)


def test_epoch_windows_follow_the_recorded_scalar(store, frames) -> None:
    answer = analyzer.open_run(store).thermo.temperature(window="epoch").compute()
    assert answer["start_step"].values.tolist() == [0, 19, 39, 59, 79]
    assert answer["stop_step"].values.tolist() == [19, 39, 59, 79, 99]
    assert answer["epoch"].values.tolist() == [0, 1, 2, 3, 4]
    assert answer["partial"].values.tolist() == [True, False, False, False, False]
    truth = oracles.temperature([frames["lin.weight"], frames["lin.bias"]], [(n, n + 1) for n in range(39, 59)])
    np.testing.assert_allclose(answer["temperature"].values[1, 2], truth["temperature"], rtol=1e-12)


def test_epochs_logged_once_each_have_no_boundary_but_the_one_that_is_given(make, frames) -> None:
    """A value logged once an epoch may be that of its first or of its last update: only the user knows."""
    epoch = np.full(100, np.nan)
    epoch[[33, 66, 99]] = [0, 1, 2]
    run = analyzer.open_run(make(scalars={"epoch": epoch}))
    with pytest.raises(analyzer.errors.EpochError, match=r"between step 33 \(epoch 0\) and step 66 \(epoch 1\)"):
        run.thermo.temperature(window="epoch")
    answer = run.thermo.temperature(window="epoch", steps_per_epoch=33)
    assert answer["stop_step"].values.tolist() == [33, 66, 99]
    assert not answer["partial"].values.any()


def test_lag_epoch_takes_the_ends_of_complete_epochs(store, frames) -> None:
    answer = analyzer.open_run(store).thermo.temperature(lag="epoch").compute()
    pairs = [(39, 59), (59, 79), (79, 99)]
    truth = oracles.temperature([frames["lin.weight"], frames["lin.bias"]], pairs)
    np.testing.assert_allclose(answer["temperature"].values[1, 0], truth["temperature"], rtol=1e-12)
    assert answer.attrs["lag"] == "epoch"
    assert answer.attrs["steps_per_lag"] == 20
    assert answer["velocities"].values[1, 0] == 90 * 3


def test_gaps_and_resumptions_are_counted(make) -> None:
    steps = np.arange(100)
    steps[50:] += 4
    answer = analyzer.open_run(make(steps=steps)).thermo.temperature(window=50).compute()
    # 99 pairs of frames, one of them across the gap of 5 steps: 103 - 98 velocities are missing.
    assert answer["left_out"].values.tolist() == [1, 4, 0]
    assert answer["velocities"].values[1].tolist() == [90 * 49, 90 * 46, 90 * 3]


def test_range_in_percent_equals_the_same_steps(store) -> None:
    thermo = analyzer.open_run(store).thermo
    np.testing.assert_array_equal(
        thermo.temperature(start="50%", stop="75%")["temperature"], thermo.temperature(start=49, stop=74)["temperature"]
    )


def test_floor_is_the_mean_squared_ulp_of_the_original_dtype(make) -> None:
    """bfloat16 has 8 bits of precision: between 1 and 2, δ = 2⁻⁷, and the floor δ²/12."""
    values = np.full((3, 40), 1.5, dtype=np.float32)
    path = make(
        parameters={"lin.weight": values[None]}, scalars={}, attributes={"lin.weight": {"original_dtype": "bfloat16"}}
    )
    answer = analyzer.open_run(path).thermo.temperature().compute()
    assert answer["floor"].item() == 2.0**-14 / 12
    assert answer["temperature"].item() == 0


def test_threads_and_synchronous_give_the_same_bits(make) -> None:
    answer = analyzer.open_run(make(chunk_steps=3)).thermo.temperature(by="row", window=10)
    with mock.patch.object(plan, "SPAN_FRAMES", 1), mock.patch.object(plan, "KEPT_FRAMES", 1):
        one = answer.compute(scheduler="synchronous")
        for _ in range(3):
            xr.testing.assert_identical(one, answer.compute(scheduler="threads", num_workers=4))


def test_no_chunk_is_decoded_twice(make) -> None:
    from analyzer.store import reading

    run = analyzer.open_run(make(chunk_steps=10))
    with (
        mock.patch.object(plan, "SPAN_FRAMES", 1),
        mock.patch.object(frames_module, "read", wraps=reading.read) as read,
    ):
        run.thermo.temperature(by="row", window=7).compute(scheduler="synchronous")
    seen = [(call.args[0].path, call.args[1]) for call in read.call_args_list]
    assert len(seen) == len(set(seen)) == 2 * 10
    run.thermo.temperature(layer="lin", start=35, stop=44).compute()


def test_windows_without_velocities_are_nan_not_zero(make) -> None:
    steps = np.arange(100)
    steps[40:] += 60
    answer = analyzer.open_run(make(steps=steps, scalars={})).thermo.temperature(window=30).compute()
    empty = answer["velocities"].values[0] == 0
    assert empty.any()
    assert np.isnan(answer["temperature"].values[:, empty]).all()
    assert np.isfinite(answer["temperature"].values[:, ~empty]).all()


def test_lag_longer_than_the_range_is_refused(store) -> None:
    with pytest.raises(WindowError, match=r"expected a window with at least one velocity"):
        analyzer.open_run(store).thermo.temperature(lag=200)
