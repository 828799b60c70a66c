"""The version. It is in the code, so that a source tree that was never installed has it too."""

from __future__ import annotations

VERSION = "0.2.0"
"""Equal to that of `recorder.version`, as a test checks: neither package imports the other."""


def version() -> str:
    """Version of thermotrace."""
    return VERSION
