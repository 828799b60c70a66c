"""The query that the options of a command ask."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

if TYPE_CHECKING:
    import xarray as xr

    from analyzer.query.query import Query


def settled(run: xr.DataTree, options: Mapping[str, Any]) -> Query:
    """Return the query of a command's options; start "auto" is replaced by the step at which equilibrium begins."""
    query = query_of(options)
    if query.start != "auto":
        return query
    from analyzer.cli.execution import computing
    from analyzer.quantities.equilibration import from_equilibrium

    with computing(options, "Looking for equilibrium"):
        return from_equilibrium(run, query)


def query_of(options: Mapping[str, Any]) -> Query:
    """Return the query of a command's options; an option that the command does not have stays at its default."""
    from analyzer.cli import execution
    from analyzer.query.query import Query

    several = isinstance(options.get("lag"), tuple)
    return Query(
        by=_by(options),
        window=options.get("window"),
        start=options.get("start"),
        stop=options.get("stop"),
        lag=None if several else options.get("lag"),
        lags=options["lag"] if several else None,
        parameter=options.get("parameter") or None,
        layer=options.get("layer") or None,
        exclude=options.get("exclude") or None,
        frozen=options.get("frozen", False),
        steps_per_epoch=options.get("steps_per_epoch"),
        unequal_epochs=options.get("unequal_epochs", False),
        workers=execution.workers_of(options["workers"]),
        memory_limit=execution.memory_limit_of(options),
        cache=cache_of(options),
        batches=not options.get("no_errors", True),
    )


def cache_of(options: Mapping[str, Any]) -> bool | str:
    """Return whether sums are kept, or the folder that they are kept in."""
    return False if options["no_cache"] else options["cache"] or True


def _by(options: Mapping[str, Any]) -> str | dict[str, list[str]]:
    """The kind of group, or the user's own groups. A name that is given twice gets the globs of both."""
    if not options.get("groups"):
        return str(options["by"])
    if click.get_current_context().get_parameter_source("by") is not ParameterSource.DEFAULT:
        raise click.UsageError("--group: expected groups of your own or a kind of group, got --by as well.")
    named: dict[str, list[str]] = {}
    for title, glob in options["groups"]:
        named.setdefault(title, []).append(glob)
    return named
