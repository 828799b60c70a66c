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
from analyzer.plots import heat, style
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


def test_a_sweep_has_its_fit(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    for rate in (1e-3, 2e-3, 3e-3, 4e-3, 5e-3):
        frames = {"a.weight": np.cumsum(rate * rng.normal(size=(5, 4, 400)), axis=-1)}
        write_store(tmp_path / f"{rate}.zarr", frames, hyperparameters={"learning_rate": rate})
    axes = analyzer.open_sweep(str(tmp_path / "*.zarr")).thermo.plot.fit()
    assert isinstance(axes, Axes)
    assert axes.get_xscale() == axes.get_yscale() == "log"


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
    assert style.differing(["a.b.q.w", "a.b.k.w"]) == ("a.b.", ["q.w", "k.w"])
    assert style.differing(["a", "a.b"]) == ("", ["a", "a.b"])
    assert style.differing(["a.b"]) == ("", ["a.b"])


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
        (("--figsize", "4x3"), "--figsize: expected a picture that it is for, got none"),
        (("--plot", "T.png", "--figsize", "4"), "as in 8x4.5, got '4'"),
        (("--plot", "T.png", "--style", "dark_backgroun"), "Did you mean dark_background?"),
    ],
)
def test_a_wrong_look_is_refused(store: Path, options: tuple[str, ...], said: str) -> None:
    result = invoke("temperature", store, *options)
    assert result.exit_code != 0
    assert said in result.output
