"""`analyzer cache`: the sums that are kept beside a store: fill, show and drop them."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from analyzer.cli.options import UserPath, execution_options
from analyzer.cli.text import printable, say
from analyzer.errors import OptionError
from analyzer.store.schema import Store, read_store

if TYPE_CHECKING:
    import xarray as xr

    from analyzer.engine.keeping import Account
    from analyzer.query.query import Query

_ALONE = "It stands alone: it answers whole runs and epochs without the trajectory"
_folder = click.option(
    "--cache", "chosen", type=UserPath(file_okay=False), help="The folder of kept sums, if --cache chose it."
)


@click.group()
def cache() -> None:
    """Fill, show or drop the sums that answer later questions without decoding.

    A full cache also answers without the trajectory: temperatures of whole runs and epochs by any group, and of any
    window by model, layer, module and parameter; dynamics of these at the default lags, in windows that begin and end
    at multiples of 256 frames. Spectrum, modes and ageing need the frames. The sums of a run are never replaced by
    those of another: a second run at the same path has its own folder, STORE.moments/RUN_ID.

    \b
    analyzer cache fill runs/gcn.zarr && rm -r runs/gcn.zarr
    analyzer temperature runs/gcn.zarr.moments --by row
    """


@cache.command()
@click.argument("store")
@click.option(
    "--no-dynamics", is_flag=True, help="Leave out the sums for analyzer dynamics, which take most of the time."
)
@execution_options
def fill(store: str, no_dynamics: bool, **options: Any) -> None:
    """Keep all sums of STORE, for temperatures and dynamics, so that they answer even without its trajectory.

    All sums are read back after writing. The last line says whether the trajectory may go; exit 1 if it must stay.

    \b
    analyzer cache fill runs/gcn.zarr
    analyzer cache fill runs/gcn.zarr --no-dynamics
    """
    from analyzer.cli.execution import computed
    from analyzer.cli.query import query_of
    from analyzer.engine.keeping import account_of
    from analyzer.quantities.temperature import temperature_of
    from analyzer.run import open_run

    if options["no_cache"]:
        raise click.UsageError("--no-cache: expected a cache to fill. Leave it out.")
    known = read_store(store)
    _located(known, options["cache"])
    run = open_run(store)
    query = query_of({"by": "model"} | options)
    computed(options, *temperature_of(run, query))
    reason = "" if no_dynamics else _fill_pairs(run, query, options)
    account = account_of(run, options["cache"], settle=True)
    say(_line(account))
    if not known.is_trajectory:
        return
    faults = account.faults + (() if no_dynamics or reason else account.pair_faults)
    if faults:
        raise click.ClickException(
            f"{printable(store)}: expected all of the run in {printable(str(account.home))}, got "
            f"{len(faults):,} parts missing or damaged ({printable(faults[0])}). "
            "The trajectory must stay: it is the only copy. Make room, or take another folder (--cache DIR)."
        )
    if reason:
        say(f"Dynamics are not kept. {reason}")
    say(f"{_alone(account)} All of it was read back: {printable(store)} may go.")


def _fill_pairs(run: xr.DataTree, query: Query, options: dict[str, Any]) -> str:
    """Keep the sums that answer dynamics. Return the reason if a run cannot have them, else ""."""
    from analyzer.cli.execution import computed
    from analyzer.engine.keeping import why_not_kept
    from analyzer.errors import AnalyzerError, MemoryLimitError, SettingsWarning
    from analyzer.quantities.motion.dynamics import dynamics_of

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SettingsWarning)  # the temperatures have said it
            planned = dynamics_of(run, query)
    except MemoryLimitError:
        raise
    except AnalyzerError as error:
        return str(error)
    if why := why_not_kept(planned[1][0].plan):
        return why
    computed(options, *planned)
    return ""


def _alone(account: Account) -> str:
    """The sentence on what the sums answer without the trajectory."""
    if account.pair_faults:
        return f"{_ALONE}, but not dynamics."
    return f"{_ALONE}, and dynamics."


@cache.command()
@click.argument("store")
@_folder
@click.option("--format", "format_", type=click.Choice(["table", "json"]), default="table", show_default=True,
              help="json: one object, sizes in bytes.")  # fmt: skip
def show(store: str, chosen: str | None, format_: str) -> None:
    """Show what is kept for STORE.

    \b
    analyzer cache show runs/gcn.zarr
    """
    from analyzer.engine.keeping import account_of
    from analyzer.engine.kept.homes import describe
    from analyzer.run import open_run

    _located(read_store(store), chosen)
    account = account_of(open_run(store), chosen)
    if format_ == "json":
        known: dict[str, Any] = describe(account.home) | {"share": account.share, "stands_alone": not account.faults}
        known["answers_dynamics"] = not account.pair_faults
        say(json.dumps(known | {"others": [str(other) for other in account.others]}, indent=2))
        return
    say(_line(account))
    if not account.faults:
        say(_alone(account))
    _name_others(account)


@cache.command()
@click.argument("store")
@_folder
def drop(store: str, chosen: str | None) -> None:
    """Delete the sums that are kept for STORE. The store itself and sums of other runs stay as they are.

    Only sums that can be made again from the frames of STORE are deleted. Sums of another run at this path, or of other
    frames, may be all that is left of them: they are named, and stay.

    \b
    analyzer cache drop runs/gcn.zarr
    """
    from analyzer.engine.keeping import account_of
    from analyzer.engine.kept.homes import drop as remove
    from analyzer.run import open_run

    known = read_store(store)
    if not known.is_trajectory:
        raise OptionError(
            f"{store}: expected a store whose sums can be made again, got sums without their trajectory. Dropping them "
            f"would lose the run. If that is meant: rm -r {known.location}"
        )
    _located(known, chosen)
    account = account_of(open_run(store), chosen)
    say(f"Dropped {remove(account.home):,} bytes of {printable(str(account.home))}", err=True)
    _name_others(account)


def _line(account: Account) -> str:
    """One line on the kept sums: folder, files, size and share of the run."""
    from analyzer.engine.kept.homes import describe

    known = describe(account.home)
    files = f"{known['files']:,} file{'' if known['files'] == 1 else 's'}"
    return f"{printable(str(account.home))}: {files}, {known['bytes']:,} bytes, {account.share:.0%} of the run"


def _name_others(account: Account) -> None:
    """Name the folders of other runs on stderr. No command here touches them."""
    for other in account.others:
        say(
            f"{printable(str(other))}: sums of another run, perhaps all that is left of it; they stay. "
            f"Ask them: analyzer temperature {printable(str(other))}",
            err=True,
        )


def _located(known: Store, chosen: str | None) -> Path:
    """The folder in which the sums of a store are kept; refuses a URL without one."""
    from analyzer.engine.measure import base_for

    base = base_for(known, chosen or True)
    if base is None:
        raise OptionError(
            f"{known.location}: expected --cache DIR, got none: nothing is kept beside a URL. Write --cache DIR"
        )
    return base
