"""`analyzer cache`: what is kept beside a store; filling and removing it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from analyzer.cli.options import execution_options
from analyzer.cli.text import printable
from analyzer.errors import OptionError
from analyzer.schema import Store, read_store

_folder = click.option("--cache", "chosen", type=click.Path(file_okay=False), help="The folder, where it was chosen.")


@click.group(short_help="Sums kept beside a store: fill, show or drop them.")
def cache() -> None:
    """Fill, show or drop the sums that answer later questions without decoding.

    A full cache answers without its trajectory, too: whole runs and epochs by any group, and any window of models,
    layers, modules and parameters.

    \b
    analyzer cache fill runs/gcn.zarr && rm -r runs/gcn.zarr
    analyzer temperature runs/gcn.zarr.moments --by row
    """


@cache.command()
@click.argument("store")
@execution_options
def fill(store: str, **options: Any) -> None:
    """Keep all sums of STORE, so that they answer even without its trajectory.

    \b
    analyzer cache fill runs/gcn.zarr
    """
    from analyzer.cli import execution
    from analyzer.cli.query import query_of
    from analyzer.run import open_run
    from analyzer.temperatures import temperature_of

    if options["no_cache"]:
        raise click.UsageError("--no-cache: expected a cache to fill. Leave it out.")
    folder = _located(read_store(store), options["cache"])
    query = query_of({"by": "model"} | options)
    dataset, measurement = temperature_of(open_run(store), query)
    execution.computed(dataset, [measurement], options["scheduler"], options["workers"])
    click.echo(_account(store, folder, options["cache"]))


@cache.command()
@click.argument("store")
@_folder
@click.option("--format", "format_", type=click.Choice(["table", "json"]), default="table", show_default=True,
              help="json: one object, sizes in bytes.")  # fmt: skip
def show(store: str, chosen: str | None, format_: str) -> None:
    """Show what is kept for STORE.

    \b
    analyzer cache show runs/gcn.zarr
    """
    from analyzer.cache import describe

    folder = _located(read_store(store), chosen)
    if format_ == "json":
        share = _share(store, chosen)
        click.echo(json.dumps(describe(folder) | {"share": share, "stands_alone": share == 1.0}, indent=2))
        return
    click.echo(_account(store, folder, chosen))


@cache.command()
@click.argument("store")
@_folder
def drop(store: str, chosen: str | None) -> None:
    """Delete what is kept for STORE; the store itself stays as it is.

    \b
    analyzer cache drop runs/gcn.zarr
    """
    from analyzer.cache import drop as remove

    known = read_store(store)
    if not known.is_trajectory:
        raise OptionError(
            f"{store}: expected a store whose sums can be made again, got sums without their trajectory. Dropping them "
            f"would lose the run. If that is meant: rm -r {store}"
        )
    folder = _located(known, chosen)
    click.echo(f"Dropped {remove(folder):,} bytes of {printable(str(folder))}", err=True)


def _account(store: str, folder: Path, chosen: str | None) -> str:
    """What is kept, in a line or two."""
    from analyzer.cache import describe

    known, share = describe(folder), _share(store, chosen)
    line = f"{printable(str(folder))}: {known['files']:,} file{'' if known['files'] == 1 else 's'}, "
    line += f"{known['bytes']:,} bytes, {share:.0%} of the run"
    return line + ("\nIt stands alone: it answers whole runs and epochs without the trajectory." if share == 1 else "")


def _share(store: str, chosen: str | None) -> float:
    """Part of the sums of a run that are kept; 1 only if its metadata is, too."""
    from analyzer.cache import folder_of, root_of
    from analyzer.measure import Query, measure
    from analyzer.run import open_run

    known = read_store(store)
    if not known.is_trajectory:
        return 1.0
    folder = folder_of(known.location, known.run_id, chosen)
    if folder is None or root_of(folder).get("attributes", {}).get("run_id") != known.run_id:
        return 0.0
    kept = measure(open_run(store), Query(by="model", cache=chosen or True)).plan.kept
    return float(kept.mean()) if kept.size else 0.0


def _located(known: Store, chosen: str | None) -> Path:
    from analyzer.cache import folder_of

    folder = folder_of(known.location, known.run_id, chosen) if known.is_trajectory else Path(known.location)
    if folder is None:
        raise OptionError(
            f"{known.location}: expected --cache DIR, got none: nothing is kept beside a URL. Write --cache DIR"
        )
    return folder
