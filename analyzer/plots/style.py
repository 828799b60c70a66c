"""Style shared by all figures: colours for all kinds of colour vision, grids of panels, scales, units.

`drawing` sets the style of matplotlib, the size, and the function that makes figures, for all figures drawn inside it.
Every figure comes from `new_figure`, which applies them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import xarray as xr
from matplotlib import style as styles
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, NullFormatter

from analyzer.text import differing, printable

# Okabe and Ito, "Color universal design" (2008), without yellow, which is hard to see on white.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
DASHES = ("-", "--", ":", "-.")
_BLACK = COLOURS[-1]
LOG_RATIO = 5.0
"""A scale is logarithmic if the largest value exceeds the smallest by this factor: layers differ by decades."""

_NARROWEST = 2.4
"""Inches of a panel with the labels of its axis: beside each other, narrower ones would write over their neighbours."""


@dataclass(frozen=True)
class _Asked:
    """Settings of `drawing`: `size` in inches, None for each figure's own; and the function that makes figures."""

    size: tuple[float, float] | None = None
    make: Callable[..., Figure] = Figure


_DEFAULT = _Asked()
_ASKED = ContextVar("asked", default=_DEFAULT)


def new_figure(width: float, height: float, layout: Any = "constrained") -> Figure:
    """Make an empty figure of this size in inches, or of the size that `drawing` was asked for."""
    asked = _ASKED.get()
    return asked.make(figsize=asked.size or (width, height), layout=layout)


def ink() -> str:
    """Return the colour of text and of reference curves: black, or white in a dark style."""
    return str(mpl.rcParams["text.color"])


def line_of(number: int) -> dict[str, Any]:
    """Return colour and dashes of a line, by its number. 28 lines look different. Black is kept for text."""
    return {"color": colour_of(number), "linestyle": DASHES[number // len(COLOURS) % len(DASHES)]}


def colour_of(number: int) -> str:
    """Return the colour of a line, by its number from 0 on."""
    colour = COLOURS[number % len(COLOURS)]
    return ink() if colour == _BLACK else colour


def canvas(panels: int, width: float, height: float) -> tuple[Figure, list[Axes]]:
    """Make a figure of `panels` axes in at most three columns, fewer if a narrow figure was asked for.

    `width` is that of the figure and `height` that of a panel, both in inches.
    """
    columns = panels if panels <= 3 else min(3, math.ceil(math.sqrt(panels)))
    if size := _ASKED.get().size:
        columns = min(columns, max(int(size[0] / _NARROWEST), 1))
    rows = math.ceil(panels / columns)
    figure = new_figure(width, max(height * rows, 2.4))
    axes = [figure.add_subplot(rows, columns, n + 1) for n in range(panels)]
    for axis in axes:
        plain(axis)
    return figure, axes


def plain(axis: Axes) -> None:
    """Remove the top and right spines and draw a pale grid behind the data."""
    axis.spines[["top", "right"]].set_visible(False)
    axis.grid(color="0.5", alpha=0.16, linewidth=0.8)
    axis.set_axisbelow(True)


def scale(axes: Axes, values: xr.DataArray, axis: str = "y") -> None:
    """Make a scale logarithmic if all values are positive and span more than `LOG_RATIO`, else start it at 0."""
    finite = values.values[np.isfinite(values.values)]
    if finite.size and finite.min() > 0 and finite.max() > LOG_RATIO * finite.min():
        (axes.set_xscale if axis == "x" else axes.set_yscale)("log")
        low, high = finite.min() / 1.6, finite.max() * 1.6
        if axis == "x" and high < 200 * low:  # with fewer than two decades, labels of minor ticks run into each other
            axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
            axes.xaxis.set_major_formatter("{x:.3g}")
            axes.xaxis.set_minor_formatter(NullFormatter())
    else:
        low, high = 0.0, (float(finite.max()) if finite.size and finite.max() > 0 else 1.0) * 1.08
    (axes.set_xlim if axis == "x" else axes.set_ylim)(low, high)


def logarithmic(axes: Axes, values: Any, axis: str) -> None:
    """Make a scale logarithmic and let it span the positive values; without any, it stays as it is."""
    numbers = np.asarray(values, dtype=np.float64)
    positive = numbers[np.isfinite(numbers) & (numbers > 0)]
    if positive.size:
        (axes.set_xscale if axis == "x" else axes.set_yscale)("log")
        low, high = max(positive.min() / 1.3, 1e-300), min(positive.max(), 1e300) * 1.3
        (axes.set_xlim if axis == "x" else axes.set_ylim)(low, high)


def lag_axis(axes: Axes, lags: Any) -> None:
    """Make the horizontal scale that of lags: logarithmic, labelled with whole numbers, not narrower than an octave."""
    first, last = float(np.min(lags)), float(np.max(lags))
    axes.set_xscale("log")
    axes.set_xlim(min(first / 1.3, first / 2 if first == last else first), last * (2 if first == last else 1.3))
    axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if last < 50 * first else (1.0,)))
    axes.xaxis.set_major_formatter("{x:,.6g}")
    axes.xaxis.set_minor_formatter(NullFormatter())


def unit_text(units: str) -> str:
    """Return units with superscripts, as in weight² step⁻². A scalar that was logged may have any units."""
    return (
        as_text(units).replace(" learning_rate^-2", " η⁻²").replace("^-2", "⁻²").replace("^-1", "⁻¹").replace("^2", "²")
    )


def as_text(name: Any) -> str:
    """Return a name with dollars and control characters escaped, so that matplotlib draws it as text, not as a formula.

    Every text of a figure that holds a name from a store goes through this function, and through no other.
    """
    return printable(str(name)).replace("$", r"\$")


def legend(axes: Axes, handles: Sequence[Any], names: Sequence[Any]) -> None:
    """Draw a legend beside the axes, an entry for each handle, without the words that all names begin with.

    The names are set afterwards: matplotlib drops entries whose label begins with an underscore.
    """
    drawn = axes.legend(
        handles, [str(n) for n in range(len(handles))], loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False,
        fontsize=9,
    )  # fmt: skip
    shared, own = differing([str(name) or "model" for name in names])
    for text, name in zip(drawn.get_texts(), own, strict=True):
        text.set_text(as_text(name))
    if shared:
        drawn.set_title(as_text(f"{shared}…"), prop=FontProperties(size=9))


def resumptions(axes: Axes, steps: Sequence[int]) -> Line2D | None:
    """Draw a thin line at each step at which a training was resumed; return one for the legend, None if there is none.

    Steps outside the horizontal axis are left out, and the axis stays as it is.
    """
    low, high = axes.get_xlim()
    drawn = [
        axes.axvline(step, color="0.45", linewidth=0.8, linestyle=(0, (1, 2)), zorder=0.5)
        for step in steps
        if low <= step <= high
    ]
    axes.set_xlim(low, high)
    return drawn[0] if drawn else None


@contextmanager
def drawing(
    style: str | None = None, figsize: tuple[float, float] | None = None, make: Callable[..., Figure] = Figure
) -> Iterator[None]:
    """Set style, size and maker of the figures drawn inside. They are drawn without TeX: names are not TeX.

    Parameters
    ----------
    style
        A style of matplotlib, by name or file.
    figsize
        Width and height of every figure, in inches; by default each has its own.
    make
        Function that makes a figure. `matplotlib.pyplot.figure` makes one that a notebook shows.
    """
    before = _ASKED.set(_Asked(figsize, make))
    try:
        with ExitStack() as stack:
            if style is not None:
                stack.enter_context(styles.context(style))
            stack.enter_context(mpl.rc_context({"text.usetex": False}))
            yield
    finally:
        _ASKED.reset(before)


def wrong_style(style: str) -> str | None:
    """Return a sentence on what is wrong with a style; None if matplotlib has it, or it is the path of a file."""
    if style in ("default", *styles.available) or Path(style).is_file():
        return None
    close = get_close_matches(style, styles.available, 1)
    remedy = f"Did you mean {close[0]}?" if close else f"Some of them: {', '.join(sorted(styles.available)[:4])}."
    return f"expected a style of matplotlib or a file of one, got {style!r}. {remedy}"
