"""Temperatures of neural networks, from recorded trajectories.

Importing this package is cheap: each name is loaded when it is first used. The accessor `run.thermo` is registered with
`open_run`; where xarray is loaded already, it is registered at once.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from analyzer.errors import AnalyzerError as AnalyzerError
    from analyzer.errors import NonFiniteWarning as NonFiniteWarning
    from analyzer.quantities.checks.check import check as check
    from analyzer.quantities.distribution import distribution as distribution
    from analyzer.quantities.equilibration import equilibration as equilibration
    from analyzer.quantities.factors import factors as factors
    from analyzer.quantities.fits.fit import fit as fit
    from analyzer.quantities.masks import row_masks as row_masks
    from analyzer.quantities.motion.ageing import ageing as ageing
    from analyzer.quantities.motion.dynamics import dynamics as dynamics
    from analyzer.quantities.motion.modes import mode_weights as mode_weights
    from analyzer.quantities.motion.modes import modes as modes
    from analyzer.quantities.motion.spectrum import spectrum as spectrum
    from analyzer.quantities.rows import rows as rows
    from analyzer.quantities.seeds import over_seeds as over_seeds
    from analyzer.quantities.stack import stack as stack
    from analyzer.quantities.temperature import temperature as temperature
    from analyzer.quantities.velocity import velocity as velocity
    from analyzer.quantities.velocity import velocity_summary as velocity_summary
    from analyzer.run import as_run as as_run
    from analyzer.run import open_run as open_run
    from analyzer.run import open_sweep as open_sweep
    from analyzer.tables.table import table as table

    __version__: str

_PUBLIC = {
    "open_run": "analyzer.run",
    "open_sweep": "analyzer.run",
    "as_run": "analyzer.run",
    "temperature": "analyzer.quantities.temperature",
    "equilibration": "analyzer.quantities.equilibration",
    "rows": "analyzer.quantities.rows",
    "factors": "analyzer.quantities.factors",
    "row_masks": "analyzer.quantities.masks",
    "check": "analyzer.quantities.checks.check",
    "distribution": "analyzer.quantities.distribution",
    "dynamics": "analyzer.quantities.motion.dynamics",
    "ageing": "analyzer.quantities.motion.ageing",
    "spectrum": "analyzer.quantities.motion.spectrum",
    "modes": "analyzer.quantities.motion.modes",
    "mode_weights": "analyzer.quantities.motion.modes",
    "over_seeds": "analyzer.quantities.seeds",
    "fit": "analyzer.quantities.fits.fit",
    "velocity": "analyzer.quantities.velocity",
    "velocity_summary": "analyzer.quantities.velocity",
    "stack": "analyzer.quantities.stack",
    "table": "analyzer.tables.table",
    "AnalyzerError": "analyzer.errors",
    "NonFiniteWarning": "analyzer.errors",
}

__all__ = ["__version__", *_PUBLIC]


if not TYPE_CHECKING:  # a checker knows the names above, and no others

    def __getattr__(name: str) -> Any:
        if name == "__version__":
            from analyzer.version import version

            return version()
        if name in _PUBLIC:
            from importlib import import_module

            from analyzer.errors import named_if_missing

            with named_if_missing():
                return getattr(import_module(_PUBLIC[name]), name)
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)


if "xarray" in sys.modules:
    from analyzer import accessor as _accessor  # noqa: F401
