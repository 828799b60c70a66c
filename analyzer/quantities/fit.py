"""Fits over a sweep: the temperatures of its runs, group by group, against a hyperparameter."""

from __future__ import annotations

import json
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from analyzer.errors import FitError, NonFiniteWarning, SettingsWarning
from analyzer.fitting.intervals import Intervals
from analyzer.fitting.many import GroupFits, fit_groups
from analyzer.fitting.models import Model, model_of
from analyzer.quantities.fit_tables import alternatives_of, fits_table, hypotheses, per_run
from analyzer.quantities.temperature import temperature
from analyzer.query.changes import told, within
from analyzer.query.groups import By
from analyzer.sweep import (
    check_axes,
    column_name,
    common_lag,
    hyperparameter,
    in_windows,
    is_sweep,
    over_runs,
    runs_of,
    shared_steps,
)
from analyzer.tree import trajectory
from analyzer.version import version

Array = np.ndarray[Any, np.dtype[Any]]

SYMBOLS = {"learning_rate": "η", "batch_size": "β", "inverse_batch_size": "(1/β)"}
HALF_PHASE = "epoch, half phase"
"""The lag of one epoch, taken from its middle to the next one's (`analyzer.quantities.temperature`)."""
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
        Those of `temperature`: start, stop, lag, parameter, exclude, … Where the runs have several strides, the
        default lag is the shortest time that all have frames for. Several lags give exponents against lag, b(L) and
        q(L): all with the dimension `lag`, and `steps_per_lag` by lag and run.

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
    curve = Curve(
        against=[against] if isinstance(against, str) else list(against),
        model=model,
        intervals=intervals,
        level=level,
        alternatives=alternatives,
        unfinished=unfinished,
    )
    return fit_of(sweep, curve, by=by, **options)[0]


@dataclass(frozen=True, kw_only=True)
class Curve:
    """What is fitted to the temperatures of a sweep, and how; each as for `fit`."""

    against: Sequence[str]
    model: str = "power"
    intervals: Intervals = "auto"
    level: float = 0.95
    alternatives: Sequence[str] = ()
    unfinished: bool = False


def fit_of(sweep: xr.DataTree, curve: Curve, **options: Any) -> tuple[xr.Dataset, SweepFit | None]:
    """`fit` of a curve, and the fits themselves: None where several lags are asked for.

    Parameters
    ----------
    sweep, curve
        What is fitted.
    **options
        Those of `temperature`. Several lags are answered from one pass over every run, and the answer has the dimension
        `lag`. Beside the lag "epoch" it then has "epoch, half phase": displacements half an epoch later, whose errors
        within a run are not known.
    """
    _check_curve(sweep, curve)
    check_axes(sweep, options.get("by", "layer"))
    lag = common_lag(sweep, *(options.get(name) for name in ("lag", "start", "stop")))
    options |= {} if lag is None else {"lag": lag}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SettingsWarning)  # refused, by the name of the run
        lazy = [temperature(run, **options) for run in runs_of(sweep).values()]
    _check_settings(runs_of(sweep), lazy, curve.unfinished)
    fitted = {name for name, run in runs_of(sweep).items() if curve.unfinished or _is_finished(run)}
    if shared := shared_steps(sweep, lazy, fitted):
        raise FitError(shared)
    sweep = in_windows(sweep, lazy)
    asked = _asked(sweep, curve)
    answers = [_computed(name, answer) for name, answer in zip(runs_of(sweep), lazy, strict=True)]
    if isinstance(options.get("lag"), (list, tuple)):
        return _by_lag(sweep, asked, answers), None
    found = _fitted(sweep, asked, answers)
    return found.answer, found


def _computed(name: str, lazy: xr.Dataset) -> xr.Dataset:
    """The answer of a run in memory. What is warned of, as weights that are not finite, is of that run."""
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always", NonFiniteWarning)
        answer = lazy.compute()
    for one in heard:
        warnings.warn(f"{name}: {one.message}", one.category, stacklevel=2)
    return answer


def _by_lag(sweep: xr.DataTree, asked: _Asked, answers: Sequence[xr.Dataset]) -> xr.Dataset:
    """A fit at each lag: exponents against lag, b(L) and q(L)."""
    labels, places, parts = [str(label) for label in answers[0]["lag"].values], [], []
    for n, label in enumerate(labels):
        at = [answer.isel(lag=n, drop=True) for answer in answers]
        parts.append(_fitted(sweep, asked, at).answer)
        places.append((label, n))
        if label == "epoch" and all(np.isfinite(one["temperature_half_phase"].values).all() for one in at):
            parts.append(_fitted(sweep, asked, [_at_half_phase(one) for one in at]).answer)
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
    """A checked curve: the runs that it is fitted to, the hyperparameters (runs, hyperparameters), and the model."""

    curve: Curve
    runs: dict[str, xr.DataTree]
    x: Array
    model: Model


def _check_curve(sweep: xr.DataTree, curve: Curve) -> None:
    """Refuse what no measurement is needed to refuse."""
    if not is_sweep(sweep):
        raise FitError(
            "Fit: expected a sweep, got a single run. One temperature makes no curve. Open several: "
            "analyzer.open_sweep('runs/*.zarr')"
        )
    names, chosen = curve.against, model_of(curve.model)
    if len(names) != chosen.hyperparameters:
        raise FitError(
            f"model {chosen.name}: expected {chosen.hyperparameters} hyperparameter(s), got {len(names)}: "
            f"{', '.join(names)}. Write --against learning_rate --against batch_size for joint, one for all others."
        )
    for name in names:
        hyperparameter(sweep, name)


def _asked(sweep: xr.DataTree, curve: Curve) -> _Asked:
    names, chosen = curve.against, model_of(curve.model)
    return _Asked(curve, runs_of(sweep), np.stack([_numbers(sweep, name) for name in names], axis=1), chosen)


def _fitted(sweep: xr.DataTree, asked: _Asked, answers: Sequence[xr.Dataset]) -> SweepFit:
    """The fit of the runs' temperatures."""
    curve, runs, x, chosen = asked.curve, asked.runs, asked.x, asked.model
    names = list(curve.against)
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
    finished = np.ones(len(runs), bool) if curve.unfinished else _finished(runs)
    common: dict[str, Any] = {
        "seed": _seeds(sweep),
        "finished": finished,
        "names": names,
        "runs": list(runs),
        "intervals": curve.intervals,
        "level": curve.level,
    }
    used = finished & np.isfinite(values) & (values > 0)  # a run that is left out has no say in how others are weighted
    known = within if (np.isfinite(within) | ~used).all() else None
    found = fit_groups(chosen, x, values, within=known, **common)
    symbols = [SYMBOLS.get(name, name) for name in names]
    answer = fits_table(measured, found, chosen.coefficients, symbols)
    answer = answer.assign(per_run(found, values, within)).assign(hypotheses(found, chosen.name))
    if curve.alternatives:
        models = list(dict.fromkeys([chosen.name, *curve.alternatives]))
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
        "level": curve.level,
        "convention": measured.attrs.get("convention", ""),
        "units": measured.attrs.get("units", ""),
        "by": str(measured.attrs.get("by", "")),
        "thermotrace_version": version(),
    }
    return SweepFit(answer, found, x)


def _numbers(sweep: xr.DataTree, name: str) -> Array:
    values = hyperparameter(sweep, name)
    try:
        return np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError, OverflowError) as error:
        raise FitError(
            f"Hyperparameter {name!r}: expected numbers, got {', '.join(map(str, dict.fromkeys(values.tolist())))}. "
            "Nothing can be fitted against words. Choose another.",
        ) from error


def _seeds(sweep: xr.DataTree) -> Array | None:
    """The seed of every run; None unless all have one, since runs of unknown seeds are no replicates of one."""
    name = column_name(sweep, "seed")
    values = None if name is None else sweep.coords[name].to_numpy()
    return None if values is None or any(value is None or value != value for value in values) else values


def _check_settings(runs: dict[str, xr.DataTree], answers: Sequence[xr.Dataset], unfinished: bool) -> None:
    """Every run that is fitted must have had one setting in the window: else it has no place on the curve."""
    used = [unfinished] * len(runs) if unfinished else _finished(runs).tolist()
    for (name, run), answer, fitted in zip(runs.items(), answers, used, strict=True):
        line = trajectory(run).line
        if not fitted:
            continue
        start, stop = int(answer["start_step"].min()), int(answer["stop_step"].max())
        if found := within(line.changes, line.steps, start, stop):
            raise FitError(
                f"{name}: {told(found, line.changes, line.steps)}", run=name, steps=[c.first_step for c in found]
            )


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
    return np.array([_is_finished(run) for run in runs.values()])


def _is_finished(run: xr.DataTree) -> bool:
    return bool(run.attrs.get("status") == "complete")
