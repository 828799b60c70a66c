"""The subject of a report: one run, opened as far as possible, and the options of the report."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import xarray as xr

from analyzer.errors import AnalyzerError, DamagedStoreError
from analyzer.quantities.equilibration import equilibration, from_equilibrium
from analyzer.quantities.rows import from_bin
from analyzer.query.query import Query
from analyzer.query.windows import Bound
from analyzer.run import open_run
from analyzer.store.names import loss_of
from analyzer.store.schema import Store, read_store
from analyzer.tree import scalars_of

Array = np.ndarray[Any, np.dtype[Any]]

MOST_POINTS, _FEWEST_POINTS = 300, 40
"""Most points of a curve, and the fewest to which many runs on a page reduce it."""
MOST_CELLS, _FEWEST_CELLS = 16_384, 256
"""The same for the cells of a map."""
MOST_PARAMETERS = 8
"""Most parameters whose rows are drawn, as in `analyzer rows --plot`."""
_CURVE_BUDGET, _MAP_BUDGET = 200_000, 800_000
"""Most numbers on a page in curves and in maps: 1.6 MB and 2.1 MB, at about 8 and 3 bytes each."""


@dataclass(frozen=True)
class Asked:
    """Options of a report.

    Attributes
    ----------
    by
        Groups of the temperatures; only groups of whole parameters.
    start, stop
        Range of steps for temperatures, rows, velocities, checks and fits. Curves and equilibrium use the whole run.
    cache, memory_limit
        As for `analyzer.temperature`.
    points, cells
        Most points in a curve, and most cells in a map.
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
        """Options of every computation."""
        return {"cache": self.cache, "memory_limit": self.memory_limit}

    @property
    def range(self) -> dict[str, Any]:
        """Options that limit a computation to the range of steps."""
        return {"start": self.start, "stop": self.stop}


class Subject:
    """One run of a report. Lifetime: one page; results that several sections need are computed once.

    Attributes
    ----------
    store
        Metadata of the run.
    name
        Its name on the page.
    tree
        The open run, or None if it cannot be opened.
    problem
        Why it cannot be opened, else empty.
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
        """The open run.

        Raises
        ------
        DamagedStoreError
            The run could not be opened.
        """
        if self.tree is None:
            raise DamagedStoreError(self.problem, location=self.store.location)
        return self.tree

    @cached_property
    def equilibrium(self) -> xr.Dataset:
        """The answer of `analyzer.equilibration` for the whole run."""
        return equilibration(self.run, by=self.asked.by, **self.asked.options)

    @property
    def range(self) -> dict[str, Any]:
        """The range of steps, with start "auto" replaced by a step. Warnings of that search are repeated each time."""
        start, stop, heard = self._bounds
        for message in heard:
            warnings.warn(message, stacklevel=2)  # each section that uses the range shows the warning
        return {"start": start, "stop": stop}

    @property
    def range_from_bin(self) -> dict[str, Any]:
        """The range; where it begins with equilibrium, then at the next edge of a kept bin."""
        chosen = self.range
        if self.asked.start == "auto":
            chosen["start"] = from_bin(self.run, Query(start=chosen["start"])).start
        return chosen

    @cached_property
    def _bounds(self) -> tuple[Bound, Bound, list[Warning | str]]:
        query = Query(start=self.asked.start, stop=self.asked.stop, **self.asked.options)
        with warnings.catch_warnings(record=True) as heard:
            warnings.simplefilter("always")
            query = from_equilibrium(self.run, query)
        return query.start, query.stop, [warning.message for warning in heard]

    @cached_property
    def scalars(self) -> dict[str, Array]:
        """Logged scalars with one number a step, by name, (frames,) float64; the loss comes first."""
        logged = {
            name: array for name, array in scalars_of(self.run).items() if array.dims == ("step",) and name != "epoch"
        }
        names = sorted(logged, key=lambda name: (name != loss_of(logged), "loss" not in name))
        return {name: np.asarray(logged[name].values, dtype=np.float64) for name in names}


def within_budget(subjects: Sequence[Subject], asked: Asked) -> Asked:
    """Return the options with fewer points and cells, if needed, so that all runs fit on a page."""
    runs = max(len(subjects), 1)
    curves = max((len({p.layer for p in subject.store.parameters}) for subject in subjects), default=1) + 2
    points = min(asked.points, max(_CURVE_BUDGET // (runs * curves), _FEWEST_POINTS))
    cells = min(asked.cells, max(_MAP_BUDGET // (runs * MOST_PARAMETERS), _FEWEST_CELLS))
    return replace(asked, points=points, cells=cells)
