"""`analyzer info`: what a store holds, from its root zarr.json alone."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import click

from analyzer.cli.options import WIDE
from analyzer.cli.stores import is_one, open_each, paths_of
from analyzer.cli.text import printable, say
from analyzer.query.changes import changes_of
from analyzer.query.names import RESERVED, column_names
from analyzer.store.describe import describe
from analyzer.store.schema import Store, read_store
from analyzer.text import narrowed, of_cell, size_text

_WIDTH = 100
"""Characters of a line of a table, unless --wide is given."""
_MANY = 30
"""More parameters than this are not listed without --wide: with the layers above them they would not fit a screen."""
_MOST_STRETCHES = 6
_FACTS = ("run", "store", "run_id", "status", "model", "first_step", "last_step", "frames", "stride", "weights",
          "disk_bytes")  # fmt: skip
"""First columns of a line of several stores."""
_ALWAYS = ("run", "status", "last_step")
"""Columns that a table of several stores has even if all values are equal."""
_TITLES = {"last_step": "last step", "disk_bytes": "on disk"}


@click.command(short_help="What a store holds: status, frames, parameters, sizes.")
@click.argument("stores", nargs=-1, required=True)
@click.option("--format", "format_", type=click.Choice(["table", "csv", "json"]), default="table", show_default=True,
              help="json: one object, sizes in bytes; csv: a line for each store.")  # fmt: skip
@WIDE
def info(stores: tuple[str, ...], format_: str, wide: bool) -> None:
    """Show what STORES hold, from their metadata alone: no frame is read. Of several, or of a pattern, one table.

    \b
    analyzer info runs/gcn.zarr
    analyzer info runs/gcn.zarr --format json
    analyzer info 'runs/*.zarr'
    """
    if is_one(stores) and format_ != "csv":
        _show(stores[0], format_, wide)
        return
    unanswered: list[dict[str, str]] = []
    opened = open_each(paths_of(stores), unanswered)
    if format_ == "json":
        say(json.dumps({"stores": [_known(store) for store in opened.values()], "unanswered": unanswered}, indent=2))
    elif format_ == "csv":
        say(_csv(opened), nl=False)
    elif opened:
        for line in _overview(opened, wide):
            say(printable(line))
    if unanswered:
        raise click.exceptions.Exit(1)


def _known(store: Store) -> dict[str, Any]:
    """The description of a store, and where its settings changed."""
    changes = [
        {"segment": one.segment, "first_step": one.first_step, "differences": list(one.differences)}
        for one in changes_of(store.attrs.get("segments"))
        if not one.is_of_stride
    ]
    return {**describe(store), "changes": changes}


def _rows(opened: Mapping[str, Store]) -> list[dict[str, Any]]:
    """Facts of each store, then its hyperparameters: None for one that the store does not have."""
    described = {name: describe(store) for name, store in opened.items()}
    keys = dict.fromkeys(key for known in described.values() for key in known["hyperparameters"])
    columns = column_names(keys, {*RESERVED, *_FACTS})
    rows = []
    for name, known in described.items():
        steps = known["steps"] or [None, None]
        facts = {"run": name, **known, "first_step": steps[0], "last_step": steps[1]}
        own = {column: known["hyperparameters"].get(key) for key, column in columns.items()}
        rows.append({fact: facts[fact] for fact in _FACTS} | own)
    return rows


def _csv(opened: Mapping[str, Store]) -> str:
    """A line for each store, sizes in bytes; lists and objects are their JSON."""
    file = io.StringIO()
    rows = _rows(opened)
    lines = csv.DictWriter(file, list(rows[0]) if rows else _FACTS, lineterminator="\n")
    lines.writeheader()
    for row in rows:
        written = {name: json.dumps(one) if isinstance(one, (list, dict, bool)) else one for name, one in row.items()}
        lines.writerow({name: of_cell(one) if isinstance(one, str) else one for name, one in written.items()})
    return file.getvalue()


def _overview(opened: Mapping[str, Store], wide: bool) -> list[str]:
    """The table of several stores; below it, what all of them share."""
    rows = _rows(opened)
    names = [name for name in rows[0] if name not in ("store", "first_step", "run_id")]
    shared = {name: rows[0][name] for name in names if name not in _ALWAYS and len(rows) > 1
              and all(row[name] == rows[0][name] for row in rows)}  # fmt: skip
    shown = [name for name in names if name not in shared]
    lines = [[_TITLES.get(name, name) for name in shown]]
    lines += [[_in_table(name, row[name]) for name in shown] for row in rows]
    numbers = [
        n for n, name in enumerate(shown) if all(isinstance(row[name], (int, float, type(None))) for row in rows)
    ]
    table = [line.rstrip() for line in _aligned(lines, numbers, wide)]
    told = ", ".join(f"{_TITLES.get(name, name)} = {_in_table(name, value)}" for name, value in shared.items()
                     if value is not None)  # fmt: skip
    return [*table, "", f"{len(rows)} stores; the same in all: {told}" if told else f"{len(rows)} stores"]


def _in_table(name: str, value: Any) -> str:
    if value is None:
        return "–"
    if name.endswith("_bytes"):
        return size_text(value)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return json.dumps(value) if isinstance(value, (list, dict)) else str(value)
    return f"{value:,}" if isinstance(value, int) else _number(value)


def _show(store: str, format_: str, wide: bool) -> None:
    """Print all that is known of one store."""
    known = _known(read_store(store))
    if format_ == "json":
        say(json.dumps(known, indent=2))
        return
    for name, value in known.items():
        if name == "changes":
            for one in value:
                said = f"segment {one['segment']}, from step {one['first_step']:,}: {', '.join(one['differences'])}"
                say(f"{'changes':<16} {printable(said)}")
        elif name not in ("parameters", "recent") and not _is_nothing(name, value):
            say(f"{name.replace('_', ' '):<16} {printable(_shown(name, value))}")
    newest = _newest(known["recent"], store, wide)
    short = bool(newest) and not wide
    for table in (newest, _parameters(known["parameters"], wide, short)):
        for line in table:
            say(printable(line))


def _is_nothing(name: str, value: Any) -> bool:
    """Whether a fact needs no line."""
    return value in (None, [], {}) or (name == "frozen_weights" and not value)


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


def _newest(recent: dict[str, Any] | None, store: str, wide: bool) -> list[str]:
    """The newest temperatures by layer, from the metadata."""
    if recent is None:
        return []
    rows = [("layer", "weights", "temperature")]
    for one in recent["layers"]:
        T = one["temperature"]
        rows.append((one["layer"], f"{one['weights']:,}", "NaN: weights are not finite" if T is None else f"{T:.4g}"))
    what = f"{recent['velocities']:,} velocities at lag {recent['lag']:,}, in {recent['units']}"
    when = f"steps {recent['first_step']:,} to {recent['last_step']:,}"
    title = f"Newest temperatures ({when}; {what}). With error bars: analyzer temperature {store}"
    return ["", title, "", *_aligned(rows, (1, 2), wide)]


def _parameters(parameters: list[dict[str, Any]], wide: bool, short: bool) -> list[str]:
    """A line for each parameter. Many are one sentence if `short`: the newest temperatures name the layers."""
    if short and len(parameters) > _MANY:
        return ["", f"{len(parameters):,} parameters; --wide adds: class, parameters, shape and dtype of each layer"]
    rows = [("layer", "class", "parameter", "shape", "dtype", "weights")]
    for p in parameters:
        shape = " x ".join(map(str, p["shape"])) or "scalar"
        rows.append((p["layer"], p["layer_class"], p["parameter"], shape, p["dtype"], f"{p['weights']:,}"))
    return ["", *_aligned(rows, (5,), wide)]


def _aligned(rows: Sequence[Sequence[str]], numbers: Collection[int], wide: bool) -> list[str]:
    """Rows as lines of equal columns, those of numbers at the right; unless `wide`, texts are cut to fit 100 places."""
    columns = [[printable(text) for text in column] for column in zip(*rows, strict=True)]
    texts = [n for n in range(len(columns)) if n not in numbers]
    excess = sum(max(map(len, column)) + 2 for column in columns) - 2 - _WIDTH
    short = [columns[n] for n in texts] if wide else narrowed([columns[n] for n in texts], excess)
    cut = any(columns[n] != own for n, own in zip(texts, short, strict=True))
    for n, own in zip(texts, short, strict=True):
        columns[n] = own
    rows = list(zip(*columns, strict=True))
    widths = [max(map(len, column)) for column in columns]
    lines = [
        "  ".join(
            cell.rjust(w) if n in numbers else cell.ljust(w)
            for n, (cell, w) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    ]
    return [*lines, "--wide adds: whole names"] if cut else lines
