"""`analyzer equilibration`: from which step on a run is stationary, series by series."""

from __future__ import annotations

from typing import Any

import click
from click.core import ParameterSource

from analyzer.cli.options import execution_options, output_options, series_options
from analyzer.errors import OptionError


@click.command(short_help="From which step on temperatures, displacements and the loss are stationary.")
@click.argument("store")
@series_options
@click.option("--loss", default="loss", show_default=True, metavar="NAME", help="The logged scalar to look at.")
@output_options
@execution_options
def equilibration(store: str, loss: str, **options: Any) -> None:
    """From which step on the run in STORE is in equilibrium, and whether it still drifts.

    Of every group the temperature of each step and the mean squared displacement over 256 steps, and the loss: each has
    a start, where the independent samples that remain are most, the range that it is known to, and a verdict on the
    drift from there on.

    \b
    analyzer equilibration runs/gcn.zarr --plot equilibration.png
    analyzer equilibration runs/gcn.zarr --by model --loss validation_loss --format json
    analyzer temperature runs/gcn.zarr --start auto
    """
    from analyzer.cli import execution, show
    from analyzer.cli.progress import bar
    from analyzer.cli.query import query_of
    from analyzer.cli.text import printable
    from analyzer.equilibria import found, tracks
    from analyzer.run import open_run
    from analyzer.statistics.equilibrium import DRIFTING

    form = show.form_of(options["format_"], options["output"])
    run = open_run(store)
    given = click.get_current_context().get_parameter_source("loss") is not ParameterSource.DEFAULT
    if given and loss not in run.data_vars:
        raise OptionError(
            f"--loss: expected a logged scalar of {store}, one of: {', '.join(map(str, run.data_vars)) or 'none'}; got "
            f"{loss!r}. There is no such series. Mend the name, or leave it out.",
            loss=loss,
        )
    with (
        show.warnings_in_a_line(),
        bar("Decoding", 1, "passes") as told,
        execution.scheduled(options["scheduler"], execution.workers_of(options["workers"]), told),
    ):
        series = tracks(run, query_of(options), loss)
    answer = found(series)
    show.write(answer, store, form, options["output"])
    drifting = answer["group"].values[answer["verdict"].values[:, 0] == DRIFTING]
    if drifting.size:
        click.echo(
            f"Warning: from that step on these still change, so that it begins no equilibrium: "
            f"{', '.join(map(printable, drifting))}. Train longer.",
            err=True,
        )
    if options["plot"] and series:
        from analyzer import equilibria_plots

        show.save_picture(equilibria_plots.starts(series, answer), options["plot"])
    if not series:
        click.echo("Warning: no series has the 40 samples that it takes; record longer.", err=True)
