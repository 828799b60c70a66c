"""What a report is about: one run, opened as far as it can be, and what was asked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import xarray as xr

from analyzer.equilibria import equilibration
from analyzer.errors import AnalyzerError, DamagedStoreError
from analyzer.run import open_run
from analyzer.schema import Store, read_store
from analyzer.windows import Bound

Array = np.ndarray[Any, np.dtype[Any]]

MOST_POINTS, _FEWEST_POINTS = 300, 40
"""Of a curve."""
MOST_CELLS, _FEWEST_CELLS = 16_384, 256
"""Of a map."""
MOST_PARAMETERS = 8
"""Whose rows are drawn, as in `analyzer rows --plot`."""
_CURVE_BUDGET, _MAP_BUDGET = 200_000, 800_000
"""Numbers on a page: at about 8 and 3 bytes, 1.6 MB and 2.1 MB."""


@dataclass(frozen=True)
class Asked:
    """What a report shows of each run.

    Attributes
    ----------
    by
        Groups of the temperatures: of whole parameters.
    start, stop
        The range of temperatures, rows and fits; curves and equilibrium are shown from end to end.
    cache, memory_limit
        As for `analyzer.temperature`.
    points, cells
        Most of them in a curve, and in a map.
    """

    by: str = "layer"
    start: Bound = None
    stop: Bound = None
    cache: bool | str = True
    memory_limit: int | None = None
    points: int = MOST_POINTS
    cells: int = MOST_CELLS

    @property
    def options(self) -> dict[str, Any]:
        """How anything is computed."""
        return {"cache": self.cache, "memory_limit": self.memory_limit}

    @property
    def range(self) -> dict[str, Any]:
        """Over which steps."""
        return {"start": self.start, "stop": self.stop}


class Subject:
    """One run. Lifetime: one page, for which what several sections need is computed once.

    Attributes
    ----------
    store
        Its metadata.
    name
        What the page calls it.
    tree
        The run, or None where its steps cannot be read; `problem` says why.
    """

    def __init__(self, location: str, name: str, asked: Asked) -> None:
        self.store: Store = read_store(location)
        self.asked = asked
        self.name = name
        self.tree: xr.DataTree | None = None
        self.problem = ""
        try:
            self.tree = open_run(location)
        except AnalyzerError as error:
            self.problem = str(error)

    @property
    def run(self) -> xr.DataTree:
        """The run.

        Raises
        ------
        DamagedStoreError
            It could not be opened.
        """
        if self.tree is None:
            raise DamagedStoreError(self.problem, location=self.store.location)
        return self.tree

    @cached_property
    def equilibrium(self) -> xr.Dataset:
        """`analyzer.equilibration` of the whole run."""
        return equilibration(self.run, by=self.asked.by, **self.asked.options)

    @cached_property
    def scalars(self) -> dict[str, Array]:
        """Every logged scalar that is one number a step, (frames,) float64; the loss first."""
        names = [str(name) for name, array in self.run.data_vars.items() if array.dims == ("step",)]
        names.sort(key=lambda name: (name != "loss", "loss" not in name))
        return {name: np.asarray(self.run[name].values, dtype=np.float64) for name in names}


def within_budget(subjects: Sequence[Subject], asked: Asked) -> Asked:
    """What was asked, with so few points and cells that all runs fit on a page."""
    runs = max(len(subjects), 1)
    curves = max((len({p.layer for p in subject.store.parameters}) for subject in subjects), default=1) + 2
    points = min(asked.points, max(_CURVE_BUDGET // (runs * curves), _FEWEST_POINTS))
    cells = min(asked.cells, max(_MAP_BUDGET // (runs * MOST_PARAMETERS), _FEWEST_CELLS))
    return replace(asked, points=points, cells=cells)
