"""The distribution of velocities of each group, beside Maxwell and Boltzmann's."""

from __future__ import annotations

import numpy as np
import xarray as xr

from analyzer.distributions import distribution
from analyzer.report.blocks import Block, Chart, Gallery, Line, Note
from analyzer.report.subject import Asked, Subject
from analyzer.report.text import number
from analyzer.statistics.uncertainty import NORMAL

_MOST_GROUPS = 8
_SERIES = (("density", "over the rms of the group"), ("density_by_weight", "each weight over its own rms"))


def velocities(subject: Subject, asked: Asked) -> list[Block]:
    """Histograms of a sample of velocities, as a whole and each weight at its own temperature."""
    answer = distribution(subject.run, by=asked.by, **asked.range, **asked.options)
    count = answer.sizes["group"]
    blocks: list[Block] = [
        Note(
            f"A sample of at most {answer.attrs['sample_weights']:,} weights of each group over "
            f"{answer.attrs['sample_steps']:,} steps, with 95 % intervals. Tails above the curve in the first series "
            "alone: weights differ in temperature. In both: velocities are not Gaussian."
        ),
        Gallery([_chart(answer.isel(group=n)) for n in range(min(count, _MOST_GROUPS))]),
    ]
    if count > _MOST_GROUPS:
        blocks.append(Note(f"The first {_MOST_GROUPS} of {count} groups: analyzer distribution has all."))
    return blocks


def _chart(one: xr.Dataset) -> Chart:
    curve, found = one["maxwell_boltzmann"].values, one[[name for name, _ in _SERIES]].to_array()
    lines = [Line("Maxwell–Boltzmann", np.where(curve < 0.3 * found.where(found > 0).min().item(), np.nan, curve))]
    for name, label in _SERIES:
        height, error = one[name].values, NORMAL * one[f"{name}_error"].values
        there = height > 0  # a logarithmic scale has no place for an empty bin, nor for an interval down to 0
        low, high = np.maximum(height - error, 0.1 * height), height + error
        lines.append(Line(label, np.where(there, height, np.nan), style="points",
                          low=np.where(there, low, np.nan), high=np.where(there, high, np.nan)))  # fmt: skip
    title = f"{one['group'].item() or 'model'}, rms {number(float(one['rms_velocity']))}"
    x = one["velocity"].values
    return Chart(title, "velocity / rms velocity", x, "density", "", lines, integer_x=False)
