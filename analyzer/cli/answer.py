"""What every command that answers a question does: open the run, give the answer in a form, draw it.

A command is its options, the function of `analyzer.quantities` that it calls, and a `Shape` where its answer is shown
otherwise than group by group:

    run, query = asked(options)
    answer = computed(options, *temperature_of(run, query))
    give(options, answer, draw=lambda: temperature(answer))
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
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
from analyzer.cli.records import count_of, csv_text, document_of, frame_of, json_text, pieces_of, told
from analyzer.cli.table import refuse_long, table_of
from analyzer.cli.text import printable, say, say_all, warnings_in_a_line
from analyzer.run import open_run

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from analyzer.engine.measure import Query

ROWS = ("group", "lag", "window")
"""Dimensions that an answer has a row for each place along, the slowest first."""
_SUFFIXES = {".csv": "csv", ".json": "json", ".nc": "netcdf", ".parquet": "parquet"}


@dataclass(frozen=True)
class Shape:
    """What a command makes of its answer; by default one row for each group and window.

    Attributes
    ----------
    frame
        The answer as rows and columns, for csv and parquet.
    table
        Text for a person, from the answer and its frame.
    document
        The object of json, from the answer, its frames in order and the store as the user named it.
    along
        Dimensions of the rows: along them the answer is cut into pieces, so that csv, json and parquet have the objects
        of a few rows in memory at a time. Without any, the answer is one frame.
    """

    frame: Callable[[xr.Dataset], pd.DataFrame] = frame_of
    table: Callable[[xr.Dataset, pd.DataFrame], str] = table_of
    document: Callable[[xr.Dataset, Iterable[pd.DataFrame], str], dict[str, Any]] = document_of
    along: tuple[str, ...] = ()


def asked(options: Options) -> tuple[xr.DataTree, Query]:
    """Return the run and the query that a command's options ask of it.

    Refuses an output that cannot be written first, then a store that cannot be opened: before anything is computed.
    """
    check_output(options)
    run = open_run(options["store"])
    return run, settled(run, options)


def check_output(options: Options) -> None:
    """Refuse an output that cannot be written: a binary format without a file, or a file that has no place."""
    form = _form_of(options)
    if form in ("netcdf", "parquet") and options["output"] is None:
        raise click.UsageError(f"--format {form} is binary: give --output FILE.")
    check_place(options["output"])
    check_place(options.get("plot"), "--plot")


def give(
    options: Options,
    answer: xr.Dataset,
    shape: Shape | None = None,
    *,
    draw: Callable[[], Figure | None] | None = None,
    also: Callable[[], None] | None = None,
) -> None:
    """Give an answer: data to stdout or a file, a picture to a file, all else to stderr.

    Parameters
    ----------
    options
        The command's, with its store, format, output and plot.
    answer
        In memory.
    shape
        How the answer is shown.
    draw
        Draws the picture, if one is asked for: before the answer is written, since drawing may be refused.
    also
        What else the command writes or says, after the answer and before the picture.
    """
    figure = _drawn(draw) if draw is not None and options["plot"] else None
    _write(options, answer, shape or Shape(along=ROWS))
    if also is not None:
        also()
    if figure is not None:
        from analyzer.plots.style import drawing

        with replaced(options["plot"], "--plot") as part, drawing(), warnings_in_a_line(UserWarning):
            figure.savefig(part, dpi=160)
        say(f"Wrote {printable(options['plot'])}", err=True)
    elif options.get("plot"):
        say(f"Warning: there is nothing to draw, and {printable(options['plot'])} is not written.", err=True)


def refuse_table(options: Options, answer: xr.Dataset) -> None:
    """Refuse an answer that is too long for a table, before it is computed; one row for each group, lag and window."""
    if _form_of(options) == "table":
        columns = sum(name not in ROWS for name in answer.variables)
        refuse_long(count_of(answer, ROWS), columns, memory_limit_of(options))


def _drawn(draw: Callable[[], Figure | None]) -> Figure | None:
    # Where matplotlib finds no folder of its own to write to, it says so in several lines, and goes on without.
    logging.getLogger("matplotlib").setLevel(logging.ERROR)
    from analyzer.plots.style import drawing

    with drawing():
        return draw()


def warn_of_floor(answer: xr.Dataset) -> None:
    """Say on stderr how many temperatures are within ten times of what rounding alone gives; T = 0 is one of them."""
    low = answer["temperature"] < 10 * answer["floor"]
    if count := int(low.sum()):
        say(
            f"Warning: {count:,} of {low.size:,} temperatures are below 10 times their floor, which rounding alone "
            "gives: they say little of the training. Take a longer --lag, or record weights of higher precision.",
            err=True,
        )


def _form_of(options: Options) -> str:
    """The format that was asked for, in words or by a file's suffix."""
    return str(options["format_"] or _SUFFIXES.get(Path(options["output"] or "").suffix.lower(), "table"))


def _write(options: Options, answer: xr.Dataset, shape: Shape) -> None:
    """Write the answer to a file that appears whole or not at all, or to stdout."""
    form, output = _form_of(options), options["output"]
    if output is None:
        say_all(_text(options, answer, shape, form))
        return
    with replaced(output) as part:
        if form == "netcdf":
            write_netcdf(answer, part)
        elif form == "parquet":
            write_parquet(_frames(answer, shape), answer.attrs, part)
        else:
            with part.open("w", encoding="utf-8", errors="backslashreplace", newline="") as file:
                file.writelines(_text(options, answer, shape, form))
    say(f"Wrote {printable(output)}", err=True)


def _text(options: Options, answer: xr.Dataset, shape: Shape, form: str) -> Iterator[str]:
    if form == "csv":
        return csv_text(_frames(answer, shape))
    if form == "json":
        return json_text(shape.document(answer, _frames(answer, shape), options.get("store", "")))
    if shape.table is table_of:  # others show a part of long answers, or a summary
        refuse_table(options, answer)
    answer = told(answer) if shape.along else answer
    return iter([shape.table(answer, shape.frame(answer))])


def _frames(answer: xr.Dataset, shape: Shape) -> Iterator[pd.DataFrame]:
    """The answer as frames of a few thousand rows."""
    return map(shape.frame, pieces_of(told(answer) if shape.along else answer, shape.along))
