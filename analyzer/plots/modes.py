"""Figure of modes: projections on the first two of each group, coloured by step, and the shares of variance."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from analyzer.plots.style import as_text, canvas, colour_of, line_of, logarithmic
from analyzer.text import shortened

_MOST_PANELS = 11
_LONGEST_TITLE = 34
"""Characters of a title that is not wider than its panel."""


def modes(answer: xr.Dataset) -> Figure:
    """Plot the projections on the first two modes of each group, coloured by step, then the shares of variance.

    The last panel has the share of every mode, and in grey that of a random walk in many dimensions, 6/(π²k²).
    """
    groups = min(answer.sizes["group"], _MOST_PANELS)
    figure, axes = canvas(groups + 1, 9.6, 3.0)
    names = shortened([str(name) or "model" for name in answer["group"].values], _LONGEST_TITLE)
    picture: Any = None
    steps = answer["step"].values
    for n in range(groups):
        one = answer.isel(group=n)
        first = one["projection"].values[0]
        second = one["projection"].values[1] if answer.sizes["mode"] > 1 else np.zeros_like(first)
        axes[n].plot(first, second, color="0.8", linewidth=0.6)
        picture = axes[n].scatter(first, second, c=steps, s=5, cmap="viridis")
        content = float(one["cosine_content"][0])
        axes[n].set_title(f"{as_text(names[n])}\ncosine content {content:.2f}", fontsize=9, color=colour_of(n))
        axes[n].set(xlabel="mode 1 (weight)", ylabel="mode 2 (weight)")
    last, number = axes[-1], answer["mode"].values
    last.plot(number, 6 / (np.pi * number) ** 2, color="0.6", linewidth=1.2)
    for n in range(groups):
        last.plot(number, answer["variance_share"].values[n], marker="o", markersize=3, **line_of(n))
    last.set(xlabel="mode", ylabel="share of the variance", title="colours: as the titles\ngrey: a random walk")
    last.title.set_fontsize(9)
    last.xaxis.set_major_locator(MaxNLocator(integer=True))
    logarithmic(last, [*answer["variance_share"].values.ravel(), *(6 / (np.pi * number) ** 2)], "y")
    if picture is not None:
        figure.colorbar(picture, ax=axes, label="step", aspect=40)
    if groups < answer.sizes["group"]:
        figure.suptitle(f"first {groups} of {answer.sizes['group']} groups", fontsize=9)
    return figure
