"""`analyzer cache`: what is kept beside a store, and its removal."""

from __future__ import annotations

import json
from pathlib import Path

import click

from analyzer.errors import OptionError
from analyzer.schema import read_store

_folder = click.option("--cache", "chosen", type=click.Path(file_okay=False), help="The folder, where it was chosen.")


@click.group(short_help="Block sums kept beside a store: show or drop them.")
def cache() -> None:
    """Show or drop the block sums that answer later questions without decoding.

    \b
    analyzer cache show runs/gcn.zarr
    analyzer cache drop runs/gcn.zarr
    """


@cache.command()
@click.argument("store")
@_folder
@click.option("--format", "format_", type=click.Choice(["table", "json"]), default="table", show_default=True)
def show(store: str, chosen: str | None, format_: str) -> None:
    """Show what is kept for STORE."""
    from analyzer.cache import describe

    folder = _located(store, chosen)
    known = describe(folder)
    if format_ == "json":
        click.echo(json.dumps({"folder": str(folder), "runs": known}, indent=2))
        return
    click.echo(f"{folder}: {sum(run['bytes'] for run in known.values()):,} bytes")
    for run_id, run in known.items():
        click.echo(f"  run {run_id}: {run['files']:,} files, {run['bytes']:,} bytes")


@cache.command()
@click.argument("store")
@_folder
def drop(store: str, chosen: str | None) -> None:
    """Delete what is kept for STORE; the store itself stays as it is."""
    from analyzer.cache import drop as remove

    folder = _located(store, chosen)
    click.echo(f"Dropped {remove(folder):,} bytes of {folder}", err=True)


def _located(store: str, chosen: str | None) -> Path:
    from analyzer.cache import folder_of

    known = read_store(store)
    folder = folder_of(known.location, known.run_id, chosen)
    if folder is None:
        raise OptionError(f"{store}: expected --cache DIR, got none: nothing is kept beside a URL. Write --cache DIR")
    return folder
