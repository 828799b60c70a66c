"""`analyzer dynamics`: correlation of velocities and mean squared displacement, by lag."""

from __future__ import annotations

import itertools
from functools import partial
from typing import TYPE_CHECKING, Any

import click

from analyzer.cli.argument import over_stores
from analyzer.cli.options import dynamics_options, execution_options, output_options

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr
    from matplotlib.figure import Figure

_EMPTY = "se: standard error; empty beyond a sixteenth of the window, where one run gives no interval"
_SHOWN = 12
"""Lags of a group and window that a table shows; all other formats have every lag."""
_LOCAL = 2.5
"""Neighbouring lags may be so many times apart before exponents are said not to be local."""
_WAITING, _LATER = 5, 6
"""Waiting times and lags that a table of --waiting shows: five lines a group, which fit 100 columns."""


@click.command()
@over_stores
@dynamics_options
@click.option(
    "--lags",
    metavar="LAGS",
    help="Lags in steps: 1,2,5 or 1:100 or 1:1000:log or epoch; default: 0 to 8, then four to an octave, up to a "
    "sixteenth of the window and 4,096 frames. Longer ones are estimated from decimated frames.",
)
@click.option(
    "--waiting",
    metavar="STEPS",
    help="Instead of means over all origins: the displacement from single frames, at these waiting times after the "
    "first frame, as in 1:10000:log. It shows whether the run ages.",
)
@click.option("--remove-drift", is_flag=True, help="Subtract each weight's mean velocity.")
@click.option(
    "--per-eta2", is_flag=True, help="Also C, MSD and the diffusion coefficient over the learning rate squared."
)
@output_options
@execution_options
def dynamics(lags: str | None, waiting: str | None, remove_drift: bool, per_eta2: bool, **options: Any) -> None:
    """How the weights of the run in STORE move in time: velocity autocorrelation, mean squared displacement with its
    local exponent, diffusion coefficient and correlation time, by group, window and lag.

    Lags beyond a sixteenth of the window have no error bar: one run has too few independent samples there.

    \b
    analyzer dynamics runs/gcn.zarr --start auto --plot dynamics.png
    analyzer dynamics runs/gcn.zarr --by parameter --lags 1,2,5,10,epoch --format json
    analyzer dynamics runs/gcn.zarr --window 16384 --format csv --output windows.csv
    analyzer dynamics runs/gcn.zarr --lags 1:20000:log --remove-drift --per-eta2
    analyzer dynamics runs/gcn.zarr --waiting 1:10000:log --plot ageing.png
    """
    from analyzer.cli.answer import Shape, asked, give
    from analyzer.cli.execution import computed
    from analyzer.quantities.motion.dynamics import dynamics_of

    if waiting is not None and options["window"] is not None:
        raise click.UsageError("--waiting: expected one range of steps, got --window as well. Leave one of them out.")
    if waiting is not None and (remove_drift or per_eta2):
        given = "--remove-drift" if remove_drift else "--per-eta2"
        raise click.UsageError(
            f"--waiting: expected plain displacements from single frames, got {given} as well. Leave one of them out."
        )
    run, query = asked(options)
    if waiting is not None:
        _give_ageing(options, run, query, waiting, lags)
        return
    per = "eta2" if per_eta2 else None
    answer = computed(options, *dynamics_of(run, query, lags, remove_drift=remove_drift, per=per))

    def draw() -> Figure:
        from analyzer.plots.dynamics import dynamics as figure

        return figure(answer)

    give(options, answer, Shape(partial(_table, wide=options["wide"])), draw=draw)


def _give_ageing(options: Any, run: Any, query: Any, waiting: str, lags: str | None) -> None:
    """Write the two-time displacement: a row for each group, waiting time and lag."""
    from analyzer.cli.answer import Shape, give
    from analyzer.cli.execution import computed
    from analyzer.quantities.motion.ageing import ageing_of

    answer = computed(options, *ageing_of(run, query, waiting, lags))

    def draw() -> Figure:
        from analyzer.plots.dynamics import ageing as figure

        return figure(answer)

    give(options, answer, Shape(partial(_ageing_table, wide=options["wide"])), draw=draw)


def _ageing_table(answer: xr.Dataset, frame: pd.DataFrame, wide: bool) -> str:
    """A line for each group and waiting time, a column for each lag: some of both, or all if `wide`."""
    from analyzer.cli.columns import columns_of
    from analyzer.cli.table import fewer_of, table_text

    waits, lags = answer["waiting"].values, answer["lag"].values
    times, taken = (waits, lags) if wide else (_some(waits, _WAITING), _some(lags, _LATER))
    value = "two_time_displacement"
    names = [n for n in frame.columns if n not in answer.data_vars and n not in ("waiting", "lag")]
    # Rows come by group, waiting time and lag.
    first = frame[frame["lag"] == lags[0]].reset_index(drop=True)[[*names, "waiting"]]
    table = first.assign(**{f"τ = {lag:,}": frame.loc[frame["lag"] == lag, value].to_numpy() for lag in taken})
    shown, said = columns_of(table[table["waiting"].isin(times)], wide)
    begin, end = answer.attrs["start_step"], answer.attrs["stop_step"]
    parts = [
        "ageing: mean squared displacement in weight^2 from one frame to the one τ steps later; waiting: steps from "
        f"step {begin:,} to the earlier one; steps {begin:,} to {end:,}"
    ]
    if times.size < waits.size or taken.size < lags.size:
        hidden = [f"{times.size} of {waits.size} waiting times", f"{taken.size} of {lags.size} lags"]
        parts.append(f"{' and '.join(hidden)}; all: --wide, or --format csv")
    return "\n".join([table_text(shown), "", *parts, *said, *fewer_of(answer, len(shown))]) + "\n"


def _some(values: Any, most: int) -> Any:
    """At most so many values of a rising list, evenly by place, with the first and the last."""
    if len(values) <= most:
        return values
    return values[[round(n * (len(values) - 1) / (most - 1)) for n in range(most)]]


def _table(answer: xr.Dataset, frame: pd.DataFrame, wide: bool) -> str:
    """Some lags of each group and window, and the correlation times."""
    from analyzer.cli.columns import columns_of
    from analyzer.cli.table import fewer_of, table_text
    from analyzer.quantities.lengths import for_lags

    names = {
        "normalised_autocorrelation": "C/C(0)",
        "normalised_autocorrelation_error": "± (se)",
        "mean_squared_displacement": "MSD",
        "mean_squared_displacement_error": "MSD se",
        "exponent": "exponent",
        "exponent_error": "exponent se",
    }
    if "mean_squared_displacement_per_eta2" in answer:
        names["mean_squared_displacement_per_eta2"] = "MSD/η²"
        names["mean_squared_displacement_per_eta2_error"] = "MSD/η² se"
    lags = answer["lag"].values
    shown = lags if lags.size <= _SHOWN else lags[[*range(1, 4), *range(5, lags.size - 1, max(lags.size // 8, 1)), -1]]
    some = frame[frame["lag"].isin(shown)]
    hidden = {"steps_per_lag", "origin_spacing", "averaged_over"}
    first = [name for name in some.columns if name not in answer.data_vars and name not in hidden]
    if answer.sizes["window"] == 1:
        first = [name for name in first if name not in ("start_step", "stop_step")]
    told, said = columns_of(some[[*first, *names]].rename(columns=names), wide)
    text = table_text(told)
    notes = [f"dynamics by {answer.attrs['by']}: {len(shown)} of {lags.size} lags; all: --format csv",
             for_lags(answer) or _EMPTY]  # fmt: skip
    notes += [one for one in (_told_of_far(answer), _told_of_sparse(lags)) if one]
    if answer.attrs["drift_removed"]:
        notes.append("without the mean velocity of each weight in the window")
    times = []
    for group in range(answer.sizes["group"]):
        for window in range(answer.sizes["window"]):
            one = answer.isel(group=group, window=window)
            title = str(one["group"].values) or "model"
            where = f", steps {int(one['start_step'])} to {int(one['stop_step'])}" if answer.sizes["window"] > 1 else ""
            time, error = float(one["correlation_time"]), float(one["correlation_time_error"])
            if time == time:
                times.append(f"{title}{where}: {time:.3g} " + (f"(se {error:.2g})" if error == error else "(no se)"))
    if times and len(times) <= 2 * _SHOWN:
        notes.append(f"integrated correlation time in steps: {'; '.join(times)}")
        if any(said.endswith("(no se)") for said in times):
            notes.append("no se: too few batches, or the MSD at long lags tells of correlation that C does not show")
    return f"{text}\n\n" + "\n".join([*notes, *said, *fewer_of(answer, len(told))]) + "\n"


def _told_of_far(answer: xr.Dataset) -> str:
    """Say how the lags are estimated for which not all pairs are summed; "" if there are none."""
    from analyzer.query.lags import LONGEST

    far = answer.isel(lag=answer["averaged_over"].values > int(answer.attrs["lag"]))
    if not far.sizes["lag"]:
        return ""
    apart, over = (
        " to ".join(f"{one:,}" for one in sorted({int(values.min()), int(values.max())}))
        for values in (far["origin_spacing"], far["averaged_over"])
    )
    longest = LONGEST * int(answer.attrs["lag"])
    return f"lags beyond {longest:,}: origins every {apart} steps, C of velocities averaged over {over} steps"


def _told_of_sparse(lags: Any) -> str:
    """Say that exponents are not local where a list leaves out most lags; "" where it does not."""
    lags = lags[lags > 0]
    apart = max((later / earlier for earlier, later in itertools.pairwise(lags)), default=1.0)
    if apart <= _LOCAL:
        return ""
    return (
        f"exponent: the slope between the lags of this list before and after, which are up to {apart:,.3g} times "
        f"apart; for local ones --lags {lags[0]}:{lags[-1]}:log"
    )
