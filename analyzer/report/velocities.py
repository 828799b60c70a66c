"""The section on velocities: the distribution of each group, with the Maxwell-Boltzmann curve."""

from __future__ import annotations

import numpy as np
import xarray as xr

from analyzer.quantities.distribution import distribution
from analyzer.report.content import Chart, Content, Gallery, Line, Note
from analyzer.report.subject import Asked, Subject
from analyzer.report.text import number
from analyzer.statistics.density import NORMAL

_MOST_GROUPS = 8
_SERIES = (("density", "over the rms of the group"), ("density_by_weight", "each weight over its own rms"))


def velocities(subject: Subject, asked: Asked) -> list[Content]:
    """Return histograms of a sample of velocities, over the rms of the group and over each weight's own."""
    answer = distribution(subject.run, by=asked.by, **subject.range, **asked.options)
    count = answer.sizes["group"]
    contents: list[Content] = [
        Note(
            f"A sample of at most {answer.attrs['sample_weights']:,} weights of each group over "
            f"{answer.attrs['sample_steps']:,} steps, with 95 % intervals. If only the first series has tails above "
            "the curve, weights differ in temperature. If both have, velocities are not Gaussian."
        ),
        Gallery([_chart(answer.isel(group=n)) for n in range(min(count, _MOST_GROUPS))]),
    ]
    if count > _MOST_GROUPS:
        contents.append(
            Note(f"The charts show the first {_MOST_GROUPS} of {count} groups. For all of them: analyzer distribution")
        )
    return contents


def _chart(one: xr.Dataset) -> Chart:
    curve, found = one["maxwell_boltzmann"].values, one[[name for name, _ in _SERIES]].to_array()
    lines = [Line("Maxwell–Boltzmann", np.where(curve < 0.3 * found.where(found > 0).min().item(), np.nan, curve))]
    for name, label in _SERIES:
        height, error = one[name].values, NORMAL * one[f"{name}_error"].values
        there = height > 0  # a logarithmic scale cannot show an empty bin or an interval down to 0
        low, high = np.maximum(height - error, 0.1 * height), height + error
        lines.append(Line(label, np.where(there, height, np.nan), style="points",
                          low=np.where(there, low, np.nan), high=np.where(there, high, np.nan)))  # fmt: skip
    title = f"{one['group'].item() or 'model'}, rms {number(float(one['rms_velocity']))}"
    x = one["velocity"].values
    return Chart(title, "velocity / rms velocity", x, "density", "", lines, integer_x=False)
