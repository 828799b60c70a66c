"""Every variable of a result says what it is, so that `.plot()` labels itself: `long_name`, and `units` of numbers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import xarray as xr
from matplotlib.figure import Figure

import analyzer
from tests.stores import write_store

BARE = {"run"}
"""Names that need no other label."""


@pytest.fixture
def sweep(tmp_path: Path, frames) -> xr.DataTree:
    for n in range(1, 7):
        walks = {name: values * values.dtype.type(n) for name, values in frames.items()}
        hyperparameters = {"learning_rate": n / 1000, "batch_size": 32, "optimizer": "sgd"}
        write_store(tmp_path / f"{n}.zarr", walks, hyperparameters=hyperparameters)
    return analyzer.open_sweep(tmp_path / "*.zarr")


def _unlabelled(variables: Iterator[tuple[str, xr.DataArray]]) -> list[str]:
    missing = []
    for name, array in variables:
        if name in BARE:
            continue
        if not array.attrs.get("long_name"):
            missing.append(f"{name}: long_name")
        if array.dtype.kind == "f" and name not in ("epoch", "loss") and "units" not in array.attrs:
            missing.append(f"{name}: units")
    return missing


def _of(result: xr.Dataset) -> Iterator[tuple[str, xr.DataArray]]:
    return ((str(name), result[name]) for name in result.variables)


@pytest.mark.parametrize("by", ["model", "layer", "module", "parameter", "row", "column", "output", "input", "element"])
def test_temperatures(store: Path, by: str) -> None:
    run = analyzer.open_run(store)
    assert not _unlabelled(_of(run.thermo.temperature(by=by, window="epoch")))
    assert not _unlabelled(_of(run.thermo.velocity_summary(by=by)))


def test_other_results(make: Callable[..., Path]) -> None:
    run = analyzer.open_run(make())
    assert not _unlabelled(_of(run.thermo.temperature(by={"all": "*"}, lag="epoch", unequal_epochs=True)))
    assert not _unlabelled(_of(run.thermo.rows()))
    assert not _unlabelled(_of(run.thermo.equilibration()))


def test_sweeps_and_fits(sweep: xr.DataTree) -> None:
    unlabelled = _unlabelled((str(name), sweep[name]) for name in sweep.variables)
    assert not [text for text in unlabelled if "long_name" in text], "units of a hyperparameter nobody has recorded"
    assert not [text for text in _unlabelled(_of(sweep.thermo.temperature())) if text not in unlabelled]
    fit = sweep.thermo.fit(against="learning_rate", model="power", alternatives=["square"])
    assert not [text for text in _unlabelled(_of(fit)) if text not in unlabelled]


def test_trees(store: Path) -> None:
    run = analyzer.open_run(store)
    for tree in (run, run.thermo.velocity()):
        for node in tree.subtree:
            variables = node.to_dataset(inherit=False).variables
            assert not [n for n in _unlabelled((str(n), node[n]) for n in variables) if "units" not in n or "step" in n]


def test_a_plot_labels_itself(store: Path) -> None:
    answer = analyzer.open_run(store).thermo.temperature(window=33).compute()
    axes = Figure().add_subplot()
    answer["temperature"].swap_dims(window="stop_step").plot.line(x="stop_step", ax=axes)
    assert axes.get_xlabel() == "window end (included) [step]"
    assert axes.get_ylabel() == "temperature [weight^2 step^-2]"
    assert axes.get_legend().get_title().get_text() == "group by layer"
