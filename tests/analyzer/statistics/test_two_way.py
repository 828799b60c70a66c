"""Least squares of tables by rows and columns, against dummy variables."""

from __future__ import annotations

import numpy as np
import pytest

from analyzer.statistics.separability import separability
from analyzer.statistics.two_way import fits, layout
from tests.analyzer.statistics.test_separability import COUNTS, by_dummies, exact


@pytest.mark.parametrize("shape", [(5, 3), (3, 5), (12, 12)])
@pytest.mark.parametrize("missing", [0, 1, 3])
def test_fits_are_those_of_least_squares_on_indicators(shape: tuple[int, int], missing: int) -> None:
    rng = np.random.default_rng(shape[0] + 10 * missing)
    values, there = rng.normal(size=shape), np.ones(shape, dtype=bool)
    there.ravel()[rng.choice(there.size, missing, replace=False)] = False
    cells = layout(there)
    assert cells.blocks.tolist() == [0] * shape[0]
    fit = fits(np.stack([values, 2 * values]), cells)
    left, explained, total = by_dummies(values, there)
    np.testing.assert_allclose(fit.left, [left, 2 * left], atol=1e-12)
    np.testing.assert_allclose(fit.explained, [explained, 4 * explained], rtol=1e-10)
    np.testing.assert_allclose(fit.explained + fit.unexplained, [total, 4 * total], rtol=1e-10)
    np.testing.assert_allclose(fit.row.mean(axis=1), 0, atol=1e-12)
    np.testing.assert_allclose(fit.column.mean(axis=1), 0, atol=1e-12)
    again = fit.mean[0] + fit.row[0][:, np.newaxis] + fit.column[0]
    np.testing.assert_allclose(again[there], (values - left)[there], atol=1e-12)
    assert cells.freedom == sum(shape) - 2


def test_blocks_without_a_common_row_or_column_are_told_apart() -> None:
    there = np.zeros((5, 4), dtype=bool)
    there[:2, :2] = there[2:, 2:] = True
    there[0, 1] = there[4, 2] = False
    assert layout(there).blocks.tolist() == [0, 0, 1, 1, 1]
    with pytest.raises(ValueError, match="needs a cell"):
        layout(np.array([[True, True], [False, False]]))
    assert "2 blocks" in separability(COUNTS, exact(there * 1.0)).reason
