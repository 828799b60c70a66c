"""The section on fits: temperature against learning rate and batch size over the runs of a sweep, for each group."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import xarray as xr

from analyzer.errors import AnalyzerError
from analyzer.fitting.fit import Fit, predict
from analyzer.quantities.fits.fit import Curve, SweepFit, fit_of
from analyzer.report.content import Chart, Content, Gallery, Line, Note, Table
from analyzer.report.subject import Asked, Subject
from analyzer.report.text import NONE, number, p_value, plural, unit_text, value_text
from analyzer.statistics.density import NORMAL
from analyzer.sweep import open_sweep, select

Array = np.ndarray[Any, np.dtype[Any]]

MODELS = {"learning_rate": "power", "batch_size": "inverse_power"}
"""The model that is fitted against each hyperparameter, as in the paper's figures 2, 3, 6 and 7."""
_FEWEST_VALUES = 3
_MOST_PANELS = 12
_GRID = 60


@dataclass(frozen=True)
class Series:
    """Runs that differ in the hyperparameter `against`. `fixed` names the value of the other one, if it varies."""

    tree: xr.DataTree
    against: str
    fixed: str


def fits(subjects: Sequence[Subject], asked: Asked) -> list[Content]:
    """Return a fit for each hyperparameter with three or more values, over runs that share the other hyperparameter."""
    contents: list[Content] = []
    openable = [subject for subject in subjects if subject.tree is not None]
    sweep = open_sweep([subject.store.location for subject in openable])
    found = series_of(sweep)
    for one in found:
        try:
            curve = Curve(against=[one.against], model=MODELS[one.against])
            _, results = fit_of(one.tree, curve, by=asked.by, **asked.range, **asked.options)
        except AnalyzerError as error:
            contents.append(Note(str(error), problem=True))
            continue
        for result in results:
            contents += _shown(replace(one, fixed=", ".join(filter(None, (one.fixed, result.held)))), result)
    if not found:
        contents.append(
            Note(
                f"No fit: neither learning_rate nor batch_size was recorded by all runs with {_FEWEST_VALUES} or more "
                "values. For other models and hyperparameters: analyzer fit."
            )
        )
    return contents


def series_of(sweep: xr.DataTree) -> list[Series]:
    """Return the series to fit. If both hyperparameters vary, each is fitted at the most common value of the other."""
    answer = []
    for against in MODELS:
        chosen, fixed = sweep, ""
        for other in MODELS:
            values = _column(sweep, other)
            if other == against or values is None or len(set(values)) < 2:
                continue
            common, _ = Counter(values).most_common(1)[0]
            chosen, fixed = select(chosen, **{other: common}), f"{other} = {value_text(common)}"
        own = _column(chosen, against)
        if own is not None and len(set(own)) >= _FEWEST_VALUES:
            answer.append(Series(chosen, against, fixed))
    return answer


def _column(sweep: xr.DataTree, name: str) -> list[float] | None:
    """Return the hyperparameter of every run; None unless each run recorded a number."""
    if name not in sweep.coords:
        return None
    values = sweep.coords[name].to_numpy()
    return values.tolist() if values.dtype.kind in "if" and np.isfinite(values).all() else None


def _shown(one: Series, found: SweepFit) -> list[Content]:
    answer = found.answer
    groups = [str(name) or "model" for name in answer["group"].values]
    title = one.against.replace("_", " ")
    at = f", at {one.fixed}" if one.fixed else ""
    lead = f"Temperature against {title}{at}: {plural(answer.sizes['run'], 'run')}, model {answer.attrs['equation']}."
    charts = [_chart(found, n, groups[n], title) for n in range(min(len(groups), _MOST_PANELS))]
    contents: list[Content] = [Note(lead), _table(answer, groups), Gallery(charts)]
    if len(charts) < len(groups):
        contents.append(Note(f"The charts show the first {len(charts)} of {len(groups)} groups."))
    notes: dict[str, list[str]] = {}
    for name, text in zip(groups, answer["notes"].values, strict=True):
        if text:
            notes.setdefault(str(text), []).append(name)
    contents += [Note(f"{', '.join(names)}: {text}.".replace("..", ".")) for text, names in notes.items()]
    if "remark" in answer.attrs:
        said = str(answer.attrs["remark"])
        contents.append(Note(f"{said[:1].upper()}{said[1:]}.", problem=True))
    return contents


def _table(answer: xr.Dataset, groups: Sequence[str]) -> Table:
    coefficients = [str(name) for name in answer["coefficient"].values]
    hypotheses = [str(name) for name in answer["hypothesis"].values] if "p_value" in answer else []
    level = f"{answer.attrs['level']:.0%}"
    tested = [f"p({name})".replace("<=", "≤") for name in hypotheses]
    estimated = [f"{name} ({level} interval)" for name in coefficients]
    columns = (answer.attrs["by"], "equation", *estimated, *tested, "R²", "runs", "left out", "intervals")
    rows = []
    for n, name in enumerate(groups):
        one = answer.isel(group=n)
        cells = [_interval(one.sel(coefficient=c)) for c in coefficients]
        tests = [p_value(float(one["p_value"].values[m])) for m in range(len(hypotheses))]
        rows.append((name, str(one["equation"].item()) or "not fitted", *cells, *tests,
                     number(float(one["r_squared"])), number(int(one["runs"])), number(int(one["left_out"])),
                     str(one["intervals"].item()) or NONE))  # fmt: skip
    numeric = frozenset(columns) - {columns[0], "equation", "intervals"}
    caption = f"Temperature in {unit_text(answer.attrs['units'])}, convention {answer.attrs['convention']}."
    return Table(columns, rows, numeric=numeric, caption=caption)


def _interval(one: xr.Dataset) -> str:
    value, low, high = (float(one[name]) for name in ("value", "low", "high"))
    if not np.isfinite(value):
        return NONE
    return f"{number(value)} [{number(low)}, {number(high)}]"


def _chart(found: SweepFit, n: int, name: str, title: str) -> Chart:
    """Return a chart of runs as points with intervals and the curve with its band.

    Points and curve share one horizontal axis, so its places are those of both.
    """
    one = found.fits.fits[n]
    x = found.x[:, 0]
    values, within = found.answer["temperature"].values[n], found.answer["within"].values[n]
    names = [str(run) for run in found.answer["run"].values]
    positive = x.min() > 0
    grid = (np.geomspace if positive else np.linspace)(x.min() * (0.93 if positive else 1), 1.07 * x.max(), _GRID)
    places = np.unique(np.concatenate([x, grid]))
    lines = [] if one is None else [_curve(one, places)]
    lines += _points(places, x, values, NORMAL * within, names)
    units = found.answer.attrs["units"]
    return Chart(name, title, places, "temperature", units, lines, integer_x=False, power_law=positive)


def _curve(one: Fit, places: Array) -> Line:
    curve = predict(one, places)
    return Line("fit", curve.temperature, low=curve.low, high=curve.high)


def _points(places: Array, x: Array, values: Array, error: Array, names: Sequence[str]) -> list[Line]:
    """Return the runs as lines of points.

    A line has one value at each place, so runs with equal hyperparameters (seeds) go into different lines.
    """
    lines = []
    turn = np.array([int((x[:n] == x[n]).sum()) for n in range(x.size)])
    for k in range(int(turn.max()) + 1):
        some = turn == k
        where = np.searchsorted(places, x[some])
        y, low, high = np.full((3, places.size), np.nan)
        y[where] = values[some]
        low[where], high[where] = values[some] - error[some], values[some] + error[some]
        tips = [""] * places.size
        for place, run in zip(where, np.flatnonzero(some), strict=True):
            tips[int(place)] = names[int(run)]
        title = "run" if turn.max() == 0 else f"run {k + 1} of a setting"
        lines.append(Line(title, y, "points", low, high, None, tips))
    return lines
