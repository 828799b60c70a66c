"""The version. It stands in the code, so that a source tree that was never installed has it too."""

from __future__ import annotations

VERSION = "0.2.0"
"""That of `recorder.version` (a test compares them): neither package imports the other."""


def version() -> str:
    """Version of thermotrace."""
    return VERSION
