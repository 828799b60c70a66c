"""The fits of a sweep's groups as variables of a Dataset."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr

from analyzer.errors import FitError
from analyzer.fitting.fit import Fit
from analyzer.fitting.hypotheses import NULLS, wald
from analyzer.fitting.many import GroupFits, compare
from analyzer.fitting.models import MODELS, model_of

Array = np.ndarray[Any, np.dtype[Any]]


def fits_table(
    measured: xr.Dataset, found: GroupFits, coefficients: Sequence[str], symbols: Sequence[str]
) -> xr.Dataset:
    """Return coefficients with intervals, dims (group, coefficient), and numbers and notes of each fit, dim group."""
    fields = ("value", "standard_error", "low", "high", "without_low", "without_high")
    table = np.full((len(fields), len(found.fits), len(coefficients)), np.nan)
    for n, one in enumerate(found.fits):
        if one is not None:
            for m, coefficient in enumerate(one.coefficients):
                table[:, n, m] = [getattr(coefficient, field) for field in fields]
    data: dict[str, Any] = {
        field: (("group", "coefficient"), values) for field, values in zip(fields, table, strict=True)
    }
    numbers = ("scatter", "between_run", "between_seed", "lack_of_fit", "r_squared", "aicc")
    for name in numbers:
        data[name] = ("group", np.array([np.nan if one is None else getattr(one, name) for one in found.fits]))
    data["runs"] = ("group", np.array([0 if one is None else one.points.runs for one in found.fits]))
    data["left_out"] = ("group", np.array([0 if one is None else one.points.left_out.total for one in found.fits]))
    texts = {
        "equation": ["" if one is None else one.equation(symbols) for one in found.fits],
        "intervals": ["" if one is None else one.uncertainty.kind for one in found.fits],
        "notes": [
            why or "; ".join(one.notes if one else ()) for one, why in zip(found.fits, found.refused, strict=True)
        ],
    }
    for name, values in texts.items():
        data[name] = ("group", np.array(values, dtype=object))
    groups = {name: coord for name, coord in measured.coords.items() if coord.dims == ("group",)}
    runs = {name: coord for name, coord in measured.coords.items() if coord.dims == ("run",)}
    return xr.Dataset(data, coords={**groups, **runs, "coefficient": list(coefficients)})


def per_run(found: GroupFits, values: Array, within: Array) -> dict[str, Any]:
    """Return variables with dims (group, run): temperature, its standard error, fitted value, residual, leverage.

    `values` and `within` are (groups, runs), in T's units.
    """
    columns = {name: np.full(values.shape, np.nan) for name in ("fitted", "residual", "leverage")}
    for n, one in enumerate(found.fits):
        if one is not None:
            for name, numbers in zip(columns, (one.fitted, one.residuals, one.leverage), strict=True):
                columns[name][n, one.points.used] = numbers
    rows = {"temperature": values, "within": within, **columns}
    return {name: (("group", "run"), numbers) for name, numbers in rows.items()}


def hypotheses(found: GroupFits, model: str) -> dict[str, Any]:
    """Return the p-values, dims (group, hypothesis), of the named hypotheses about a model; empty if there are none."""
    nulls = [null for null in NULLS if null.model == model]
    if not nulls:
        return {}
    table = np.full((len(found.fits), len(nulls)), np.nan)
    for n, one in enumerate(found.fits):
        if one is not None:
            table[n] = [_p_value(one, null) for null in nulls]
    names = np.array([null.name for null in nulls], dtype=object)
    return {"p_value": (("group", "hypothesis"), table), "hypothesis": ("hypothesis", names)}


def _p_value(one: Fit, null: Any) -> float:
    try:
        return wald(one, null).p_value
    except FitError:  # fewer seeds than coefficients: no joint test
        return np.nan


def alternatives_of(
    models: Sequence[str], x: Array, values: Array, within: Array | None, common: Any
) -> dict[str, Any]:
    """Return AICc above the lowest and the Akaike weight of alternative models, dims (group, alternative).

    Parameters
    ----------
    models
        Names of the models to compare.
    x
        (runs, hyperparameters).
    values, within
        (groups, runs) temperatures and their standard errors, in T's units; `within` may be None.
    common
        Further options of `analyzer.fitting.fit.fit`.
    """
    unknown = [name for name in models if name not in MODELS]
    if unknown:
        model_of(unknown[0])
    delta, evidence = np.full((2, len(values), len(models)), np.nan)
    for n, row in enumerate(values):
        try:
            ranked = compare(models, x, row, within=None if within is None else within[n], **common)
        except FitError:
            continue
        for one, apart, weight in zip(ranked.fits, ranked.delta, ranked.weight, strict=True):
            place = models.index(one.model.name)
            delta[n, place], evidence[n, place] = apart, weight
    return {"delta_aicc": (("group", "alternative"), delta), "evidence": (("group", "alternative"), evidence)}


def along_held(answers: Sequence[xr.Dataset], labels: Sequence[str], order: Sequence[str]) -> xr.Dataset:
    """Join the fits for several held values along the dimension `held`; NaN for runs that are not in a fit."""
    joined = xr.concat(
        answers, dim="held", data_vars="all", coords="minimal", join="outer", compat="override",
        combine_attrs="override",
    )  # fmt: skip
    there = set(map(str, joined["run"].values))
    joined = joined.sel(run=[run for run in order if run in there])
    for name in ("equation", "intervals", "notes"):
        joined[name] = joined[name].where(joined[name].notnull(), "").astype(object)
    runs = {str(run): n for n, answer in enumerate(answers) for run in answer["run"].values}
    for title, coord in answers[0].coords.items():
        if coord.dims == ("run",) and title != "run":
            values = [answers[runs[str(run)]][title].sel(run=run).item() for run in joined["run"].values]
            joined = joined.assign_coords({title: ("run", values, coord.attrs)})
    names = np.array(labels, dtype=object)
    return joined.assign_coords(held=("held", names, {"long_name": "hyperparameters that are held fixed"}))


_LABELS = {
    "coefficient": ("coefficient", ""),
    "value": ("value of the coefficient", ""),
    "standard_error": ("standard error of the coefficient", ""),
    "low": ("lower end of the interval", ""),
    "high": ("upper end of the interval", ""),
    "without_low": ("lowest value with one run left out", ""),
    "without_high": ("highest value with one run left out", ""),
    "scatter": ("relative scatter about the curve", "1"),
    "between_run": ("relative scatter between runs", "1"),
    "between_seed": ("relative scatter between seeds", "1"),
    "lack_of_fit": ("p-value of the test for lack of fit", "1"),
    "r_squared": ("R²", "1"),
    "aicc": ("AICc", "1"),
    "runs": ("runs fitted", "1"),
    "left_out": ("runs left out", "1"),
    "equation": ("fitted equation", ""),
    "intervals": ("kind of the intervals", ""),
    "notes": ("notes", ""),
    "temperature": ("temperature", "T"),
    "within": ("standard error within the run", "T"),
    "fitted": ("fitted temperature", "T"),
    "residual": ("residual", "1"),
    "leverage": ("leverage", "1"),
    "hypothesis": ("hypothesis", ""),
    "p_value": ("p-value", "1"),
    "alternative": ("model", ""),
    "delta_aicc": ("AICc above the best model", "1"),
    "evidence": ("Akaike weight", "1"),
}
"""Long name and units. "T" stands for the temperatures' units; "" for units that depend on the coefficient, or none."""


def name_variables(answer: xr.Dataset, units_of_temperature: str) -> None:
    """Give the variables of an answer their long names and units."""
    for name, (title, units) in _LABELS.items():
        if name in answer.variables:
            answer[name].attrs |= {"long_name": title, "units": units_of_temperature if units == "T" else units}
