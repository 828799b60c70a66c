"""`analyzer modes`: the directions in which weights move."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import click

from analyzer.cli.argument import over_stores
from analyzer.cli.options import UserPath, execution_options, modes_options, output_options
from analyzer.cli.text import printable, say

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr
    from matplotlib.figure import Figure

_SHORT = {
    "unlike a random walk": "unlike",
    "undecided": "undecided",
    "not distinguishable from a random walk by this criterion": "not distinguishable",
    "": "–",
}
"""Verdicts as a table shows them (`analyzer.statistics.modes.VERDICTS`); without a cosine content there is none."""


@click.command()
@over_stores
@modes_options
@click.option("--frames", type=int, default=2000, show_default=True, help="Most frames to use, equally spaced.")
@click.option("--modes", "count", type=int, default=10, show_default=True, help="Modes to report of each group.")
@click.option(
    "--weights", type=UserPath(writable=True), help="Also write the weights of the modes to this netCDF file, FILE.nc."
)
@output_options
@execution_options
def modes(frames: int, count: int, weights: str | None, **options: Any) -> None:
    """Principal modes of the trajectory of groups of weights of the run in STORE: shares of the variance, participation
    ratio, cosine content, and the angle between the modes and the motion from frame to frame.

    A cosine content near 1 means that the mode looks like one of a random walk. NetCDF files also have the projections
    of every frame.

    \b
    analyzer modes runs/gcn.zarr --start auto --plot modes.png
    analyzer modes runs/gcn.zarr --by model --modes 3 --format netcdf --output modes.nc --weights weights.nc
    """
    from analyzer.cli.answer import Shape, asked, give
    from analyzer.cli.execution import computed, computing
    from analyzer.cli.files import check_place, replaced
    from analyzer.cli.netcdf import write_netcdf
    from analyzer.quantities.motion.modes import mode_weights_of, modes_with

    check_place(weights, "--weights")
    run, query = asked(options)
    answer = computed(options, *modes_with(run, query, frames, count))

    def draw() -> Figure:
        from analyzer.plots.modes import modes as figure

        return figure(answer)

    def also() -> None:
        if weights is not None:
            with computing(options):
                found = mode_weights_of(run, query, frames, count).compute()
            with replaced(weights, "--weights") as part:
                write_netcdf(found, part)
            say(f"Wrote {printable(weights)}", err=True)

    give(options, answer, Shape(partial(_table, wide=options["wide"])), draw=draw, also=also)


def _table(answer: xr.Dataset, frame: pd.DataFrame, wide: bool) -> str:
    from analyzer.cli.columns import columns_of
    from analyzer.cli.table import fewer_of, table_text

    attrs = answer.attrs
    notes = (
        f"modes by {attrs['by']}, steps {attrs['start_step']:,} to {attrs['stop_step']:,}: {attrs['frames']:,} frames, "
        f"{attrs['steps_between_frames']:,} steps apart; update angle in degrees\n"
        "a random walk in many dimensions has shares of 0.61, 0.15, 0.07, … and a cosine content near 1; projections "
        "of every frame: --format netcdf"
    )
    if not wide:
        short = [_SHORT[text] for text in frame["verdict"]]
        frame = frame.assign(verdict=short).rename(columns={"verdict": "random walk?"}).drop(columns="weights")
    shown, said = columns_of(frame, wide)
    return f"{table_text(shown)}\n\n" + "\n".join([notes, *said, *fewer_of(answer, len(shown))]) + "\n"
