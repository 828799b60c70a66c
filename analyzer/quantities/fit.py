"""Fits over a sweep: the temperatures of its runs, group by group, against a hyperparameter."""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import xarray as xr

from analyzer.errors import (
    EquilibriumWarning,
    FitError,
    FitWarning,
    NonFiniteWarning,
    SettingsWarning,
    caller_level,
)
from analyzer.fitting.intervals import Intervals
from analyzer.fitting.many import GroupFits, fit_groups
from analyzer.fitting.models import Model, model_of
from analyzer.quantities.fit_tables import alternatives_of, fits_table, hypotheses, per_run
from analyzer.quantities.held import Held, held_fixed, part_of, with_recorded_rates
from analyzer.quantities.temperature import temperature
from analyzer.query.changes import told, within
from analyzer.query.groups import By
from analyzer.query.recorded import LEARNING_RATE
from analyzer.sweep import (
    check_axes,
    column_name,
    common_lag,
    hyperparameter,
    in_windows,
    is_sweep,
    over_runs,
    runs_of,
    select,
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
    held
        The values of other hyperparameters that are held fixed, as in "batch_size=16"; empty if none varies.
    """

    answer: xr.Dataset
    fits: GroupFits
    x: Array
    held: str = ""


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
    where: Mapping[str, Any] | None = None,
    pool: Sequence[str] = (),
    **options: Any,
) -> xr.Dataset:
    """Fit the temperatures of a sweep's runs against a hyperparameter, each group for itself.

    Parameters
    ----------
    sweep
        As `open_sweep` gives it.
    against
        "learning_rate", "batch_size", "inverse_batch_size" or any recorded hyperparameter; two of them for `joint`. The
        learning rate is that of the hyperparameters, else the one recorded with the frames of the window.
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
    where
        Only the runs with these values of hyperparameters, as {"batch_size": 16}.
    pool
        Other hyperparameters that may vary among the runs of one fit. All that vary and are not named here are held
        fixed, but for seeds: there is one fit for each of their values that has enough runs.
    **options
        Those of `temperature`: start ("auto", "50%", …), stop, lag, parameter, exclude, … Where the runs have several
        strides, the default lag is the shortest time that all have frames for. Several lags give exponents against lag,
        b(L) and q(L): all with the dimension `lag`, and `steps_per_lag` by lag and run.

    Returns
    -------
    xarray.Dataset
        In memory. Dims (group, coefficient): `value`, `standard_error`, interval `low` to `high`, leave-one-out range
        `without_low` to `without_high`. By group: `equation`, `runs`, `left_out` (T ≤ 0, not finite, unfinished),
        `scatter`, `between_seed`, `lack_of_fit`, `r_squared`, `aicc`, `intervals` (how they were found), `notes`. Dims
        (group, run): `temperature`, `within` (its standard error), `fitted`, `residual`, `leverage`. Dims (group,
        hypothesis): `p_value`, for the hypotheses that are known of the model; (group, alternative): `delta_aicc`,
        `evidence`. A group that cannot be fitted is NaN, its `notes` say why. Where several values of other
        hyperparameters are held fixed, all have the dimension `held` before these, as in "batch_size=16"; where there
        is one, the attribute `held` says it.

    Raises
    ------
    FitError, SweepError
        No group can be fitted, or the hyperparameter is not what was recorded.

    Warns
    -----
    FitWarning
        Runs are left out, or still drift: once, with their names.

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
        where=where or {},
        pool=pool,
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
    where: Mapping[str, Any] = field(default_factory=dict)
    pool: Sequence[str] = ()


def fit_of(sweep: xr.DataTree, curve: Curve, **options: Any) -> tuple[xr.Dataset, tuple[SweepFit, ...]]:
    """`fit` of a curve, and the fits themselves, one for each value that is held fixed: none of several lags.

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
    sweep = select(sweep, **curve.where) if curve.where else sweep
    check_axes(sweep, options.get("by", "layer"))
    lag = common_lag(sweep, *(options.get(name) for name in ("lag", "start", "stop")))
    options |= {} if lag is None else {"lag": lag}
    lazy, said = _measured(sweep, options)
    _check_settings(runs_of(sweep), lazy, curve.unfinished)
    sweep = in_windows(sweep, lazy)
    if LEARNING_RATE in curve.against:
        sweep = with_recorded_rates(sweep, lazy)
    for name in [*curve.against, *curve.pool]:
        hyperparameter(sweep, name, partial=name in curve.pool)
    model = model_of(curve.model)
    parts = held_fixed(sweep, curve.against, curve.pool, len(model.coefficients) + 3)
    fitted = {name for name, run in runs_of(sweep).items() if curve.unfinished or _is_finished(run)}
    for part in parts:
        if shared := shared_steps(part_of(sweep, part), [lazy[n] for n in part.places], fitted):
            raise FitError(shared)
    _warn(sweep, parts, said)
    several = isinstance(options.get("lag"), (list, tuple))
    answers, found = [], []
    for part in parts:
        own = part_of(sweep, part)
        measured = [_computed(name, lazy[n]) for name, n in zip(runs_of(own), part.places, strict=True)]
        if several:
            answers.append(_by_lag(own, _asked(own, curve), measured))
        else:
            found.append(replace(_fitted(own, _asked(own, curve), measured), held=part.label))
            answers.append(found[-1].answer)
    if len(parts) == 1:
        return answers[0].assign_attrs({"held": parts[0].label} if parts[0].label else {}), tuple(found)
    return _joined(answers, [part.label for part in parts], list(runs_of(sweep))), tuple(found)


def _joined(answers: Sequence[xr.Dataset], labels: Sequence[str], order: Sequence[str]) -> xr.Dataset:
    """The fits of several values that are held fixed, along the dimension `held`; NaN for the runs of others."""
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


def _measured(sweep: xr.DataTree, options: dict[str, Any]) -> tuple[list[xr.Dataset], dict[str, list[str]]]:
    """The lazy temperature of every run, and what was said of runs while it was found, by what was said."""
    lazy = []
    said: dict[str, list[str]] = {}
    for name, run in runs_of(sweep).items():
        with warnings.catch_warnings(record=True) as heard:
            warnings.simplefilter("always")
            lazy.append(temperature(run, **options))
        for one in heard:
            if issubclass(one.category, EquilibriumWarning):
                drifting = str(one.message).partition("still drift: ")[2].partition(". Their")[0]
                said.setdefault("still drift after their t0", []).append(f"{name}: {drifting}")
            elif not issubclass(one.category, SettingsWarning):  # a range with several settings is refused
                warnings.warn_explicit(one.message, one.category, one.filename, one.lineno)
    return lazy, said


def _warn(sweep: xr.DataTree, parts: Sequence[Held], said: Mapping[str, list[str]]) -> None:
    """Say once which runs are left out, and which still drift."""
    names = list(runs_of(sweep))
    used = {n for part in parts for n in part.places}
    left = [name for n, name in enumerate(names) if n not in used]
    lines = [f"{len(runs)} of {len(names)} runs {what} ({_listed(runs)})" for what, runs in said.items()]
    if left:
        values = "; ".join(part.label for part in parts)
        lines.append(
            f"{len(left)} of {len(names)} runs are left out ({_listed(left)}), since the fit holds {values} fixed and "
            "other values have too few runs. To choose: --where NAME=VALUE; to put them together: --pool NAME"
        )
    if lines:
        warnings.warn(f"Fit: {'. '.join(lines)}.", FitWarning, stacklevel=caller_level())


def _listed(names: Sequence[str], most: int = 8) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


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
        if name != LEARNING_RATE:  # it may have been recorded with the frames
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
