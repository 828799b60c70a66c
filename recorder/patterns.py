"""Which parameters the patterns of `include` and `exclude` match."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase

from recorder.errors import SelectionError


def match_names(
    groups: Sequence[Sequence[str]],
    include: str | Iterable[str] | None = None,
    exclude: str | Iterable[str] | None = None,
) -> set[str]:
    """Return the chosen parameters, each by its first name.

    Parameters
    ----------
    groups : sequence of sequence of str
        All names of each parameter; a tied one has several.
    include, exclude : str or iterable of str, optional
        Glob patterns over dotted names. By default everything is included and nothing excluded.

    Raises
    ------
    SelectionError
        A pattern matches nothing, or nothing is left.
    """
    included, excluded = _patterns(include), _patterns(exclude)
    firsts = [group[0] for group in groups]
    if not firsts:
        raise SelectionError("model: expected at least one parameter, got none. Pass the module that is being trained.")
    known = {name for group in groups for name in group}

    def matches(name: str, pattern: str) -> bool:
        """Tell whether a pattern matches a name. A pattern that is itself a name matches only that name."""
        return name == pattern if pattern in known else fnmatchcase(name, pattern)

    for pattern in (*included, *excluded):
        if not any(matches(name, pattern) for name in known):
            raise SelectionError(
                f"pattern {pattern!r}: expected it to match a parameter, but it matches none of {listing(firsts)}. "
                "Patterns are globs over dotted names, such as 'conv*.weight'.",
                pattern=pattern,
            )
    chosen = {
        group[0]
        for group in groups
        if (not included or any(matches(name, p) for name in group for p in included))
        and not any(matches(name, p) for name in group for p in excluded)
    }
    if not chosen:
        raise SelectionError(
            f"include={list(included)} and exclude={list(excluded)}: expected something to record, but nothing of "
            f"{listing(firsts)} is left. Drop a pattern of exclude."
        )
    return chosen


def listing(names: Sequence[str], most: int = 12) -> str:
    """Return names in one line: at most the first `most`, and how many there are."""
    shown = ", ".join(names[:most])
    return shown if len(names) <= most else f"{shown}, … ({len(names)} in all)"


def _patterns(patterns: str | Iterable[str] | None) -> tuple[str, ...]:
    return () if patterns is None else (patterns,) if isinstance(patterns, str) else tuple(patterns)
