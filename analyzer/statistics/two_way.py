"""Least squares fits of tables by value = mean + row + column. Cells may be missing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True)
class Layout:
    """Which cells of a table exist, and their counts by row, column and block.

    Attributes
    ----------
    there
        (rows, columns) bool. Every row and every column has a cell.
    rows, columns
        Cells of each row (rows,) and of each column (columns,), float64.
    complete
        Whether all cells exist.
    blocks
        (rows,) number of the block that a row is in. Rows of different blocks have no column in common, not even
        through other rows, so they cannot be compared.
    """

    there: Array
    rows: Array
    columns: Array
    complete: bool
    blocks: Array

    @property
    def cells(self) -> int:
        """Number of cells."""
        return int(self.rows.sum())

    @property
    def freedom(self) -> int:
        """Degrees of freedom of rows and columns, without the mean: rows + columns − 2 if there is one block."""
        return self.rows.size + self.columns.size - 1 - int(self.blocks.max() + 1)


def layout(there: Array) -> Layout:
    """Return the layout of a table from the mask of its cells, (rows, columns) bool.

    Raises
    ------
    ValueError
        A row or a column has no cell.
    """
    there = np.asarray(there, dtype=bool)
    rows, columns = there.sum(axis=1).astype(np.float64), there.sum(axis=0).astype(np.float64)
    if not (rows.all() and columns.all() and there.size):
        raise ValueError("a table of rows and columns needs a cell in each of them")
    complete = bool(there.all())
    blocks = np.zeros(rows.size, dtype=np.int64) if complete else _blocks(there)
    return Layout(there, rows, columns, complete, blocks)


def _blocks(there: Array) -> Array:
    blocks = np.full(there.shape[0], -1)
    number = 0
    while (left := np.flatnonzero(blocks < 0)).size:
        reached = np.zeros(there.shape[0], dtype=bool)
        reached[left[0]] = True
        known = 0
        while known < (known := int(reached.sum())):
            reached = np.asarray(there[:, there[reached].any(axis=0)].any(axis=1))
        blocks[reached] = number
        number += 1
    return blocks


@dataclass(frozen=True)
class Fits:
    """Fits value = mean + row + column; the first axes of all arrays are those of the tables.

    Attributes
    ----------
    mean
        (…,) so that the mean of `row` over rows and of `column` over columns is zero.
    row, column
        (…, rows) and (…, columns).
    about, left
        (…, rows, columns) fit less the mean of the cells, and value less fit; both are 0 where there is no cell.
    """

    mean: Array
    row: Array
    column: Array
    about: Array
    left: Array

    @property
    def explained(self) -> Array:
        """(…,) sum of squares of the fit about the mean of the cells."""
        return np.asarray(np.einsum("...rc,...rc->...", self.about, self.about))

    @property
    def unexplained(self) -> Array:
        """(…,) sum of squares of the residuals."""
        return np.asarray(np.einsum("...rc,...rc->...", self.left, self.left))


def fits(tables: Array, cells: Layout) -> Fits:
    """Fit tables (…, rows, columns) of one layout with a single block by least squares; missing cells are ignored."""
    values = np.where(cells.there, tables, 0.0)
    row_sums, column_sums = values.sum(axis=-1), values.sum(axis=-2)
    if cells.complete:
        middle = row_sums.sum(axis=-1) / cells.cells
        row = row_sums / cells.rows - middle[..., np.newaxis]
        column = column_sums / cells.columns - middle[..., np.newaxis]
        mean = middle
    else:
        row, column = _solved(row_sums, column_sums, cells)
        mean = row.mean(axis=-1) + column.mean(axis=-1)
        row = row - row.mean(axis=-1, keepdims=True)
        column = column - column.mean(axis=-1, keepdims=True)
    fitted = row[..., :, np.newaxis] + column[..., np.newaxis, :] + mean[..., np.newaxis, np.newaxis]
    fitted = np.where(cells.there, fitted, 0.0)
    middle = fitted.sum(axis=(-2, -1), keepdims=True) / cells.cells
    about = np.where(cells.there, fitted - middle, 0.0)
    return Fits(mean, row, column, about, values - fitted)


def _solved(row_sums: Array, column_sums: Array, cells: Layout) -> tuple[Array, Array]:
    """Solve the normal equations by eliminating the longer side."""
    there = cells.there.astype(np.float64)
    if cells.rows.size < cells.columns.size:
        column, row = _eliminated(column_sums, row_sums, there.T, cells.columns, cells.rows)
    else:
        row, column = _eliminated(row_sums, column_sums, there, cells.rows, cells.columns)
    return row, column


def _eliminated(many_sums: Array, few_sums: Array, there: Array, many: Array, few: Array) -> tuple[Array, Array]:
    scaled = there / many[:, np.newaxis]
    system = np.diag(few) - there.T @ scaled
    system += few.mean() / few.size  # a constant may move from one side to the other: this sets the sum of one to zero
    right = few_sums - many_sums @ scaled
    few_values = np.linalg.solve(system, right.reshape(-1, few.size).T).T.reshape(right.shape)
    return (many_sums - few_values @ there.T) / many, few_values
