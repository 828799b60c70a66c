"""What a command says: to a terminal of any encoding, one line each."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import click

from analyzer.errors import AnalyzerWarning
from analyzer.text import printable

__all__ = ["make_encodable", "naming", "of_a_file", "printable", "say", "say_all", "warnings_in_a_line"]

_WARNING = "Warning: "
_NAMED: list[str] = []
"""The run that warnings are about, if a command answers for several."""
_AT_ONCE = 1 << 16
"""Characters that are printed in one call."""


def say(text: str = "", err: bool = False, nl: bool = True) -> None:
    """Print a text to stdout or stderr. Names in it have passed `printable`.

    The stream is the one that Python made, with the encoding of the terminal: to one of pure ASCII click alone would
    send UTF-8.
    """
    if err and _NAMED and text.startswith(_WARNING):
        text = f"{_WARNING}{printable(_NAMED[-1])}: {text.removeprefix(_WARNING)}"
    click.echo(text, file=sys.stderr if err else sys.stdout, nl=nl)


@contextmanager
def naming(run: str) -> Iterator[None]:
    """Put the name of a run before the warnings inside: they are about one run of several."""
    _NAMED.append(run)
    try:
        yield
    finally:
        _NAMED.pop()


def of_a_file(error: OSError) -> str:
    """An error of the system that no command handles, in a sentence."""
    if error.filename is None:
        return f"System: expected to read and write, got: {error.strerror or error}. Nothing was answered. Try again."
    return (
        f"{os.fsdecode(error.filename)}: expected a path that can be read and written, got: {error.strerror}. Nothing "
        "was answered. Check the path and its permissions."
    )


def say_all(pieces: Iterable[str]) -> None:
    """Print pieces of a text to stdout, many at a time: each print is a system call."""
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
    """Let stdout and stderr write escapes for characters that their encoding lacks, such as ⟨ in ISO-8859-1."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # closed by whoever started the command: what is said goes nowhere
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: PTH123, SIM115
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None and stream.errors in ("strict", "surrogateescape"):
            reconfigure(errors="backslashreplace")


@contextmanager
def warnings_in_a_line(*others: type[Warning]) -> Iterator[None]:
    """Print each warning of the analyzer inside as one line on stderr, once, without the place in the code.

    Warnings of the classes `others` are printed in the same way.
    """
    said: set[str] = getattr(warnings.showwarning, "said", set())  # of the block around this one

    def say_warning(message: Warning | str, *place: Any, **rest: Any) -> None:
        text = printable(str(message))
        key = f"{_NAMED[-1]}: {text}" if _NAMED else text
        if key not in said:
            say(f"{_WARNING}{text}", err=True)
        said.add(key)

    ours: list[type[Warning]] = [AnalyzerWarning, *others]
    with warnings.catch_warnings():
        for category in ours:
            warnings.simplefilter("always", category)
        say_warning.said = said  # type: ignore[attr-defined]
        warnings.showwarning = say_warning
        yield
