"""Fits over a sweep: the temperatures of its runs, group by group, against a hyperparameter."""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import xarray as xr

from analyzer.comparable import comparable
from analyzer.errors import (
    FitError,
    FitWarning,
    caller_level,
)
from analyzer.fitting.intervals import Intervals
from analyzer.fitting.many import GroupFits, fit_groups
from analyzer.fitting.models import Model, model_of
from analyzer.quantities.answers import FitTables
from analyzer.quantities.fits.held import Held, held_fixed, part_of, with_recorded_rates
from analyzer.quantities.fits.runs import (
    check_rates,
    check_settings,
    computed,
    finished_of,
    is_finished,
    measured_lazily,
    numbers_of,
    seeds_of,
)
from analyzer.quantities.fits.settled import CHANGES, remark
from analyzer.quantities.fits.tables import (
    along_held,
    alternatives_of,
    fits_table,
    hypotheses,
    name_variables,
    per_run,
)
from analyzer.query.groups import By
from analyzer.query.recorded import LEARNING_RATE
from analyzer.sweep import (
    children_of,
    hyperparameter,
    in_windows,
    is_sweep,
    over_runs,
    run_names,
    select,
    shared_steps,
)
from analyzer.version import version

Array = np.ndarray[Any, np.dtype[Any]]

SYMBOLS = {"learning_rate": "η", "batch_size": "β", "inverse_batch_size": "(1/β)"}
HALF_PHASE = "epoch, half phase"
"""The lag from the middle of one epoch to the middle of the next (`analyzer.quantities.temperature`)."""


@dataclass(frozen=True)
class SweepFit:
    """A fit of every group of a sweep, and the data behind it.

    Attributes
    ----------
    answer
        The Dataset that `fit` returns.
    fits
        The fits themselves, for predictions; None for a group that could not be fitted.
    x
        (runs, hyperparameters) values that temperatures are fitted against.
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
) -> FitTables:
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
        Level of the intervals.
    alternatives
        Further fit models whose AICc is compared with that of `model`.
    unfinished
        Use runs that are still being written or were interrupted. By default they are left out, and counted.
    where
        Use only the runs with these values of hyperparameters, as {"batch_size": 16}.
    pool
        Other hyperparameters that may vary among the runs of one fit. Those that vary and are not named here are held
        fixed, except seeds: there is one fit for each of their values that has enough runs.
    **options
        Options of `temperature`: start ("auto", "50%", …), stop, lag, parameter, exclude, … If the runs have several
        strides, the default lag is the shortest time that all have frames for. Several lags give exponents against lag,
        b(L) and q(L): all with the dimension `lag`, and `steps_per_lag` by lag and run.

    Returns
    -------
    FitTables
        In memory: a named tuple of two Datasets. Each variable can also be taken by its name, as `answer["value"]`.
        `answer.whole` is one Dataset of all; `analyzer.table(answer)` is a pandas frame, one line a coefficient.
        `coefficients`, dims (group, coefficient): `value`, `standard_error`, interval `low` to `high`, leave-one-out
        range `without_low` to `without_high`. By group: `equation`, `runs`, `left_out` (T ≤ 0, not finite, unfinished),
        `scatter`, `between_seed`, `lack_of_fit`, `r_squared`, `aicc`, `intervals` (how they were found), `notes`.
        `points`, dims (group, run): `temperature`, `within` (its standard error), `fitted`, `residual`, `leverage`.
        Besides the two: `hypotheses`, dims (group, hypothesis), with the `p_value` of each hypothesis about the model;
        and `alternatives`, dims (group, alternative), with `delta_aicc` and `evidence`.
        A group that cannot be fitted is NaN, and its `notes` say why. If several values of other hyperparameters are
        held fixed, `held` is a further first dimension, with labels such as "batch_size=16". If there is one value, it
        is the attribute `held`.

    Raises
    ------
    FitError, SweepError
        No group can be fitted, or the runs recorded other values than the hyperparameter has.

    Warns
    -----
    FitWarning
        Runs are left out, or their T changes over the window, or cannot be judged. One warning names them all; what it
        says of equilibrium is the attribute `remark`.

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
    return FitTables.of(fit_of(sweep, curve, by=by, **options)[0])


@dataclass(frozen=True, kw_only=True)
class Curve:
    """The options of `fit` that describe the curve and how it is fitted."""

    against: Sequence[str]
    model: str = "power"
    intervals: Intervals = "auto"
    level: float = 0.95
    alternatives: Sequence[str] = ()
    unfinished: bool = False
    where: Mapping[str, Any] = field(default_factory=dict)
    pool: Sequence[str] = ()


def fit_of(sweep: xr.DataTree, curve: Curve, **options: Any) -> tuple[xr.Dataset, tuple[SweepFit, ...]]:
    """As `fit`; also returns the fits themselves, one for each value that is held fixed, but none for several lags.

    Parameters
    ----------
    sweep, curve
        The runs, and the curve to fit.
    **options
        Options of `temperature`. Several lags are answered from one pass over every run, and the answer has the
        dimension `lag`. Beside the lag "epoch" it then has "epoch, half phase": displacements half an epoch later,
        whose errors within a run are not known.
    """
    _check_curve(sweep, curve)
    sweep = select(sweep, **curve.where) if curve.where else sweep
    options = comparable(sweep, options)
    lazy, said = measured_lazily(sweep, options)
    check_settings(children_of(sweep), lazy, curve.unfinished)
    sweep = in_windows(sweep, lazy)
    if LEARNING_RATE in curve.against:
        sweep = with_recorded_rates(sweep, lazy)
    for name in [*curve.against, *curve.pool]:
        hyperparameter(sweep, name, partial=name in curve.pool)
    model = model_of(curve.model)
    parts = held_fixed(sweep, curve.against, curve.pool, len(model.coefficients) + 3)
    fitted = {name for name, run in children_of(sweep).items() if curve.unfinished or is_finished(run)}
    for part in parts:
        if shared := shared_steps(part_of(sweep, part), [lazy[n] for n in part.places], fitted):
            raise FitError(shared)
    names = run_names(sweep)
    measured = {n: computed(names[n], lazy[n]) for n in dict.fromkeys(n for part in parts for n in part.places)}
    unsettled = ""
    if options.get("start") != "auto":
        unsettled = remark({names[n]: one for n, one in measured.items() if names[n] in fitted})
        measured = {n: one.drop_vars(CHANGES, errors="ignore") for n, one in measured.items()}
    _warn(names, parts, said, unsettled)
    several = isinstance(options.get("lag"), (list, tuple))
    answers, found = [], []
    for part in parts:
        own = part_of(sweep, part)
        taken = [measured[n] for n in part.places]
        if several:
            answers.append(_by_lag(own, _asked(own, curve), taken))
        else:
            found.append(replace(_fitted(own, _asked(own, curve), taken), held=part.label))
            answers.append(found[-1].answer)
        answers[-1].attrs |= {"remark": unsettled} if unsettled else {}
    if len(parts) == 1:
        return answers[0].assign_attrs({"held": parts[0].label} if parts[0].label else {}), tuple(found)
    return along_held(answers, [part.label for part in parts], run_names(sweep)), tuple(found)


def _warn(names: Sequence[str], parts: Sequence[Held], said: Mapping[str, list[str]], unsettled: str) -> None:
    """Warn once of the runs that are left out, and of those that are not in equilibrium."""
    used = {n for part in parts for n in part.places}
    left = [name for n, name in enumerate(names) if n not in used]
    lines = [f"{len(runs)} of {len(names)} runs {what} ({_listed(runs, 3)})" for what, runs in said.items()]
    if left:
        values = "; ".join(part.label for part in parts)
        lines.append(
            f"{len(left)} of {len(names)} runs are left out ({_listed(left)}), since the fit holds {values} fixed and "
            "other values have too few runs. To choose: --where NAME=VALUE; to put them together: --pool NAME"
        )
    if unsettled:
        lines.append(unsettled)
    if lines:
        warnings.warn(f"Fit: {'. '.join(lines)}.", FitWarning, stacklevel=caller_level())


def _listed(names: Sequence[str], most: int = 8) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


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
    """Replace the temperature by the one half an epoch later, which has no standard error."""
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
    """Refuse a curve that cannot be fitted to this sweep, before anything is measured."""
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
        if name != LEARNING_RATE:  # a learning rate may have been recorded with the frames instead
            hyperparameter(sweep, name)


def _asked(sweep: xr.DataTree, curve: Curve) -> _Asked:
    names, chosen = curve.against, model_of(curve.model)
    return _Asked(curve, children_of(sweep), np.stack([numbers_of(sweep, name) for name in names], axis=1), chosen)


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
        check_rates(runs, answers, x[:, names.index("learning_rate")])
    values = measured["temperature"].transpose("group", "run", "window").values[..., 0]
    within = measured["standard_error"].transpose("group", "run", "window").values[..., 0]
    finished = np.ones(len(runs), bool) if curve.unfinished else finished_of(runs)
    common: dict[str, Any] = {
        "seed": seeds_of(sweep),
        "finished": finished,
        "names": names,
        "runs": list(runs),
        "intervals": curve.intervals,
        "level": curve.level,
    }
    used = finished & np.isfinite(values) & (values > 0)  # only the errors of runs that are fitted decide the weights
    known = within if (np.isfinite(within) | ~used).all() else None
    found = fit_groups(chosen, x, values, within=known, **common)
    symbols = [SYMBOLS.get(name, name) for name in names]
    answer = fits_table(measured, found, chosen.coefficients, symbols)
    answer = answer.assign(per_run(found, values, within)).assign(hypotheses(found, chosen.name))
    if curve.alternatives:
        models = list(dict.fromkeys([chosen.name, *curve.alternatives]))
        answer = answer.assign(alternatives_of(models, x, values, known, common))
        answer = answer.assign_coords(alternative=models)
    name_variables(answer, measured.attrs["units"])
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
