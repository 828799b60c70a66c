"""Tables as text: rich draws them in the width of a terminal; elsewhere, columns are aligned."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
import xarray as xr

from analyzer.cli.columns import BETWEEN, cell, columns_of, fewer, has_one_rate, heading, is_number
from analyzer.cli.text import printable
from analyzer.errors import MemoryLimitError

MOST_ROWS = 1_000_000
"""A table has fewer rows than this."""
_FEW_ROWS = 10_000
"""A table of fewer rows ignores the memory limit: it takes some ten megabytes."""
_CELL_BYTES = 160
"""Most bytes that a cell takes until it is printed: its text, entries in three lists, and its part of the lines."""
_NARROW = re.compile(r"[ -Z\]-~¡-¬®-˿΄-Ͽ–—…×]*")
"""Text of characters that take one cell each and that rich prints as they are: no "[" and "\\" of markup, no combining
marks, no wide characters of Asia."""


@dataclass(frozen=True)
class _Column:
    """A column of a table: its heading, its cells as text, and whether they are aligned to the right (numbers)."""

    title: str
    cells: Sequence[str]
    right: bool

    @property
    def narrowest(self) -> int:
        """Least width: headings may break between words; numbers and names may not."""
        return max(map(len, [*self.title.split(), *self.cells]), default=0)

    @property
    def width(self) -> int:
        """Width with the heading in one line."""
        return max(map(len, [self.title, *self.cells]))

    def lines(self) -> list[str]:
        """The heading and the cells, all of one width."""
        width = self.width
        return [text.rjust(width) if self.right else text.ljust(width) for text in (self.title, *self.cells)]


def refuse_long(rows: int, columns: int, memory_limit: int | None) -> None:
    """Refuse a table that nobody could read, or whose text would not fit into memory.

    Raises
    ------
    MemoryLimitError
        There would be a million rows or more, or their text would need more than the limit.
    """
    needed = rows * columns * _CELL_BYTES
    if rows < MOST_ROWS and (rows < _FEW_ROWS or memory_limit is None or needed <= memory_limit):
        return
    limit = f"fewer than {MOST_ROWS:,} rows" if rows >= MOST_ROWS else f"text of at most {memory_limit:,} bytes"
    raise MemoryLimitError(
        f"Table: expected {limit}, got {rows:,} rows of {columns} columns, which take {needed:,} bytes. A table is in "
        "memory as a whole. Write a file, row by row: --format csv --output FILE, or netcdf or parquet; or ask for "
        "coarser groups or longer windows.",
        rows=rows,
        bytes=needed,
        limit=memory_limit,
    )


def table_of(answer: xr.Dataset, frame: pd.DataFrame, wide: bool = False) -> str:
    """Return the frame as a table, with all columns if `wide`, and below it what the table shows."""
    expected = [f"T/η² expected{where}: {text}" for text, where in _expected(frame).items()]
    shown, said = columns_of(frame, wide)
    same = said[:1] if said[:1] and said[0].startswith("steps ") else []
    parts = [", ".join([footer(answer.attrs) + _rate(frame), *same]), *said[len(same) :], *map(printable, expected)]
    parts += too_short(answer)
    return "\n".join([table_text(shown), "", *parts, *fewer_of(answer, len(frame))]) + "\n"


def too_short(answer: xr.Dataset) -> list[str]:
    """Return what the windows of an answer are too short for, as a sentence, if error bars of it are unreliable."""
    if "unreliable" not in answer or not answer["unreliable"].any():
        return []
    from analyzer.quantities.lengths import for_error_bars

    return list(filter(None, [for_error_bars(answer)]))


def fewer_of(answer: xr.Dataset, rows: int) -> list[str]:
    """Return how to get fewer rows, if a table of an answer has many."""
    sizes = answer.sizes
    by = str(answer.attrs.get("by", ""))
    return fewer(rows, "model" if sizes.get("group") == 1 else by, sizes.get("window", 1), sizes.get("lag", 1))


def _rate(frame: pd.DataFrame) -> str:
    """The learning rate, if all rows have the same: then no column has it."""
    return f", learning rate {frame['learning_rate'].iloc[0]:.4g}" if has_one_rate(frame) else ""


def _expected(frame: pd.DataFrame) -> dict[str, str]:
    """The expected values of T/η², each with the rows that it holds for, or "" if it holds for all."""
    if "expectation" not in frame:
        return {}
    texts = frame["expectation"].unique()
    if len(texts) == 1:
        return {texts[0]: ""}
    title = next((name for name in ("parameter", "layer", "group") if name in frame), None)
    return {
        text: "" if title is None else " of " + ", ".join(map(str, frame[title][frame["expectation"] == text].unique()))
        for text in texts
    }


def table_text(frame: pd.DataFrame, wide: int = 240) -> str:
    """Return a frame as a table in the width of the terminal, or `wide` without one; wider if the cells need it."""
    columns = _columns(frame)
    needed = sum(column.narrowest + BETWEEN for column in columns)
    if not _rich_is_asked() and _is_plain(columns, max(wide, needed)):
        return _plain(columns)
    return _drawn(columns, needed, wide)


def footer(attrs: Mapping[str, Any]) -> str:
    """Return what a table shows: its quantity, and its units, lag and convention if the answer has them."""
    parts = [attrs["quantity"] + (f" in {attrs['units']}" if "units" in attrs else "")]
    if attrs.get("lag") == "spacing":
        parts.append("lag one spacing of frames = steps per lag")
    elif "lag" in attrs and "steps_per_lag" in attrs:
        same = attrs["lag"] == attrs["steps_per_lag"]
        parts.append(f"lag {attrs['lag']}" + ("" if same else f" = {attrs['steps_per_lag']} steps"))
    if "convention" in attrs:
        parts.append(f"convention {attrs['convention']}")
    if attrs.get("frozen_weights_left_out"):
        parts.append(f"{attrs['frozen_weights_left_out']:,} frozen weights left out (--frozen counts them)")
    return printable(", ".join(parts))


def _columns(frame: pd.DataFrame) -> list[_Column]:
    rows = [[cell(value) for value in row] for row in frame.itertuples(index=False)]
    return [
        _Column(heading(name), [row[n] for row in rows], is_number(frame, name)) for n, name in enumerate(frame.columns)
    ]


def _rich_is_asked() -> bool:
    """Whether rich must draw: on a terminal, if the environment asks for one, or if the encoding lacks lines."""
    if sys.stdout.isatty() or os.environ.get("FORCE_COLOR") or os.environ.get("TTY_COMPATIBLE") == "1":
        return True
    return not (getattr(sys.stdout, "encoding", None) or "utf-8").lower().startswith("utf")


def _is_plain(columns: Sequence[_Column], room: int) -> bool:
    """Whether rich would draw plain columns side by side: no heading breaks, no character is wide or markup."""
    if not columns or sum(column.width + BETWEEN for column in columns) - 1 > room:
        return False
    texts = [text for column in columns for text in (column.title, *column.cells)]
    return all(_NARROW.fullmatch(text) and text.count(":") < 2 for text in texts)  # :name: is an emoji


def _plain(columns: Sequence[_Column]) -> str:
    """Columns side by side, as rich draws them without colours. Loading rich can take longer than an answer."""
    heading, *rows = ((" " * BETWEEN).join(line) for line in zip(*(c.lines() for c in columns), strict=True))
    lines = ["", f" {heading}", " " + "─" * len(heading), *(f" {row}" for row in rows)]
    return "\n".join(line.rstrip() for line in lines).rstrip()


def _drawn(columns: Sequence[_Column], needed: int, wide: int) -> str:
    """The table that rich draws."""
    from rich import box
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        justify: Any = "right" if column.right else "left"
        table.add_column(column.title, justify=justify, min_width=column.narrowest, overflow="fold")
    for row in zip(*(column.cells for column in columns), strict=True):
        table.add_row(*map(escape, row))
    terminal = sys.stdout.isatty()
    # Nothing may be cut: if the cells need more than the width, lines are longer.
    console = Console(width=None if terminal else wide, no_color=not terminal or None, highlight=False)
    console.width = max(console.width, needed)
    with console.capture() as capture:
        console.print(table)
    return "\n".join(line.rstrip() for line in capture.get().splitlines()).rstrip()
