"""`analyzer equilibration`: from which step on a run is stationary, series by series."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from analyzer.cli.argument import over_stores
from analyzer.cli.options import execution_options, output_options, series_options
from analyzer.cli.text import printable, say
from analyzer.errors import OptionError

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr
    from matplotlib.figure import Figure


@click.command()
@over_stores
@series_options
@click.option("--loss", default="loss", show_default=True, metavar="NAME", help="The logged scalar that is tested.")
@output_options
@execution_options
def equilibration(loss: str, **options: Any) -> None:
    """From which step on the run in STORE is in equilibrium, and whether it still drifts.

    Three kinds of series are tested: the temperature of every group at each step, its mean squared displacement over
    256 steps, and the loss. For each, the answer has a start, the range within which that start is known, and a verdict
    on the drift after it. The start is the step after which the most independent samples remain.

    \b
    analyzer equilibration runs/gcn.zarr --plot equilibration.png
    analyzer equilibration runs/gcn.zarr --by model --loss validation_loss --format json
    analyzer temperature runs/gcn.zarr --start auto
    """
    from analyzer.cli.answer import Shape, asked, give
    from analyzer.cli.execution import computing
    from analyzer.quantities.equilibration import equilibration_of

    run, query = asked(options)
    _check_loss(run, loss, options["store"])
    with computing(options):
        answer, series = equilibration_of(run, query, loss)

    def draw() -> Figure | None:
        from analyzer.plots.equilibration import starts
        from analyzer.query.changes import resumed_at

        return starts(series, answer, resumed_at(run.attrs.get("segments"))) if series else None

    shape = Shape(partial(_table, wide=options["wide"]))
    give(options, answer, shape, draw=draw, also=lambda: _warn(answer, several="take" in options))


def _table(answer: xr.Dataset, frame: pd.DataFrame, wide: bool) -> str:
    """The verdicts with the size of each drift and its interval; with `wide` also means, slopes and reasons."""
    from analyzer.cli.table import table_of
    from analyzer.quantities.tracks import FEWEST
    from analyzer.query.windows import an_eighth

    if frame.empty:
        return f"No series has the {FEWEST} samples that a search for equilibrium takes.\n"
    if not wide and frame["equilibrium_step"].isna().all():
        window = an_eighth(int(answer["start_step"][0]), int(answer["stop_step"][-1]))
        return (
            "No stretch of constant settings is long enough to search. What a schedule leaves constant is T/η²: "
            f"analyzer temperature STORE --per-eta2 --window {window}\n"
        )
    ends = zip(frame["drift_percent"], frame["drift_percent_low"], frame["drift_percent_high"], strict=True)
    shown = [f"{size:+.2g} ({low:+.2g} to {high:+.2g})" if size == size else "–" for size, low, high in ends]
    left = ["units", "equilibrium_low", "equilibrium_high", "drift_percent_low", "drift_percent_high", "drift_error"]
    frame = frame.assign(drift_percent=shown).drop(columns=left)
    return table_of(answer, frame if wide else frame.drop(columns=["inefficiency", "mean", "drift", "reason"]), wide)


def _check_loss(run: xr.DataTree, loss: str, store: str) -> None:
    """Refuse a loss that was not logged, if the user named it. If the default was not logged, it is left out."""
    from analyzer.tree import scalars_of

    given = click.get_current_context().get_parameter_source("loss") is not ParameterSource.DEFAULT
    if given and loss not in (logged := scalars_of(run)):
        raise OptionError(
            f"--loss: expected a logged scalar of {store}, one of: {', '.join(logged) or 'none'}; got "
            f"{loss!r}. There is no such series. Mend the name, or leave it out.",
            loss=loss,
        )


def _warn(answer: xr.Dataset, several: bool) -> None:
    """Name the series that drift on stderr; say so if there is no series at all.

    Of `several` stores the column of verdicts alone says what drifts: a line for each would be a wall.
    """
    from analyzer.quantities.tracks import FEWEST
    from analyzer.statistics.equilibrium import DRIFTING

    for window in () if several else range(answer.sizes["window"]):
        one = answer.isel(window=window)
        drifting = [
            f"{printable(str(name))} ({size:+.2g} % of its mean)"
            for name, verdict, size in zip(
                one["group"].values, one["verdict"].values, one["drift_percent"].values, strict=True
            )
            if verdict == DRIFTING
        ]
        where = f", steps {int(one['start_step'])} to {int(one['stop_step'])}" if answer.sizes["window"] > 1 else ""
        if drifting:
            say(
                f"Warning: these still change after their start, so that there is no equilibrium{where}: "
                f"{', '.join(drifting)}. Train longer, or dismiss what is small.",
                err=True,
            )
    steps = answer["equilibrium_step"].values.astype(float)
    if answer.sizes["group"] and (steps != steps).all():
        say(f"Warning: there is no equilibrium: {printable(str(answer['reason'].values[0, 0]))}.", err=True)
    if not answer.sizes["group"]:
        say(f"Warning: no series has the {FEWEST} samples that are needed; record {FEWEST} steps or more.", err=True)
