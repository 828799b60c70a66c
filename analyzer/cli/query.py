"""From a command's options to the query that they ask."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

if TYPE_CHECKING:
    import xarray as xr

    from analyzer.measure import Query


def settled(run: xr.DataTree, options: dict[str, Any]) -> Query:
    """The query that a command's options ask, start "auto" replaced by the step that equilibrium begins at."""
    query = query_of(options)
    if query.start != "auto":
        return query
    from analyzer.cli import execution, show
    from analyzer.cli.progress import bar
    from analyzer.equilibria import from_equilibrium

    with (
        show.warnings_in_a_line(),
        bar("Looking for equilibrium", 1, "passes") as told,
        execution.scheduled(options["scheduler"], execution.workers_of(options["workers"]), told),
    ):
        return from_equilibrium(run, query)


def query_of(options: dict[str, Any]) -> Query:
    """The query that a command's options ask; those that it has not are left at their defaults."""
    from analyzer.cli import execution
    from analyzer.measure import Query

    return Query(
        by=_by(options),
        window=options.get("window"),
        start=options.get("start"),
        stop=options.get("stop"),
        lag=options.get("lag"),
        parameter=options.get("parameter") or None,
        layer=options.get("layer") or None,
        exclude=options.get("exclude") or None,
        steps_per_epoch=options.get("steps_per_epoch"),
        unequal_epochs=options.get("unequal_epochs", False),
        workers=execution.workers_of(options["workers"]),
        memory_limit=options["memory_limit"] or execution.free_memory(),
        cache=cache_of(options),
        batches=not options.get("no_errors", True),
    )


def cache_of(options: dict[str, Any]) -> bool | str:
    """Whether sums are kept, or in which folder."""
    return False if options["no_cache"] else options["cache"] or True


def _by(options: dict[str, Any]) -> str | dict[str, list[str]]:
    """The kind of group, or the user's own: a name that is given again gathers another glob."""
    if not options.get("groups"):
        return str(options["by"])
    if click.get_current_context().get_parameter_source("by") is not ParameterSource.DEFAULT:
        raise click.UsageError("--group: expected groups of your own or a kind of group, got --by as well.")
    named: dict[str, list[str]] = {}
    for title, glob in options["groups"]:
        named.setdefault(title, []).append(glob)
    return named
