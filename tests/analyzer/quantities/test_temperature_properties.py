"""Properties over random runs: three ways to the same temperature, groups, epochs, sums that add up, modified trees."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

import analyzer
from tests import oracles
from tests.stores import scratch, write_store
from tests.strategies import EpochRun, Query, Run, attention_runs, epoch_runs, queries, runs

LAYERS = {"conv1": ["conv1.lin.weight", "conv1.bias"], "lin": ["lin.weight"], "": ["scale"]}


def relaxed(examples: int) -> settings:
    slow = [HealthCheck.too_slow]
    return settings(deadline=None, max_examples=examples, report_multiple_bugs=False, suppress_health_check=slow)


@contextmanager
def stored(run: Run) -> Iterator[Path]:
    with scratch() as folder:
        yield write_store(Path(folder) / "run.zarr", **run.arguments)


def pairs_of(run: Run, query: Query) -> list[list[tuple[int, int]]]:
    """The frame pairs of every window of a query."""
    return [
        oracles.displacements(run.steps, run.stride, begin, end, query.lag, run.barriers)
        for begin, end in oracles.tiles(query.start, query.stop, query.window)
    ]


def options_of(query: Query) -> dict[str, Any]:
    return {"start": query.start, "stop": query.stop, "window": query.window, "lag": query.lag}


def truth(parts: list[np.ndarray], windows: list[list[tuple[int, int]]]) -> list[float]:
    return [oracles.temperature(parts, pairs)["temperature"] for pairs in windows]


def assert_equal(found: np.ndarray, expected: Any) -> None:
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=0)


def plain_xarray(weight: xr.DataArray, pairs: list[tuple[int, int]]) -> float:
    """Equation 6, ½⟨(Δw)²⟩, `diff` along each chain of frames that pairs link."""
    chains: list[list[int]] = []
    for before, after in pairs:
        if chains and chains[-1][-1] == before:
            chains[-1].append(after)
        else:
            chains.append([before, after])
    velocities = [weight.astype("f8").isel(step=chain).diff("step") for chain in chains]
    return 0.5 * float((xr.concat(velocities, "step") ** 2).mean()) if chains else np.nan


@relaxed(25)
@given(data=st.data())
def test_engine_loop_and_plain_xarray_agree(data: st.DataObject) -> None:
    run = data.draw(runs())
    query = data.draw(queries(run))
    windows = pairs_of(run, query)
    assume(any(windows))
    with stored(run) as path:
        answer = analyzer.open_run(path).thermo.temperature(by="parameter", **options_of(query)).compute()
        assert sorted(answer["parameter"].values) == sorted(run.parameters)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = xr.open_datatree(path, engine="zarr", chunks={})
        for group, name in enumerate(answer["parameter"].values):
            found = answer["temperature"].values[group]
            assert_equal(found, truth([run.parameters[name]], windows))
            weight = tree["parameters/" + name.replace(".", "/")]
            assert_equal(found, [plain_xarray(weight, pairs) for pairs in windows])
        tree.close()


def split(run: Run, by: str) -> dict[str, list[np.ndarray]]:
    """The parts of every group of a kind, by the definition in words."""
    weights = {name: run.parameters[name] for name in run.parameters if name.endswith("weight")}
    found: dict[str, list[np.ndarray]] = {}
    if by in ("column", "input"):
        for name, values in weights.items():
            found |= {f"{name}[{n}]": [values[:, n]] for n in range(values.shape[1])}
    elif by == "output":
        for name, values in weights.items():
            bias = run.parameters.get(name.replace("lin.weight", "bias")) if "." in name else None
            for n in range(values.shape[0]):
                found[f"{name}[{n}]"] = [values[n], *([bias[n]] if bias is not None else [])]
    else:
        for name, described in run.attributes.items():
            heads, values = described["heads"], run.parameters[name]
            by_head = values[0] if name == "gat.att_src" else values.reshape(heads, -1, *values.shape[1:])
            found |= {f"{name}[{n}]": [by_head[n]] for n in range(heads)}
    return found


@relaxed(15)
@given(data=st.data(), by=st.sampled_from(["column", "output", "input", "head"]))
def test_groups_that_divide_parameters_equal_the_definition(data: st.DataObject, by: str) -> None:
    run = data.draw(attention_runs())
    query = data.draw(queries(run))
    windows = pairs_of(run, query)
    assume(any(windows))
    with stored(run) as path:
        answer = analyzer.open_run(path).thermo.temperature(by=by, **options_of(query)).compute()
    expected = split(run, by)
    assert set(answer["group"].values) == set(expected)
    for group, label in enumerate(answer["group"].values):
        assert_equal(answer["temperature"].values[group], truth(expected[label], windows))
        assert answer["weights"].values[group] == sum(part[..., 0].size for part in expected[label])


def unbroken(pairs: list[tuple[int, int]], barriers: set[int]) -> list[tuple[int, int]]:
    return [(before, after) for before, after in pairs if not any(before < b <= after for b in barriers)]


@relaxed(25)
@given(drawn=epoch_runs())
def test_lag_epoch_and_its_half_phase_equal_the_definition(drawn: EpochRun) -> None:
    """Ends of consecutive complete epochs; and their middles, half an epoch (rounded down) after the end before."""
    run, ends, barriers = drawn.run, drawn.ends, drawn.run.barriers
    both = [n for n in range(len(drawn.complete) - 1) if drawn.complete[n] and drawn.complete[n + 1]]
    aligned = unbroken([(ends[n + 1], ends[n + 2]) for n in both], barriers)
    half = drawn.length // 2
    shifted = unbroken([(ends[n] + half, ends[n + 1] + half) for n in both], barriers)
    assume(aligned)
    with stored(run) as path:
        answer = analyzer.open_run(path).thermo.temperature(by="parameter", lag="epoch").compute()
    for group, name in enumerate(answer["parameter"].values):
        weights = run.parameters[name][..., 0].size
        for title, counted, pairs in (
            ("temperature", "velocities", aligned),
            ("temperature_half_phase", "velocities_half_phase", shifted),
        ):
            assert_equal(answer[title].values[group], truth([run.parameters[name]], [pairs]))
            assert answer[counted].values[group, 0] == weights * len(pairs)
    assert (answer.attrs["steps_per_lag"], answer.attrs["half_phase_steps"]) == (drawn.length, half)


@relaxed(20)
@given(drawn=epoch_runs())
def test_windows_of_an_epoch_equal_the_definition(drawn: EpochRun) -> None:
    run, ends = drawn.run, drawn.ends
    windows = [oracles.displacements(run.steps, 1, ends[n], ends[n + 1], 1, run.barriers) for n in range(len(ends) - 1)]
    assume(any(windows))
    with stored(run) as path:
        answer = analyzer.open_run(path).thermo.temperature(by="parameter", window="epoch").compute()
    assert answer["stop_step"].values.tolist() == ends[1:]
    assert answer["partial"].values.tolist() == [not whole for whole in drawn.complete]
    for group, name in enumerate(answer["parameter"].values):
        assert_equal(answer["temperature"].values[group], truth([run.parameters[name]], windows))


@relaxed(15)
@given(data=st.data())
def test_layers_are_means_of_their_tensors_and_of_their_elements(data: st.DataObject) -> None:
    run = data.draw(runs())
    query = data.draw(queries(run))
    assume(any(pairs_of(run, query)))
    with stored(run) as path:
        thermo = analyzer.open_run(path).thermo
        layer = thermo.temperature(by="layer", **options_of(query)).compute()
        for finer in ("parameter", "element"):
            parts = thermo.temperature(by=finer, **options_of(query)).compute()
            for n, name in enumerate(layer["layer"].values):
                mine = parts.isel(group=parts["layer"].values == name)
                weights = mine["weights"].values[:, np.newaxis]
                mean = (mine["temperature"].values * weights).sum(axis=0) / weights.sum()
                assert_equal(layer["temperature"].values[n], mean)
                assert layer["weights"].values[n] == weights.sum()


@relaxed(15)
@given(data=st.data())
def test_a_window_is_the_mean_of_its_sub_windows(data: st.DataObject) -> None:
    """At the lag of one stride every velocity is in one window, whatever the windows."""
    run = data.draw(runs())
    query = data.draw(queries(run))
    span = {"start": query.start, "stop": query.stop}
    assume(any(pairs_of(run, Query(query.start, query.stop, None, run.stride))))
    with stored(run) as path:
        thermo = analyzer.open_run(path).thermo
        whole = thermo.temperature(**span).compute()
        cut = thermo.temperature(window=query.window or run.stride, **span).compute()
    count = cut["velocities"].values
    np.testing.assert_array_equal(count.sum(axis=1), whole["velocities"].values[:, 0])
    mean = np.nansum(cut["temperature"].values * count, axis=1) / count.sum(axis=1)
    assert_equal(whole["temperature"].values[:, 0], mean)


def test_the_drift_of_a_window_is_not_the_mean_of_its_sub_windows(make: Callable[..., Path]) -> None:
    """w = 0, 1, 2, 1, 0: ⟨v⟩ is 1, then −1, so T_drift = ½ in each half, and 0 over both, where ⟨v⟩ = 0."""
    path = make(parameters={"lin.weight": np.array([[[0.0, 1, 2, 1, 0]]])}, scalars={})
    thermo = analyzer.open_run(path).thermo
    halves, whole = thermo.temperature(window=2).compute(), thermo.temperature().compute()
    assert halves["temperature_drift"].values.tolist() == [[0.5, 0.5]]
    assert whole["temperature_drift"].item() == 0
    assert whole["temperature"].item() == 0.5 == halves["temperature"].values.mean()


Change = Callable[[st.DataObject, xr.DataTree], xr.DataTree]


def _isel(data: st.DataObject, tree: xr.DataTree) -> xr.DataTree:
    frames = tree.sizes["step"]
    low = data.draw(st.integers(0, frames // 2))
    return tree.isel(step=slice(low, data.draw(st.integers(low + 2, frames))))


def _every_other(data: st.DataObject, tree: xr.DataTree) -> xr.DataTree:
    return tree.isel(step=slice(None, None, 2))


def _sel(data: st.DataObject, tree: xr.DataTree) -> xr.DataTree:
    steps = tree["step"].values
    return tree.sel(step=slice(steps[0], steps[data.draw(st.integers(len(steps) // 2, len(steps) - 1))]))


def _rows(data: st.DataObject, tree: xr.DataTree) -> xr.DataTree:
    return tree.isel({"lin.weight_row": slice(-1, None)}, missing_dims="ignore")


def _where(data: st.DataObject, tree: xr.DataTree) -> xr.DataTree:
    return tree.map_over_datasets(lambda ds: ds.where(ds > 0, 0.25))


def _twice(data: st.DataObject, tree: xr.DataTree) -> xr.DataTree:
    return tree * 2


def _mapped(data: st.DataObject, tree: xr.DataTree) -> xr.DataTree:
    return tree.map_over_datasets(lambda ds: 3 * ds.astype("f8") + 1)


def _backwards(data: st.DataObject, tree: xr.DataTree) -> xr.DataTree:
    """A variable replaced by its own values in reverse."""
    tree = tree.copy()
    old = tree["parameters/lin/weight"]
    tree["parameters/lin/weight"] = old.copy(data=old.isel(step=slice(None, None, -1)).data)
    return tree


def _swapped(data: st.DataObject, tree: xr.DataTree) -> xr.DataTree:
    """A variable replaced by part of another one of the same run."""
    tree = tree.copy()
    old, other = tree["parameters/scale"], tree["parameters/lin/weight"]
    rest = {dim: 0 for dim in other.dims if dim != "step"}
    tree["parameters/scale"] = old.copy(data=other.isel(rest).data)
    return tree


def _other_order(data: st.DataObject, tree: xr.DataTree) -> xr.DataTree:
    return tree.map_over_datasets(lambda ds: ds[list(ds.data_vars)[::-1]] if ds.data_vars else ds)


def _renamed(data: st.DataObject, tree: xr.DataTree) -> xr.DataTree:
    return tree.map_over_datasets(lambda ds: ds.rename({d: "unit" for d in ds.dims if d == "lin.weight_row"}))


def _shuffled_and_sorted(data: st.DataObject, tree: xr.DataTree) -> xr.DataTree:
    order = data.draw(st.permutations(range(tree.sizes["step"])))
    return tree.isel(step=order).map_over_datasets(lambda ds: ds.sortby("step"))


def _without_bias(data: st.DataObject, tree: xr.DataTree) -> xr.DataTree:
    return tree.map_over_datasets(lambda ds: ds.drop_vars("bias", errors="ignore"))


def _time_first(data: st.DataObject, tree: xr.DataTree) -> xr.DataTree:
    return tree.map_over_datasets(lambda ds: ds.transpose("step", ...))


def _chunked(data: st.DataObject, tree: xr.DataTree) -> xr.DataTree:
    return tree.chunk({"step": data.draw(st.integers(1, 9))})


CHANGES = [
    *(_isel, _every_other, _sel, _rows, _where, _twice, _mapped, _backwards, _swapped, _other_order, _renamed),
    *(_shuffled_and_sorted, _without_bias, _time_first, _chunked),
]


def own_arrays(tree: xr.DataTree) -> Mapping[str, np.ndarray]:
    """Every parameter of a tree by its name, step last, as plain numpy reads it."""
    return {
        array.attrs["name"]: array.transpose(..., "step").values.astype(np.float64)
        for node in tree["parameters"].subtree
        for array in node.data_vars.values()
    }


@pytest.mark.parametrize("first", CHANGES)
@relaxed(4)
@given(data=st.data(), others=st.lists(st.sampled_from(CHANGES), max_size=3))
def test_any_composition_of_changes_is_answered_from_the_tree_itself(
    data: st.DataObject, first: Change, others: list[Change]
) -> None:
    """The store's own sums lie beside it, ready to be taken for the answer."""
    run = data.draw(runs())
    assume(np.diff(run.steps).min() == run.stride)
    with stored(run) as path:
        tree = analyzer.open_run(path)
        assume(any(pairs_of(run, Query(int(run.steps[0]), int(run.steps[-1]), None, run.stride))))
        tree.thermo.temperature(by="parameter").compute()
        for change in (first, *others):
            assume(tree.sizes["step"] >= 4)
            tree = change(data, tree)
        steps = tree["step"].values
        assume(len(steps) >= 2)
        stride = int(np.diff(steps).min())
        barriers = {int(np.searchsorted(steps, s["first_step"])) for s in run.segments if not s["continuous"]}
        pairs = oracles.displacements(steps, stride, int(steps[0]), int(steps[-1]), stride, barriers)
        assume(pairs)
        answer = tree.thermo.temperature(by="parameter").compute()
        own = own_arrays(tree)
    assert sorted(answer["parameter"].values) == sorted(own)
    for group, name in enumerate(answer["parameter"].values):
        assert_equal(answer["temperature"].values[group], truth([own[name]], [pairs]))
        assert answer["weights"].values[group] == own[name][..., 0].size


DRAWING = (_isel, _sel, _shuffled_and_sorted, _chunked)


@pytest.mark.parametrize("change", [change for change in CHANGES if change not in DRAWING])
def test_each_change_of_the_property_is_one(change: Callable[..., xr.DataTree], make: Callable[..., Path]) -> None:
    rng = np.random.default_rng(0)
    shapes: dict[str, tuple[int, ...]] = {"lin.weight": (3, 2, 40), "lin.bias": (3, 40), "scale": (40,)}
    tree = analyzer.open_run(make(parameters={n: rng.normal(size=s) for n, s in shapes.items()}, scalars={})).load()
    assert repr(change(None, tree)) != repr(tree)
