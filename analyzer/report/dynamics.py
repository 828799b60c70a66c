"""The sections on motion: correlation and displacement by lag, spectrum, and modes."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from analyzer.errors import TooFewFramesError, WindowError
from analyzer.quantities.lengths import for_lags, for_sections
from analyzer.quantities.motion.dynamics import dynamics
from analyzer.quantities.motion.modes import modes
from analyzer.quantities.motion.spectrum import spectrum
from analyzer.query.kinds import MOST_LINES
from analyzer.report.content import Chart, Content, Gallery, Map, Note, Table
from analyzer.report.curves import equilibrium_marks
from analyzer.report.groups import Axis, Scale, drawn
from analyzer.report.subject import Asked, Subject
from analyzer.report.text import number, unit_text
from analyzer.statistics.density import NORMAL
from analyzer.statistics.spectral import thinned

Array = np.ndarray[Any, np.dtype[Any]]

_SHORT = 64
"""Longest lag, in strides, of the chart of the correlation, which has no logarithmic axis."""
_MODES = 3
_FRAMES = 500
"""Frames from which a report computes modes: enough for the first few modes, in a fraction of a second."""


def motion(subject: Subject, asked: Asked) -> list[Content]:
    """Return charts of correlation and displacement against lag, and a table of times, exponents and diffusion."""
    answer = dynamics(subject.run, by=asked.by, **subject.range, **asked.options).compute().isel(window=0)
    lags = answer["lag"].values
    near = lags <= _SHORT * max(int(lags[lags > 0].min()), 1)
    if answer.sizes["group"] > MOST_LINES:  # at lag 0 all have the value 1, which would take the colours of a map
        near &= lags > 0
    figures = [
        _chart(answer.isel(lag=near), "normalised_autocorrelation", "Correlation of velocities, C(τ)/C(0)"),
        _chart(answer.isel(lag=lags > 0), "mean_squared_displacement", "Mean squared displacement", power_law=True),
    ]
    return [Gallery(figures), _table(answer), *(Note(text) for text in (for_lags(answer),) if text)]


def _chart(answer: xr.Dataset, column: str, title: str, power_law: bool = False) -> Chart | Map:
    values = answer[column].transpose("group", "lag").values
    error = NORMAL * answer[f"{column}_error"].transpose("group", "lag").values
    low = np.maximum(values - error, 0.1 * values) if power_law else values - error
    units = answer[column].attrs["units"]
    axis = Axis("lag τ (steps)", answer["lag"].values, logarithmic=bool((answer["lag"] > 0).all()))
    scale = Scale(title[0].lower() + title[1:], "" if units == "1" else units, power_law, from_zero=False)
    return drawn(title, axis, scale, answer["group"].values, values, ends=(low, values + error))


def _table(answer: xr.Dataset) -> Table:
    columns = (
        "group", "correlation time (steps)", "C(1)/C(0)", "exponent at first lags", "exponent at last lags",
        "diffusion (last)",
    )  # fmt: skip
    known = np.flatnonzero(np.isfinite(answer["exponent_error"].values).any(axis=0))
    first = known[:1] if known.size else np.flatnonzero(answer["lag"].values > 0)[:1]
    last = known[-1:] if known.size else first
    rows = []
    for n in range(answer.sizes["group"]):
        one = answer.isel(group=n)
        rows.append(
            (
                str(one["group"].item()) or "model",
                _with_error(one["correlation_time"].item(), one["correlation_time_error"].item()),
                *(_at(one, "normalised_autocorrelation", first),),
                *(_at(one, "exponent", place) for place in (first, last)),
                _at(one, "diffusion_coefficient", last),
            )
        )
    span = answer["lag"].values[np.concatenate([first, last])]
    told = f" First and last: lags {span[0]:,} and {span[-1]:,}." if span.size else ""
    caption = (
        "± is one standard error; without one, the window has fewer than eight batches, or the displacements at long "
        "lags tell of correlation that is not in the correlation time. Exponent: d ln MSD/d ln τ, 1 "
        f"for diffusion, 2 for steady motion, 0 where weights are confined.{told} Diffusion coefficients only where "
        "the exponent is 1 within its interval."
    )
    return Table(columns, rows, numeric=frozenset(columns[1:]), caption=caption)


def _at(one: xr.Dataset, column: str, place: Array) -> str:
    if not place.size:
        return "–"
    return _with_error(one[column].values[place[0]], one[f"{column}_error"].values[place[0]])


def _with_error(value: float, error: float) -> str:
    return number(float(value)) + (f" ± {number(float(error), 2)}" if np.isfinite(error) else "")


def spectra(subject: Subject, asked: Asked) -> list[Content]:
    """Return a chart of the spectral density of velocities, and a note on the lines of the epoch."""
    limit = asked.memory_limit
    try:
        answer = spectrum(subject.run, by=asked.by, **subject.range, memory_limit=limit).compute().isel(window=0)
    except (TooFewFramesError, WindowError) as error:
        return [Note(str(error))]
    density = answer["spectral_density"].transpose("group", "frequency").values
    frequency, density = thinned(answer["frequency"].values[1:], density[:, 1:])
    units = answer["spectral_density"].attrs["units"]
    axis = Axis("frequency (step⁻¹)", frequency, logarithmic=True, whole=False)
    scale = Scale("spectral density", units, power_law=True)
    chart = drawn("Spectral density of velocities", axis, scale, answer["group"].values, density)
    note = (
        f"Sections of {answer.attrs['section_steps']:,} steps. The integral over all frequencies is the mean squared "
        f"velocity, weighted with a Hann window. Lines of the epoch: {unit_text(answer.attrs['epoch_lines'])}."
    )
    return [chart, Note(note), *(Note(text) for text in (for_sections(answer),) if text)]


def directions(subject: Subject, asked: Asked) -> list[Content]:
    """Return the first modes of each group: shares, cosine contents, and the projection on the first against step."""
    limit = asked.memory_limit
    try:
        answer = modes(
            subject.run,
            by=asked.by,
            frames=min(_FRAMES, 2 * asked.points),
            modes=_MODES,
            memory_limit=limit,
            **subject.range,
        ).compute()
    except (TooFewFramesError, WindowError) as error:
        return [Note(str(error))]
    columns = ("group", "mode", "share of variance", "cosine content", "verdict", "participation ratio")
    rows = [
        (
            str(answer["group"].values[n]) or "model",
            str(mode + 1),
            number(float(answer["variance_share"].values[n, mode])),
            number(float(answer["cosine_content"].values[n, mode])),
            str(answer["verdict"].values[n, mode]) or "–",
            number(float(answer["participation_ratio"].values[n])),
        )
        for n in range(answer.sizes["group"])
        for mode in range(_MODES)
    ]
    caption = (
        f"{answer.attrs['frames']:,} frames, {answer.attrs['steps_between_frames']:,} steps apart. A random walk in "
        "many dimensions has shares of 0.61, 0.15, 0.07, … and cosine contents near 1."
    )
    table = Table(columns, rows, numeric=frozenset(columns) - {"group", "verdict"}, caption=caption)
    axis, scale = Axis("step", answer["step"].values), Scale("projection", "weight", from_zero=False)
    first, marks = answer["projection"].values[:, 0], equilibrium_marks(subject)
    chart = drawn("Projection on the first mode", axis, scale, answer["group"].values, first, marks=marks)
    return [chart, table]
