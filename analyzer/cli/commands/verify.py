"""`analyzer verify`: check every committed chunk of a store."""

from __future__ import annotations

import click

from analyzer.cli.options import MOST_WORKERS
from analyzer.cli.progress import bar
from analyzer.cli.text import printable, say


@click.command()
@click.argument("store")
@click.option("--workers", type=click.IntRange(1, MOST_WORKERS), help="Number of threads; default: one a core.")
@click.option("--cache", type=click.Path(file_okay=False), help="The folder of kept sums, if --cache chose it.")
def verify(store: str, workers: int | None, cache: str | None) -> None:
    """Read every chunk of STORE and report what is wrong; exit 1 if something is.

    Sums that are kept beside it are computed again and compared. If a run has only kept sums and no trajectory, the
    files of the sums are checked.

    \b
    analyzer verify runs/gcn.zarr
    analyzer verify runs/gcn.zarr.moments
    """
    from concurrent.futures import ThreadPoolExecutor

    from analyzer.cli.execution import ended, workers_of
    from analyzer.engine.verify.store import Report, count_of
    from analyzer.engine.verify.store import verify as walk
    from analyzer.store.schema import read_store

    known = read_store(store)
    report, threads = Report(), workers_of(workers)
    with bar("Checking", count_of(known), "chunks") as show, ended(ThreadPoolExecutor(threads)) as pool:
        for report in walk(known, pool, ahead=2 * threads, cache=cache or True):
            show(report.chunks + report.files)
    for note in report.notes:
        say(printable(note))
    for fault in report.faults:
        say(printable(f"FAULT {fault}"))
    files = f"{report.files:,} files of sums, " if report.files or not known.is_trajectory else ""
    say(f"{files}{report.chunks:,} chunks, {known.frames:,} frames, {len(report.faults)} faults")
    if report.faults:
        raise click.exceptions.Exit(1)
