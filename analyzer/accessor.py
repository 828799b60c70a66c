"""`run.thermo`: the quantities as methods of a tree. Registered when this module is imported."""

from __future__ import annotations

from typing import Any

import xarray as xr

from analyzer import temperatures as _temperatures
from analyzer import velocities as _velocities
from analyzer.errors import SelectionError
from analyzer.tree import trajectory


@xr.register_datatree_accessor("thermo")  # type: ignore[no-untyped-call]
class ThermoAccessor:
    """Temperatures and velocities of a run."""

    def __init__(self, run: xr.DataTree) -> None:
        self._run = run

    def parameter(self, name: str) -> xr.DataArray:
        """A parameter by its dotted name, dims (row, col, step); further axes keep their number: axis_2, axis_3.

        Raises
        ------
        SelectionError
            No parameter has this name.
        """
        known = trajectory(self._run)
        by_name = {alias: p.name for p in known.parameters for alias in (*p.aliases, p.name)}
        if name not in by_name:
            raise SelectionError(
                f"Parameter {name!r}: expected one of: {', '.join(known.arrays)}; got none of them. Mend the name.",
                available=tuple(known.arrays),
            )
        array = known.arrays[by_name[name]]
        titles = ("row", "col", *(f"axis_{n}" for n in range(2, array.ndim)))
        return array.rename(dict(zip(array.dims[:-1], titles, strict=False)))

    def temperature(self, **options: Any) -> xr.Dataset:
        return _temperatures.temperature(self._run, **options)

    def velocity(self, **options: Any) -> xr.DataTree:
        return _velocities.velocity(self._run, **options)

    def velocity_summary(self, **options: Any) -> xr.Dataset:
        return _velocities.velocity_summary(self._run, **options)

    temperature.__doc__ = _temperatures.temperature.__doc__
    velocity.__doc__ = _velocities.velocity.__doc__
    velocity_summary.__doc__ = _velocities.velocity_summary.__doc__
