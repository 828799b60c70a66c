"""What a section is made of: plain records, which the template and the scripts of the page draw.

A section says what it shows, never how: nothing here or in the sections is HTML. Text is escaped by the template, and
numbers travel to the scripts as JSON.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from analyzer.report.text import unit_text

Array = np.ndarray[Any, np.dtype[Any]]

_DIGITS = 5
"""Significant digits of a number in a chart: more than a screen or a tooltip shows."""
WIDE = 5.0
"""Largest over smallest positive value from which on a scale is logarithmic, as in `analyzer.plots`."""


@dataclass(frozen=True)
class Note:
    """A sentence; `problem` where something could not be shown."""

    kind: ClassVar[str] = "note"
    text: str
    problem: bool = False


@dataclass(frozen=True)
class Facts:
    """Names and their values; with a title, they are many and short."""

    kind: ClassVar[str] = "facts"
    pairs: Sequence[tuple[str, str]]
    title: str = ""


@dataclass(frozen=True)
class Table:
    """Cells as text, each row as long as `columns`.

    Attributes
    ----------
    numeric
        Titles of the columns that stand at the right.
    caption
        What the table shows, with units.
    """

    kind: ClassVar[str] = "table"
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    numeric: frozenset[str] = frozenset()
    caption: str = ""


@dataclass(frozen=True)
class Line:
    """One series of a chart, all arrays (points,); NaN is a hole.

    Attributes
    ----------
    style
        "line", or "points".
    low, high
        Of an interval: a band behind a line, bars through points.
    loose
        Points whose interval is not to be relied on: they are drawn hollow.
    tips
        What a tooltip says of each point besides its value.
    """

    label: str
    y: Array
    style: str = "line"
    low: Array | None = None
    high: Array | None = None
    loose: Array | None = None
    tips: Sequence[str] | None = None


@dataclass(frozen=True)
class Chart:
    """Series over a common axis: `x` (points,), ascending.

    Attributes
    ----------
    y_title, units
        Of the vertical axis.
    marks
        Places on the horizontal axis, with what is there.
    integer_x
        Whether places are whole numbers, and ticks between them mean nothing.
    power_law
        Both axes are logarithmic, where all is positive.
    from_zero
        A linear axis of what is not negative begins at zero.
    """

    kind: ClassVar[str] = "chart"
    title: str
    x_title: str
    x: Array
    y_title: str
    units: str
    lines: Sequence[Line]
    marks: Sequence[tuple[float, str]] = ()
    integer_x: bool = True
    power_law: bool = False
    from_zero: bool = True

    @property
    def empty(self) -> bool:
        """Whether there is nothing to draw."""
        return not any(np.isfinite(np.asarray(line.y, dtype=np.float64)).any() for line in self.lines)

    def data(self) -> dict[str, Any]:
        """What the page's script draws."""
        values = np.concatenate([np.asarray(line.y, dtype=np.float64) for line in self.lines])
        both = self.power_law and bool((self.x > 0).all() and (values[np.isfinite(values)] > 0).all())
        lines = []
        for line in self.lines:
            one: dict[str, Any] = {"label": line.label, "style": line.style, "y": rounded(line.y)}
            if line.low is not None and line.high is not None:
                one |= {"low": rounded(line.low), "high": rounded(line.high)}
            if line.loose is not None and line.loose.any():
                one["loose"] = line.loose.astype(int).tolist()
            if line.tips is not None:
                one["tips"] = list(line.tips)
            lines.append(one)
        return {
            "title": self.title,
            "x": rounded(self.x, 9),
            "xTitle": self.x_title,
            "yTitle": self.y_title,
            "units": unit_text(self.units),
            "lines": lines,
            "marks": [[float(place), label] for place, label in self.marks],
            "log": both or is_wide(values),
            "logX": both,
            "integerX": self.integer_x,
            "fromZero": self.from_zero,
        }


@dataclass(frozen=True)
class Map:
    """A matrix as colours: `values` (rows, columns), not negative; 0 and NaN are grey.

    Attributes
    ----------
    rows_per_cell, columns_per_cell
        Of the parameter: more than 1 where the matrix is a mean over neighbours.
    """

    kind: ClassVar[str] = "map"
    title: str
    row_title: str
    column_title: str
    values: Array
    value_title: str
    units: str
    rows_per_cell: int = 1
    columns_per_cell: int = 1

    @property
    def empty(self) -> bool:
        """Whether there is nothing to draw."""
        return not np.isfinite(np.asarray(self.values, dtype=np.float64)).any()

    def data(self) -> dict[str, Any]:
        """Values on a scale of 65,534 levels: 1 is `low`, 65534 is `high`; 0 is zero, 65535 not finite."""
        values = np.asarray(self.values, dtype=np.float64)
        finite = values[np.isfinite(values)]
        positive = finite[finite > 0]
        wide = is_wide(values)
        high = float(positive.max()) if positive.size else 1.0
        low = float(positive.min()) if wide else 0.0
        with np.errstate(divide="ignore", invalid="ignore"):
            share = np.log(values / low) / np.log(high / low) if wide else values / high
        levels = np.round(1 + 65_533 * np.clip(np.nan_to_num(share), 0, 1)).astype(np.uint16)
        levels[values == 0] = 0
        levels[~np.isfinite(values)] = 65_535
        return {
            "title": self.title,
            "rowTitle": self.row_title,
            "columnTitle": self.column_title,
            "valueTitle": self.value_title,
            "units": unit_text(self.units),
            "rows": values.shape[0],
            "columns": values.shape[1],
            "perCell": [self.rows_per_cell, self.columns_per_cell],
            "low": low,
            "high": high,
            "log": wide,
            "levels": b64encode(levels.astype("<u2").tobytes()).decode("ascii"),
        }


@dataclass(frozen=True)
class Gallery:
    """Pictures side by side, as many as there is room for."""

    kind: ClassVar[str] = "gallery"
    pictures: Sequence[Chart | Map]


Block = Note | Facts | Table | Chart | Map | Gallery


@dataclass(frozen=True)
class Section:
    """A part of the page.

    Attributes
    ----------
    anchor
        Unique in its run; letters and dashes.
    """

    anchor: str
    title: str
    blocks: Sequence[Block]


def rounded(values: Array, digits: int = _DIGITS) -> list[float | int | None]:
    """Numbers as JSON has them, to so many significant digits; what is not finite is null."""
    return [_short(value, digits) if np.isfinite(value) else None for value in np.asarray(values).tolist()]


def _short(value: float, digits: int) -> float | int:
    short = float(f"{value:.{digits}g}")
    return int(short) if short.is_integer() and abs(short) < 1e15 else short


def is_wide(values: Array) -> bool:
    """Whether values are shown on a logarithmic scale."""
    finite = values[np.isfinite(values)]
    positive = finite[finite > 0]
    return bool(positive.size and (finite >= 0).all() and positive.max() > WIDE * positive.min())
