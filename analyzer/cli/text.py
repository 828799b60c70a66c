"""Text that is safe to print: a store's names and a user's patterns are shown, never obeyed."""

from __future__ import annotations

import unicodedata

_UNPRINTABLE = {"Cc", "Cf", "Cs", "Zl", "Zp"}
"""Unicode categories: controls, invisible marks (the order of writing among them), half characters, line breaks."""


def printable(text: str) -> str:
    """The text in one line, with an escape in place of every character that would move a terminal's cursor or colour.

    Examples
    --------
    >>> printable("conv\\x1b[31m")
    'conv\\\\x1b[31m'
    """
    if text.isprintable():
        return text
    return "".join(repr(c)[1:-1] if unicodedata.category(c) in _UNPRINTABLE else c for c in text)
