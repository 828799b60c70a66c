"""The sections on loss and temperature: curves against step, and each group's temperature over the chosen range."""

from __future__ import annotations

import re
import warnings
from typing import Any

import numpy as np
import xarray as xr

from analyzer.quantities.lengths import for_error_bars
from analyzer.quantities.temperature import temperature
from analyzer.query.changes import resumed_at
from analyzer.query.recorded import distinct_rates
from analyzer.query.windows import BIN_FRAMES
from analyzer.report import groups
from analyzer.report.content import Chart, Content, Gallery, Line, Map, Note, Table
from analyzer.report.subject import Asked, Subject
from analyzer.report.text import number, plural, unit_text
from analyzer.store.names import loss_of
from analyzer.tree import trajectory

Array = np.ndarray[Any, np.dtype[Any]]

_MOST_SCALARS = 4
_SHARES = frozenset({"acc", "auc", "auroc", "f1", "precision", "recall", "r2", "top1", "top5"})
"""Words in names of scalars that lie between 0 and 1."""
_MOST_RESUMPTIONS = 20
"""Most marks of resumptions, each with a label: more would hide the chart."""
_MOST_MARKS = 12
_ENOUGH_BINS = 64
"""A run with this many bins of kept sums or more is drawn with windows of whole bins, so that no frame is decoded."""


def losses(subject: Subject, asked: Asked) -> list[Content]:
    """Return charts of logged scalars against step: means over windows, with the range from smallest to largest."""
    steps, loss = trajectory(subject.run).line.steps, loss_of(subject.scalars)
    contents: list[Content] = []
    figures: list[Chart | Any] = []
    for name, values in subject.scalars.items():
        finite = values[np.isfinite(values)]
        if not finite.size:
            contents.append(Note(f"{name}: no finite value was logged.", problem=name == loss))
        elif finite.min() == finite.max():
            contents.append(Note(f"{name} is {number(float(finite[0]))} throughout."))
        elif len(figures) < _MOST_SCALARS:
            figures.append(_scalar(name, steps, values, asked.points, marks_of(subject)))
            contents += [Note(f"{name}: {text}.") for text in _lost(values)]
    if figures:
        contents.insert(0, Gallery(figures))
    if loss is None:
        contents.append(Note("No loss was logged. recorder.log(loss=loss) records it with the frames."))
    return contents


def _lost(values: Array) -> list[str]:
    """Return a remark on the frames that have no value; none on frame 0, which is before the first step."""
    finite = np.isfinite(values)
    there, lost = int(finite.sum()), int((~finite).sum())
    if lost < 2:
        return []
    if _is_sparse(finite):
        return [f"logged at {there:,} of {values.size:,} frames; points, not means"]
    return [f"{plural(lost, 'value')} of {values.size:,} are missing or not finite"]


def _scalar(name: str, steps: Array, values: Array, points: int, marks: list[tuple[float, str]]) -> Chart:
    finite = np.isfinite(values)
    if _is_sparse(finite):  # means over windows would mostly be gaps, and single points would give no line
        some = np.flatnonzero(finite)[:: -(-int(finite.sum()) // points)]
        points_of = Line(name, values[some], "points")
        return Chart(
            name, "step", steps[some].astype(np.float64), name, "", [points_of], marks, from_zero=False,
            linear=_is_share(name),
        )  # fmt: skip
    width = -(-steps.size // points)
    edges = np.arange(0, steps.size, width)
    with warnings.catch_warnings(), np.errstate(invalid="ignore"):
        warnings.simplefilter("ignore", RuntimeWarning)  # windows without a value are gaps of the curve
        cut = [values[edge : edge + width] for edge in edges]
        cut = [np.where(np.isfinite(part), part, np.nan) for part in cut]
        mean, low, high = (np.array([f(part) for part in cut]) for f in (np.nanmean, np.nanmin, np.nanmax))
    last = steps[np.minimum(edges + width, steps.size) - 1]
    x = 0.5 * (steps[edges] + last)
    title = "step" if width == 1 else f"step (middle of windows of {width:,} frames)"
    line = Line(name, mean) if width == 1 else Line(name, mean, low=low, high=high)
    heading = name if width == 1 else f"{name}: mean, and range from smallest to largest"
    return Chart(heading, title, x, name, "", [line], marks, from_zero=False, linear=_is_share(name))


def _is_sparse(finite: Array) -> bool:
    """Whether most values stand alone, as a validation loss that is logged once an epoch does."""
    joined = finite[1:] & finite[:-1]
    return bool(2 * int(joined.sum()) < int(finite.sum()))


def _is_share(name: str) -> bool:
    """Whether a scalar is a share, such as an accuracy: its scale is never logarithmic."""
    words = re.split(r"[^a-z0-9]+", name.lower())
    return any(word in _SHARES or word.startswith("accura") for word in words)


def marks_of(subject: Subject) -> list[tuple[float, str]]:
    """Return the marks of a chart against step: where the training was resumed, and from where on it is stationary."""
    resumed = [(float(step), "resumed") for step in resumed_at(subject.store.attrs.get("segments"))]
    return [*resumed[-_MOST_RESUMPTIONS:], *equilibrium_marks(subject)]


def equilibrium_marks(subject: Subject) -> list[tuple[float, str]]:
    """Return a mark at the latest t0 of each stretch of constant settings; none if it is unknown or the beginning."""
    try:
        answer = subject.equilibrium
    except Exception:  # the section on equilibrium shows the error, whatever it is
        return []
    steps = answer["equilibrium_step"].values.astype(np.float64)
    if not answer.sizes["group"] or np.isnan(steps).all():
        return []
    latest = steps.max(axis=0)
    first = float(answer["start_step"].values[0])  # a mark at the beginning would say nothing, and lies on the axis
    return [(float(step), "t₀") for step in latest[:_MOST_MARKS] if step > first]


def temperatures(subject: Subject, asked: Asked) -> list[Content]:
    """Return a chart of temperature against step, and a table of each group's temperature over the range."""
    whole = temperature(subject.run, by=asked.by, **subject.range, **asked.options).compute()
    contents: list[Content] = [_table(whole, asked.by)]
    contents += remarks(whole)
    windows = temperature(
        subject.run, by=asked.by, window=window_of(subject.run, asked.points), errors=False, **asked.options
    ).compute()
    contents.insert(0, _curves(windows, marks_of(subject)))
    rates = _rates(subject, asked.points)
    if rates is not None:
        contents.insert(1, rates)
    return contents


def _rates(subject: Subject, points: int) -> Chart | Map | None:
    """Return the learning rates against step; None if none is recorded, or it is constant."""
    line = trajectory(subject.run).line
    found = distinct_rates(line.settings.recorded, np.arange(line.steps.size) > 0)
    values = np.array([rate for _, rate in found])
    if not values.size or np.nanmin(values) == np.nanmax(values):
        return None
    every = -(-values.shape[1] // points)
    axis = groups.Axis("step", line.steps[1::every].astype(np.float64))
    return groups.drawn("Learning rate", axis, groups.Scale("η", ""), [name for name, _ in found], values[:, ::every])


def window_of(run: xr.DataTree, points: int) -> int | None:
    """Return a window in steps that divides a run into at most `points` windows, of whole bins if the run is long.

    None where the spacing of frames changes: each stretch of equal spacing is a window.
    """
    line = trajectory(run).line
    if line.evens:
        return None
    frames = max(line.steps.size - 1, 1)
    width = -(-frames // points)
    if frames >= _ENOUGH_BINS * BIN_FRAMES:
        width = -(-width // BIN_FRAMES) * BIN_FRAMES
    return int(width * line.stride)


def _curves(answer: xr.Dataset, marks: list[tuple[float, str]]) -> Chart | Map:
    starts, stops = answer["start_step"].values, answer["stop_step"].values
    width = int((stops - starts).max())
    title = f"step (middle of windows of {width:,})" if width > 1 else "step"
    axis, values = groups.windows(starts, stops, answer["temperature"].transpose("group", "window").values, title)
    heading, names = f"Temperature by {answer.attrs['by']}", answer["group"].values
    return groups.drawn(heading, axis, groups.Scale("temperature", answer.attrs["units"]), names, values, marks=marks)


def _table(answer: xr.Dataset, by: str) -> Table:
    columns = (by, "weights", "temperature", "± standard error", "n eff", "temperature of the drift", "floor")
    rows = []
    for n, name in enumerate(answer["group"].values):
        one = answer.isel(group=n, window=0)
        mark = " (unreliable)" if bool(one["unreliable"]) else ""
        rows.append(
            (
                str(name) or "model",
                number(int(one["weights"])),
                number(float(one["temperature"])),
                number(float(one["standard_error"])),
                number(float(one["n_eff"])) + mark,
                number(float(one["temperature_drift"])),
                number(float(one["floor"])),
            )
        )
    begin, end = int(answer["start_step"].values[0]), int(answer["stop_step"].values[0])
    attrs = answer.attrs
    caption = (
        f"Steps {begin:,} to {end:,}, in {unit_text(attrs['units'])}, lag {attrs['lag']}, convention "
        f"{attrs['convention']}. Temperature ± 1.96 standard errors is a 95 % interval."
    )
    return Table(columns, rows, numeric=frozenset(columns[1:]), caption=caption)


def remarks(answer: xr.Dataset) -> list[Content]:
    """Return notes on temperatures that are NaN, near rounding, or unreliable."""
    notes: list[Content] = []
    said: dict[str, list[str]] = {}
    for name, text in zip(answer["group"].values, answer["remark"].values[:, 0], strict=True):
        if text:
            said.setdefault(str(text), []).append(str(name) or "model")
    for text, names in said.items():
        which = "" if len(names) == answer.sizes["group"] else f"{', '.join(names)}: "
        notes.append(
            Note(f"{which}{text}. A mean over several settings describes none; T/η² may be constant.", problem=True)
        )
    heat, floor = answer["temperature"].values, answer["floor"].values
    if missing := int(np.isnan(heat).sum()):
        notes.append(
            Note(
                f"Temperatures that are NaN: {missing:,} of {heat.size:,}. Weights are NaN or infinite, or no two "
                "frames are consecutive.",
                problem=True,
            )
        )
    if low := int((heat < 10 * floor).sum()):
        notes.append(
            Note(
                f"Temperatures below 10 times their floor, which rounding alone gives: {low:,} of {heat.size:,}. They "
                "say little about the training.",
                problem=True,
            )
        )
    if short := for_error_bars(answer):
        notes.append(
            Note(f"{short} Until then a standard error is itself uncertain; below an n eff of 20 there is none.")
        )
    return notes
