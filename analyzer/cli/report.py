"""`analyzer report`: what there is to know of runs, on one HTML page."""

from __future__ import annotations

import glob
from pathlib import Path
from typing import Any

import click

from analyzer.cli.options import Bound, execution_options
from analyzer.errors import ReportError


@click.command(short_help="One HTML page: overview, curves, equilibrium, rows, fits.")
@click.argument("stores", metavar="RUNS...", nargs=-1, required=True)
@click.option("-o", "--output", default="report.html", show_default=True, metavar="FILE.html", help="The page.")
@click.option("--by", type=click.Choice(["model", "layer", "module", "parameter"]), default="layer",
              show_default=True, help="Groups of the temperatures.")  # fmt: skip
@click.option("--start", type=Bound(auto=True),
              help="First frame of temperatures, rows and fits; auto: where a run is in equilibrium.")  # fmt: skip
@click.option("--stop", type=Bound(), help="Last frame of them.")
@execution_options
def report(stores: tuple[str, ...], output: str, by: str, **options: Any) -> None:
    """Write what there is to know of RUNS (paths, or quoted patterns) on one page.

    The page needs nothing but itself: no network, no other file. Pictures zoom and tell values; what cannot be shown of
    a run is said in its place. Several runs that differ in learning rate or batch size are fitted, too.

    \b
    analyzer report runs/gcn.zarr -o report.html
    analyzer report 'runs/*.zarr' --start auto -o sweep.html
    """
    locations = _found(stores)
    _check_place(output)
    if options["scheduler"] not in ("threads", "processes"):
        raise click.UsageError(
            f"--scheduler: expected threads or processes, got {options['scheduler']}. A report reads many small "
            "answers. Leave it out."
        )

    from analyzer.cli import execution, show
    from analyzer.cli.progress import bar
    from analyzer.cli.query import cache_of
    from analyzer.report.page import page, sections_of
    from analyzer.report.subject import Asked

    asked = Asked(
        by=by,
        start=options["start"],
        stop=options["stop"],
        cache=cache_of(options),
        memory_limit=options["memory_limit"] or execution.free_memory(),
    )
    with (
        bar("Reporting", sections_of(len(locations)), "sections") as told,
        execution.scheduled(options["scheduler"], execution.workers_of(options["workers"]), lambda share: None),
    ):
        text = page(locations, asked, told)
    with show.replaced(output) as part:
        part.write_bytes(text.encode("utf-8", "replace"))  # a name may hold half a surrogate pair
    click.echo(f"Wrote {output}: {Path(output).stat().st_size / 1e6:.2f} MB", err=True)


def _found(patterns: tuple[str, ...]) -> list[str]:
    """The stores, each once; a path that is there is one, whatever signs are in it."""
    found: list[str] = []
    for pattern in patterns:
        matches = [pattern]
        if "://" not in pattern and glob.has_magic(pattern) and not Path(pattern).exists():
            matches = sorted(glob.glob(pattern))  # noqa: PTH207
        if not matches:
            raise ReportError(
                f"{pattern}: expected at least one store that the pattern matches, got none. There is nothing to "
                f"report. Check it: ls -d {pattern}",
                pattern=pattern,
            )
        found += matches
    return list(dict.fromkeys(found))


def _check_place(output: str) -> None:
    """Refuse a page in a folder that does not exist, before anything is computed."""
    folder = Path(output).resolve().parent
    if not folder.is_dir():
        raise ReportError(
            f"--output {output}: expected an existing folder, got none at {folder}. The page would have no place. Make "
            f"it: mkdir -p {folder}",
            output=output,
        )
    if Path(output).is_dir():
        raise ReportError(
            f"--output {output}: expected the name of a file, got a folder. The page is one file. Write --output "
            f"{Path(output) / 'report.html'}",
            output=output,
        )
