"""The stores that a user named: one or several. They are opened in turn."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

from analyzer.cli.text import of_a_file, printable, say
from analyzer.errors import AnalyzerError

if TYPE_CHECKING:
    from analyzer.store.schema import Store

Body = Callable[..., None]
"""A command that answers for one store."""


def is_one(stores: Sequence[str]) -> bool:
    """Whether exactly one store was named, without a pattern."""
    from analyzer.store.names import user_path
    from analyzer.store.together import matching

    return len(stores) == 1 and matching(stores[0]) == [user_path(stores[0])]


def paths_of(stores: Sequence[str]) -> list[str]:
    """Return the paths that stores and patterns mean.

    Raises
    ------
    SweepError
        A pattern matches nothing.
    """
    from analyzer.store.together import listed

    return listed(stores)


def open_each(paths: Iterable[str], unanswered: list[dict[str, str]]) -> dict[str, Store]:
    """Return the metadata of stores by name. Stores that cannot be read are named on stderr and appended."""
    from analyzer.store.schema import read_store
    from analyzer.store.together import names_of

    stores = []
    for path in paths:
        try:
            stores.append(read_store(path))
        except (AnalyzerError, OSError) as error:
            refuse(path, error, unanswered)
    return dict(zip(names_of([store.location for store in stores]), stores, strict=True)) if stores else {}


def refuse(location: str, error: AnalyzerError | OSError, unanswered: list[dict[str, str]]) -> None:
    """Say on stderr why a store has no answer, and add it to `unanswered`."""
    text = str(error) if isinstance(error, AnalyzerError) else of_a_file(error)  # some are errors of files, too
    said = text if text.startswith(location) else f"{location}: {text}"
    unanswered.append({"store": location, "error": text})
    say(f"Error: {printable(said)}", err=True)
