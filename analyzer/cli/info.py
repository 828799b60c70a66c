"""`analyzer info`: what a store holds, from its root zarr.json alone."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from typing import Any

import click

from analyzer.cli.text import printable
from analyzer.heartbeat import abandoned
from analyzer.schema import Parameter, Store, is_url, read_store

_ITEMSIZE = {
    "bool": 1,
    "int8": 1,
    "uint8": 1,
    "float16": 2,
    "int16": 2,
    "uint16": 2,
    "float64": 8,
    "int64": 8,
    "uint64": 8,
}


@click.command(short_help="What a store holds: status, frames, parameters, sizes.")
@click.argument("store")
@click.option("--format", "format_", type=click.Choice(["table", "json"]), default="table", show_default=True)
def info(store: str, format_: str) -> None:
    """Show what STORE holds, from its metadata alone: no frame is read.

    \b
    analyzer info runs/gcn.zarr
    analyzer info runs/gcn.zarr --format json
    """
    known = describe(read_store(store))
    if format_ == "json":
        click.echo(json.dumps(known, indent=2))
        return
    for name, value in known.items():
        if name not in ("hyperparameters", "parameters") and value is not None:
            click.echo(f"{name.replace('_', ' '):<16} {printable(_shown(name, value))}")
    if known["hyperparameters"]:
        listed = ", ".join(f"{name} = {value}" for name, value in known["hyperparameters"].items())
        click.echo(f"{'hyperparameters':<16} {printable(listed)}")
    click.echo()
    for line in _aligned(known["parameters"]):
        click.echo(printable(line))


def describe(store: Store) -> dict[str, Any]:
    """What `info` says, as plain values."""
    raw = sum(p.weights * _itemsize(p) for p in store.parameters) * store.frames
    return {
        "store": store.location,
        "run_id": store.run_id,
        "trajectory": store.is_trajectory,
        "kept_from": None if store.is_trajectory else store.attrs.get("kept_from"),
        "status": store.status,
        "written_by": _writer(store),
        "created": store.attrs.get("created"),
        "model": (store.attrs.get("model") or {}).get("class"),
        "frames": store.frames,
        "stride": store.stride,
        "chunk_steps": store.chunk_steps,
        "segments": len(store.segments),
        "scalars": [scalar.name for scalar in store.scalars],
        "weights": store.weights,
        "raw_bytes": raw,
        "disk_bytes": None if is_url(store.location) else sum(_sizes(store.location)),
        "compression": store.attrs.get("compression"),
        "hyperparameters": dict(store.attrs.get("hyperparameters") or {}),
        "parameters": [
            {"layer": p.layer, "layer_class": p.layer_class, "parameter": p.name, "shape": list(p.shape),
             "dtype": p.original_dtype, "weights": p.weights}
            for p in store.parameters
        ],
    }  # fmt: skip


def _writer(store: Store) -> str | None:
    """Whether a running store is still being written."""
    if store.status != "running" or not store.is_trajectory:
        return None
    sign = abandoned(store)
    if sign is None:
        return "a live writer"
    return f"nobody any more ({sign}); recover with: recorder recover {store.location}"


def _itemsize(p: Parameter) -> int:
    return _ITEMSIZE.get(p.dtype, 4)


def _sizes(path: str) -> Iterator[int]:
    with os.scandir(path) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                yield from _sizes(entry.path)
            else:
                yield entry.stat(follow_symlinks=False).st_size


def _shown(name: str, value: Any) -> str:
    if name == "trajectory":
        return "recorded" if value else "not here: only its sums were kept, which answer whole runs and epochs"
    if name.endswith("_bytes"):
        return _size(value)
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "-"
    return f"{value:,}" if isinstance(value, int) else str(value)


def _size(count: float) -> str:
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} TiB"


def _aligned(parameters: list[dict[str, Any]]) -> list[str]:
    rows = [("layer", "class", "parameter", "shape", "dtype", "weights")]
    for p in parameters:
        shape = " x ".join(map(str, p["shape"])) or "scalar"
        rows.append((p["layer"], p["layer_class"], p["parameter"], shape, p["dtype"], f"{p['weights']:,}"))
    widths = [max(len(row[n]) for row in rows) for n in range(len(rows[0]))]
    return [
        "  ".join(
            cell.rjust(w) if n == 5 else cell.ljust(w) for n, (cell, w) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    ]
