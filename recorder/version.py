"""The version. It stands in the code, so that a source tree that was never installed has it too."""

from __future__ import annotations

VERSION = "0.1.0"
"""What `pyproject.toml` reads. `analyzer.version` says the same (a test compares them)."""
