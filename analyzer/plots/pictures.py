"""The pictures of the commands from Python: one function for each quantity, from a run and the quantity's options.

`run.thermo.plot` has them as methods, which return the axes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import xarray as xr
from matplotlib import pyplot
from matplotlib.figure import Figure

from analyzer.errors import TreeError
from analyzer.plots import dynamics as dynamics_plots
from analyzer.plots import fit as fit_plots
from analyzer.plots import rows as row_plots
from analyzer.plots import temperature as temperature_plots
from analyzer.plots.distribution import densities
from analyzer.plots.equilibration import starts
from analyzer.plots.factors import factors as factors_figure
from analyzer.plots.modes import modes as modes_figure
from analyzer.plots.spectrum import spectrum as spectrum_figure
from analyzer.plots.style import drawing
from analyzer.quantities.distribution import distribution as measured_distribution
from analyzer.quantities.equilibration import equilibration_of
from analyzer.quantities.factors import factors as measured_factors
from analyzer.quantities.fits.fit import Curve, fit_of
from analyzer.quantities.motion.ageing import ageing as measured_ageing
from analyzer.quantities.motion.dynamics import dynamics as measured_dynamics
from analyzer.quantities.motion.modes import modes as measured_modes
from analyzer.quantities.motion.spectrum import spectrum as measured_spectrum
from analyzer.quantities.rows import from_bin, rows_of
from analyzer.quantities.temperature import temperature as measured_temperature
from analyzer.quantities.tracks import LOSS
from analyzer.quantities.velocity import velocity_summary
from analyzer.query.changes import resumed_at
from analyzer.query.query import Query
from analyzer.tree import trajectory


def temperature(run: xr.DataTree, **options: Any) -> Figure:
    """Draw temperatures; one window of whole parameters is drawn as the curve that it is the mean of."""
    answer = measured_temperature(run, **options).compute()
    resumed, line = resumed_at(run.attrs.get("segments")), trajectory(run).line
    if answer.sizes.get("lag", 1) > 1:
        return temperature_plots.by_lag(answer)
    by = options.get("by", "layer")
    if answer.sizes["window"] == 1 and (not isinstance(by, str) or by in temperature_plots.SERIES):
        window = temperature_plots.series_window(answer)
        answer = measured_temperature(run, **options | {"window": window}).compute()
    return temperature_plots.temperature(answer, resumed, line)


def velocity(run: xr.DataTree, **options: Any) -> Figure:
    """Draw root mean squared velocities."""
    return temperature_plots.velocity(velocity_summary(run, **options).compute(), resumed_at(run.attrs.get("segments")))


def rows(run: xr.DataTree, **options: Any) -> Figure:
    """Draw the elements and the rows of each parameter."""
    query = Query(**{"by": "row"} | options)
    if query.start == "auto":
        query = from_bin(run, query)
    answer, _ = rows_of(run, query)
    elements, _ = row_plots.elements(run, query, answer)
    return row_plots.rows(answer, elements.compute(), trajectory(run).parameters)


def factors(run: xr.DataTree, **options: Any) -> Figure:
    """Draw ⟨v²⟩ of matrices, what row × column leaves of it, and both sets of factors."""
    figure = factors_figure(measured_factors(run, **options))
    if figure is None:
        raise TreeError(
            "Picture: expected a matrix with rows and columns that move, got none. There is nothing to draw. Record "
            "longer, or choose other parameters."
        )
    return figure


def equilibration(run: xr.DataTree, *, loss: str = LOSS, **options: Any) -> Figure:
    """Draw every series with its start of equilibrium."""
    answer, series = equilibration_of(run, Query(**options), loss)
    if not series:
        raise TreeError(
            "Picture: expected a series of 40 samples or more, got none. There is nothing to draw. Record longer."
        )
    return starts(series, answer, resumed_at(run.attrs.get("segments")))


def distribution(run: xr.DataTree, **options: Any) -> Figure:
    """Draw velocities beside the curve of Maxwell and Boltzmann."""
    return densities(measured_distribution(run, **options).compute())


def dynamics(run: xr.DataTree, **options: Any) -> Figure:
    """Draw correlation, displacement and exponent against lag."""
    return dynamics_plots.dynamics(measured_dynamics(run, **options).compute())


def ageing(run: xr.DataTree, **options: Any) -> Figure:
    """Draw the two-time displacement."""
    return dynamics_plots.ageing(measured_ageing(run, **options).compute())


def spectrum(run: xr.DataTree, **options: Any) -> Figure:
    """Draw spectral densities."""
    return spectrum_figure(measured_spectrum(run, **options).compute())


def modes(run: xr.DataTree, **options: Any) -> Figure:
    """Draw projections on the first two modes."""
    return modes_figure(measured_modes(run, **options).compute())


def fit(sweep: xr.DataTree, *, against: Any = "learning_rate", **options: Any) -> Figure:
    """Draw the temperatures of a sweep with the fitted curves."""
    own = {name: options.pop(name) for name in Curve.__dataclass_fields__ if name in options}
    listed = [against] if isinstance(against, str) else list(against)
    answer, found = fit_of(sweep, Curve(against=listed, **own), **{"by": "layer"} | options)
    return fit_plots.fits(found) if found else fit_plots.by_lag(answer)


def axes_of(
    picture: Callable[..., Figure],
    run: xr.DataTree,
    options: dict[str, Any],
    style: str | None = None,
    figsize: tuple[float, float] | None = None,
) -> Any:
    """Draw a picture that pyplot knows; return its axes, an array of them if there are several."""
    with drawing(style, figsize, pyplot.figure):
        figure = picture(run, **options)
    axes = [one for one in figure.axes if one.get_label() != "<colorbar>"]
    return axes[0] if len(axes) == 1 else np.array(axes, dtype=object)
