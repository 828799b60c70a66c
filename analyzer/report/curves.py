"""Loss and temperature against step, and the temperature of each group over the range that was asked for."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import xarray as xr

from analyzer.errors import AnalyzerError
from analyzer.report.blocks import Block, Chart, Gallery, Line, Note, Table
from analyzer.report.subject import Asked, Subject
from analyzer.report.text import number, plural, unit_text
from analyzer.temperatures import temperature
from analyzer.tree import trajectory
from analyzer.windows import BLOCK_FRAMES

Array = np.ndarray[Any, np.dtype[Any]]

MOST_LINES = 28
"""Of a chart, as in `analyzer.plots`: seven colours, four dashes."""
_MOST_SCALARS = 4
_CHEAP_BLOCKS = 64
"""Kept blocks in a run from which on windows of whole blocks are fine enough, so that kept sums answer."""


def losses(subject: Subject, asked: Asked) -> list[Block]:
    """Logged scalars against step: means over windows, with the range from smallest to largest behind them."""
    steps = trajectory(subject.run).line.steps
    blocks: list[Block] = []
    pictures: list[Chart | Any] = []
    for name, values in subject.scalars.items():
        finite = values[np.isfinite(values)]
        if not finite.size:
            blocks.append(Note(f"{name}: no finite value was logged.", problem=name == "loss"))
        elif finite.min() == finite.max():
            blocks.append(Note(f"{name} is {number(float(finite[0]))} throughout."))
        elif len(pictures) < _MOST_SCALARS:
            pictures.append(_scalar(name, steps, values, asked.points, equilibrium_marks(subject)))
            if finite.size < values.size - 1:  # frame 0 is before the first step: nothing is logged there
                lost = plural(values.size - finite.size, "value")
                blocks.append(Note(f"{name}: {lost} of {values.size:,} are missing or not finite."))
    if pictures:
        blocks.insert(0, Gallery(pictures))
    if "loss" not in subject.scalars:
        blocks.append(Note("No loss was logged: recorder.log(loss=loss) keeps it with the frames."))
    return blocks


def _scalar(name: str, steps: Array, values: Array, points: int, marks: list[tuple[float, str]]) -> Chart:
    width = -(-steps.size // points)
    edges = np.arange(0, steps.size, width)
    with warnings.catch_warnings(), np.errstate(invalid="ignore"):
        warnings.simplefilter("ignore", RuntimeWarning)  # windows without any value are holes
        cut = [values[edge : edge + width] for edge in edges]
        cut = [np.where(np.isfinite(part), part, np.nan) for part in cut]
        mean, low, high = (np.array([f(part) for part in cut]) for f in (np.nanmean, np.nanmin, np.nanmax))
    last = steps[np.minimum(edges + width, steps.size) - 1]
    x = 0.5 * (steps[edges] + last)
    title = "step" if width == 1 else f"step (middle of windows of {width:,} frames)"
    line = Line(name, mean) if width == 1 else Line(name, mean, low=low, high=high)
    heading = name if width == 1 else f"{name}: mean, and range from smallest to largest"
    return Chart(heading, title, x, name, "", [line], marks, from_zero=False)


def equilibrium_marks(subject: Subject) -> list[tuple[float, str]]:
    """Where all series of the run are stationary from, the latest t0, to be drawn into its charts."""
    try:
        answer = subject.equilibrium
    except AnalyzerError:  # told in the section on equilibrium
        return []
    if not answer.sizes["group"]:
        return []
    return [(float(answer["equilibrium_step"].max()), "t₀")]


def temperatures(subject: Subject, asked: Asked) -> list[Block]:
    """Temperature of each group over the range, and against step."""
    whole = temperature(subject.run, by=asked.by, **asked.range, **asked.options).compute()
    blocks: list[Block] = [_table(whole, asked.by)]
    blocks += remarks(whole)
    windows = temperature(
        subject.run, by=asked.by, window=window_of(subject.run, asked.points), errors=False, **asked.options
    ).compute()
    blocks.insert(0, _curves(windows, equilibrium_marks(subject)))
    if windows.sizes["group"] > MOST_LINES:
        blocks.insert(1, Note(f"The first {MOST_LINES} of {windows.sizes['group']} groups."))
    return blocks


def window_of(run: xr.DataTree, points: int) -> int:
    """Steps of a window that cuts a run into at most so many; whole blocks of kept sums where the run is long."""
    line = trajectory(run).line
    frames = max(line.steps.size - 1, 1)
    width = -(-frames // points)
    if frames >= _CHEAP_BLOCKS * BLOCK_FRAMES:
        width = -(-width // BLOCK_FRAMES) * BLOCK_FRAMES
    return int(width * line.stride)


def _curves(answer: xr.Dataset, marks: list[tuple[float, str]]) -> Chart:
    middle = 0.5 * (answer["start_step"].values + answer["stop_step"].values)
    width = int((answer["stop_step"] - answer["start_step"]).max())
    names = [str(name) or "model" for name in answer["group"].values[:MOST_LINES]]
    values = answer["temperature"].transpose("group", "window").values
    lines = [Line(name, row) for name, row in zip(names, values, strict=False)]
    title = f"step (middle of windows of {width:,})" if width > 1 else "step"
    heading = f"Temperature by {answer.attrs['by']}"
    return Chart(heading, title, middle, "temperature", answer.attrs["units"], lines, marks)


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


def remarks(answer: xr.Dataset) -> list[Block]:
    """What a reader of temperatures must know of them."""
    notes: list[Block] = []
    heat, floor = answer["temperature"].values, answer["floor"].values
    if missing := int(np.isnan(heat).sum()):
        notes.append(
            Note(
                f"{missing:,} of {heat.size:,} temperatures are NaN: weights are NaN or infinite, or no two frames "
                "are neighbours.",
                problem=True,
            )
        )
    if low := int((heat < 10 * floor).sum()):
        notes.append(
            Note(
                f"{low:,} of {heat.size:,} temperatures are below 10 times their floor, which rounding alone gives: "
                "they say little of the training.",
                problem=True,
            )
        )
    if bool(answer["unreliable"].any()):
        notes.append(
            Note(
                "Unreliable: the window is worth fewer than 200 independent samples (n eff), so the standard error is "
                "uncertain itself; below 20 there is none."
            )
        )
    return notes
