"""Figures of rows × columns: for each matrix a map of ⟨v²⟩, a map of its ratio to the fit, and both sets of factors."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, LogLocator, MaxNLocator, NullFormatter, NullLocator

from analyzer.plots.style import COLOURS, as_text, logarithmic, new_figure, plain, unit_text

Array = np.ndarray[Any, np.dtype[Any]]

MOST_PARAMETERS = 8
_WIDEST = 30.0
"""Ratios beyond this factor have the colour of the end of the scale: a few extreme elements must not hide others."""
_SEEN = 98.0
"""Percent of the elements whose ratios lie within the colour scale."""


def factors(answer: xr.Dataset) -> Figure | None:
    """Plot four panels for each matrix with factors; None if there is none.

    Left to right: ⟨v²⟩ of every element; ⟨v²⟩ over the fit, with 1 in white; factors of the rows and of the columns by
    rank, with 95 % intervals.

    Parameters
    ----------
    answer
        The dataset that `analyzer.factors` returned, or one that it was merged with.
    """
    names = [str(n) for n in answer["tested"].values if not answer.sel(tested=n)["separable_reason"].item()]
    if not names:
        return None
    drawn = names[:MOST_PARAMETERS]
    figure = new_figure(15, 3.1 * len(drawn) + 0.9)
    grid = figure.subplots(len(drawn), 4, squeeze=False, width_ratios=[1.25, 1.25, 1, 1])
    units = unit_text(answer["factor_scale"].attrs["units"])
    for line, name in zip(grid, drawn, strict=True):
        _matrix(figure, line, answer, name, units)
    for axis, text in zip(grid[-1], ("column", "column", "rank of the row", "rank of the column"), strict=True):
        axis.set_xlabel(text, fontsize=9)
    figure.suptitle(_headline(answer, len(names)), fontsize=10)
    return figure


def _headline(answer: xr.Dataset, matrices: int) -> str:
    begin, end = (
        answer.attrs[name] if name in answer.attrs else int(answer[name].values[0])
        for name in ("start_step", "stop_step")
    )
    text = f"⟨v²⟩ ≈ row factor × column factor, steps {begin:,} to {end:,}, lag {answer.attrs['lag']}"
    if matrices > MOST_PARAMETERS:
        text += f"; first {MOST_PARAMETERS} of {matrices} matrices"
    return f"{text}\nshares of the variance of ln⟨v²⟩ and bars: 95 % intervals; grey: at rest, or moved by rounding"


def _matrix(figure: Figure, line: Array, answer: xr.Dataset, name: str, units: str) -> None:
    own = answer.sel(tested=name)
    row, column = (_factors_of(answer, name, kind) for kind in ("row", "column"))
    ratio = answer["element_ratio"].values[answer["element_of"].values == name].reshape(row.shape[1], column.shape[1])
    heat = ratio * float(own["factor_scale"]) * row[0][:, np.newaxis] * column[0]
    _map(figure, line[0], np.where(heat > 0, heat, np.nan), f"⟨v²⟩ ({units})", None)
    span = _span(ratio)
    _map(
        figure,
        line[1],
        np.where(ratio > 0, ratio, np.nan),
        "⟨v²⟩ ÷ (row × column)",
        LogNorm(1 / span, span, clip=False),
    )
    for axis, one, kind, colour in zip(line[2:], (row, column), ("row", "column"), COLOURS, strict=False):
        _ranked(axis, one, colour)
        axis.set_title(_told(one[0], kind), fontsize=8)
        axis.set_ylabel(f"factor of the {kind}", fontsize=8)
    share, low, high, chance = (
        100 * float(own[key])
        for key in ("separable_share", "separable_share_low", "separable_share_high", "chance_share")
    )
    line[0].set_title(as_text(name), fontsize=9)
    loose = ", unreliable" if own["separable_share_unreliable"].item() else ""
    line[1].set_title(f"explained {share:.4g} % ({low:.4g} to {high:.4g}{loose}); by chance {chance:.2g} %", fontsize=8)
    line[0].set_ylabel("row", fontsize=9)
    for axis in line:
        axis.tick_params(labelsize=8)


def _factors_of(answer: xr.Dataset, name: str, kind: str) -> Array:
    """Factors and the ends of their intervals, (3, rows or columns)."""
    some = answer[f"{kind}_of"].values == name
    return np.stack([answer[f"{kind}_factor{end}"].values[some] for end in ("", "_low", "_high")])


def _span(ratio: Array) -> float:
    """The factor to which the colours of a map of ratios reach on both sides of 1."""
    alive = np.abs(np.log(ratio[ratio > 0]))
    widest = float(np.exp(np.percentile(alive, _SEEN))) if alive.size else 1.0
    return float(np.clip(widest, 1.1, _WIDEST))


def _told(factors: Array, kind: str) -> str:
    alive = factors[factors > 0]
    text = f"{kind}s span {alive.max() / alive.min():.3g} ×"
    still = int((factors == 0).sum())
    return text + (f"; {still} at rest" if still else "")


def _map(figure: Figure, axis: Axes, table: Array, label: str, norm: LogNorm | None) -> None:
    finite = table[np.isfinite(table)]
    ends = norm is not None
    norm = norm or LogNorm(finite.min(), finite.max())
    masked = np.ma.masked_invalid(table)
    cmap = "RdBu_r" if ends else "cividis"
    picture = axis.imshow(masked, norm=norm, cmap=cmap, aspect="auto", interpolation="nearest")
    axis.set_facecolor("0.75")
    for ruler, length in ((axis.xaxis, table.shape[1]), (axis.yaxis, table.shape[0])):
        ruler.set_major_locator(MaxNLocator(5, integer=True) if length > 1 else FixedLocator([0]))
    bar = figure.colorbar(picture, ax=axis, aspect=22, pad=0.02, extend="both" if ends else "neither")
    if ends:
        top = float(norm.vmax or 1)
        round_ = float(f"{top**0.7:.1g}") if top >= 2 else float(f"{1 + 0.7 * (top - 1):.2g}")
        bar.set_ticks([1 / round_, 1.0, round_], labels=[f"{1 / round_:.2g}", "1", f"{round_:.3g}"])
        bar.ax.yaxis.set_minor_locator(NullLocator())
    else:
        bar.ax.yaxis.set_minor_formatter(NullFormatter())
    bar.ax.tick_params(labelsize=8)
    bar.set_label(label, fontsize=8)


def _labelled(ruler: Any, values: Array) -> None:
    """Label a logarithmic scale with plain numbers, 1, 2 and 5 of each decade, if it spans less than two decades."""
    if values.max() < 100 * values.min():
        ruler.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        ruler.set_major_formatter("{x:g}")
    ruler.set_minor_formatter(NullFormatter())


def _ranked(axis: Axes, factors: Array, colour: str) -> None:
    """Draw factors from the largest to the smallest with their intervals; those at rest are left out."""
    order = np.argsort(-factors[0], kind="stable")
    value, low, high = factors[:, order[factors[0][order] > 0]]
    rank = np.arange(1, value.size + 1)
    size = 3.5 if value.size <= 128 else 2.0
    axis.errorbar(
        rank, value, yerr=[value - low, high - value], fmt="o", markersize=size, elinewidth=0.9, color=colour
    )  # fmt: skip
    plain(axis)
    ends = np.concatenate([low, high])
    logarithmic(axis, ends, "y")
    _labelled(axis.yaxis, ends)
    axis.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    axis.set_xlim(0.3, value.size + 0.7)
