"""Versions. Our own stands in the code, so that a source tree that was never installed has it too."""

from __future__ import annotations

VERSION = "0.2.0"
"""`pyproject.toml` reads it. `analyzer.version` has the same (a test compares them)."""


def installed(package: str) -> str:
    """Return the version of an installed package, or "unknown". The package is not imported."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(package)
    except PackageNotFoundError:
        return "unknown"
