"""`analyzer verify`: whether every committed chunk is whole."""

from __future__ import annotations

import click

from analyzer.cli.progress import bar


@click.command(short_help="Walk every chunk: checksums, finite weights, steps, gaps.")
@click.argument("store")
@click.option("--workers", type=click.IntRange(min=1), help="Threads, a chunk at a time each; default: one a core.")
def verify(store: str, workers: int | None) -> None:
    """Walk every chunk of STORE and report what is wrong; exit 1 when something is.

    Of sums that were kept without their trajectory, the files of sums are checked.

    \b
    analyzer verify runs/gcn.zarr
    analyzer verify runs/gcn.zarr.moments
    """
    from concurrent.futures import ThreadPoolExecutor

    from analyzer.cli.execution import ended, workers_of
    from analyzer.schema import read_store
    from analyzer.verify import Report, count_of
    from analyzer.verify import verify as walk

    known = read_store(store)
    report, threads = Report(), workers_of(workers)
    with bar("Checking", count_of(known), "chunks") as show, ended(ThreadPoolExecutor(threads)) as pool:
        for report in walk(known, pool, ahead=2 * threads):
            show(report.chunks + report.files)
    for note in report.notes:
        click.echo(note)
    for fault in report.faults:
        click.echo(f"FAULT {fault}")
    files = "" if known.is_trajectory else f"{report.files:,} files of sums, "
    click.echo(f"{files}{report.chunks:,} chunks, {known.frames:,} frames, {len(report.faults)} faults")
    if report.faults:
        raise click.exceptions.Exit(1)
