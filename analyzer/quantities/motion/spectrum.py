"""Spectrum: how the mean squared velocity is distributed over frequencies."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import xarray as xr

from analyzer.engine.lookback.passage import Asked, Lazy, Passed, ask_evenly
from analyzer.engine.lookback.spectra import plan_spectrum, spectrum_arrays
from analyzer.engine.measure import attrs_of, coords_of, in_memory_as, own_groups, unit_of
from analyzer.errors import EpochError, WindowError
from analyzer.quantities.equilibration import from_equilibrium
from analyzer.query.epochs import known_epochs
from analyzer.query.groups import By, Globs
from analyzer.query.query import Query, query_of
from analyzer.query.windows import Bound, Window
from analyzer.statistics.spectral import EPOCHS, SHORTEST, section_length, welch

Array = np.ndarray[Any, np.dtype[Any]]


def spectrum(
    run: xr.DataTree,
    *,
    by: By = "layer",
    sections: int | None = None,
    window: Window = None,
    start: Bound = None,
    stop: Bound = None,
    parameter: Globs = None,
    layer: Globs = None,
    exclude: Globs = None,
    frozen: bool = False,
    steps_per_epoch: int | None = None,
    memory_limit: int | None = None,
) -> xr.Dataset:
    """Power spectral density of the velocities of groups of weights, by Welch's method.

    The one-sided density of every weight, averaged over the weights of a group and over half-overlapping sections with
    a Hann window. No mean is subtracted (`analyzer.statistics.spectral.welch`).

    Parameters
    ----------
    run
        A run, as `open_run` gives it, or any tree derived from one.
    by
        As for `temperature`.
    sections
        Length of a section in steps, a multiple of the stride. Default: 1,024 velocities, or the power of two that
        holds four epochs, if eight such sections fit into the window; less in a short window.
    window, start, stop
        As for `temperature`.
    parameter, layer, exclude
        Globs over parameter names and layers.
    frozen
        Count frozen weights, too; see `temperature`.
    steps_per_epoch, memory_limit
        As for `temperature`.

    Returns
    -------
    xarray.Dataset
        Dims (group, window, frequency), lazy when the run is; `frequency` in step⁻¹. `spectral_density` in weight²
        step⁻¹ with `spectral_density_error` (mean ± 1.96 of it is a 95 % interval; NaN with fewer than eight sections).
        `hann_mean_squared_velocity`: its integral over frequencies, which is ⟨v²⟩ weighted with the squared Hann window
        (Parseval's theorem). `section_count` (window).
        If all epochs in the range are equally long: the coordinates `frequency_per_epoch` and `harmonic`, the number of
        the epoch's harmonic that is nearest to a frequency, 0 for none. Sections shorter than four epochs cannot show
        these lines: then `harmonic` is missing, and the attribute `epoch_lines` says why.

    Raises
    ------
    TooFewFramesError, WindowError, EpochError, GroupError, SelectionError, MemoryLimitError, TreeError
        When called, before any frame is read.
    TrajectoryMissingError
        Only sums were kept of the run.

    Notes
    -----
    The Hann window smears a density over two frequencies to each side. The interval is that of the smeared density.
    Near a steep end, as at the lowest frequencies of weights that are confined, it may leave out the density itself (a
    third too high at the first frequency, a twelfth at the second). Longer sections move that to lower frequencies.

    Examples
    --------
    >>> run = analyzer.open_run("runs/gcn.zarr")
    >>> answer = spectrum(run, by="layer").compute()
    >>> answer["spectral_density"].dims
    ('group', 'window', 'frequency')
    """
    query = query_of(locals(), cache=False)
    return spectrum_of(run, query, sections)[0]


def spectrum_of(run: xr.DataTree, query: Query, sections: int | None = None) -> tuple[xr.Dataset, list[Passed]]:
    """As `spectrum`, for a query; also returns the passage that computes it."""
    asked = ask_evenly(run, from_equilibrium(run, query), "a spectrum")
    stride = asked.run.line.stride
    epoch, why = _epoch(asked)
    velocities = int((asked.sampling.count - 1).max())
    length = section_length(velocities, epoch) if sections is None else _checked(sections, stride)
    if length > velocities:
        raise WindowError(
            f"Sections: expected stretches of at least {length} velocities without a gap, got {velocities} in the "
            f"longest. There is nothing to transform. {_remedy(sections, length * stride)}",
            velocities=velocities,
        )
    plan = plan_spectrum(asked, length)
    groups, windows, frequencies = asked.grouping.weights.size, asked.sampling.windows.velocities.size, length // 2 + 1
    finish = partial(_finished, counts=plan.sections.counts, window=plan.sections.window, windows=windows,
                     weights=asked.grouping.weights, length=length, stride=stride)  # fmt: skip
    shape = (groups, windows, frequencies)
    shapes: dict[str, tuple[tuple[int, ...], Any]] = {
        "spectral_density": (shape, np.float64),
        "spectral_density_error": (shape, np.float64),
        "hann_mean_squared_velocity": (shape[:2], np.float64),
    }
    arrays, nonfinite = spectrum_arrays(plan, finish, shapes)
    per = unit_of(asked.sampling)
    density = "weight^2 step^-1" if per == "step" else f"weight^2 {per}^-2 step"
    units = {
        "spectral_density": (density, "spectral density of velocities"),
        "spectral_density_error": (density, "standard error of the spectral density"),
        "hann_mean_squared_velocity": (f"weight^2 {per}^-2", "mean squared velocity, weighted with the window"),
    }
    coords = coords_of(asked.sampling, asked.grouping)
    frequency = np.arange(frequencies) / (length * stride)
    coords["frequency"] = ("frequency", frequency, {"units": "step^-1", "long_name": "frequency"})
    counts = np.bincount(plan.sections.window, weights=plan.sections.counts, minlength=windows).astype(np.int64)
    data: dict[str, Any] = {
        "weights": ("group", asked.grouping.weights, {"units": "1", "long_name": "degrees of freedom"}),
        "section_count": ("window", counts, {"units": "1", "long_name": "sections, half overlapping"}),
    }
    for name, (unit, title) in units.items():
        dims = ("group", "window", "frequency")[: arrays[name].ndim]
        data[name] = (dims, arrays[name], {"units": unit, "long_name": title})
    attrs = attrs_of(asked.run, asked.sampling, asked.grouping, "spectrum") | {"section_steps": length * stride}
    attrs |= own_groups(query.by)
    if epoch is not None:
        of_epoch = {"units": "epoch^-1", "long_name": "frequency"}
        coords["frequency_per_epoch"] = ("frequency", frequency * epoch * stride, of_epoch)
        attrs["steps_per_epoch"] = epoch * stride
        if length >= EPOCHS * epoch:
            harmonic = {"units": "1", "long_name": "harmonic of the epoch, 0 for none"}
            coords["harmonic"] = ("frequency", _harmonics(frequency * stride, epoch, length), harmonic)
            why = f"marked at multiples of 1/{epoch * stride} step^-1"
        else:
            wanted = EPOCHS * epoch * stride
            why = (
                f"cannot be seen: sections of {length * stride} steps hold fewer than {EPOCHS} epochs of "
                f"{epoch * stride}; "
                + (f"take --sections {wanted}" if wanted <= velocities * stride else f"record {wanted:,} steps or more")
            )
    attrs["epoch_lines"] = why
    dataset = xr.Dataset(data, coords=coords, attrs=attrs)
    return in_memory_as(asked.run, dataset), [Passed(asked.run, plan.passage, Lazy(nonfinite))]


def _remedy(sections: int | None, steps: int) -> str:
    if sections is None:
        return f"Record {steps:,} steps or more in a row, or choose a window that holds as many."
    return "Choose shorter --sections, or a longer window."


def _checked(sections: int, stride: int) -> int:
    if not isinstance(sections, (int, np.integer)) or isinstance(sections, bool) or sections % stride:
        raise WindowError(
            f"--sections: expected a multiple of the stride ({stride} steps), got {sections!r}. Frames exist only "
            f"every {stride} steps. Write --sections {1024 * stride}",
            sections=sections,
        )
    length = int(sections) // stride
    if not SHORTEST <= length <= 1 << 16:
        raise WindowError(
            f"--sections: expected {SHORTEST * stride:,} to {(1 << 16) * stride:,} steps, got {int(sections):,}. A "
            f"task keeps a section in memory. Write --sections {1024 * stride}",
            sections=sections,
        )
    return length


def _epoch(asked: Asked) -> tuple[int | None, str]:
    """Velocities in an epoch, if all complete ones are equally long; else None and the reason."""
    line, sampling = asked.run.line, asked.sampling
    low, high = int(sampling.first.min()), int((sampling.first + sampling.count - 1).max())
    try:
        epochs = known_epochs(line.steps, line.breaks, line.epoch, low, high, asked.query.steps_per_epoch)
    except EpochError:
        if asked.query.steps_per_epoch is not None:
            raise
        return None, "not looked for: no epochs were recorded; give --steps-per-epoch N"
    whole = epochs.complete & epochs.within(low, high)
    lengths = (line.steps[epochs.last] - line.steps[epochs.first])[whole]
    if not lengths.size or lengths.min() != lengths.max() or lengths[0] % line.stride:
        return None, "not looked for: no epochs of equal length"
    if lengths[0] == line.stride:
        return None, "none: an epoch is one step, and its frequency beyond the highest that steps can show"
    return int(lengths[0]) // line.stride, ""


def _harmonics(frequency: Array, epoch: int, length: int) -> Array:
    """The harmonic of the epoch within half a bin of each frequency (per velocity); 0 where there is none."""
    number = np.rint(frequency * epoch).astype(np.int64)
    return np.where(np.abs(frequency - number / epoch) <= 0.5 / length * (1 + 1e-9), number, 0)


def _finished(
    sums: Array, *, counts: Array, window: Array, windows: int, weights: Array, length: int, stride: int
) -> dict[str, Array]:
    found = [welch(sums[:, window == n], counts[window == n], weights, length, float(stride)) for n in range(windows)]
    names = ("spectral_density", "spectral_density_error", "hann_mean_squared_velocity")
    return {name: np.stack(columns, axis=1) for name, columns in zip(names, zip(*found, strict=True), strict=True)}
