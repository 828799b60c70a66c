"""The kinds of groups that `--by` names, in one table: for help texts, columns of answers and errors alike."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Kind:
    """A way to group weights.

    Attributes
    ----------
    name
        As `--by` names it.
    needs
        What a parameter must have to be divided so; "" for groups of whole parameters.
    column
        The column of an answer that numbers the groups of a parameter; "" where a name identifies the group.
    title
        Long name of that column.
    """

    name: str
    needs: str = ""
    column: str = ""
    title: str = ""

    @property
    def is_whole(self) -> bool:
        """Whether no parameter is divided between groups."""
        return not self.needs


KINDS = {
    kind.name: kind
    for kind in (
        Kind("model"),
        Kind("layer"),
        Kind("module"),
        Kind("parameter"),
        Kind("row", "two or more axes", "row", "row"),
        Kind("column", "two or more axes", "column", "column"),
        Kind("output", "an output axis", "output", "output unit"),
        Kind("input", "an input axis", "input", "input unit"),
        Kind("head", "attention heads", "head", "head"),
        Kind("element", "weights", "index", "element (flat index, C order)"),
    )
}
"""In the order of help texts."""
WHOLE = tuple(name for name, kind in KINDS.items() if kind.is_whole)
"""Kinds whose groups are whole parameters: only they have a temperature at every step."""
COMPARED = tuple(name for name, kind in KINDS.items() if not kind.is_whole and name != "element")
"""Kinds whose groups are compared within a parameter (`analyzer rows`)."""
PLACES = tuple(kind.column for kind in KINDS.values() if kind.column)
"""Columns that number the groups of a parameter."""
MOST_LINES = 8
"""More groups than this are a heat map in figures and reports: nobody tells more lines of a legend apart."""


def listed(names: tuple[str, ...] = tuple(KINDS)) -> str:
    """The kinds as a sentence's end: "model, layer or row"."""
    *rest, last = names
    return f"{', '.join(rest)} or {last}" if rest else last
