"""Pictures of temperatures and velocities: one style, axes with units, colours that all eyes tell apart."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, NullLocator

from analyzer.errors import OptionError

# Okabe and Ito, "Color universal design" (2008), without the yellow that white paper swallows.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
DASHES = ("-", "--", ":", "-.")
SERIES = ("model", "layer", "module", "parameter")
"""Groups few enough to be one line each."""
_MOST_LINES = 28
_MOST_PANELS = 12


def series_window(run: xr.DataTree, answer: xr.Dataset, points: int = 150) -> int:
    """A window that cuts an answer's range into about so many points of a curve."""
    begin, end = int(answer["start_step"].min()), int(answer["stop_step"].max())
    unit = int(answer.attrs["steps_per_lag"])
    return max(round((end - begin) / points / unit), 1) * unit


def temperature(answer: xr.Dataset) -> Figure:
    """Temperatures against step for a few groups; by place (row, column, head, element): stems, or a map."""
    return _figure(answer, "temperature", "temperature")


def by_lag(answer: xr.Dataset) -> Figure:
    """Temperature over lag against lag, T(L)/L: level for independent steps, rising where velocities persist.

    Open symbols: displacements of an epoch, from its middle to the next one's.
    """
    if answer.sizes["window"] > 1:
        raise OptionError(
            f"--plot: expected one window where there are several lags, got {answer.sizes['window']}. T against lag is "
            "drawn for one range of steps. Leave --window out, and choose the range with --start and --stop."
        )
    figure, axes = canvas(1, 7.2, 4.2)
    steps = answer["steps_per_lag"].values
    values = (answer["temperature"].isel(window=0) / answer["steps_per_lag"]).transpose("group", "lag").compute()
    error = (
        (1.96 * answer["standard_error"].isel(window=0) / answer["steps_per_lag"])
        if "standard_error" in answer
        else None
    )
    order = np.argsort(steps)
    shown = list(values["group"].values)[:_MOST_LINES]
    for n, name in enumerate(shown):
        colour, dash = COLOURS[n % len(COLOURS)], DASHES[n // len(COLOURS) % len(DASHES)]
        bars = None if error is None else np.nan_to_num(error.sel(group=name).values[order])
        aside = 1.1 ** ((n + 0.5) / len(shown) - 0.5)  # else bars of one lag hide each other
        axes[0].errorbar(
            steps[order] * aside, values.sel(group=name).values[order], yerr=bars, color=colour, linestyle=dash,
            marker="o", markersize=3.5, elinewidth=1, label=str(name) or "model",
        )  # fmt: skip
        if "temperature_half_phase" in answer:
            half = (answer["temperature_half_phase"].isel(window=0) / answer["steps_per_lag"]).sel(group=name)
            axes[0].plot(steps * aside, half.values, "o", markersize=4.5, markerfacecolor="none", color=colour)
    axes[0].set_xscale("log")
    axes[0].set_xticks(sorted(set(steps.tolist())), [f"{step:,}" for step in sorted(set(steps.tolist()))])
    axes[0].xaxis.set_minor_locator(NullLocator())
    axes[0].set(xlabel="lag L (steps)", ylabel="temperature / L (weight² step⁻¹)")
    _scale(axes[0], values)
    axes[0].legend(loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False, fontsize=9)
    if len(shown) < values.sizes["group"]:
        axes[0].set_title(f"first {len(shown)} of {values.sizes['group']} groups", fontsize=9)
    return figure


def velocity(answer: xr.Dataset) -> Figure:
    """Root mean squared velocities, drawn as `temperature` draws temperatures."""
    return _figure(answer, "rms_velocity", "rms velocity")


def _figure(answer: xr.Dataset, column: str, title: str) -> Figure:
    values = answer[column].compute()
    unit = unit_text(values.attrs.get("units", ""))
    label = f"{title} ({unit})"
    place = next(
        (name for name in ("row", "column", "output", "input", "head", "index") if name in answer.coords), None
    )
    if place is None and answer.sizes["window"] > 1:
        return _lines(values, answer, label)
    if place is None:
        return _bars_of_groups(values, label)
    return _by_place(values, answer, place, label)


def _lines(values: xr.DataArray, answer: xr.Dataset, label: str) -> Figure:
    figure, axes = canvas(1, 7.2, 4.2)
    shown = list(values["group"].values)[:_MOST_LINES]
    middle = 0.5 * (answer["start_step"] + answer["stop_step"])
    for n, name in enumerate(shown):
        style: dict[str, Any] = {
            "color": COLOURS[n % len(COLOURS)],
            "linestyle": DASHES[n // len(COLOURS) % len(DASHES)],
        }
        marker = "o" if middle.size <= 20 else None
        axes[0].plot(middle, values.sel(group=name), label=str(name) or "model", marker=marker, markersize=3.5, **style)
    _scale(axes[0], values)
    width = int((answer["stop_step"] - answer["start_step"]).max())
    axes[0].set(xlabel=f"step (middle of windows of {width:,})" if width > 1 else "step", ylabel=label)
    axes[0].legend(loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False, fontsize=9)
    if len(shown) < values.sizes["group"]:
        axes[0].set_title(f"first {len(shown)} of {values.sizes['group']} groups", fontsize=9)
    return figure


def _bars_of_groups(values: xr.DataArray, label: str) -> Figure:
    figure, axes = canvas(1, 6.4, max(2.2, 0.3 * values.sizes["group"] + 1))
    names = [str(name) or "model" for name in values["group"].values]
    axes[0].plot(values[:, 0], np.arange(len(names)), "o", color=COLOURS[0])
    axes[0].set_yticks(np.arange(len(names)), names)
    axes[0].invert_yaxis()
    axes[0].margins(y=0.1)
    _scale(axes[0], values, axis="x")
    axes[0].set_xlabel(label)
    return figure


def _by_place(values: xr.DataArray, answer: xr.Dataset, place: str, label: str) -> Figure:
    owners = list(dict.fromkeys(answer["parameter"].values))
    shown = owners[:_MOST_PANELS]
    heat = values.sizes["window"] > 1
    figure, axes = canvas(len(shown), 7.2 if len(shown) == 1 else 9.6, 4.2 if len(shown) == 1 else 2.5)
    positive = values.values[np.isfinite(values.values) & (values.values > 0)]
    norm = LogNorm(positive.min(), positive.max()) if positive.size and positive.max() > positive.min() else None
    picture: Any = None
    for axis, owner in zip(axes, shown, strict=False):
        panel = values.values[answer["parameter"].values == owner]
        if heat:
            edges = np.append(answer["start_step"].values, answer["stop_step"].values[-1])
            masked = np.ma.masked_where(~(panel > 0), panel)
            picture = axis.pcolormesh(edges, np.arange(len(panel) + 1) - 0.5, masked, norm=norm, cmap="cividis")
            axis.set_facecolor("0.85")
            axis.invert_yaxis()
            axis.yaxis.set_major_locator(MaxNLocator(5, integer=True))
        else:
            _stems(axis, panel[:, 0], values)
        axis.set_title(str(owner), fontsize=9)
        axis.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    what = "element (flat index)" if place == "index" else place
    figure.supxlabel("step" if heat else what, fontsize=10)
    figure.supylabel(what if heat else label, fontsize=10)
    if heat and picture is not None:
        figure.colorbar(picture, ax=axes[: len(shown)], label=label, aspect=30)
    if len(shown) < len(owners):
        figure.suptitle(f"first {len(shown)} of {len(owners)} parameters", fontsize=9)
    return figure


def _stems(axis: Axes, heights: np.ndarray[Any, Any], values: xr.DataArray) -> None:
    """A point for each place, with a stem while they are few enough to be told apart."""
    places = np.arange(heights.size)
    axis.plot(places, heights, "o", markersize=3 if heights.size <= 256 else 1.2, color=COLOURS[0])
    _scale(axis, values)
    if heights.size <= 256:
        axis.vlines(places, axis.get_ylim()[0], heights, color=COLOURS[0], linewidth=0.8, alpha=0.6)
    axis.set_xlim(-0.7, heights.size - 0.3)
    axis.grid(visible=False, axis="x")


def canvas(panels: int, width: float, height: float) -> tuple[Figure, list[Axes]]:
    columns = 1 if panels == 1 else min(3, math.ceil(math.sqrt(panels)))
    rows = math.ceil(panels / columns)
    figure = Figure(figsize=(width, max(height * rows, 2.4)), layout="constrained")
    axes = [figure.add_subplot(rows, columns, n + 1) for n in range(panels)]
    for axis in axes:
        plain(axis)
    return figure, axes


def plain(axis: Axes) -> None:
    """Two spines, and a pale grid behind the data."""
    axis.spines[["top", "right"]].set_visible(False)
    axis.grid(color="0.92", linewidth=0.8)
    axis.set_axisbelow(True)


def _scale(axes: Axes, values: xr.DataArray, axis: str = "y") -> None:
    """Logarithmic where values span more than a factor of five, none of them zero: layers differ by decades."""
    finite = values.values[np.isfinite(values.values)]
    if finite.size and finite.min() > 0 and finite.max() > 5 * finite.min():
        (axes.set_xscale if axis == "x" else axes.set_yscale)("log")
        low, high = finite.min() / 1.6, finite.max() * 1.6
    else:
        low, high = 0.0, (float(finite.max()) if finite.size and finite.max() > 0 else 1.0) * 1.08
    (axes.set_xlim if axis == "x" else axes.set_ylim)(low, high)


def unit_text(units: str) -> str:
    return units.replace("^-2", "⁻²").replace("^-1", "⁻¹").replace("^2", "²")
