"""`analyzer report`: runs on one HTML page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from analyzer.cli.files import missing_folder, replaced, store_around
from analyzer.cli.options import Bound, UserPath, execution_options, refuse_cluster
from analyzer.cli.text import printable, say
from analyzer.errors import ReportError
from analyzer.query.kinds import WHOLE

if TYPE_CHECKING:
    from analyzer.report.page import Failure
    from analyzer.report.subject import Asked


@click.command()
@click.argument("stores", metavar="RUNS...", nargs=-1, required=True)
@click.option(
    "-o", "--output", type=UserPath(), default="report.html", show_default=True, metavar="FILE.html", help="The page."
)
@click.option("--by", type=click.Choice(WHOLE), default="layer",
              show_default=True, help="Groups of the temperatures.")  # fmt: skip
@click.option("--start", type=Bound(auto=True),
              help="First frame of temperatures, rows and fits; auto: where a run is in equilibrium.")  # fmt: skip
@click.option("--stop", type=Bound(), help="Last frame of temperatures, rows and fits.")
@click.option("--follow", is_flag=True, help="Write the page again while a run goes on, until it ends.")
@execution_options
def report(stores: tuple[str, ...], output: str, by: str, follow: bool, **options: Any) -> None:
    """Write all that the analyzer finds in RUNS (paths, or quoted patterns) on one page.

    The page needs no network and no other file. Its figures can be zoomed, and show values under the pointer. If
    something cannot be shown, the page and stderr say why. If several runs differ in learning rate or batch size, their
    temperatures are fitted. Exit code 1 if a section is missing because of an unexpected error.

    \b
    analyzer report runs/gcn.zarr -o report.html
    analyzer report 'runs/*.zarr' --start auto -o sweep.html
    analyzer report runs/gcn.zarr --follow       # while it is recorded
    """
    from analyzer.store.together import listed

    locations = listed(stores)
    _check_place(output)
    refuse_cluster(options["scheduler"], "A report")

    from analyzer.cli.execution import memory_limit_of
    from analyzer.cli.query import cache_of
    from analyzer.report.subject import Asked

    asked = Asked(
        by=by,
        start=options["start"],
        stop=options["stop"],
        cache=cache_of(options),
        memory_limit=memory_limit_of(options),
    )
    if not follow:
        _write(locations, asked, output, options)
        return
    if len(locations) > 1:
        raise click.UsageError(f"--follow: expected one run, got {len(locations)}. Give the run that goes on.")
    from analyzer.cli.commands.watch import committed

    try:
        for _ in committed(locations[0]):
            _write(locations, asked, output, options)
    except KeyboardInterrupt:
        raise click.exceptions.Exit(130) from None


def _write(locations: Sequence[str], asked: Asked, output: str, options: Mapping[str, Any]) -> None:
    """Write the page and say what it lacks."""
    from analyzer.cli.execution import scheduled
    from analyzer.cli.progress import bar
    from analyzer.report.page import page, sections_of

    failures: list[Failure] = []
    with bar("Reporting", sections_of(len(locations)), "sections") as told, scheduled(options):
        text = page(locations, asked, told, failures.append)
    with replaced(output) as part:
        part.write_bytes(text.encode("utf-8", "replace"))  # a name may hold half a surrogate pair
    say(f"Wrote {printable(output)}: {Path(output).stat().st_size / 1e6:.2f} MB", err=True)
    for line in _lines(failures):
        say(f"Warning: {printable(line)}", err=True)
    if not all(failure.foreseen for failure in failures):
        raise click.exceptions.Exit(1)


def _lines(failures: Sequence[Failure]) -> list[str]:
    """What the page does not show: a line for each run and reason, with the sections that are missing."""
    sections: dict[tuple[str, str], list[str]] = {}
    for failure in failures:
        sections.setdefault((failure.run, failure.why), []).append(failure.section)
    return [
        f"{', '.join(part for part in (run, *missing) if part)}: not shown. {why}"
        for (run, why), missing in sections.items()
    ]


def _check_place(output: str) -> None:
    """Refuse a page that cannot be written where it is asked for; called before anything is computed."""
    if folder := missing_folder(output):
        raise ReportError(
            f"--output {output}: expected an existing folder, got none at {folder}. Make it: mkdir -p {folder}",
            output=output,
        )
    if (store := store_around(output)) is not None:
        raise ReportError(
            f"--output {output}: expected a path outside the store {store}, got one in it. A page there would be in "
            f"the way of its files. Write --output {store.parent / Path(output).name}",
            output=output,
        )
    if Path(output).is_dir():
        raise ReportError(
            f"--output {output}: expected the name of a file, got a folder. The page is one file. Write --output "
            f"{Path(output) / 'report.html'}",
            output=output,
        )
