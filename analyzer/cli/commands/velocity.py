"""`analyzer velocity`: mean and mean squared velocities by window; with --raw, every velocity."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from analyzer.cli.argument import over_stores
from analyzer.cli.options import execution_options, output_options, query_options

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@click.command()
@over_stores
@query_options
@click.option("--raw", is_flag=True, help="Write every velocity of every weight, to --output FILE.nc or DIR.zarr.")
@output_options
@execution_options
def velocity(raw: bool, **options: Any) -> None:
    """Mean, mean squared and rms velocities of groups of weights of the run in STORE, by window.

    \b
    analyzer velocity runs/gcn.zarr --by element --parameter conv2.lin.weight
    analyzer velocity runs/gcn.zarr --raw --layer conv2 --start 50% --output conv2.zarr
    """
    if raw:
        from analyzer.cli.raw import write_raw

        write_raw(options)
        return
    from analyzer.cli.answer import asked, give, refuse_table
    from analyzer.cli.execution import computed
    from analyzer.quantities.velocity import velocity_summary_of

    run, query = asked(options)
    dataset, measurements = velocity_summary_of(run, query)
    refuse_table(options, dataset)
    answer = computed(options, dataset, measurements)

    def draw() -> Figure:
        from analyzer.plots import temperature as plots
        from analyzer.query.changes import resumed_at

        return plots.velocity(answer, resumed_at(run.attrs.get("segments")))

    give(options, answer, draw=draw)
