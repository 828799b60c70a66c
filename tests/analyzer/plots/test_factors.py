"""The figure of factors shows the numbers: ⟨v²⟩, what is left of it, factors by rank with their intervals."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure

import analyzer
from analyzer.plots.factors import factors
from tests import systems
from tests.analyzer.unequal_rows import walk


@pytest.fixture
def store(make: Callable[..., Path]) -> Path:
    """`a.weight` with a row at rest and an element at rest, `thin.weight` without columns to compare."""
    heat = np.exp(systems.matrix_of_share(np.random.default_rng(0), (6, 8), 0.8))
    heat[2] = heat[4, 5] = 0
    frames = walk(np.random.default_rng(1), heat.ravel(), 1, 640).reshape(6, 8, 641)
    thin = walk(np.random.default_rng(2), np.ones(4), 1, 640)
    return make(parameters={"a.weight": frames, "thin.weight": thin}, scalars={}, chunk_steps=128)


def drawn(figure: Figure) -> list:
    return [axis for axis in figure.axes if axis.get_label() != "<colorbar>"]


def test_maps_and_ranks_hold_the_numbers(store: Path) -> None:
    run = analyzer.open_run(store)
    answer = run.thermo.factors(start=100)
    figure = factors(answer)
    assert figure is not None
    figure.canvas.draw()
    heat, left, rows, columns = drawn(figure)
    squares = run.thermo.velocity_summary(by="element", parameter="a.weight", start=100).compute()
    truth = squares["mean_squared_velocity"].values.reshape(6, 8)
    shown = heat.images[0].get_array()
    np.testing.assert_allclose(shown.filled(0), truth, rtol=1e-9)
    ratio = answer["element_ratio"].values[answer["element_of"].values == "a.weight"].reshape(6, 8)
    np.testing.assert_allclose(left.images[0].get_array().filled(0), np.nan_to_num(ratio), rtol=1e-12)
    norm = left.images[0].norm
    assert norm.vmin * norm.vmax == pytest.approx(1), "a ratio of 1 has the colour of the middle"
    for axis, kind in ((rows, "row"), (columns, "column")):
        own = answer["row_of" if kind == "row" else "column_of"].values == "a.weight"
        value, low, high = (answer[f"{kind}_factor{end}"].values[own] for end in ("", "_low", "_high"))
        order = np.argsort(-value)[: int((value > 0).sum())]
        (container,) = axis.containers
        np.testing.assert_allclose(container.lines[0].get_ydata(), value[order])
        bars = np.array([bar[:, 1] for bar in container.lines[2][0].get_segments()])
        np.testing.assert_allclose(bars, np.stack([low, high], axis=1)[order])
        assert axis.get_yscale() == "log"
    assert rows.get_title().endswith("; 1 at rest")
    own = answer.sel(tested="a.weight")
    assert f"explained {100 * own['separable_share'].item():.4g} %" in left.get_title()
    assert f"by chance {100 * own['chance_share'].item():.2g} %" in left.get_title()
    assert "steps 100 to 640, lag 1" in figure.get_suptitle()


def test_without_a_matrix_that_has_factors_there_is_no_figure(store: Path) -> None:
    assert factors(analyzer.open_run(store).thermo.factors(parameter="thin.weight")) is None


def test_only_the_first_matrices_are_drawn_and_it_is_said(make: Callable[..., Path]) -> None:
    heat = np.exp(systems.matrix_of_share(np.random.default_rng(3), (3, 4), 0.8))
    frames = {f"l{n}.weight": walk(np.random.default_rng(n), heat.ravel(), 1, 200).reshape(3, 4, 201) for n in range(9)}
    figure = factors(analyzer.open_run(make(parameters=frames, scalars={}, chunk_steps=64)).thermo.factors())
    assert figure is not None
    assert "first 8 of 9 matrices" in figure.get_suptitle()
    assert len(drawn(figure)) == 8 * 4
