"""Text without control characters, so that a terminal only shows it. `analyzer.text` has the same function."""

from __future__ import annotations

import os
import sys
import unicodedata

_UNPRINTABLE = {"Cc", "Cf", "Cs", "Zl", "Zp"}
"""Unicode categories: controls, invisible marks (such as the direction of writing), surrogates, line breaks."""


def printable(text: str) -> str:
    """Return the text in one line, with escapes for what would move a terminal's cursor, colour it or reorder it."""
    if text.isprintable():
        return text
    return "".join(repr(c)[1:-1] if unicodedata.category(c) in _UNPRINTABLE else c for c in text)


def make_encodable() -> None:
    """Let stdout and stderr write escapes for characters that their encoding lacks, as in ISO-8859-1."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # whoever started the command closed it: drop what is printed
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: PTH123, SIM115
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None and stream.errors in ("strict", "surrogateescape"):
            reconfigure(errors="backslashreplace")
