"""`analyzer.table`: any answer as pandas, one row a record, with the columns of the csv."""

from __future__ import annotations

import copy
import io
import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr

import analyzer
from analyzer.errors import OptionError
from tests.analyzer.shell import invoke

RATES = (1e-3, 2e-3, 4e-3, 8e-3, 16e-3)


@pytest.fixture
def sweep(make: Callable[..., Path]) -> list[str]:
    """Five runs of independent Gaussian steps at five learning rates."""
    paths = []
    for rate in RATES:
        rng = np.random.default_rng(int(1e6 * rate))
        frames = {
            name: np.cumsum(rate * rng.normal(size=(*shape, 600)), axis=-1)
            for name, shape in {"conv.weight": (8, 8), "out.weight": (4, 8)}.items()
        }
        settings = {"learning_rate": rate, "batch_size": 32, "seed": 0}
        path = make(f"run-{rate}.zarr", parameters=frames, scalars={}, hyperparameters=settings, chunk_steps=128)
        paths.append(str(path))
    return paths


@pytest.mark.parametrize(
    ("command", "options", "ask"),
    [
        ("temperature", (), lambda run: run.thermo.temperature()),
        ("temperature", ("--window", 30, "--by", "row"), lambda run: run.thermo.temperature(window=30, by="row")),
        ("temperature", ("--lag", "1,5"), lambda run: run.thermo.temperature(lag=[1, 5])),
        (
            "temperature",
            ("--group", "w=*.weight", "--window", "epoch"),
            lambda run: run.thermo.temperature(by={"w": ["*.weight"]}, window="epoch"),
        ),
        ("velocity", ("--by", "element"), lambda run: run.thermo.velocity_summary(by="element")),
        ("rows", ("--start", 10), lambda run: run.thermo.rows(start=10)),
        ("equilibration", (), lambda run: run.thermo.equilibration()),
        ("distribution", (), lambda run: run.thermo.distribution()),
        ("dynamics", ("--lags", "1,2,5"), lambda run: run.thermo.dynamics(lags=[1, 2, 5])),
        ("dynamics", ("--waiting", "1:50:log"), lambda run: run.thermo.ageing(waiting="1:50:log")),
        ("spectrum", ("--sections", 16), lambda run: run.thermo.spectrum(sections=16)),
        ("modes", ("--modes", 2), lambda run: run.thermo.modes(modes=2)),
        ("check", ("--only", "floor"), lambda run: run.thermo.check(only="floor")),
    ],
)
def test_a_table_is_the_csv_of_the_command(store: Path, command: str, options: tuple, ask: Callable) -> None:
    result = invoke(command, store, *options, "--format", "csv")
    assert result.exit_code == 0, result.output
    written = pd.read_csv(io.StringIO(result.stdout))
    found = analyzer.table(ask(analyzer.open_run(store)))
    assert len(found) == len(written) > 0
    pd.testing.assert_frame_equal(pd.read_csv(io.StringIO(found.to_csv(index=False))), written)


def test_a_lazy_answer_is_computed_and_its_attributes_go_along(store: Path) -> None:
    answer = analyzer.open_run(store).thermo.temperature(by="parameter")
    assert answer["temperature"].chunks is not None
    frame = analyzer.table(answer)
    assert frame.attrs == answer.attrs
    assert frame["temperature"].tolist() == answer["temperature"].values[:, 0].tolist()


def test_rows_are_one_line_each_and_tests_too(store: Path) -> None:
    """234 rows were crossed with 5 tests to 1,170 lines."""
    answer = analyzer.open_run(store).thermo.rows()
    rows, tests = answer
    assert (rows is answer.rows, tests is answer.tests) == (True, True)
    assert len(rows.to_dataframe()) == len(analyzer.table(answer)) == 18
    assert len(tests.to_dataframe()) == len(analyzer.table(tests)) == 2
    assert analyzer.table(tests)["parameter"].tolist() == tests["tested"].values.tolist()
    assert not set(rows.data_vars) & set(tests.data_vars)
    assert set(answer.data_vars) == set(rows.data_vars) | set(tests.data_vars)
    own = analyzer.table(answer).groupby("parameter", sort=False)["verdict"].first()
    assert own.tolist() == tests["verdict"].values.tolist()


def test_fits_are_one_line_a_coefficient_and_one_a_point(sweep: list[str]) -> None:
    answer = analyzer.open_sweep(sweep).thermo.fit(alternatives=["square"])
    coefficients, points = answer
    assert len(coefficients.to_dataframe()) == len(analyzer.table(answer)) == len(analyzer.table(coefficients)) == 4
    assert len(points.to_dataframe()) == len(analyzer.table(points)) == 10
    frame = analyzer.table(points)
    assert list(frame.columns[:5]) == ["layer", "run", "learning_rate", "batch_size", "seed"]
    assert frame["temperature"].tolist() == points["temperature"].values.reshape(-1).tolist()
    assert set(answer.hypotheses.data_vars) == {"p_value"}
    assert set(answer.alternatives.data_vars) == {"delta_aicc", "evidence"}
    assert not analyzer.open_sweep(sweep).thermo.fit(model="square").hypotheses.data_vars


def test_variables_are_found_by_name_as_in_one_dataset(store: Path) -> None:
    answer = analyzer.open_run(store).thermo.rows()
    xr.testing.assert_identical(answer["verdict"], answer.tests["verdict"])
    xr.testing.assert_identical(answer.temperature, answer.whole["temperature"])
    assert ("verdict" in answer, "speed" in answer, answer.tests in answer) == (True, False, True)
    xr.testing.assert_identical(answer[["verdict", "f"]], answer.whole[["verdict", "f"]])
    assert answer._repr_html_().count("<h4>") == 2, "a notebook shows both"
    assert answer.attrs["by"] == "row"
    assert answer.sizes["group"] == 18
    xr.testing.assert_identical(answer.drop_vars("f"), answer.whole.drop_vars("f"))
    one = answer.sel(tested="lin.weight").isel(window=0).load()
    assert one["verdict"].dims == ()
    assert one.rows["temperature"].dims == ("group",)
    for same in (pickle.loads(pickle.dumps(answer)), copy.deepcopy(answer)):
        assert type(same) is type(answer)
        xr.testing.assert_identical(same.whole, answer.whole)
        xr.testing.assert_identical(same.tests, answer.tests)
    with pytest.raises(AttributeError, match=r"expected rows, tests or .*got 'to_dataframe'.*answer\.rows\.to_dataf"):
        answer.to_dataframe()
    with pytest.raises(KeyError):
        answer["speed"]


def test_a_sweep_is_one_table_with_its_hyperparameters(sweep: list[str]) -> None:
    tree = analyzer.open_sweep(sweep)
    frame = analyzer.table(tree.thermo.temperature(by="row", window=200))
    assert list(frame.columns[:5]) == ["run", "learning_rate", "batch_size", "seed", "inverse_batch_size"]
    assert len(frame) == 5 * 12 * 3
    for path, (name, part) in zip(sweep, frame.groupby("run", sort=False), strict=True):
        own = analyzer.table(analyzer.open_run(path).thermo.temperature(by="row", window=200))
        assert name == Path(path).name.removesuffix(".zarr")
        pd.testing.assert_frame_equal(part[list(own.columns)].reset_index(drop=True), own, check_dtype=False)


def test_runs_of_a_sweep_have_their_own_windows_alone(make: Callable[..., Path]) -> None:
    rng = np.random.default_rng(0)
    paths = []
    for length in (100, 250):
        frames = {"lin.weight": np.cumsum(rng.normal(size=(3, 2, length)), axis=-1)}
        settings = {"batch_size": length}
        paths.append(make(f"{length}.zarr", parameters=frames, scalars={}, hyperparameters=settings))
    sweep = analyzer.open_sweep(paths)
    frame = analyzer.table(sweep.thermo.temperature(window=60))
    assert frame["run"].tolist() == ["100"] * 2 + ["250"] * 5
    assert frame["stop_step"].tolist() == [60, 99, 60, 120, 180, 240, 249]
    assert frame["stop_step"].dtype == np.int64
    assert frame["partial"].tolist() == [False, True, *[False] * 4, True]
    rows = sweep.thermo.rows()
    assert len(analyzer.table(rows)) == 2 * 3
    assert rows.tests["verdict"].dims == ("run", "tested")


def test_masks_take_the_tables(store: Path) -> None:
    answer = analyzer.open_run(store).thermo.rows()
    masks = analyzer.row_masks(answer)
    for name, values in analyzer.row_masks(answer.whole).items():
        np.testing.assert_array_equal(masks[name], values)


def test_what_is_no_answer_is_refused(store: Path) -> None:
    with pytest.raises(OptionError, match="table: expected an answer.*got DataTree"):
        analyzer.table(analyzer.open_run(store))
