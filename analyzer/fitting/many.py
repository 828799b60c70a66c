"""Several fits at once: compare models on the same runs, or fit one model to every group of a sweep."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from analyzer.errors import FitError
from analyzer.fitting.fit import Fit, fit
from analyzer.fitting.models import Model, model_of

Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True, eq=False)
class Comparison:
    """Several models on the same runs, the best first.

    Attributes
    ----------
    fits
        The fits in ascending order of AICc.
    delta
        (models,) AICc minus the lowest one.
    weight
        (models,) Akaike weights: exp(−delta/2), normalised to sum 1.
    refused
        Name of each model that could not be fitted, and why.
    """

    fits: tuple[Fit, ...]
    delta: Array
    weight: Array
    refused: tuple[tuple[str, str], ...]


@dataclass(frozen=True, eq=False)
class GroupFits:
    """One model fitted to many groups. For a group that cannot be fitted, `fits` has None and `refused` the reason."""

    fits: tuple[Fit | None, ...]
    refused: tuple[str | None, ...]


def compare(models: Sequence[str | Model], x: Array, temperature: Array, **options: Any) -> Comparison:
    """Fit several models to the same runs and rank them by AICc; `options` are those of `fit`.

    Raises
    ------
    FitError
        No model can be fitted. The error is that of the first model.
    """
    fits, refused = [], []
    for model in map(model_of, models):
        try:
            fits.append(fit(model, x, temperature, **options))
        except FitError as error:
            refused.append((model.name, error))
    if not fits:
        if refused:
            raise refused[0][1]
        raise FitError("compare: expected at least one model, got none.")
    fits.sort(key=lambda one: one.aicc)
    criteria = np.array([one.aicc for one in fits])
    # The AICc of data without noise is −∞. Models that reach it share the weight equally.
    delta = np.where(criteria == criteria[0], 0.0, criteria - criteria[0] if np.isfinite(criteria[0]) else np.inf)
    weight = np.exp(-delta / 2)
    return Comparison(tuple(fits), delta, weight / weight.sum(), tuple((name, str(error)) for name, error in refused))


def fit_groups(
    model: str | Model, x: Array, temperature: Array, *, within: Array | None = None, **options: Any
) -> GroupFits:
    """Fit one model to each group of a sweep.

    Parameters
    ----------
    model
        As for `fit`.
    x
        (runs,) or (runs, hyperparameters), the same for all groups.
    temperature
        (groups, runs).
    within
        (groups, runs) standard errors within runs, in T's units, or None.
    options
        Those of `fit`, the same for all groups.

    Raises
    ------
    FitError
        No group can be fitted. The error is that of the first group.
    """
    table = np.asarray(temperature, dtype=np.float64)
    shapes = [table.shape] if within is None else [table.shape, np.shape(within)]
    if table.ndim != 2 or len(set(shapes)) > 1:
        raise FitError(f"temperature, within: expected the shape (groups, runs), got {' and '.join(map(str, shapes))}.")
    fits: list[Fit | None] = []
    refused: list[FitError | None] = []
    for number, values in enumerate(table):
        try:
            fits.append(fit(model, x, values, within=None if within is None else within[number], **options))
            refused.append(None)
        except FitError as error:
            fits.append(None)
            refused.append(error)
    first = next((error for error in refused if error is not None), None)
    if first is not None and not any(fits):
        raise first
    return GroupFits(tuple(fits), tuple(None if error is None else str(error) for error in refused))
