"""`run.thermo`: the quantities as methods of a tree. Registered when this module is imported."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import xarray as xr

from analyzer import checks as _checks
from analyzer import distributions as _distributions
from analyzer import equilibria as _equilibria
from analyzer import row_temperatures as _rows
from analyzer import sweep as _sweep
from analyzer import sweep_fits as _fits
from analyzer import temperatures as _temperatures
from analyzer import velocities as _velocities
from analyzer.errors import SelectionError
from analyzer.groups import nearest
from analyzer.tree import trajectory


@xr.register_datatree_accessor("thermo")  # type: ignore[no-untyped-call]
class ThermoAccessor:
    """Temperatures and velocities of a run, or of all runs of a sweep: then the answers have a dimension `run`."""

    def __init__(self, run: xr.DataTree) -> None:
        self._run = run

    def parameter(self, name: str) -> xr.DataArray:
        """A parameter by its dotted name, dims (row, col, step); further axes keep their number: axis_2, axis_3.

        Parameters
        ----------
        name
            As in `model.named_parameters()`, or another name of the same tied tensor.

        Returns
        -------
        xarray.DataArray
            Lazy where the run is.

        Raises
        ------
        SelectionError
            No parameter has this name.
        """
        known = trajectory(self._run)
        by_name = {alias: p.name for p in known.parameters for alias in (*p.aliases, p.name)}
        if name not in by_name:
            raise SelectionError(
                f"Parameter {name!r}: expected one of: {', '.join(known.arrays)}; got none of them. "
                f"{f'Did you mean {meant}?' if (meant := nearest(name, by_name)) else 'Mend the name.'}",
                available=tuple(known.arrays),
            )
        array = known.arrays[by_name[name]]
        titles = ("row", "col", *(f"axis_{n}" for n in range(2, array.ndim)))
        return array.rename(dict(zip(array.dims[:-1], titles, strict=False)))

    def select(self, **hyperparameters: Any) -> xr.DataTree:
        return _sweep.select(self._run, **hyperparameters)

    def temperature(self, **options: Any) -> xr.Dataset:
        return self._each(_temperatures.temperature, options)

    def rows(self, **options: Any) -> xr.Dataset:
        return self._each(_rows.rows, options)

    def equilibration(self, **options: Any) -> xr.Dataset:
        return _equilibria.equilibration(self._run, **options)

    def distribution(self, **options: Any) -> xr.Dataset:
        return _distributions.distribution(self._run, **options)

    def check(self, **options: Any) -> xr.Dataset:
        return _checks.check(self._run, **options)

    def fit(self, **options: Any) -> xr.Dataset:
        return _fits.fit(self._run, **options)

    def velocity(self, **options: Any) -> xr.DataTree:
        return _velocities.velocity(self._run, **options)

    def velocity_summary(self, **options: Any) -> xr.Dataset:
        return self._each(_velocities.velocity_summary, options)

    def _each(self, measure: Callable[..., xr.Dataset], options: dict[str, Any]) -> xr.Dataset:
        if not _sweep.is_sweep(self._run):
            return measure(self._run, **options)
        answers = [measure(run, **options) for run in _sweep.runs_of(self._run).values()]
        return _sweep.over_runs(self._run, answers)

    select.__doc__ = _sweep.select.__doc__
    fit.__doc__ = _fits.fit.__doc__
    check.__doc__ = _checks.check.__doc__
    distribution.__doc__ = _distributions.distribution.__doc__
    equilibration.__doc__ = _equilibria.equilibration.__doc__
    rows.__doc__ = _rows.rows.__doc__
    temperature.__doc__ = _temperatures.temperature.__doc__
    velocity.__doc__ = _velocities.velocity.__doc__
    velocity_summary.__doc__ = _velocities.velocity_summary.__doc__
