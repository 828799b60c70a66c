"""What every command that answers a question does: open the run, write the answer in a format, draw the figure.

A command is its options, the function of `analyzer.quantities` that it calls, and a `Shape` if its answer is not shown
group by group:

    run, query = asked(options)
    answer = computed(options, *temperature_of(run, query))
    give(options, answer, draw=lambda: temperature(answer))
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import pandas as pd
import xarray as xr

from analyzer.cli.execution import Options, memory_limit_of
from analyzer.cli.files import check_place, replaced
from analyzer.cli.netcdf import write_netcdf
from analyzer.cli.parquet import write_parquet
from analyzer.cli.query import settled
from analyzer.cli.records import csv_text, document_of, json_text
from analyzer.cli.table import refuse_long, table_of
from analyzer.cli.text import printable, say, say_all, warnings_in_a_line
from analyzer.run import open_run
from analyzer.tables.columns import ROWS, count_of, told
from analyzer.tables.layouts import layout_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from analyzer.query.query import Query

_DOTS = 160
"""Dots per inch of a figure; default of --dpi."""
_SUFFIXES = {".csv": "csv", ".json": "json", ".nc": "netcdf", ".parquet": "parquet"}


@dataclass(frozen=True)
class Shape:
    """How a command shows the rows of its answer (`analyzer.tables.layouts`).

    Attributes
    ----------
    table
        Text for a person, from the answer and its frame.
    document
        The object of json, from the answer, its frames in order and the store as the user named it. Each frame has a
        few rows, so that csv, json and parquet hold the objects of few rows in memory at a time.
    """

    table: Callable[[xr.Dataset, pd.DataFrame], str] = table_of
    document: Callable[[xr.Dataset, Iterable[pd.DataFrame], str], dict[str, Any]] = document_of


def asked(options: Options) -> tuple[xr.DataTree, Query]:
    """Return the run and the query that a command's options ask of it.

    Before anything is computed, it refuses an output that cannot be written, then a store that cannot be opened.
    """
    check_output(options)
    run = open_run(options["store"])
    return run, settled(run, options)


def check_output(options: Options) -> None:
    """Refuse an output that cannot be written: a binary format without a file, or a file without a folder."""
    form = form_of(options)
    if form in ("netcdf", "parquet") and options["output"] is None:
        raise click.UsageError(f"--format {form} is binary: give --output FILE.")
    check_place(options["output"])
    check_place(options.get("plot"), "--plot")
    given = [name for name in ("figsize", "dpi", "style") if options.get(name) is not None]
    if given and not options.get("plot"):
        raise click.UsageError(f"--{given[0]}: expected --plot as well, got none. Add --plot FILE.png.")


def give(
    options: Options,
    answer: xr.Dataset,
    shape: Shape | None = None,
    *,
    draw: Callable[[], Figure | None] | None = None,
    also: Callable[[], None] | None = None,
) -> None:
    """Write an answer: data to stdout or a file, a figure to a file, all else to stderr.

    Parameters
    ----------
    options
        The command's, with its store, format, output and plot. If several stores are asked, `take` receives the answer.
    answer
        In memory.
    shape
        How the answer is shown.
    draw
        Draws the figure, if one is asked for: before the answer is written, since drawing may be refused.
    also
        Writes or says what else the command has, after the answer and before the figure.
    """
    if take := options.get("take"):  # one of several stores
        take(answer)
        if also is not None:
            also()
        return
    figure = _drawn(options, draw) if draw is not None and options["plot"] else None
    _write(options, answer, shape or Shape())
    if also is not None:
        also()
    if figure is not None:
        with replaced(options["plot"], "--plot") as part, _drawing(options), warnings_in_a_line(UserWarning):
            figure.savefig(part, dpi=options.get("dpi") or _DOTS)
        say(f"Wrote {printable(options['plot'])}", err=True)
    elif options.get("plot"):
        say(f"Warning: there is nothing to draw, and {printable(options['plot'])} is not written.", err=True)


def refuse_table(options: Options, answer: xr.Dataset) -> None:
    """Before it is computed, refuse an answer too long for a table. A table has a row per group, lag and window."""
    if form_of(options) == "table":
        columns = sum(name not in ROWS for name in answer.variables)
        refuse_long(count_of(answer, ROWS), columns, memory_limit_of(options))


def _drawn(options: Options, draw: Callable[[], Figure | None]) -> Figure | None:
    # Without a folder for its settings, matplotlib logs several lines and goes on.
    logging.getLogger("matplotlib").setLevel(logging.ERROR)
    with _drawing(options):
        return draw()


def _drawing(options: Options) -> AbstractContextManager[None]:
    """The style and size of a figure, while it is drawn and while it is written."""
    from analyzer.plots.style import drawing

    return drawing(options.get("style"), options.get("figsize"))


def warn_of_floor(answer: xr.Dataset) -> None:
    """Say on stderr how many temperatures are below ten times what rounding alone gives; T = 0 counts."""
    low = answer["temperature"] < 10 * answer["floor"]
    if count := int(low.sum()):
        say(
            f"Warning: temperatures below 10 times their floor, which rounding alone gives: {count:,} of {low.size:,}. "
            "They may be mostly rounding. Take a longer --lag, or record weights of higher precision.",
            err=True,
        )


def form_of(options: Options) -> str:
    """The format that was asked for, by --format or by the suffix of the file."""
    return str(options["format_"] or _SUFFIXES.get(Path(options["output"] or "").suffix.lower(), "table"))


def _write(options: Options, answer: xr.Dataset, shape: Shape) -> None:
    form = form_of(options)
    if form == "netcdf":
        deliver(options, lambda part: write_netcdf(answer, part))
    elif form == "parquet":
        deliver(options, lambda part: write_parquet(layout_of(answer).frames(answer), answer.attrs, part))
    else:
        deliver(options, _text(options, answer, shape, form))


def deliver(options: Options, content: Callable[[Path], None] | Iterable[str]) -> None:
    """Write text to stdout, or text or binary data to a file that appears whole or not at all.

    Parameters
    ----------
    options
        The command's, with its output.
    content
        Pieces of text, or a function that writes binary data to an empty file.
    """
    output = options["output"]
    if output is None:
        assert not callable(content), "check_output refuses binary formats without a file"
        say_all(content)
        return
    with replaced(output) as part:
        if callable(content):
            content(part)
        else:
            with part.open("w", encoding="utf-8", errors="backslashreplace", newline="") as file:
                file.writelines(content)
    say(f"Wrote {printable(output)}", err=True)


def _text(options: Options, answer: xr.Dataset, shape: Shape, form: str) -> Iterator[str]:
    if form == "csv":
        return csv_text(layout_of(answer).frames(answer))
    if form == "json":
        return json_text(shape.document(answer, layout_of(answer).frames(answer), options.get("store", "")))
    if shape.table is table_of:  # others show a part of long answers, or a summary
        refuse_table(options, answer)
    layout = layout_of(answer)
    answer = told(answer) if layout.along else answer
    table = partial(table_of, wide=options.get("wide", False)) if shape.table is table_of else shape.table
    return iter([table(answer, layout.frame(answer))])
