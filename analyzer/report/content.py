"""The content of a report's sections as plain records: notes, tables, charts, maps.

Records hold what a section shows, not how. There is no HTML here or in the sections: the template writes it and escapes
all text, and the scripts of the page draw charts and maps from numbers in JSON.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np

from analyzer.report.text import unit_text

Array = np.ndarray[Any, np.dtype[Any]]

_DIGITS = 5
"""Significant digits of the numbers of a chart: more than a screen or a tooltip shows."""
WIDE = 5.0
"""A scale is logarithmic if the largest value exceeds the smallest positive one by this factor, as in
`analyzer.plots.style`."""


@dataclass(frozen=True)
class Note:
    """A paragraph of text. `problem` marks one that says what could not be shown or trusted."""

    kind: ClassVar[str] = "note"
    text: str
    problem: bool = False


@dataclass(frozen=True)
class Facts:
    """Pairs of a name and a value. With a title, the pairs stand in several columns."""

    kind: ClassVar[str] = "facts"
    pairs: Sequence[tuple[str, str]]
    title: str = ""


@dataclass(frozen=True)
class Table:
    """A table of text. Each row has as many cells as there are columns.

    Attributes
    ----------
    columns
        Titles of the columns.
    numeric
        Titles of the columns that are aligned to the right.
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
    """One series of a chart. All arrays are (points,); NaN leaves a gap.

    Attributes
    ----------
    style
        "line" or "points".
    low, high
        Ends of an interval, drawn as a band behind a line or as bars through points.
    loose
        Points whose interval is unreliable; they are drawn hollow.
    tips
        Text in the tooltip of each point, beside its value.
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
    """Series over a common horizontal axis, `x` (points,), ascending.

    Attributes
    ----------
    y_title, units
        Title and units of the vertical axis.
    marks
        Places on the horizontal axis, each with a label.
    integer_x
        Whether x has whole numbers only, so that there are no ticks between them.
    power_law
        Whether both axes are logarithmic if all values are positive.
    from_zero
        Whether a linear vertical axis starts at zero if no value is negative.
    linear
        Whether the vertical axis is never logarithmic, as of shares.
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
    linear: bool = False

    @property
    def empty(self) -> bool:
        """Whether there is no finite value to draw."""
        return not any(np.isfinite(np.asarray(line.y, dtype=np.float64)).any() for line in self.lines)

    def data(self) -> dict[str, Any]:
        """Return the chart as JSON for the script of the page."""
        return self._data

    @cached_property
    def _data(self) -> dict[str, Any]:
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
            "log": both or (not self.linear and is_wide(values)),
            "logX": both,
            "integerX": self.integer_x,
            "fromZero": self.from_zero,
        }


@dataclass(frozen=True)
class Map:
    """A matrix drawn as colours: `values` (rows, columns). NaN is grey, and so is 0 on a logarithmic scale.

    Attributes
    ----------
    rows_per_cell, columns_per_cell
        Rows and columns of the parameter in one cell: more than 1 if the cells are means over neighbours.
    row_names, column_names
        What the rows and columns are, where they are not numbered.
    edges
        (columns + 1,) where the columns begin and end along the horizontal axis, ascending; empty if they are numbered.
    log_edges
        Whether the ticks of that axis are those of a logarithmic one.
    marks
        Places along that axis, each with a label.
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
    row_names: Sequence[str] = ()
    column_names: Sequence[str] = ()
    edges: Sequence[float] = ()
    log_edges: bool = False
    marks: Sequence[tuple[float, str]] = ()

    @property
    def empty(self) -> bool:
        """Whether there is no finite value to draw."""
        return not np.isfinite(np.asarray(self.values, dtype=np.float64)).any()

    def data(self) -> dict[str, Any]:
        """Return the map as JSON for the script of the page.

        Values are coded as 16-bit levels: 1 is `low`, 65534 is `high`, 65535 is not finite, and 0 is zero unless values
        are negative.
        """
        return self._data

    @cached_property
    def _data(self) -> dict[str, Any]:
        values = np.asarray(self.values, dtype=np.float64)
        finite = values[np.isfinite(values)]
        positive = finite[finite > 0]
        wide = is_wide(values)
        low = float(positive.min()) if wide else min(0.0, float(finite.min())) if finite.size else 0.0
        high = float(positive.max()) if positive.size else 0.0 if low < 0 else 1.0
        with np.errstate(divide="ignore", invalid="ignore"):
            share = np.log(values / low) / np.log(high / low) if wide else (values - low) / (high - low)
        levels = np.round(1 + 65_533 * np.clip(np.nan_to_num(share), 0, 1)).astype(np.uint16)
        if low >= 0:
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
            **({"rowNames": list(self.row_names)} if self.row_names else {}),
            **({"columnNames": list(self.column_names)} if self.column_names else {}),
            **({"edges": rounded(np.asarray(self.edges), 9), "logEdges": self.log_edges} if len(self.edges) else {}),
            **({"marks": [[float(place), label] for place, label in self.marks]} if self.marks else {}),
        }


@dataclass(frozen=True)
class Gallery:
    """Figures side by side, as many as fit the width of the page."""

    kind: ClassVar[str] = "gallery"
    figures: Sequence[Chart | Map]


Content = Note | Facts | Table | Chart | Map | Gallery


@dataclass(frozen=True)
class Section:
    """A section of the page.

    Attributes
    ----------
    anchor
        Its name in links, unique in its run; letters and dashes.
    """

    anchor: str
    title: str
    contents: Sequence[Content]


def rounded(values: Array, digits: int = _DIGITS) -> list[float | int | None]:
    """Return numbers for JSON, rounded to `digits` significant digits; null if not finite."""
    return [_short(value, digits) if np.isfinite(value) else None for value in np.asarray(values).tolist()]


def _short(value: float, digits: int) -> float | int:
    short = float(f"{value:.{digits}g}")
    return int(short) if short.is_integer() and abs(short) < 1e15 else short


def is_wide(values: Array) -> bool:
    """Return whether values are shown on a logarithmic scale."""
    finite = values[np.isfinite(values)]
    positive = finite[finite > 0]
    return bool(positive.size and (finite >= 0).all() and positive.max() > WIDE * positive.min())
