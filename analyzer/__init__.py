"""Temperatures of neural networks, from recorded trajectories.

Importing this package is cheap: each name is loaded when it is first used. The accessor `run.thermo` is registered by
`open_run`, and at once where xarray is already loaded.
"""

from __future__ import annotations

import sys
from typing import Any

_PUBLIC = {
    "open_run": "analyzer.run",
    "open_sweep": "analyzer.run",
    "as_run": "analyzer.run",
    "temperature": "analyzer.quantities.temperature",
    "equilibration": "analyzer.quantities.equilibration",
    "rows": "analyzer.quantities.rows",
    "factors": "analyzer.quantities.factors",
    "row_masks": "analyzer.quantities.masks",
    "check": "analyzer.quantities.check",
    "distribution": "analyzer.quantities.distribution",
    "dynamics": "analyzer.quantities.dynamics",
    "ageing": "analyzer.quantities.ageing",
    "spectrum": "analyzer.quantities.spectrum",
    "modes": "analyzer.quantities.modes",
    "mode_weights": "analyzer.quantities.modes",
    "fit": "analyzer.quantities.fit",
    "velocity": "analyzer.quantities.velocity",
    "velocity_summary": "analyzer.quantities.velocity",
    "stack": "analyzer.quantities.stack",
    "table": "analyzer.tables.table",
    "AnalyzerError": "analyzer.errors",
    "NonFiniteWarning": "analyzer.errors",
}

__all__ = ["__version__", *_PUBLIC]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from analyzer.version import version

        return version()
    if name in _PUBLIC:
        from importlib import import_module

        return getattr(import_module(_PUBLIC[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)


if "xarray" in sys.modules:
    from analyzer import accessor as _accessor  # noqa: F401
