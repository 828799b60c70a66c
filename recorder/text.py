"""Names and paths as text that a terminal shows and never obeys. `analyzer.text` has the same function."""

from __future__ import annotations

import sys
import unicodedata

_UNPRINTABLE = {"Cc", "Cf", "Cs", "Zl", "Zp"}
"""Unicode categories: controls, invisible marks (the order of writing among them), half characters, line breaks."""


def printable(text: str) -> str:
    """Return the text in one line, with escapes for what would move a terminal's cursor, colour it or reorder it."""
    if text.isprintable():
        return text
    return "".join(repr(c)[1:-1] if unicodedata.category(c) in _UNPRINTABLE else c for c in text)


def make_encodable() -> None:
    """Let stdout and stderr write escapes for characters that their encoding lacks, as in ISO-8859-1."""
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None and stream.errors in ("strict", "surrogateescape"):
            reconfigure(errors="backslashreplace")
