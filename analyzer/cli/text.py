"""What a command says: to a terminal of any encoding, one line each."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import click

from analyzer.errors import (
    BranchWarning,
    EquilibriumWarning,
    FitWarning,
    KeptSumsWarning,
    NonFiniteWarning,
    SettingsWarning,
    StrideWarning,
)
from analyzer.text import printable

__all__ = ["make_encodable", "printable", "say", "say_all", "warnings_in_a_line"]

_OURS: tuple[type[Warning], ...] = (
    BranchWarning,
    EquilibriumWarning,
    FitWarning,
    KeptSumsWarning,
    NonFiniteWarning,
    SettingsWarning,
    StrideWarning,
)
_AT_ONCE = 1 << 16
"""Characters that are printed at once."""


def say(text: str = "", err: bool = False, nl: bool = True) -> None:
    """Print a text of our own to stdout, or to stderr; names in it have passed `printable`.

    The stream is the one that Python made, with the encoding of the terminal: to one of pure ASCII click alone would
    send UTF-8.
    """
    click.echo(text, file=sys.stderr if err else sys.stdout, nl=nl)


def say_all(pieces: Iterable[str]) -> None:
    """Print pieces of a text to stdout, many at a time: each print is a call of the system."""
    held: list[str] = []
    length = 0
    for piece in pieces:
        held.append(piece)
        length += len(piece)
        if length >= _AT_ONCE:
            say("".join(held), nl=False)
            held, length = [], 0
    say("".join(held), nl=False)


def make_encodable() -> None:
    """Let stdout and stderr write escapes for characters that their encoding lacks, as in ISO-8859-1."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # closed by whoever started the command: what is said goes nowhere
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: PTH123, SIM115
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None and stream.errors in ("strict", "surrogateescape"):
            reconfigure(errors="backslashreplace")


@contextmanager
def warnings_in_a_line(*others: type[Warning]) -> Iterator[None]:
    """Print each warning that the analyzer gives inside as one line on stderr, once, without the place in the code.

    Warnings of the classes `others` are printed in this way, too.
    """
    said: set[str] = getattr(warnings.showwarning, "said", set())  # of the block around this one

    def say_warning(message: Warning | str, *place: Any, **rest: Any) -> None:
        text = printable(str(message))
        if text not in said:
            say(f"Warning: {text}", err=True)
        said.add(text)

    with warnings.catch_warnings():
        for category in (*_OURS, *others):
            warnings.simplefilter("always", category)
        say_warning.said = said  # type: ignore[attr-defined]
        warnings.showwarning = say_warning
        yield
