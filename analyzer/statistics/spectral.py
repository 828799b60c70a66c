"""Welch's spectral density from summed periodograms, and lengths of sections."""

from __future__ import annotations

from typing import Any

import numpy as np

from analyzer.statistics.lagged import FEWEST_BATCHES, effective, spread

Array = np.ndarray[Any, np.dtype[Any]]

USUAL, SHORTEST = 1024, 16
"""Velocities of a section by default, and the fewest."""
LEAST_SECTIONS = 8
"""Fewest sections of an error bar."""
EPOCHS = 4
"""Epochs that a section must hold to show lines at their frequency: the lobe of a Hann window is four bins wide."""


def hann(length: int) -> Array:
    """Return the periodic Hann window, (length,).

    Examples
    --------
    >>> hann(4)
    array([0. , 0.5, 1. , 0.5])
    """
    return np.asarray(0.5 - 0.5 * np.cos(2 * np.pi * np.arange(length) / length))


def thinned(frequency: Array, density: Array, places: int = 200) -> tuple[Array, Array]:
    """Return means over neighbouring frequencies where they are dense on a logarithmic scale.

    Parameters
    ----------
    frequency
        (frequencies,) positive, ascending.
    density
        (..., frequencies).
    places
        Most frequencies that are left.

    Examples
    --------
    >>> thinned(np.arange(1.0, 9.0), np.ones(8), places=4)
    (array([1. , 2.5, 5.5, 8. ]), array([1., 1., 1., 1.]))
    """
    edges = np.unique(np.rint(np.geomspace(1, frequency.size, places)).astype(int)) - 1
    size = np.diff(np.append(edges, frequency.size))
    return np.add.reduceat(frequency, edges) / size, np.add.reduceat(density, edges, axis=-1) / size


def section_length(velocities: int, epoch: int | None) -> int:
    """Return the length of a section in velocities: a power of two, so that eight half-overlapping ones fit a window.

    It is 1,024, or the first power of two that holds four epochs; less in a short window.

    Parameters
    ----------
    velocities
        Velocities in the longest stretch of a window.
    epoch
        Velocities in an epoch, if known.
    """
    longest = 2 * velocities // (LEAST_SECTIONS + 1)
    wanted = USUAL
    if epoch is not None:
        of_epochs = 1 << int(np.ceil(np.log2(max(EPOCHS * epoch, SHORTEST))))
        wanted = max(of_epochs, SHORTEST) if of_epochs <= longest and of_epochs > USUAL else USUAL
    while wanted > max(longest, SHORTEST):
        wanted //= 2
    return wanted


@np.errstate(divide="ignore", invalid="ignore")  # without sections, NaN is right
def welch(sums: Array, counts: Array, weights: Array, length: int, apart: float) -> tuple[Array, Array, Array]:
    """Return the one-sided spectral density of groups in one window, its standard error, and its integral.

    S(f) = 2/(Σ h² f_s) ⟨|Σ h(t) v(t) exp(−2πift)|²⟩, f_s = 1/apart the sampling frequency, without the factor 2 at 0
    and at the highest frequency. By Parseval's theorem Σ S Δf = ⟨Σ h² v²⟩/Σ h²: the mean squared velocity, weighted
    with the square of the window (P. D. Welch, IEEE Trans. Audio Electroacoust. 15:70, 1967).

    Parameters
    ----------
    sums
        (groups, batches, frequencies) of |…|² over weights and sections.
    counts
        (batches,) sections.
    weights
        (groups,) number of weights.
    length
        Velocities of a section.
    apart
        Steps between two velocities.

    Returns
    -------
    Density and error, both (groups, frequencies), the error NaN with fewer than eight batches; integral (groups,).
    """
    sides = np.full(length // 2 + 1, 2.0)
    sides[0] = 1
    if length % 2 == 0:
        sides[-1] = 1
    scale = sides * apart / (hann(length) ** 2).sum()
    per_section = sums * scale / weights[:, np.newaxis, np.newaxis]
    density = per_section.sum(axis=1) / counts.sum()
    share = counts / counts.sum()
    error = np.full_like(density, np.nan)
    if counts.size and effective(share) >= FEWEST_BATCHES:
        off = share[:, np.newaxis] * (per_section / counts[:, np.newaxis] - density[:, np.newaxis])
        error, _ = spread(off, share[:, np.newaxis])
    return density, error, density.sum(axis=1) / (length * apart)
