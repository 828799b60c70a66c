"""Computing an answer and putting it where the user asked: data to stdout or a file, everything else to stderr."""

from __future__ import annotations

import json
import math
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import dask
import numpy as np
import pandas as pd
import xarray as xr

from analyzer.errors import NonFiniteWarning

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from analyzer.measure import Measurement

_SUFFIXES = {".csv": "csv", ".json": "json", ".nc": "netcdf", ".parquet": "parquet"}
_FIRST = ("group", "layer", "module", "parameter", "row", "column", "output", "input", "head", "index")
_NOT_IN_TABLES = ("velocities", "temperature_thermal")
"""Follow from other columns; other formats have them."""
_LOUD_BYTES = 1 << 28  # less is decoded in a fraction of a second


def form_of(asked: str | None, output: str | None) -> str:
    """The output format that was asked for, in words or by a file's suffix."""
    form = asked or _SUFFIXES.get(Path(output or "").suffix.lower(), "table")
    if form in ("netcdf", "parquet") and output is None:
        raise click.UsageError(f"--format {form} is binary: give --output FILE.")
    if output is not None and not Path(output).resolve().parent.is_dir():
        raise click.UsageError(f"--output: expected an existing folder, got {Path(output).parent}.")
    return form


def workers_of(asked: int | None) -> int:
    """Threads or processes that will compute."""
    return asked or os.cpu_count() or 1


def free_memory() -> int | None:
    """Bytes that are free on this machine, or None where nobody says."""
    try:
        fields = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text().splitlines())
        return int(fields["MemAvailable"].split()[0]) * 1024
    except (OSError, KeyError, ValueError):
        return None


def computed(dataset: xr.Dataset, measurement: Measurement, scheduler: str, workers: int | None) -> xr.Dataset:
    """The dataset in memory; weights that are not finite are named on stderr."""
    planned = measurement.plan
    if planned.bytes >= _LOUD_BYTES:
        click.echo(f"Decoding {planned.bytes / 1e9:.1f} GB in {planned.tasks:,} tasks", err=True)
    with warnings.catch_warnings(), _scheduler(scheduler, workers_of(workers)):
        warnings.simplefilter("ignore", NonFiniteWarning)
        answer = dataset.assign(nonfinite=((), measurement.moments.nonfinite)).compute()
    found = answer["nonfinite"].item()
    steps = measurement.run.line.steps
    for parameter, frame in found.items():
        click.echo(
            f"Warning: {parameter}: NaN or infinite weights from step {steps[frame]} on; the temperatures of its "
            "groups are "
            f"NaN. Leave it out: --exclude {parameter}",
            err=True,
        )
    return answer.drop_vars("nonfinite")


@contextmanager
def _scheduler(name: str, workers: int) -> Iterator[None]:
    if name in ("threads", "processes"):
        with dask.config.set(scheduler=name, num_workers=workers), _progress():
            yield
        return
    try:
        from distributed import Client
    except ImportError as error:
        raise click.ClickException(
            f"--scheduler {name}: expected the package distributed, got none. Install it: pip install distributed"
        ) from error
    try:
        client = Client(name, timeout="5s", set_as_default=True)  # type: ignore[no-untyped-call]
    except (OSError, ValueError, TypeError) as error:
        raise click.ClickException(
            f"--scheduler: expected threads, processes or the address of a running scheduler, got {name!r}: {error}. "
            "Start one: dask scheduler"
        ) from error
    with client:
        yield


@contextmanager
def _progress() -> Iterator[None]:
    """A bar on stderr, for a person and for work of more than half a second."""
    if not sys.stderr.isatty():
        yield
        return
    from dask.diagnostics import ProgressBar  # type: ignore[attr-defined]

    with ProgressBar(minimum=0.5, out=sys.stderr):  # type: ignore[no-untyped-call]
        yield


def frame_of(dataset: xr.Dataset) -> pd.DataFrame:
    """One row for each group and window: what identifies it first, then the columns."""
    table = dataset.to_dataframe(dim_order=["group", "window"]).reset_index()
    user = dataset.attrs.get("by") == "user"
    first = [name for name in _FIRST if name in table and (name != "group" or user)]
    first += [name for name in ("epoch", "start_step", "stop_step") if name in table]
    rest = [name for name in dataset.data_vars if name in table]
    last = [name for name in ("partial", "left_out") if name in table and bool(table[name].any())]
    return table[first + rest + last]


def write(dataset: xr.Dataset, store: str, form: str, output: str | None) -> None:
    """The answer in a format, to a file that appears whole or not at all, or to stdout."""
    if output is None:
        click.echo(_text(dataset, store, form), nl=False)
        return
    target = Path(output)
    part = target.with_name(f".{target.name}.part")
    try:
        if form == "netcdf":
            dataset.to_netcdf(part, engine="h5netcdf")
        elif form == "parquet":
            frame = frame_of(dataset)
            frame.attrs = dict(dataset.attrs)
            frame.to_parquet(part, index=False)
        else:
            part.write_text(_text(dataset, store, form), encoding="utf-8")
        part.replace(target)
    except OSError as error:
        raise click.ClickException(f"--output {output}: expected a file that can be written, got: {error}.") from error
    finally:
        part.unlink(missing_ok=True)
    click.echo(f"Wrote {output}", err=True)


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
    try:
        figure.savefig(path, dpi=160)
    except OSError as error:
        raise click.ClickException(f"--plot {path}: expected a file that can be written, got: {error}.") from error
    click.echo(f"Wrote {path}", err=True)


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
    records = [{name: _plain(value) for name, value in record.items()} for record in frame.to_dict("records")]
    return {"quantity": dataset.attrs["quantity"], "store": store, "attrs": attrs, "records": records}


def _plain(value: Any) -> Any:
    if isinstance(value, (bool, np.bool_)):
        return bool(value)
    if isinstance(value, (int, np.integer)):
        return int(value)
    if isinstance(value, (float, np.floating)):
        return float(value) if math.isfinite(value) else None
    return value


def _table(frame: pd.DataFrame, dataset: xr.Dataset) -> str:
    from rich import box
    from rich.console import Console
    from rich.table import Table

    terminal = sys.stdout.isatty()
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    shown = frame.drop(columns=[name for name in _NOT_IN_TABLES if name in frame])
    if "unreliable" in shown and not shown["unreliable"].any():
        shown = shown.drop(columns="unreliable")
    for name in shown.columns:
        number = bool(pd.api.types.is_numeric_dtype(shown[name]))
        table.add_column(str(name).replace("_", " "), justify="right" if number else "left", overflow="fold")
    for row in shown.itertuples(index=False):
        table.add_row(*(_cell(value) for value in row))
    # Off a terminal, a table is as wide as it needs to be: nothing may be cut.
    console = Console(width=None if terminal else 240, no_color=not terminal or None, highlight=False)
    with console.capture() as capture:
        console.print(table)
    attrs = dataset.attrs
    convention = "" if "convention" not in attrs else f", convention {attrs['convention']}"
    lag = f"lag {attrs['lag']}" + (
        "" if attrs["lag"] == attrs["steps_per_lag"] else f" = {attrs['steps_per_lag']} steps"
    )
    lines = [line.rstrip() for line in capture.get().splitlines()]
    return "\n".join(lines).rstrip() + f"\n\n{attrs['quantity']} in {attrs['units']}, {lag}{convention}\n"


def _cell(value: Any) -> str:
    if isinstance(value, (bool, np.bool_)):
        return "yes" if value else ""
    if isinstance(value, (int, np.integer)):
        return f"{value:,}"
    if isinstance(value, (float, np.floating)):
        return f"{value:.4g}"
    return str(value)
