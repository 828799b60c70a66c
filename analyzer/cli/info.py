"""`analyzer info`: what a store holds, from its root zarr.json alone."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from typing import Any

import click

from analyzer.cli.text import printable, say
from analyzer.query.changes import changes_of
from analyzer.store.describe import describe, size_text
from analyzer.store.schema import read_store

_MOST_STRETCHES = 6


@click.command(short_help="What a store holds: status, frames, parameters, sizes.")
@click.argument("store")
@click.option("--format", "format_", type=click.Choice(["table", "json"]), default="table", show_default=True,
              help="json: one object, sizes in bytes.")  # fmt: skip
def info(store: str, format_: str) -> None:
    """Show what STORE holds, from its metadata alone: no frame is read.

    \b
    analyzer info runs/gcn.zarr
    analyzer info runs/gcn.zarr --format json
    """
    opened = read_store(store)
    known = describe(opened)
    known["changes"] = [
        {"segment": one.segment, "first_step": one.first_step, "differences": list(one.differences)}
        for one in changes_of(opened.attrs.get("segments"))
        if not one.is_of_stride
    ]
    if format_ == "json":
        say(json.dumps(known, indent=2))
        return
    for name, value in known.items():
        if name == "changes":
            for one in value:
                said = f"segment {one['segment']}, from step {one['first_step']:,}: {', '.join(one['differences'])}"
                say(f"{'changes':<16} {printable(said)}")
        elif name not in ("parameters", "recent") and value not in (None, [], {}):
            say(f"{name.replace('_', ' '):<16} {printable(_shown(name, value))}")
    for table in (_newest(known["recent"], store), _parameters(known["parameters"])):
        for line in table:
            say(printable(line))


def _shown(name: str, value: Any) -> str:
    if name == "trajectory":
        return "recorded" if value else "not here: only its sums were kept, which answer whole runs and epochs"
    if name.endswith("_bytes"):
        return size_text(value)
    if name == "steps":
        return f"{value[0]:,} to {value[1]:,}"
    if name == "attempts":
        return ", ".join(f"{one['path']} (steps {_shown('steps', one['steps'])} are superseded)" for one in value)
    if name == "superseded_from":
        return f"frame {value:,}: this is an attempt, whose frames from there on are no part of the run"
    if name == "stretches":
        first = ", ".join(f"every {one['stride']:,} from step {one['first_step']:,}" for one in value[:_MOST_STRETCHES])
        return first + (f", … ({len(value):,} in all)" if len(value) > _MOST_STRETCHES else "")
    if isinstance(value, dict):
        return ", ".join(f"{key} = {_number(one)}" for key, one in value.items())
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return f"{value:,}" if isinstance(value, int) else str(value)


def _number(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _newest(recent: dict[str, Any] | None, store: str) -> list[str]:
    """The newest temperatures by layer, which the writer left in the metadata."""
    if recent is None:
        return []
    rows = [("layer", "weights", "temperature")]
    for one in recent["layers"]:
        T = one["temperature"]
        rows.append((one["layer"], f"{one['weights']:,}", "NaN: weights are not finite" if T is None else f"{T:.4g}"))
    what = f"{recent['velocities']:,} velocities at lag {recent['lag']:,}, in {recent['units']}"
    when = f"steps {recent['first_step']:,} to {recent['last_step']:,}"
    title = f"Newest temperatures ({when}; {what}). With error bars: analyzer temperature {store}"
    return ["", title, "", *_aligned(rows, numbers=(1, 2))]


def _parameters(parameters: list[dict[str, Any]]) -> list[str]:
    rows = [("layer", "class", "parameter", "shape", "dtype", "weights")]
    for p in parameters:
        shape = " x ".join(map(str, p["shape"])) or "scalar"
        rows.append((p["layer"], p["layer_class"], p["parameter"], shape, p["dtype"], f"{p['weights']:,}"))
    return ["", *_aligned(rows, numbers=(5,))]


def _aligned(rows: Sequence[Sequence[str]], numbers: Collection[int]) -> list[str]:
    """Rows as lines of equal columns, those of numbers at the right."""
    widths = [max(len(row[n]) for row in rows) for n in range(len(rows[0]))]
    return [
        "  ".join(
            cell.rjust(w) if n in numbers else cell.ljust(w)
            for n, (cell, w) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    ]
