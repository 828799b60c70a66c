"""Versions. Ours stands in the code, so that a source tree that was never installed has it too."""

from __future__ import annotations

VERSION = "0.2.0"
"""What `pyproject.toml` reads. `analyzer.version` says the same (a test compares them)."""


def installed(package: str) -> str:
    """Return the version of an installed package, "unknown" where nobody wrote it down; nothing is imported."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(package)
    except PackageNotFoundError:
        return "unknown"
