"""`analyzer temperature`: temperatures of groups of weights, by window and by lag."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import click

from analyzer.cli.argument import over_stores
from analyzer.cli.options import Masses, execution_options, lag_query_options, output_options

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.figure import Figure

    from analyzer.query.query import Query


@click.command()
@over_stores
@lag_query_options
@click.option("--convention", type=click.Choice(["paper", "md"]), default="paper", show_default=True,
              help="paper: T = K/(k_B d); md: twice that.")  # fmt: skip
@click.option("--remove-drift", is_flag=True, help="Temperature of the fluctuation alone, without the mean velocity.")
@click.option(
    "--mass", type=Masses(), multiple=True, help="Mass of every weight, or of parameters that match GLOB. Repeatable."
)
@click.option("--no-errors", is_flag=True, help="Leave the error bars out.")
@click.option("--per-eta2", is_flag=True, help="Also T/η², with the value that is expected for the optimizer.")
@click.option("--k-b", "k_b", type=float, default=1.0, show_default=True, help="Boltzmann's constant.")
@output_options
@execution_options
def temperature(convention: str, remove_drift: bool, mass: Any, per_eta2: bool, k_b: float, **options: Any) -> None:
    """Temperatures of groups of weights of the run in STORE, by window.

    \b
    analyzer temperature runs/gcn.zarr
    analyzer temperature runs/gcn.zarr --by row --layer 'conv*' --plot rows.png
    analyzer temperature runs/gcn.zarr --window 1000 --start 50% --format csv --output layers.csv
    analyzer temperature runs/gcn.zarr --start auto
    analyzer temperature runs/gcn.zarr --window rate --start auto --per-eta2
    analyzer temperature runs/gcn.zarr --lag 1,3,10,30,epoch --plot lags.png
    analyzer temperature 'runs/*.zarr' --start 50% --format csv --output sweep.csv
    analyzer temperature runs/gcn.zarr --group weights='*.weight' --group biases='*.bias'
    """
    from analyzer.cli.answer import asked, give, refuse_table, warn_of_floor
    from analyzer.cli.execution import computed
    from analyzer.quantities.temperature import temperature_of
    from analyzer.tree import trajectory

    run, query = asked(options)
    physics = {"remove_drift": remove_drift, "mass": _masses(mass), "k_B": k_b, "convention": convention}
    physics |= {"per": "eta2"} if per_eta2 else {}

    def measured(query: Query) -> xr.Dataset:
        return computed(options, *temperature_of(run, query, **physics))

    def draw() -> Figure:
        from analyzer.plots import temperature as plots
        from analyzer.query.changes import resumed_at

        resumed = resumed_at(run.attrs.get("segments"))
        if query.lags is not None:
            return plots.by_lag(answer)
        if answer.sizes["window"] == 1 and (options["groups"] or options["by"] in plots.SERIES):
            # One number for each group makes no figure: draw the series over shorter windows.
            fine = replace(query, window=plots.series_window(answer))
            return plots.temperature(measured(fine), resumed, trajectory(run).line)
        return plots.temperature(answer, resumed, trajectory(run).line)

    dataset, measurements = temperature_of(run, query, **physics)
    refuse_table(options, dataset)
    answer = computed(options, dataset, measurements)
    give(options, answer, draw=draw)
    warn_of_floor(answer)


def _masses(given: tuple[tuple[str | None, float], ...]) -> Any:
    if not given:
        return 1.0
    everywhere = [value for glob, value in given if glob is None]
    if everywhere and len(given) > 1:
        raise click.UsageError("--mass: expected one number, or GLOB=MASS for each pattern, got both.")
    return everywhere[0] if everywhere else {str(glob): value for glob, value in given}
