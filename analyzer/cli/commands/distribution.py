"""`analyzer distribution`: velocities beside the Maxwell–Boltzmann distribution."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import click

from analyzer.cli.argument import over_stores
from analyzer.cli.options import execution_options, output_options, sample_options, series_options

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr
    from matplotlib.figure import Figure

_RMS = (2, 3, 4)
"""Multiples of the rms velocity: the table shows the share of velocities beyond each."""


@click.command()
@over_stores
@partial(series_options, auto=True)
@partial(sample_options, weights=512, steps=2048)
@output_options
@execution_options
def distribution(sample_weights: int, sample_steps: int, seed: int, **options: Any) -> None:
    """How the velocities of groups of weights of the run in STORE are distributed, beside the Maxwell–Boltzmann
    Gaussian, from a sample.

    There are two histograms. In the first, velocities are in units of the rms of their group: heavy tails show that
    weights differ in temperature. In the second, the mean of each weight is subtracted, and velocities are in units of
    its own rms. The table shows the shares in the tails; csv, json and files have every bin.

    \b
    analyzer distribution runs/gcn.zarr --start auto --plot distribution.png
    analyzer distribution runs/gcn.zarr --by model --format csv --output bins.csv
    """
    from analyzer.cli.answer import Shape, asked, give
    from analyzer.cli.execution import computing
    from analyzer.engine.sample import Sample
    from analyzer.quantities.distribution import distribution_of

    run, query = asked(options)
    with computing(options):
        answer, _ = distribution_of(run, query, Sample(sample_weights, sample_steps, seed))

    def draw() -> Figure:
        from analyzer.plots.distribution import densities

        return densities(answer)

    give(options, answer, Shape(_table), draw=draw)


def _table(answer: xr.Dataset, frame: pd.DataFrame) -> str:
    """The shares of velocities in the tails, one line for each group, and what the columns mean."""
    from analyzer.cli.table import table_text

    attrs = answer.attrs
    steps = f"steps {attrs['start_step']:,} to {attrs['stop_step']:,}"
    counts = answer["sampled"].values
    looked = f"{counts.min():,}" + (f" to {counts.max():,}" if counts.min() < counts.max() else "")
    notes = (
        f"distribution of velocities by {attrs['by']}, {steps}, from {looked} velocities of each;\n"
        "% of velocities farther from 0 than 2, 3 and 4 times the rms of their group;\n"
        "own: farther from their weight's mean, in times its own rms; every bin: --format csv"
    )
    return f"{table_text(_shares(answer))}\n\n{notes}\n"


def _shares(answer: xr.Dataset) -> pd.DataFrame:
    """Percent of the velocities of each group beyond multiples of their rms, and of the Gaussian."""
    import pandas as pd

    from analyzer.quantities.distribution import beyond

    names = [*(str(name) or "model" for name in answer["group"].values), "Maxwell–Boltzmann"]
    table = pd.DataFrame({"group": names, "rms velocity": [*answer["rms_velocity"].values, float("nan")]})
    for density, whose in (("density", ""), ("density_by_weight", "own")):
        for rms in _RMS:
            shares = [*beyond(answer, rms, density).values, float(beyond(answer, rms, "maxwell_boltzmann"))]
            table[f"> {rms} {whose or 'rms'}"] = [float(f"{100 * share:.3g}") for share in shares]
    return table
