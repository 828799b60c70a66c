"""`analyzer temperature` and `analyzer velocity`: a query, computed and shown."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import click

from analyzer.cli.options import Masses, execution_options, lag_query_options, output_options, query_options
from analyzer.cli.query import settled

if TYPE_CHECKING:
    pass


@click.command(short_help="Temperatures of groups of weights, by window.")
@click.argument("store")
@lag_query_options
@click.option("--convention", type=click.Choice(["paper", "md"]), default="paper", show_default=True,
              help="paper: T = K/(k_B d); md: twice that.")  # fmt: skip
@click.option("--remove-drift", is_flag=True, help="Report the fluctuation alone.")
@click.option("--mass", type=Masses(), multiple=True, help="Of every weight, or of parameters that match. Repeatable.")
@click.option("--no-errors", is_flag=True, help="Leave the error bars out.")
@click.option("--k-b", "k_b", type=float, default=1.0, show_default=True, help="Boltzmann's constant.")
@output_options
@execution_options
def temperature(store: str, convention: str, remove_drift: bool, mass: Any, k_b: float, **options: Any) -> None:
    """Temperatures of groups of weights of the run in STORE, by window.

    \b
    analyzer temperature runs/gcn.zarr
    analyzer temperature runs/gcn.zarr --by row --layer 'conv*' --plot rows.png
    analyzer temperature runs/gcn.zarr --window 1000 --start 50% --format csv --output layers.csv
    analyzer temperature runs/gcn.zarr --start auto
    analyzer temperature runs/gcn.zarr --lag 1,3,10,30,epoch --plot lags.png
    analyzer temperature runs/gcn.zarr --group weights='*.weight' --group biases='*.bias'
    """
    from analyzer.cli import execution, show
    from analyzer.run import open_run
    from analyzer.temperatures import temperature_by_lag, temperature_of

    form = show.form_of(options["format_"], options["output"])
    run = open_run(store)
    physics = {"remove_drift": remove_drift, "mass": _masses(mass), "k_B": k_b, "convention": convention}
    lags = options["lag"] if isinstance(options["lag"], tuple) else None
    query = settled(run, options | ({"lag": None} if lags else {}))
    if lags:
        dataset, measured = temperature_by_lag(run, query, lags, **physics)
    else:
        dataset, one = temperature_of(run, query, **physics)
        measured = [one]
    answer = execution.computed(dataset, measured, options["scheduler"], options["workers"])
    picture = None
    if options["plot"]:
        from analyzer import plots

        if lags:
            picture = plots.by_lag(answer)
        elif answer.sizes["window"] == 1 and (options["groups"] or options["by"] in plots.SERIES):
            # One number a group is no picture: draw how it came about.
            query = replace(query, window=plots.series_window(run, answer))
            dataset, measurement = temperature_of(run, query, **physics)
            picture = plots.temperature(
                execution.computed(dataset, [measurement], options["scheduler"], options["workers"])
            )
        else:
            picture = plots.temperature(answer)
    show.write(answer, store, form, options["output"])
    show.save_picture(picture, options["plot"])
    show.warn_of_floor(answer)


@click.command(short_help="Mean and mean squared velocities of groups of weights, by window.")
@click.argument("store")
@query_options
@click.option("--raw", is_flag=True, help="Every velocity of every weight, into --output FILE.nc or DIR.zarr.")
@output_options
@execution_options
def velocity(store: str, raw: bool, **options: Any) -> None:
    """Mean, mean squared and rms velocities of groups of weights of the run in STORE, by window.

    \b
    analyzer velocity runs/gcn.zarr --by element --parameter conv2.lin.weight
    analyzer velocity runs/gcn.zarr --raw --layer conv2 --start 50% --output conv2.zarr
    """
    if raw:
        from analyzer.cli.raw import write_raw

        write_raw(store, options)
        return
    from analyzer.cli import execution, show
    from analyzer.run import open_run
    from analyzer.velocities import velocity_statistics

    form = show.form_of(options["format_"], options["output"])
    run = open_run(store)
    dataset, measurement = velocity_statistics(run, settled(run, options))
    answer = execution.computed(dataset, [measurement], options["scheduler"], options["workers"])
    picture = None
    if options["plot"]:
        from analyzer import plots

        picture = plots.velocity(answer)
    show.write(answer, store, form, options["output"])
    show.save_picture(picture, options["plot"])


def _masses(given: tuple[tuple[str | None, float], ...]) -> Any:
    if not given:
        return 1.0
    everywhere = [value for glob, value in given if glob is None]
    if everywhere and len(given) > 1:
        raise click.UsageError("--mass: expected one number, or GLOB=MASS for each pattern, got both.")
    return everywhere[0] if everywhere else {str(glob): value for glob, value in given}
