"""Heat maps: a line of cells for each group, against steps or lags. They replace curves where there are too many groups
to distinguish.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm, Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, LogLocator, MaxNLocator, NullLocator

from analyzer.plots.style import LOG_RATIO, as_text, new_figure
from analyzer.text import differing, shortened

Array = np.ndarray[Any, np.dtype[Any]]

_MOST_NAMES = 60
_LONGEST_NAME = 40
"""Characters of a name beside a map; longer ones would leave no room for it."""
_MISSING = "0.6"
"""Colour of cells without a value, and of zeros on a logarithmic scale: readable beside the map in light and dark."""


def height_of(groups: int) -> float:
    """Return a height in inches in which every group has a line, up to a page."""
    return min(0.17 * min(groups, _MOST_NAMES) + 1.6, 12.0)


def figure_of(groups: int, panels: int = 1) -> tuple[Figure, list[Axes]]:
    """Make a figure of heat maps side by side, all with the same groups."""
    figure = new_figure(max(8.4, 4.6 * panels), max(height_of(groups), 3.6))
    return figure, [figure.add_subplot(1, panels, n + 1) for n in range(panels)]


def norm_of(values: Array) -> Normalize | None:
    """Return a logarithmic scale if positive values span more than a factor of five, else one from the smallest.

    None if there is no finite value.
    """
    finite = values[np.isfinite(values)]
    if not finite.size:
        return None
    positive = finite[finite > 0]
    if positive.size and (finite >= 0).all() and positive.max() > LOG_RATIO * positive.min():
        return LogNorm(positive.min(), positive.max())
    return Normalize(min(float(finite.min()), 0.0), float(finite.max()) or 1.0)


def draw(axis: Axes, edges: Array, table: Array, norm: Normalize | None) -> Any:
    """Draw a table of values (lines, cells) between edges; return the picture, for a colour bar."""
    hidden = ~np.isfinite(table) | ((table <= 0) if isinstance(norm, LogNorm) else False)
    lines = np.arange(len(table) + 1) - 0.5
    picture = axis.pcolormesh(edges, lines, np.ma.masked_where(hidden, table), norm=norm, cmap="cividis")
    axis.set_facecolor(_MISSING)
    axis.invert_yaxis()
    return picture


def named(axis: Axes, names: Sequence[Any]) -> None:
    """Write the name of each group beside its line, without the words that all begin with; of many, every second."""
    every = -(-len(names) // _MOST_NAMES)
    places = np.arange(0, len(names), every)
    shared, own = differing([str(name) or "model" for name in names])
    short = shortened(own, _LONGEST_NAME)
    axis.set_yticks(places, [as_text(short[n]) for n in places.tolist()], fontsize=8)
    axis.yaxis.set_minor_locator(NullLocator())
    if shared:
        axis.set_ylabel(as_text(f"{shared}…"), fontsize=8)


def bar_above(figure: Figure, axis: Axes, picture: Any, label: str) -> None:
    """Draw the colour bar of one of several maps above it, with its title."""
    bar = figure.colorbar(picture, ax=axis, location="top", aspect=28, pad=0.02)
    bar.set_label(label, fontsize=9)
    if isinstance(picture.norm, LogNorm):
        bar.locator = LogLocator(numticks=5)
        bar.minorticks_off()
        bar.update_ticks()
    bar.ax.tick_params(labelsize=8)


def unnamed(axis: Axes) -> None:
    """Leave the names out: the map stands beside one that has them."""
    axis.set_yticks([])


def cells_of(starts: Array, stops: Array, table: Array) -> tuple[Array, Array]:
    """Return edges (cells + 1,) and values (lines, cells) of windows. An empty cell fills a gap between two windows."""
    apart = np.flatnonzero(starts[1:] > stops[:-1]) + 1
    edges = np.append(np.insert(starts, apart, stops[apart - 1]), stops[-1])
    return edges, np.insert(table.astype(np.float64), apart, np.nan, axis=1)


def against_lag(
    axis: Axes, labels: Sequence[str], table: Array, norm: Normalize | None, title: str = "lag L (steps)"
) -> Any:
    """Draw values (groups, lags) in cells of one width, with the labels of the lags below them."""
    picture = draw(axis, np.arange(len(labels) + 1) - 0.5, table, norm)
    few = np.unique(np.round(np.linspace(0, len(labels) - 1, min(len(labels), 9))).astype(int))
    axis.xaxis.set_major_locator(FixedLocator(few.tolist()))
    axis.set_xticklabels([labels[n] for n in few], fontsize=8)
    axis.set_xlabel(title)
    return picture


def labels_of(steps: Array) -> list[str]:
    """Numbers of steps as labels of an axis."""
    return [f"{step:,.6g}" for step in steps]


def against_frequency(axis: Axes, frequency: Array, table: Array, norm: Normalize | None) -> Any:
    """Draw values (groups, frequencies) on a logarithmic axis; frequencies are positive and ascend."""
    middles = np.sqrt(frequency[1:] * frequency[:-1])
    edges = np.concatenate([frequency[:1] ** 2 / middles[:1], middles, frequency[-1:] ** 2 / middles[-1:]])
    picture = draw(axis, edges, table, norm)
    axis.set_xscale("log")
    return picture


def against_step(axis: Axes) -> None:
    """Label the steps below a heat map with whole numbers."""
    axis.xaxis.set_major_locator(MaxNLocator(5, integer=True))
