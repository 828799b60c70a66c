"""Fits over a sweep: the temperatures of its runs, group by group, against a hyperparameter."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from analyzer.errors import FitError
from analyzer.fit_tables import alternatives_of, fits_table, hypotheses, per_run
from analyzer.fitting.intervals import Intervals
from analyzer.fitting.many import GroupFits, fit_groups
from analyzer.fitting.models import Model, model_of
from analyzer.groups import By
from analyzer.sweep import hyperparameter, is_sweep, over_runs, runs_of
from analyzer.temperatures import temperature
from analyzer.version import version
from analyzer.windows import Lag

Array = np.ndarray[Any, np.dtype[Any]]

SYMBOLS = {"learning_rate": "η", "batch_size": "β", "inverse_batch_size": "(1/β)"}
HALF_PHASE = "epoch, half phase"
"""The lag of one epoch, taken from its middle to the next one's (`analyzer.temperatures`)."""
_SAME = 1e-6
"""Relative difference between a recorded learning rate and the run's hyperparameter that is none."""


@dataclass(frozen=True)
class SweepFit:
    """A fit of every group of a sweep, and what it was made from.

    Attributes
    ----------
    answer
        The Dataset that `fit` gives.
    fits
        The fits themselves, for predictions; None where a group was refused.
    x
        (runs, hyperparameters).
    """

    answer: xr.Dataset
    fits: GroupFits
    x: Array


def fit(
    sweep: xr.DataTree,
    *,
    against: str | Sequence[str] = "learning_rate",
    model: str = "power",
    by: By = "layer",
    intervals: Intervals = "auto",
    level: float = 0.95,
    alternatives: Sequence[str] = (),
    unfinished: bool = False,
    **options: Any,
) -> xr.Dataset:
    """Fit the temperatures of a sweep's runs against a hyperparameter, each group for itself.

    Parameters
    ----------
    sweep
        As `open_sweep` gives it.
    against
        "learning_rate", "batch_size", "inverse_batch_size" or any recorded hyperparameter; two of them for `joint`.
    model
        "power" a·x^b, "parabola", "square" a·x², "stiff" a·x²/(1 − c·x), "linear", "proportional", "inverse_power"
        a·x^−q, or "joint" a·x1^p·x2^−q.
    by
        Groups, as for `temperature`.
    intervals
        "auto", "per-seed", "pooled" or "weighted"; see `analyzer.fitting.fit.fit`.
    level
        Of the intervals.
    alternatives
        Further models: their AICc beside that of `model`.
    unfinished
        Use runs that are still being written or were interrupted; else they are left out, and counted.
    **options
        Those of `temperature`: start, stop, lag, parameter, exclude, … Several lags give exponents against lag, b(L)
        and q(L): all with the dimension `lag`, and `steps_per_lag` by lag and run.

    Returns
    -------
    xarray.Dataset
        In memory. Dims (group, coefficient): `value`, `standard_error`, interval `low` to `high`, leave-one-out range
        `without_low` to `without_high`. By group: `equation`, `runs`, `left_out` (T ≤ 0, not finite, unfinished),
        `scatter`, `between_seed`, `lack_of_fit`, `r_squared`, `aicc`, `intervals` (how they were found), `notes`. Dims
        (group, run): `temperature`, `within` (its standard error), `fitted`, `residual`, `leverage`. Dims (group,
        hypothesis): `p_value`, for the hypotheses that are known of the model; (group, alternative): `delta_aicc`,
        `evidence`. A group that cannot be fitted is NaN, its `notes` say why.

    Raises
    ------
    FitError, SweepError
        No group can be fitted, or the hyperparameter is not what was recorded.

    Examples
    --------
    >>> sweep = analyzer.open_sweep("runs/*.zarr")
    >>> answer = fit(sweep, against="learning_rate", model="power", by="layer")
    >>> [str(name) for name in answer["coefficient"].values]
    ['a', 'b']
    """
    options |= {"intervals": intervals, "level": level, "alternatives": alternatives, "unfinished": unfinished}
    if isinstance(options.get("lag"), (list, tuple)):
        return fit_by_lag(sweep, against=against, model=model, by=by, **options)
    return fit_sweep(sweep, against=against, model=model, by=by, **options).answer


def fit_sweep(
    sweep: xr.DataTree,
    *,
    against: str | Sequence[str],
    model: str,
    by: By = "layer",
    intervals: Intervals = "auto",
    level: float = 0.95,
    alternatives: Sequence[str] = (),
    unfinished: bool = False,
    **options: Any,
) -> SweepFit:
    """`fit`, with the fits themselves."""
    asked = _asked(sweep, against, model)
    answers = [temperature(run, by=by, **options).compute() for run in asked.runs.values()]
    return _fitted(sweep, asked, answers, by, intervals, level, alternatives, unfinished)


def fit_by_lag(
    sweep: xr.DataTree,
    *,
    lag: Sequence[Lag],
    against: str | Sequence[str],
    model: str,
    by: By = "layer",
    intervals: Intervals = "auto",
    level: float = 0.95,
    alternatives: Sequence[str] = (),
    unfinished: bool = False,
    **options: Any,
) -> xr.Dataset:
    """`fit` at several lags, from one pass over every run: exponents against lag, b(L) and q(L).

    Returns
    -------
    xarray.Dataset
        What `fit` gives, all of it with the dimension `lag`, and `steps_per_lag` by lag and run. Beside the lag "epoch"
        stands "epoch, half phase", from the displacements half an epoch later, whose errors within a run are not known.
    """
    asked = _asked(sweep, against, model)
    answers = [temperature(run, by=by, lag=lag, **options).compute() for run in asked.runs.values()]
    labels, places, parts = [str(label) for label in answers[0]["lag"].values], [], []
    for n, label in enumerate(labels):
        at = [answer.isel(lag=n, drop=True) for answer in answers]
        parts.append(_fitted(sweep, asked, at, by, intervals, level, alternatives, unfinished).answer)
        places.append((label, n))
        if label == "epoch" and all(np.isfinite(one["temperature_half_phase"].values).all() for one in at):
            half = [_at_half_phase(one) for one in at]
            parts.append(_fitted(sweep, asked, half, by, intervals, level, alternatives, unfinished).answer)
            places.append((HALF_PHASE, n))
    shown = [part.reset_coords(drop=True) for part in parts]
    joined = xr.concat(shown, dim="lag", data_vars="all", coords="minimal", compat="override", combine_attrs="override")
    steps = np.stack([answer["steps_per_lag"].values[[n for _, n in places]] for answer in answers], axis=1)
    names = np.array([label for label, _ in places], dtype=object)
    return joined.assign_coords(
        {name: coord for name, coord in parts[0].coords.items() if name != "lag"}
    ).assign_coords(
        lag=("lag", names, answers[0]["lag"].attrs),
        steps_per_lag=(("lag", "run"), steps, answers[0]["steps_per_lag"].attrs),
    )


def _at_half_phase(answer: xr.Dataset) -> xr.Dataset:
    """The temperature half an epoch later in the place of the other; it has no standard error."""
    half = answer["temperature_half_phase"]
    return answer.assign(temperature=half, standard_error=xr.full_like(half, np.nan))


@dataclass(frozen=True)
class _Asked:
    """What a fit asks of a sweep: runs, names of hyperparameters, their values (runs, hyperparameters), the model."""

    runs: dict[str, xr.DataTree]
    names: list[str]
    x: Array
    model: Model


def _asked(sweep: xr.DataTree, against: str | Sequence[str], model: str) -> _Asked:
    if not is_sweep(sweep):
        raise FitError(
            "Fit: expected a sweep, got a single run. One temperature makes no curve. Open several: "
            "analyzer.open_sweep('runs/*.zarr')"
        )
    names = [against] if isinstance(against, str) else list(against)
    chosen = model_of(model)
    if len(names) != chosen.hyperparameters:
        raise FitError(
            f"model {chosen.name}: expected {chosen.hyperparameters} hyperparameter(s), got {len(names)}: "
            f"{', '.join(names)}. Write --against learning_rate --against batch_size for joint, one for all others."
        )
    return _Asked(runs_of(sweep), names, np.stack([_numbers(sweep, name) for name in names], axis=1), chosen)


def _fitted(
    sweep: xr.DataTree,
    asked: _Asked,
    answers: Sequence[xr.Dataset],
    by: By,
    intervals: Intervals,
    level: float,
    alternatives: Sequence[str],
    unfinished: bool,
) -> SweepFit:
    """The fit of the runs' temperatures."""
    runs, names, x, chosen = asked.runs, asked.names, asked.x, asked.model
    measured = over_runs(sweep, answers)
    if measured.sizes["window"] != 1:
        raise FitError(
            f"Fit: expected one window a run, got {measured.sizes['window']}. A fit takes one temperature from each "
            "run. Leave --window out, and choose the range with --start and --stop."
        )
    if "learning_rate" in names:
        _check_rates(runs, answers, x[:, names.index("learning_rate")])
    values = measured["temperature"].transpose("group", "run", "window").values[..., 0]
    within = measured["standard_error"].transpose("group", "run", "window").values[..., 0]
    common: dict[str, Any] = {
        "seed": sweep.coords["seed"].to_numpy() if "seed" in sweep.coords else None,
        "finished": np.ones(len(runs), bool) if unfinished else _finished(runs),
        "names": names,
        "intervals": intervals,
        "level": level,
    }
    usable = np.isfinite(within).all(axis=1, keepdims=True)
    known = within if usable.all() else None
    found = fit_groups(chosen, x, values, within=known, **common)
    symbols = [SYMBOLS.get(name, name) for name in names]
    answer = fits_table(measured, found, chosen.coefficients, symbols)
    answer = answer.assign(per_run(found, values, within)).assign(hypotheses(found, chosen.name))
    if alternatives:
        models = list(dict.fromkeys([chosen.name, *alternatives]))
        answer = answer.assign(alternatives_of(models, x, values, known, common))
        answer = answer.assign_coords(alternative=models)
    for name, (title, units) in _LABELS.items():
        if name in answer.variables:
            answer[name].attrs |= {"long_name": title, "units": measured.attrs["units"] if units == "T" else units}
    answer.attrs |= {
        "quantity": "fit",
        "model": chosen.name,
        "equation": chosen.equation,
        "against": json.dumps(names),
        "level": level,
        "convention": measured.attrs.get("convention", ""),
        "units": measured.attrs.get("units", ""),
        "by": str(measured.attrs.get("by", by)),
        "thermotrace_version": version(),
    }
    return SweepFit(answer, found, x)


def _numbers(sweep: xr.DataTree, name: str) -> Array:
    values = hyperparameter(sweep, name)
    try:
        return np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise FitError(
            f"Hyperparameter {name!r}: expected numbers, got {', '.join(map(str, dict.fromkeys(values.tolist())))}. "
            "Nothing can be fitted against words. Choose another.",
        ) from error


def _check_rates(runs: dict[str, xr.DataTree], answers: Sequence[xr.Dataset], rates: Array) -> None:
    """The learning rate recorded step by step must be constant in the window, and the one of the attributes."""
    for (name, run), answer, rate in zip(runs.items(), answers, rates, strict=True):
        if "learning_rate" not in run.data_vars:
            continue
        steps = run["step"].values
        inside = (steps > answer["start_step"].values[0]) & (steps <= answer["stop_step"].values[0])
        recorded = np.asarray(run["learning_rate"].values)[inside]
        recorded = recorded[np.isfinite(recorded)]
        if recorded.size and not np.allclose(recorded, rate, rtol=_SAME, atol=0):
            raise FitError(
                f"{name}: expected the learning rate {rate:g} of its hyperparameters at every step, got recorded rates "
                f"from {recorded.min():g} to {recorded.max():g} in the window. The run would stand at the wrong place. "
                "Choose a range with one rate (--start, --stop), or leave the run out.",
                run=name,
            )


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
    "lack_of_fit": ("p-value of the curve's lack of fit", "1"),
    "r_squared": ("R²", "1"),
    "aicc": ("AICc", "1"),
    "runs": ("runs fitted", "1"),
    "left_out": ("runs left out", "1"),
    "equation": ("fitted equation", ""),
    "intervals": ("where the intervals come from", ""),
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
"""Long name and units; "T" stands for those of the temperatures, none for what depends on the coefficient."""


def _finished(runs: dict[str, xr.DataTree]) -> Array:
    return np.array([run.attrs.get("status") == "complete" for run in runs.values()])
