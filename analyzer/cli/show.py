"""An answer where the user asked for it: data to stdout or a file, everything else to stderr."""

from __future__ import annotations

import json
import math
import os
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import numpy as np
import pandas as pd
import xarray as xr

from analyzer.cli.text import printable
from analyzer.errors import EquilibriumWarning, NonFiniteWarning

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_SUFFIXES = {".csv": "csv", ".json": "json", ".nc": "netcdf", ".parquet": "parquet"}
_FIRST = ("group", "layer", "module", "parameter", "row", "column", "output", "input", "head", "index")
_NOT_IN_TABLES = ("velocities", "temperature_thermal", "velocities_half_phase", "drift_null", "steps_per_lag")
"""Follow from other columns, or are looked up rarely; other formats have them."""


def form_of(asked: str | None, output: str | None) -> str:
    """The output format that was asked for, in words or by a file's suffix."""
    form = asked or _SUFFIXES.get(Path(output or "").suffix.lower(), "table")
    if form in ("netcdf", "parquet") and output is None:
        raise click.UsageError(f"--format {form} is binary: give --output FILE.")
    check_place(output)
    return form


def check_place(output: str | None, option: str = "--output") -> None:
    """Refuse a file in a folder that does not exist, before anything is computed."""
    if output is not None and not Path(output).resolve().parent.is_dir():
        raise click.UsageError(f"{option}: expected an existing folder, got {Path(output).parent}.")
    if output is not None and Path(output).is_dir():
        raise click.UsageError(f"{option}: expected the name of a file, got the folder {output}.")


def frame_of(dataset: xr.Dataset) -> pd.DataFrame:
    """One row for each group, lag and window: what identifies it first, then the columns."""
    order = [name for name in ("group", "lag", "window") if name in dataset.dims]
    table = dataset.to_dataframe(dim_order=order).reset_index()
    user = dataset.attrs.get("by") == "user"
    first = [name for name in _FIRST if name in table and (name != "group" or user)]
    first += [str(name) for name, c in dataset.coords.items() if c.dims == ("group",) and name not in _FIRST]
    first += [name for name in ("lag", "steps_per_lag", "epoch", "start_step", "stop_step") if name in table]
    rest = [name for name in dataset.data_vars if name in table]
    last = [name for name in ("partial", "left_out") if name in table and bool(table[name].any())]
    return table[first + rest + last]


def write(dataset: xr.Dataset, store: str, form: str, output: str | None) -> None:
    """The answer of a run in a format; see `put`."""
    put(dataset, form, output, lambda: frame_of(dataset), lambda: _text(dataset, store, form))


def put(
    dataset: xr.Dataset,
    form: str,
    output: str | None,
    frame: Callable[[], pd.DataFrame],
    text: Callable[[], str],
) -> None:
    """An answer, as it is, as a frame or as text, to a file that appears whole or not at all, or to stdout."""
    if output is None:
        click.echo(text(), nl=False)
        return
    with replaced(output) as part:
        if form == "netcdf":
            dataset.to_netcdf(part, engine="h5netcdf")
        elif form == "parquet":
            table = frame()
            table.attrs = dict(dataset.attrs)
            table.to_parquet(part, index=False)
        else:
            part.write_text(text(), encoding="utf-8")
    click.echo(f"Wrote {printable(output)}", err=True)


@contextmanager
def replaced(output: str, option: str = "--output") -> Iterator[Path]:
    """The path of a file that takes the place of `output` when it is whole, and disappears when it does not become so.

    What is no plain file (a pipe, /dev/stdout) is written straight to: to replace it would destroy it.
    """
    target = Path(output).resolve()
    special = target.exists() and not target.is_file()
    part = target if special else target.with_name(f".{target.stem}.{os.getpid()}.part{target.suffix}")
    try:
        yield part
        if not special:
            part.replace(target)
    except OSError as error:
        raise click.ClickException(
            f"{option} {output}: expected a file that can be written, got: {error.strerror or error}. The answer is "
            "not kept. Choose another place, or make room."
        ) from error
    finally:
        if not special:
            part.unlink(missing_ok=True)


@contextmanager
def warnings_in_a_line() -> Iterator[None]:
    """What the analyzer warns of inside is said in one line on stderr each, without the place in the code."""

    def say(message: Warning | str, *place: Any, **rest: Any) -> None:
        click.echo(f"Warning: {printable(str(message))}", err=True)

    with warnings.catch_warnings():
        for category in (EquilibriumWarning, NonFiniteWarning):
            warnings.simplefilter("always", category)
        warnings.showwarning = say
        yield


def warn_of_floor(dataset: xr.Dataset) -> None:
    """Say on stderr how many temperatures are within ten times of what rounding alone gives; T = 0 is one of them."""
    low = dataset["temperature"] < 10 * dataset["floor"]
    if count := int(low.sum()):
        click.echo(
            f"Warning: {count:,} of {low.size:,} temperatures are below 10 times their floor, which rounding alone "
            "gives: they say little of the training. Take a longer --lag, or record weights of higher precision.",
            err=True,
        )


def save_picture(figure: Figure | None, path: str | None) -> None:
    """A figure into a file, by its suffix."""
    if figure is None or path is None:
        return
    with replaced(path, "--plot") as part:
        figure.savefig(part, dpi=160)
    click.echo(f"Wrote {printable(path)}", err=True)


def _text(dataset: xr.Dataset, store: str, form: str) -> str:
    frame = frame_of(dataset)
    if form == "csv":
        return str(frame.to_csv(index=False))
    if form == "json":
        return json.dumps(document(dataset, store, frame), indent=1, allow_nan=False) + "\n"
    return _table(frame, dataset)


def document(dataset: xr.Dataset, store: str, frame: pd.DataFrame) -> dict[str, Any]:
    """The object that `--format json` prints; NaN and infinity become null."""
    attrs = {name: value for name, value in dataset.attrs.items() if name not in ("quantity", "store")}
    records = [{name: plain(value) for name, value in record.items()} for record in frame.to_dict("records")]
    return {"quantity": dataset.attrs["quantity"], "store": store, "attrs": attrs, "records": records}


def plain(value: Any) -> Any:
    """A number as JSON has it; NaN and infinity become null."""
    if isinstance(value, (bool, np.bool_)):
        return bool(value)
    if isinstance(value, (int, np.integer)):
        return int(value)
    if isinstance(value, (float, np.floating)):
        return float(value) if math.isfinite(value) else None
    return value


def _table(frame: pd.DataFrame, dataset: xr.Dataset) -> str:
    return f"{table_text(frame)}\n\n{footer(dataset.attrs)}\n"


def table_text(frame: pd.DataFrame, wide: int = 240) -> str:
    """A table as text: for a terminal in its width, else `wide`, or as much wider as it needs to be."""
    from rich import box
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    terminal = sys.stdout.isatty()
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    shown = frame.drop(columns=[name for name in _NOT_IN_TABLES if name in frame])
    if "unreliable" in shown and not shown["unreliable"].any():
        shown = shown.drop(columns="unreliable")
    needed = 0
    rows = [[_cell(value) for value in row] for row in shown.itertuples(index=False)]
    for n, name in enumerate(shown.columns):
        number = bool(pd.api.types.is_numeric_dtype(shown[name]))
        title = str(name).replace("_", " ")
        # Headings break between words, numbers and names never.
        width = max(map(len, [*title.split(), *(row[n] for row in rows)]), default=0)
        table.add_column(title, justify="right" if number else "left", min_width=width, overflow="fold")
        needed += width + 3
    for row in rows:
        table.add_row(*map(escape, row))
    # Off a terminal, a table is as wide as it needs to be: nothing may be cut. Nor on one that is too narrow.
    console = Console(width=None if terminal else wide, no_color=not terminal or None, highlight=False)
    console.width = max(console.width, needed)
    with console.capture() as capture:
        console.print(table)
    return "\n".join(line.rstrip() for line in capture.get().splitlines()).rstrip()


def footer(attrs: Mapping[str, Any]) -> str:
    """What a table shows, in which units, at which lag, by which convention: as far as the answer has them."""
    parts = [attrs["quantity"] + (f" in {attrs['units']}" if "units" in attrs else "")]
    if "lag" in attrs and "steps_per_lag" in attrs:
        same = attrs["lag"] == attrs["steps_per_lag"]
        parts.append(f"lag {attrs['lag']}" + ("" if same else f" = {attrs['steps_per_lag']} steps"))
    if "convention" in attrs:
        parts.append(f"convention {attrs['convention']}")
    return ", ".join(parts)


def _cell(value: Any) -> str:
    if isinstance(value, (bool, np.bool_)):
        return "yes" if value else ""
    if isinstance(value, (int, np.integer)):
        return f"{value:,}"
    if isinstance(value, (float, np.floating)):
        return "–" if math.isnan(value) else f"{value:.4g}"
    return printable(str(value))
