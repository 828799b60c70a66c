"""The picture of rows shows the numbers: map, line and ranking hold what numpy finds in the frames."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure

import analyzer
from analyzer.plots import rows as row_plots
from analyzer.query.query import Query
from analyzer.tree import trajectory
from tests.analyzer.shell import invoke
from tests.analyzer.unequal_rows import VARIANCE, walk


@pytest.fixture
def frames() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    wide = walk(rng, 10.0 ** -np.arange(6, 10), 12, 400).reshape(4, 3, 2, 2, 401)
    narrow = walk(rng, VARIANCE, 6, 400)
    narrow[1, 2] = 0.25  # an element that never moves
    return {"a.weight": narrow, "conv.kernel": wide, "b.weight": walk(rng, np.ones(3), 1, 400)}


AXES = {"conv.kernel": {"axes": ["output", "input", "", ""], "heads": None, "head_axis": None}}


def draw(path: Path, **options: Any) -> tuple[Figure, Any]:
    run = analyzer.open_run(path)
    answer = run.thermo.rows(**options)
    squares, _ = row_plots.elements(run, Query(by=options.get("by", "row")), answer)
    return row_plots.rows(answer, squares.compute(), trajectory(run).parameters), answer


def drawn_map(axis: Any) -> np.ndarray:
    return np.ma.getdata(axis.images[0].get_array())


@pytest.mark.parametrize("by", ["row", "column"])
def test_maps_lines_and_ranks_hold_the_numbers(
    make: Callable[..., Path], frames: dict[str, np.ndarray], by: str
) -> None:
    figure, answer = draw(make(parameters=frames, scalars={}, chunk_steps=128, attributes=AXES), by=by, start=100)
    axes = [axis for axis in figure.axes if axis.get_label() != "<colorbar>"]
    assert len(axes) == 9
    for line, (name, values) in zip(np.reshape(axes, (3, 3)), frames.items(), strict=True):
        squares = (np.diff(values[..., 100:], axis=-1) ** 2).mean(axis=-1)
        table = squares if by == "row" else squares.swapaxes(0, 1)
        table = table.reshape(table.shape[0], -1)
        assert line[0].get_title() == name
        shown = drawn_map(line[0])
        power = 10.0 ** np.round(np.log10(table.max() / shown.max()))
        np.testing.assert_allclose(shown * power, table, rtol=1e-9)
        np.testing.assert_allclose(line[1].lines[0].get_ydata() * power, table.reshape(-1), rtol=1e-9)
        steps, edges = line[1].patches[0].get_data()[:2]
        np.testing.assert_allclose(steps * power, table.mean(axis=1), rtol=1e-9)
        np.testing.assert_allclose(np.diff(edges), table.shape[1])
        points = np.concatenate([c.lines[0].get_xydata() for c in line[2].containers])
        points = points[np.argsort(points[:, 0])]
        assert points[:, 0].tolist() == list(range(1, len(table) + 1))
        np.testing.assert_allclose(points[:, 1] * power, np.sort(table.mean(axis=1))[::-1], rtol=1e-9)
        label = line[1].get_ylabel()
        assert label.startswith("⟨v²⟩ (")
        assert label.endswith("weight² step⁻²)")
        assert ("10⁻" in label) == (power != 1)
    kernel = axes[3]
    assert isinstance(kernel.images[0].norm, LogNorm)
    assert bool(np.ma.getmaskarray(axes[0].images[0].get_array())[(1, 2) if by == "row" else (2, 1)])
    verdict = str(answer["verdict"].sel(tested="conv.kernel").item())
    assert axes[5].get_title().startswith(verdict)
    assert "steps 100 to 400, lag 1" in figure.get_suptitle()


def test_error_bars_are_intervals_of_the_mean_squared_velocity(
    make: Callable[..., Path], frames: dict[str, np.ndarray]
) -> None:
    """⟨v²⟩ = 2T, so a bar is 2 × 1.96 standard errors of T."""
    figure, answer = draw(make(parameters=frames, scalars={}, chunk_steps=128, attributes=AXES), parameter="a.*")
    ranked = figure.axes[2]
    found = {}
    for container in ranked.containers:
        for (x, _), bar in zip(container.lines[0].get_xydata(), container.lines[2][0].get_segments(), strict=True):
            found[int(x)] = 0.5 * np.ptp(bar[:, 1])
    own = answer.isel(window=0)
    expected = dict(zip(own["rank"].values.tolist(), 2 * 1.959964 * own["standard_error"].values, strict=True))
    assert found == pytest.approx(expected, rel=1e-5)


def test_heads_and_rows_that_never_move(make: Callable[..., Path]) -> None:
    """An attention vector (1, heads, channels) makes a line of the map for each head; zeros are off a log scale."""
    rng = np.random.default_rng(2)
    frames = walk(rng, np.array([1e-6, 1e-2, 1.0, 1.0]), 5, 300)
    frames[3] = 1.0
    squares = (np.diff(frames, axis=-1) ** 2).mean(axis=-1)
    path = make(parameters={"conv.att": frames[np.newaxis]}, scalars={}, chunk_steps=64)
    figure, _ = draw(path, by="head")
    axes = [axis for axis in figure.axes if axis.get_label() != "<colorbar>"]
    np.testing.assert_allclose(drawn_map(axes[0]), squares, rtol=1e-9)
    assert np.ma.getmaskarray(axes[0].images[0].get_array())[3].all()
    assert axes[0].get_ylabel() == "head"
    assert [axis.get_yscale() for axis in axes[1:]] == ["log", "log"]
    assert axes[2].get_title().endswith("; 1 at zero")
    assert "inf" not in axes[2].get_title()
    figure.canvas.draw()


def test_only_the_first_parameters_are_drawn_and_it_is_said(make: Callable[..., Path]) -> None:
    rng = np.random.default_rng(1)
    frames = {f"l{n}.weight": walk(rng, np.ones(3), 2, 100) for n in range(10)}
    figure, _ = draw(make(parameters=frames, scalars={}, chunk_steps=64))
    assert "first 8 of 10 parameters" in figure.get_suptitle()
    assert len(figure.axes) == 8 * 4


def test_a_run_that_never_moves_can_be_drawn(make: Callable[..., Path]) -> None:
    figure, _ = draw(make(parameters={"a.weight": np.ones((3, 2, 101))}, scalars={}, chunk_steps=64))
    figure.canvas.draw()
    assert drawn_map(figure.axes[0]).tolist() == np.zeros((3, 2)).tolist()


@pytest.mark.parametrize("suffix", ["png", "pdf", "svg"])
def test_pictures_are_written(
    make: Callable[..., Path], frames: dict[str, np.ndarray], tmp_path: Path, suffix: str
) -> None:
    path, target = make(parameters=frames, scalars={}, chunk_steps=128, attributes=AXES), tmp_path / f"rows.{suffix}"
    result = invoke("rows", path, "--plot", target)
    assert result.exit_code == 0, result.output
    assert {"png": b"PNG", "pdf": b"%PDF", "svg": b"<svg"}[suffix] in target.read_bytes()[:4000]
