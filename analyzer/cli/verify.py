"""`analyzer verify`: whether every committed chunk is whole."""

from __future__ import annotations

import sys

import click


@click.command(short_help="Walk every chunk: checksums, finite weights, steps, gaps.")
@click.argument("store")
def verify(store: str) -> None:
    """Walk every chunk of STORE and report what is wrong; exit 1 when something is.

    \b
    analyzer verify runs/gcn.zarr
    """
    from analyzer.schema import read_store
    from analyzer.verify import Report, chunk_grid
    from analyzer.verify import verify as walk

    known = read_store(store)
    report = Report()
    total = len(chunk_grid(known)) + 1
    with click.progressbar(
        walk(known), length=total, label="Chunks", file=sys.stderr, hidden=not sys.stderr.isatty()
    ) as steps:
        for report in steps:  # noqa: B007 (the last one holds all)
            pass
    for note in report.notes:
        click.echo(note)
    for fault in report.faults:
        click.echo(f"FAULT {fault}")
    click.echo(f"{report.chunks:,} chunks, {known.frames:,} frames, {len(report.faults)} faults")
    if report.faults:
        raise click.exceptions.Exit(1)
