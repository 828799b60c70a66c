"""`run.thermo`: the quantities as methods of a tree. Registered when this module is imported."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from importlib import import_module
from inspect import signature
from types import MethodType
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast

import xarray as xr

from analyzer import sweep as _sweep
from analyzer.comparable import comparable, several_strides, strides_of
from analyzer.errors import SelectionError
from analyzer.quantities.answers import FitTables, RowTables, Tables, whole_of
from analyzer.query.groups import nearest
from analyzer.tree import scalars_of, trajectory

Answer = TypeVar("Answer")

if TYPE_CHECKING:

    class Run(xr.DataTree):  # type: ignore[no-untyped-call]
        """A run or a sweep as type checkers know it. While a program runs, xarray adds `thermo` to every `DataTree`."""

        @property
        def thermo(self) -> ThermoAccessor: ...


class _Quantity(Generic[Answer]):
    # A method that passes its tree to the public function of the same name and has that function's docstring. The
    # function is loaded when the method is looked up, so that a question does not wait for the code of all the others.

    def __init__(self, module: str, *, by_run: bool = False) -> None:
        self._module = f"analyzer.quantities.{module}"
        self._by_run = by_run  # a sweep is answered run by run; else the function takes the tree, run or sweep

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    @property
    def __doc__(self) -> str | None:  # type: ignore[override]
        return self._function.__doc__

    @property
    def _function(self) -> Callable[..., Answer]:
        function: Callable[..., Answer] = getattr(import_module(self._module), self._name)
        return function

    def __get__(self, accessor: ThermoAccessor | None, owner: type) -> Callable[..., Answer]:
        function = self._function

        @wraps(function)
        def method(self: ThermoAccessor, **options: Any) -> Any:
            return self._each(function, options) if by_run else function(self._run, **options)

        by_run = self._by_run
        return method if accessor is None else MethodType(method, accessor)


class _Picture:
    # A method that draws the figure of the quantity of the same name. Looking it up loads matplotlib.

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def __get__(self, plots: Plots | None, owner: type) -> Any:
        if plots is None:
            return self
        from analyzer.plots import pictures

        picture = getattr(pictures, self._name)
        run = plots._run

        @wraps(picture)
        def method(*, style: str | None = None, figsize: tuple[float, float] | None = None, **options: Any) -> Any:
            return pictures.axes_of(picture, run, options, style, figsize)

        return method


class Plots:
    """The figures of the commands. Each method has the name and the options of a quantity, and returns the axes.

    `style` is a style of matplotlib; `figsize` is width and height in inches. A figure of several panels returns an
    array of axes. `fit` draws a sweep, every other method a run.
    """

    def __init__(self, run: xr.DataTree) -> None:
        self._run = run

    temperature = _Picture()
    velocity = _Picture()
    rows = _Picture()
    factors = _Picture()
    equilibration = _Picture()
    distribution = _Picture()
    dynamics = _Picture()
    ageing = _Picture()
    spectrum = _Picture()
    modes = _Picture()
    fit = _Picture()


@xr.register_datatree_accessor("thermo")  # type: ignore[no-untyped-call]
class ThermoAccessor:
    """Temperatures and velocities of a run, or of all runs of a sweep: then the answers have a dimension `run`."""

    def __init__(self, run: xr.DataTree) -> None:
        self._run = run

    @property
    def plot(self) -> Plots:
        """Figures: `run.thermo.plot.rows(start="auto")` draws the figure of `analyzer rows --plot`; returns axes."""
        return Plots(self._run)

    def parameter(self, name: str) -> xr.DataArray:
        """A parameter by its dotted name, dims (row, col, step). Further axes: axis_2, axis_3 and so on.

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

    def scalar(self, name: str) -> xr.DataArray:
        """A logged scalar by the name that was given to `log`, dims (step,).

        Parameters
        ----------
        name
            Any text, as in `recorder.log({"train/loss": loss})`; "learning_rate" is the recorder's own where nothing
            was logged under that name.

        Returns
        -------
        xarray.DataArray
            float64, NaN where nothing was logged. Lazy where the run is.

        Raises
        ------
        SelectionError
            Nothing was logged under this name.
        TreeError
            The object is no run.
        """
        trajectory(self._run)
        logged = scalars_of(self._run)
        if name not in logged:
            listed = ", ".join(logged) or "nothing"
            raise SelectionError(
                f"Scalar {name!r}: expected one of those that were logged ({listed}), got none of them. "
                f"{f'Did you mean {meant}?' if (meant := nearest(name, logged)) else 'Mend the name.'}",
                available=tuple(logged),
            )
        return logged[name].rename(name)  # the tree's variable may have another name: none there holds a slash

    def select(self, /, **hyperparameters: Any) -> Run:
        return cast("Run", _sweep.select(self._run, **hyperparameters))

    temperature = _Quantity[xr.Dataset]("temperature", by_run=True)
    rows = _Quantity[RowTables]("rows", by_run=True)
    factors = _Quantity[xr.Dataset]("factors")
    equilibration = _Quantity[xr.Dataset]("equilibration")
    dynamics = _Quantity[xr.Dataset]("motion.dynamics", by_run=True)
    spectrum = _Quantity[xr.Dataset]("motion.spectrum", by_run=True)
    ageing = _Quantity[xr.Dataset]("motion.ageing", by_run=True)
    modes = _Quantity[xr.Dataset]("motion.modes")
    mode_weights = _Quantity[xr.Dataset]("motion.modes")
    distribution = _Quantity[xr.Dataset]("distribution")
    check = _Quantity[xr.Dataset]("checks.check")
    fit = _Quantity[FitTables]("fits.fit")
    velocity = _Quantity[xr.DataTree]("velocity")
    stack = _Quantity[xr.DataArray]("stack")
    velocity_summary = _Quantity[xr.Dataset]("velocity", by_run=True)

    def _each(self, measure: Callable[..., Any], options: dict[str, Any]) -> Any:
        if not _sweep.is_sweep(self._run):
            return measure(self._run, **options)
        same = comparable(self._run, options)
        if "lag" in same and "lag" not in {*options, *signature(measure).parameters}:
            raise several_strides(strides_of(self._run), measure.__name__)
        answers = [measure(run, **same) for run in _sweep.runs_of(self._run).values()]
        wholes = [whole_of(answer) for answer in answers]
        joined = _sweep.over_runs(_sweep.in_windows(self._run, wholes), wholes)
        return type(answers[0]).of(joined) if isinstance(answers[0], Tables) else joined

    select.__doc__ = _sweep.select.__doc__
