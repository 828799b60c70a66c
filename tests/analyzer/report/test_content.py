"""The content of a report as plain records."""

from __future__ import annotations

from base64 import b64decode
from pathlib import Path

import numpy as np
import pytest

from analyzer.report.content import Map
from analyzer.report.rows import averaged, cell_size


@pytest.mark.parametrize("shape", [(7, 3), (64, 64), (1000, 3), (3, 1000), (1, 5000), (517, 129)])
def test_cells_are_means_of_neighbours(shape: tuple[int, int]) -> None:
    table = np.random.default_rng(1).random(shape)
    down, across = cell_size(shape, 300)
    cells = averaged(table, down, across)
    assert cells.size <= 300
    assert (down, across) == (1, 1) or cells.size > 75  # and not fewer than it takes
    for row, column in np.ndindex(cells.shape):
        part = table[row * down : (row + 1) * down, column * across : (column + 1) * across]
        np.testing.assert_allclose(cells[row, column], part.mean())


def test_levels_of_a_map(tmp_path: Path) -> None:
    """Zero, not finite, and the ends of the scale have levels of their own."""
    values = np.array([[0.0, np.nan, 1e-12, 1e-6]])
    data = Map("", "row", "input", values, "v", "weight^2").data()
    assert np.frombuffer(b64decode(data["levels"]), "<u2").tolist() == [0, 65_535, 1, 65_534]
    assert (data["low"], data["high"], data["log"], data["units"]) == (1e-12, 1e-6, True, "weight²")
