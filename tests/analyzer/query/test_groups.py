"""Groups: which weights count where, in the manner of GCN and GAT layers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

import analyzer
from tests import oracles

HEADS, CHANNELS, INPUTS = 2, 3, 4
PAIRS = [(n, n + 1) for n in range(29)]


@pytest.fixture
def gat(make: Callable[..., Path]) -> tuple[xr.DataTree, dict[str, np.ndarray]]:
    """A GATConv layer as PyTorch Geometric stores it, and a linear one."""
    rng = np.random.default_rng(11)
    shapes = {
        "gat.lin.weight": (HEADS * CHANNELS, INPUTS),
        "gat.att_src": (1, HEADS, CHANNELS),
        "gat.bias": (HEADS * CHANNELS,),
        "lin.weight": (2, HEADS * CHANNELS),
        "lin.bias": (2,),
    }
    frames = {name: np.cumsum(rng.normal(size=(*shape, 30)), axis=-1) for name, shape in shapes.items()}
    heads: dict[str, Any] = {
        "gat.lin.weight": {"heads": HEADS, "head_axis": 0},
        "gat.att_src": {"heads": HEADS, "head_axis": 1, "axes": ["", "head", "channel"]},
        "gat.bias": {"heads": HEADS, "head_axis": 0},
    }
    return analyzer.open_run(make(parameters=frames, scalars={}, attributes=heads)), frames


def by_label(run: xr.DataTree, by: Any) -> dict[str, float]:
    answer = run.thermo.temperature(by=by).compute()
    return dict(zip(answer["group"].values, answer["temperature"].values[:, 0], strict=True))


def truth(*parts: np.ndarray) -> float:
    return pytest.approx(oracles.temperature(parts, PAIRS)["temperature"], rel=1e-12)


def test_heads_split_rows_and_attention_vectors(gat: Any) -> None:
    run, frames = gat
    found = by_label(run, "head")
    weight, attention, bias = frames["gat.lin.weight"], frames["gat.att_src"], frames["gat.bias"]
    assert found == {
        "gat.lin.weight[0]": truth(weight[:3]),
        "gat.lin.weight[1]": truth(weight[3:]),
        "gat.att_src[0]": truth(attention[:, 0]),
        "gat.att_src[1]": truth(attention[:, 1]),
        "gat.bias[0]": truth(bias[:3]),
        "gat.bias[1]": truth(bias[3:]),
    }
    assert run.thermo.temperature(by="head").attrs["parameters_left_out"] == 2


def test_rows_and_columns_leave_out_vectors_and_attention(gat: Any) -> None:
    run, frames = gat
    rows, columns = by_label(run, "row"), by_label(run, "column")
    assert set(rows) == {f"gat.lin.weight[{n}]" for n in range(6)} | {"lin.weight[0]", "lin.weight[1]"}
    assert rows["gat.lin.weight[4]"] == truth(frames["gat.lin.weight"][4])
    assert columns["gat.lin.weight[3]"] == truth(frames["gat.lin.weight"][:, 3])
    assert run.thermo.temperature(by="row").attrs["parameters_left_out"] == 3


def test_an_output_unit_has_its_row_and_its_bias(gat: Any) -> None:
    run, frames = gat
    found = by_label(run, "output")
    assert found["lin.weight[1]"] == truth(frames["lin.weight"][1], frames["lin.bias"][1])
    assert found["gat.lin.weight[5]"] == truth(frames["gat.lin.weight"][5], frames["gat.bias"][5])
    weights = run.thermo.temperature(by="output")["weights"].values
    assert weights.tolist() == [5] * 6 + [7] * 2
    assert by_label(run, "input")["lin.weight[0]"] == truth(frames["lin.weight"][:, 0])


def test_a_bias_of_another_length_joins_no_output(make: Callable[..., Path]) -> None:
    """GATConv(concat=False): one bias for the mean of the heads."""
    rng = np.random.default_rng(1)
    frames = {"gat.lin.weight": rng.normal(size=(6, 4, 30)), "gat.bias": rng.normal(size=(3, 30))}
    answer = analyzer.open_run(make(parameters=frames, scalars={})).thermo.temperature(by="output")
    assert answer["weights"].values.tolist() == [4] * 6
    assert answer.attrs["parameters_left_out"] == 1


def test_user_groups_are_globs(gat: Any) -> None:
    run, frames = gat
    found = by_label(run, {"attention": "*att*", "biases": ["*.bias"]})
    assert found == {"attention": truth(frames["gat.att_src"]), "biases": truth(frames["gat.bias"], frames["lin.bias"])}
    assert run.thermo.temperature(by={"biases": "*.bias"}).attrs["parameters_left_out"] == 3


def test_layer_module_model(gat: Any) -> None:
    run, frames = gat
    assert set(by_label(run, "module")) == {"gat.lin", "gat", "lin"}
    assert by_label(run, "model") == {"model": truth(*frames.values())}
    assert by_label(run, "layer")["lin"] == truth(frames["lin.weight"], frames["lin.bias"])


def test_selections(gat: Any) -> None:
    run, _ = gat
    answer = run.thermo.temperature(by="parameter", layer="g*", exclude=["*.bias"])
    assert answer["parameter"].values.tolist() == ["gat.lin.weight", "gat.att_src"]
    assert run.thermo.temperature(parameter="lin.*")["weights"].values.tolist() == [14]


def test_the_friendly_parameter(gat: Any) -> None:
    run, frames = gat
    array = run.thermo.parameter("gat.lin.weight")
    assert array.dims == ("row", "col", "step")
    assert array.chunks is not None, "lazy in, lazy out"
    np.testing.assert_array_equal(array, frames["gat.lin.weight"])
    assert run.thermo.parameter("gat.att_src").dims == ("row", "col", "axis_2", "step")


@pytest.mark.parametrize("lag", [1, 3])
def test_the_velocity_tree(gat: Any, lag: int) -> None:
    run, frames = gat
    moving = run.thermo.velocity(lag=lag)
    assert moving["parameters/lin/weight"].chunks is not None, "lazy in, lazy out"
    steps = np.arange(lag, 30, lag)
    assert moving["step"].values.tolist() == steps.tolist()
    np.testing.assert_allclose(
        moving["parameters/lin/weight"], frames["lin.weight"][..., steps] - frames["lin.weight"][..., steps - lag]
    )
    temperature = 0.5 * float((moving["parameters/lin/weight"] ** 2).mean())
    measured = run.thermo.temperature(by="parameter", parameter="lin.weight", lag=lag)["temperature"].values
    np.testing.assert_allclose(measured, temperature, rtol=1e-12)


def test_the_velocity_tree_has_no_velocity_across_a_gap(
    make: Callable[..., Path], frames: dict[str, np.ndarray]
) -> None:
    steps = np.arange(100)
    steps[50:] += 4
    moving = analyzer.open_run(make(steps=steps)).thermo.velocity()
    assert moving["step"].values.tolist() == [*range(1, 50), *range(55, 104)]
    assert moving["loss"].sizes == {"step": 98}
    expected = np.diff(frames["lin.bias"].astype(float))[:, np.r_[0:49, 50:99]]
    np.testing.assert_array_equal(moving["parameters/lin/bias"], expected)


def test_a_name_that_exists_is_itself_before_it_is_a_pattern(make: Callable[..., Path]) -> None:
    rng = np.random.default_rng(2)
    names = ("block[0].weight", "block0.weight", "block[1].weight", "*.weight")
    frames = {name: rng.normal(size=(2, 2, 30)) for name in names}
    layers = {name: {"layer": name.rpartition(".")[0]} for name in names}
    run = analyzer.open_run(make(parameters=frames, scalars={}, attributes=layers))

    def measured(**options: Any) -> list[str]:
        return [str(name) for name in run.thermo.temperature(by="parameter", **options)["parameter"].values]

    assert measured(layer="block[0]") == measured(parameter="block[0].weight") == ["block[0].weight"]
    assert measured(layer="block[01]") == ["block0.weight"]
    assert measured(exclude="*.weight") == list(names[:3])
    assert measured(layer="*") == ["*.weight"]
    assert measured(layer="block*") == list(names[:3])
    found = run.thermo.temperature(by={"one": "block[0].weight", "all": ["block0*", "block[[]1*"]})
    assert found["weights"].values.tolist() == [4, 8]
    heavy = run.thermo.temperature(by="parameter", mass={"block[0].weight": 2.0}).compute()
    plain = run.thermo.temperature(by="parameter").compute()
    np.testing.assert_allclose((heavy["temperature"] / plain["temperature"]).values[:, 0], [2, 1, 1, 1])


def test_a_layer_called_model_is_not_the_model_itself(make: Callable[..., Path]) -> None:
    rng = np.random.default_rng(3)
    frames = {name: np.cumsum(rng.normal(size=(2, 2, 60)), axis=-1) for name in ("weight", "model.weight")}
    layers = {"weight": {"layer": "", "module": ""}, "model.weight": {"layer": "model", "module": "model"}}
    run = analyzer.open_run(make(parameters=frames, scalars={}, attributes=layers))
    assert run.thermo.equilibration()["of"].values.tolist() == ["model itself", "model"]
    assert set(run.thermo.check(only="norm")["group"].values) == {"model itself", "model"}
