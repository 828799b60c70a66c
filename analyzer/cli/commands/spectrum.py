"""`analyzer spectrum`: the spectral density of velocities."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import click

from analyzer.cli.argument import over_stores
from analyzer.cli.options import dynamics_options, execution_options, output_options

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr
    from matplotlib.figure import Figure


@click.command()
@over_stores
@dynamics_options
@click.option(
    "--sections",
    type=int,
    metavar="STEPS",
    help="Length of a section; default: 1,024 velocities, or four epochs or more if eight such sections fit.",
)
@output_options
@execution_options
def spectrum(sections: int | None, **options: Any) -> None:
    """Power spectral density of the velocities of the run in STORE, averaged over the weights of each group.

    Its integral over all frequencies is the mean squared velocity, that is, twice the temperature, weighted with the
    Hann window of the sections. If sections are long enough, lines at harmonics of the epoch are marked.

    \b
    analyzer spectrum runs/gcn.zarr --start auto --plot spectrum.png
    analyzer spectrum runs/gcn.zarr --sections 8192 --format csv --output spectrum.csv
    """
    from analyzer.cli.answer import Shape, asked, give
    from analyzer.cli.execution import computed
    from analyzer.quantities.motion.spectrum import spectrum_of

    run, query = asked(options)
    answer = computed(options, *spectrum_of(run, query, sections))

    def draw() -> Figure:
        from analyzer.plots.spectrum import spectrum as figure

        return figure(answer)

    give(options, answer, Shape(partial(_table, wide=options["wide"])), draw=draw)


def _table(answer: xr.Dataset, frame: pd.DataFrame, wide: bool) -> str:
    """The density at octaves of frequency, and a line on the harmonics of the epoch."""
    import numpy as np

    from analyzer.cli.columns import columns_of
    from analyzer.cli.table import fewer_of, table_text
    from analyzer.quantities.lengths import for_sections

    count = answer.sizes["frequency"]
    shown = [0, *(2 ** np.arange(int(np.log2(count - 1)) + 1)).tolist()]
    some = frame[frame["frequency"].isin(answer["frequency"].values[shown])]
    names = {"spectral_density": "density", "spectral_density_error": "se",
             "hann_mean_squared_velocity": "integral"}  # fmt: skip
    first = [name for name in some.columns if name not in answer.data_vars and name != "harmonic"]
    if answer.sizes["window"] == 1:
        first = [name for name in first if name not in ("start_step", "stop_step")]
    attrs = answer.attrs
    notes = [
        f"spectrum by {attrs['by']} in {answer['spectral_density'].attrs['units']}, sections of "
        f"{attrs['section_steps']:,} steps: {len(shown)} of {count:,} frequencies; all: --format csv",
        "integral: the mean squared velocity, weighted with the Hann window; se: standard error",
        f"lines of the epoch: {attrs['epoch_lines']}",
    ]
    notes += filter(None, [for_sections(answer)])
    told, said = columns_of(some[[*first, *names]].rename(columns=names), wide)
    return f"{table_text(told)}\n\n" + "\n".join([*notes, *said, *fewer_of(answer, len(told))]) + "\n"
