"""The pictures of the commands from Python, and what all pictures have in common."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib import pyplot
from matplotlib.axes import Axes

import analyzer
from analyzer.errors import TreeError
from analyzer.plots import heat
from analyzer.text import differing
from tests.analyzer.shell import invoke
from tests.stores import write_store

Make = Callable[..., Path]


@pytest.fixture(autouse=True)
def _closed() -> Iterator[None]:
    with mpl.rc_context({"backend": "agg"}):
        yield
    pyplot.close("all")


def walks(groups: int, frames: int = 400) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(groups)
    return {f"net{n}.weight": np.cumsum(10.0**-n * rng.normal(size=(4, 3, frames)), axis=-1) for n in range(groups)}


@pytest.mark.parametrize(
    ("name", "options", "panels"),
    [
        ("temperature", {}, 1),
        ("temperature", {"lag": [1, 2, 4]}, 1),
        ("velocity", {"window": 50}, 1),
        ("rows", {}, 6),
        ("equilibration", {}, 2),
        ("distribution", {}, 2),
        ("dynamics", {}, 3),
        ("spectrum", {}, 1),
        ("modes", {}, 3),
        ("ageing", {"waiting": [0, 20, 200], "lags": [1, 4, 16]}, 2),
    ],
)
def test_every_picture_returns_its_axes(tmp_path: Path, name: str, options: dict[str, object], panels: int) -> None:
    run = analyzer.open_run(write_store(tmp_path / "run.zarr", walks(2)))
    axes = getattr(run.thermo.plot, name)(figsize=(5, 4), **options)
    drawn = [axes] if isinstance(axes, Axes) else list(axes)
    assert len(drawn) == panels
    assert all(isinstance(axis, Axes) and axis.has_data() for axis in drawn)
    assert drawn[0].figure.get_size_inches().tolist() == [5, 4]
    assert drawn[0].figure.number in pyplot.get_fignums(), "a notebook shows it"


def test_factors_are_drawn_where_there_are_some(tmp_path: Path) -> None:
    steps = 10.0 ** np.linspace(-2, 0, 4)[:, np.newaxis, np.newaxis]
    frames = {"a.weight": np.cumsum(steps * np.random.default_rng(5).normal(size=(4, 3, 400)), axis=-1)}
    run = analyzer.open_run(write_store(tmp_path / "run.zarr", frames))
    axes = run.thermo.plot.factors(figsize=(9, 3))
    assert len(axes) == 4
    assert axes[0].figure.get_size_inches().tolist() == [9, 3]
    with pytest.raises(TreeError, match="There is nothing to draw"):
        analyzer.open_run(write_store(tmp_path / "even.zarr", walks(1))).thermo.plot.factors()


def test_a_sweep_has_its_fit(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    for rate in (1e-3, 2e-3, 3e-3, 4e-3, 5e-3):
        frames = {"a.weight": np.cumsum(rate * rng.normal(size=(5, 4, 400)), axis=-1)}
        write_store(tmp_path / f"{rate}.zarr", frames, hyperparameters={"learning_rate": rate})
    axes = analyzer.open_sweep(str(tmp_path / "*.zarr")).thermo.plot.fit()
    assert isinstance(axes, Axes)
    assert axes.get_xscale() == axes.get_yscale() == "log"


def test_values_of_another_hyperparameter_are_named_in_the_legend(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    for rate in (1e-3, 2e-3, 4e-3, 8e-3, 1.6e-2):
        for size in (8, 16):
            frames = {"a.weight": np.cumsum(rate / size**0.5 * rng.normal(size=(5, 4, 300)), axis=-1)}
            asked = {"learning_rate": rate, "batch_size": size}
            write_store(tmp_path / f"{rate}_{size}.zarr", frames, hyperparameters=asked)
    sweep = analyzer.open_sweep(str(tmp_path / "*.zarr"))
    for options, names in (
        ({}, ["batch_size = 8", "batch_size = 16"]),
        ({"against": ["learning_rate", "batch_size"], "model": "joint"}, ["batch size = 8", "batch size = 16"]),
    ):
        (legend,) = sweep.thermo.plot.fit(**options).figure.legends
        assert {text.get_text() for text in legend.get_texts()} == set(names)


def test_a_fit_of_many_groups_is_a_map_beside_its_exponents(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    rates = (1e-3, 2e-3, 4e-3, 8e-3, 1.6e-2)
    for rate in rates:
        frames = {f"a{n}.weight": np.cumsum(rate * rng.normal(size=(2, 2, 60)), axis=-1) for n in range(13)}
        write_store(tmp_path / f"{rate}.zarr", frames, hyperparameters={"learning_rate": rate})
    sweep = analyzer.open_sweep(str(tmp_path / "*.zarr"))
    heat_axes, beside = sweep.thermo.plot.fit()
    truth = sweep.thermo.temperature()["temperature"].values.reshape(len(rates), 13)
    np.testing.assert_allclose(mapped(heat_axes), truth.T)
    assert [text.get_text() for text in heat_axes.get_xticklabels()] == ["0.001", "0.002", "0.004", "0.008", "0.016"]
    exponents = sweep.thermo.fit().coefficients["value"].sel(coefficient="b").values
    np.testing.assert_array_equal(beside.get_lines()[0].get_xdata(), exponents)
    assert mapped(sweep.thermo.plot.fit(lag=[1, 2, 4])).shape == (13, 3)


def test_more_than_eight_groups_are_a_heat_map_with_their_names(tmp_path: Path) -> None:
    few = analyzer.open_run(write_store(tmp_path / "few.zarr", walks(8))).thermo.plot.temperature(window=40)
    assert len(few.get_lines()) == 8
    assert [text.get_text() for text in few.get_legend().get_texts()] == [f"net{n}" for n in range(8)]
    many = analyzer.open_run(write_store(tmp_path / "many.zarr", walks(9)))
    axes = many.thermo.plot.temperature(window=40)
    assert axes.get_legend() is None
    (mesh,) = axes.collections
    truth = many.thermo.temperature(window=40)["temperature"].transpose("group", "window").values
    np.testing.assert_array_equal(np.asarray(mesh.get_array()).reshape(truth.shape), truth)
    assert [text.get_text() for text in axes.get_yticklabels()] == [f"net{n}" for n in range(9)]
    by_lag = many.thermo.plot.temperature(lag=[1, 2, 4])
    assert [text.get_text() for text in by_lag.get_xticklabels()] == ["1", "2", "4"]


def mapped(axis: Axes) -> np.ndarray:
    """The values of a heat map."""
    (mesh,) = axis.collections
    return np.asarray(mesh.get_array())


def test_many_groups_are_maps_in_dynamics_and_spectrum(tmp_path: Path) -> None:
    run = analyzer.open_run(write_store(tmp_path / "many.zarr", walks(9)))
    truth = run.thermo.dynamics(lags=[0, 1, 2, 4, 8])
    axes = run.thermo.plot.dynamics(lags=[0, 1, 2, 4, 8])
    assert [text.get_text() for text in axes[0].get_yticklabels()] == [f"net{n}" for n in range(9)]
    for axis, column in zip(axes, ("normalised_autocorrelation", "mean_squared_displacement", "exponent"), strict=True):
        np.testing.assert_array_equal(mapped(axis), truth[column].values[:, 0, 1:])
    axis = run.thermo.plot.spectrum()
    density = run.thermo.spectrum()["spectral_density"].transpose("group", "window", "frequency").values[:, 0, 1:]
    np.testing.assert_allclose(mapped(axis)[:, 0], density[:, 0])
    assert axis.get_xscale() == "log"
    assert mapped(run.thermo.plot.dynamics(window=199, parameter="net[0-4]*")[1]).shape[0] == 15, "5 groups, 3 windows"


def test_a_panel_without_a_value_is_left_out(tmp_path: Path) -> None:
    run = analyzer.open_run(write_store(tmp_path / "run.zarr", walks(2)))
    axes = run.thermo.plot.dynamics(lags=[0, 1])  # an exponent takes two lags beyond 0
    assert [axis.get_ylabel().split(" (")[0] for axis in axes] == [
        "autocorrelation C(τ)/C(0)",
        "mean squared displacement",
    ]


def test_the_lines_of_ageing_are_the_displacements(tmp_path: Path) -> None:
    run = analyzer.open_run(write_store(tmp_path / "run.zarr", walks(2)))
    asked = {"waiting": [0, 20, 200], "lags": [1, 4, 16]}
    axes, truth = run.thermo.plot.ageing(**asked), run.thermo.ageing(**asked)
    for axis, own in zip(axes, truth["two_time_displacement"].values, strict=True):
        np.testing.assert_array_equal([line.get_ydata() for line in axis.get_lines()], own)
        assert (axis.get_xscale(), axis.get_yscale()) == ("log", "log")
    assert "from 0 to 200 steps" in axes[0].figure.get_suptitle()


@pytest.mark.parametrize("groups", [1, 2, 9])
def test_learning_rates_are_named_by_their_parameter_groups(tmp_path: Path, groups: int) -> None:
    rates = np.linspace(1e-2, 1e-3, 400)[:, np.newaxis] * 2.0 ** -np.arange(groups)
    store = write_store(tmp_path / "run.zarr", walks(2), scalars={"learning_rate": rates})
    axes = analyzer.open_run(store).thermo.plot.temperature(window=40)
    below = axes[1]
    assert len(below.get_lines()) == groups
    legend = below.get_legend()
    names = [text.get_text() for text in legend.get_texts()] if legend else []
    assert names == {1: [], 2: ["η of group 0", "η of group 1"], 9: []}[groups]
    assert below.get_ylabel() == ("9 learning rates η" if groups == 9 else "learning rate η")


def test_windows_that_are_apart_leave_an_empty_cell() -> None:
    edges, cells = heat.cells_of(np.array([0, 10, 30]), np.array([10, 20, 40]), np.array([[1.0, 2.0, 3.0]]))
    assert edges.tolist() == [0, 10, 20, 30, 40]
    np.testing.assert_array_equal(cells, [[1, 2, np.nan, 3]])


def test_a_legend_names_what_differs(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    frames = {f"net.{name}.weight": np.cumsum(rng.normal(size=(4, 3, 200)), axis=-1) for name in ("q", "k")}
    axes = analyzer.open_run(write_store(tmp_path / "run.zarr", frames)).thermo.plot.temperature(by="parameter")
    assert axes.get_legend().get_title().get_text() == "net.…"
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["q.weight", "k.weight"]


def test_names_lose_what_they_share() -> None:
    assert differing(["a.b.q.w", "a.b.k.w"]) == ("a.b.", ["q.w", "k.w"])
    assert differing(["a", "a.b"]) == ("", ["a", "a.b"])
    assert differing(["a.b"]) == ("", ["a.b"])


def test_size_dots_and_style_reach_the_file(store: Path, tmp_path: Path) -> None:
    file = tmp_path / "T.png"
    options = ("temperature", store, "--plot", file, "--figsize", "4x3", "--dpi", "50")
    assert invoke(*options).exit_code == 0
    light = pyplot.imread(file)
    assert light.shape[:2] == (150, 200)
    assert invoke(*options, "--style", "dark_background").exit_code == 0
    dark = pyplot.imread(file)
    assert light[0, 0, :3].tolist() == [1, 1, 1]
    assert dark[0, 0, :3].tolist() == [0, 0, 0]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--figsize", "4x3"), "--figsize: expected --plot as well, got none"),
        (("--plot", "T.png", "--figsize", "4"), "as in 8x4.5, got '4'"),
        (("--plot", "T.png", "--style", "dark_backgroun"), "Did you mean dark_background?"),
    ],
)
def test_a_wrong_look_is_refused(store: Path, options: tuple[str, ...], said: str) -> None:
    result = invoke("temperature", store, *options)
    assert result.exit_code != 0
    assert said in result.output
