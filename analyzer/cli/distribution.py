"""`analyzer distribution`: velocities beside the distribution of Maxwell and Boltzmann."""

from __future__ import annotations

import json
from functools import partial
from typing import TYPE_CHECKING, Any

import click

from analyzer.cli.options import execution_options, output_options, sample_options, series_options

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr

_RMS = (2, 3, 4)
"""Multiples of the rms velocity beyond which a table says how many velocities are."""


@click.command(short_help="How velocities are distributed, beside Maxwell and Boltzmann's curve.")
@click.argument("store")
@partial(series_options, auto=True)
@partial(sample_options, weights=512, steps=2048)
@output_options
@execution_options
def distribution(store: str, sample_weights: int, sample_steps: int, seed: int, **options: Any) -> None:
    """How the velocities of groups of weights of the run in STORE are distributed, beside the Gaussian of Maxwell and
    Boltzmann, from a sample.

    Velocities count twice: in units of the rms of their group, where heavy tails show that weights differ in
    temperature, and each weight's less their mean in units of its own rms. The table says how many lie far out; csv,
    json and files have every bin.

    \b
    analyzer distribution runs/gcn.zarr --start auto --plot distribution.png
    analyzer distribution runs/gcn.zarr --by model --format csv --output bins.csv
    """
    from analyzer.cli import execution, show
    from analyzer.cli.progress import bar
    from analyzer.cli.query import settled
    from analyzer.distributions import distribution_of
    from analyzer.run import open_run
    from analyzer.samples import Sample

    form = show.form_of(options["format_"], options["output"])
    run = open_run(store)
    query = settled(run, options)
    with (
        show.warnings_in_a_line(),
        bar("Decoding", 1, "passes") as told,
        execution.scheduled(options["scheduler"], execution.workers_of(options["workers"]), told),
    ):
        answer = distribution_of(run, query, Sample(sample_weights, sample_steps, seed))
    show.put(answer, form, options["output"], lambda: frame_of(answer), lambda: _text(answer, store, form))
    if options["plot"]:
        from analyzer import distribution_plots

        show.save_picture(distribution_plots.densities(answer), options["plot"])


def frame_of(answer: xr.Dataset) -> pd.DataFrame:
    """One row for each group and bin."""
    columns = [*answer["density"].dims, "lower", "upper", "density", "density_error", "density_by_weight",
               "density_by_weight_error", "maxwell_boltzmann", "rms_velocity"]  # fmt: skip
    return answer.to_dataframe(dim_order=["group", "bin"]).reset_index()[columns].drop(columns="bin")


def _text(answer: xr.Dataset, store: str, form: str) -> str:
    from analyzer.cli import show

    if form == "csv":
        return str(frame_of(answer).to_csv(index=False))
    if form == "json":
        return json.dumps(show.document(answer, store, frame_of(answer)), indent=1, allow_nan=False) + "\n"
    attrs = answer.attrs
    steps = f"steps {attrs['start_step']:,} to {attrs['stop_step']:,}"
    counts = answer["sampled"].values
    looked = f"{counts.min():,}" + (f" to {counts.max():,}" if counts.min() < counts.max() else "")
    notes = (
        f"distribution of velocities by {attrs['by']}, {steps}, from {looked} velocities of each;\n"
        "% of velocities farther from 0 than 2, 3 and 4 rms of their group; own: of each weight, from its mean; "
        "every bin: --format csv"
    )
    return f"{show.table_text(_table(answer))}\n\n{notes}\n"


def _table(answer: xr.Dataset) -> pd.DataFrame:
    import numpy as np
    import pandas as pd

    from analyzer.distributions import beyond

    names = [*(str(name) or "model" for name in answer["group"].values), "Maxwell–Boltzmann"]
    table = pd.DataFrame({"group": names, "rms velocity": [*answer["rms_velocity"].values, float("nan")]})
    for density, whose in (("density", ""), ("density_by_weight", "own ")):
        for rms in _RMS:
            shares = [*beyond(answer, rms, density).values, float(beyond(answer, rms, "maxwell_boltzmann"))]
            table[f"% > {rms} {whose}rms"] = 100 * np.array(shares)
    return table
