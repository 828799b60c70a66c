"""How often the true spectral density lies inside the 95 % interval of `analyzer spectrum`.

    python -m tests.benchmarks.spectrum_coverage

Systems are single weights, and groups of ten, in runs of 31 sections of 1,024 velocities, and of eight, the fewest with
an interval. Velocities are independent noise of variance 1 through a linear filter, so that S(f) is twice the squared
modulus of the filter's transform (one-sided). The Hann window smears it over two bins to each side. So the table also
has the mean density of such sections, 2/Σh² Σ C(τ) (Σ_t h(t) h(t + τ)) cos 2πfτ over all |τ| of a section: where
intervals hold that one and not S, the smearing is at fault, and not the error bar.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from analyzer.statistics.density import NORMAL
from analyzer.statistics.spectral import USUAL, hann, welch
from tests.benchmarks.dynamics_coverage import System, ar1, heavy_ball, sgd

SHOWN = (1, 2, 4, 16, 64, 256, 511)
"""Frequencies of the table, in bins of 1/1,024."""
SECTIONS = (31, 8)
GROUPS = (1, 10)
_BEFORE = 2000
"""Frames that are simulated before the first one."""


@dataclass(frozen=True)
class Filter:
    """A system, and the transform of the filter that makes its velocities of noise, at z = exp(−2πif)."""

    system: System
    transform: Callable[[np.ndarray], np.ndarray]


FILTERS = (
    Filter(ar1(0.0), lambda z: np.ones_like(z)),
    Filter(ar1(0.9), lambda z: 1 / (1 - 0.9 * z)),
    Filter(ar1(0.99), lambda z: 1 / (1 - 0.99 * z)),
    Filter(sgd(0.9), lambda z: (1 - z) / (1 - 0.9 * z)),
    Filter(heavy_ball(0.9, 0.3), lambda z: (1 - z) / (1 - 1.6 * z + 0.9 * z**2)),
)


@dataclass(frozen=True)
class Coverage:
    """How often intervals hold the density and the mean of sections, (frequencies,) in percent; `few` sections."""

    system: str
    weights: int
    few: int
    density: np.ndarray
    smeared: np.ndarray


def truths(kind: Filter, length: int) -> tuple[np.ndarray, np.ndarray]:
    """The density at the frequencies n/length below ½, and the mean density of sections."""
    density = 2 * np.abs(kind.transform(np.exp(-2j * np.pi * np.arange(1, length // 2) / length))) ** 2
    h = hann(length)
    shared = np.correlate(h, h, "full")[length - 1 :]  # Σ_t h(t) h(t + τ)
    terms = kind.system.correlation(np.arange(length)) * shared
    smeared = 2 / shared[0] * (2 * np.fft.rfft(terms).real - terms[0])
    return density, smeared[1 : length // 2]


def measure(
    kinds: Sequence[Filter], count: int, few: int, *, weights: int = 1, length: int = USUAL, seed: int = 0
) -> Iterator[Coverage]:
    """How `count` groups of so many weights fared, of each kind, in runs of a few sections of a length."""
    rng = np.random.default_rng(seed)
    frames = length // 2 * (few + 1) + 1
    for kind in kinds:
        true = truths(kind, length)
        held = np.zeros((2, length // 2 - 1))
        for _ in range(count):
            moved = kind.system.weights(rng.standard_normal((weights, _BEFORE + frames)))[:, _BEFORE:]
            v = np.diff(moved, axis=1)
            cut = np.lib.stride_tricks.sliding_window_view(v, length, axis=1)[:, :: length // 2]
            squares = (np.abs(np.fft.rfft(cut * hann(length), axis=2)) ** 2).sum(axis=0)  # (sections, frequencies)
            found, error, _ = welch(squares[np.newaxis], np.ones(few, dtype=int), np.array([weights]), length, 1.0)
            inner = slice(1, length // 2)
            held += np.abs(found[0, inner] - true) <= NORMAL * error[0, inner]
        yield Coverage(kind.system.name, weights, few, *(100 * held / count))


def lines(row: Coverage) -> str:
    """Two rows of the table; each has the shown frequencies, and the mean over all of them."""
    told = []
    for title, held in (("density", row.density), ("mean of sections", row.smeared)):
        cells = [f"{held[place - 1]:.1f}" for place in SHOWN]
        told.append(f"| {row.system} | {row.weights} | {row.few} | {title} | {' | '.join(cells)} | {held.mean():.1f} |")
    return "\n".join(told)


def main() -> None:
    """Print the table."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--systems", type=int, default=2000)
    options.add_argument("--only", default="", help="systems whose name begins so")
    options.add_argument("--weights", type=int, nargs="+", default=GROUPS, help="weights of a group")
    options.add_argument("--sections", type=int, nargs="+", default=SECTIONS, help="sections of a run")
    chosen = options.parse_args()
    titles = ("system", "weights", "sections", "compared with", *(f"f = {n}/{USUAL:,}" for n in SHOWN), "all")
    print(f"| {' | '.join(titles)} |\n{'|---' * len(titles)}|")
    some = [kind for kind in FILTERS if kind.system.name.startswith(chosen.only)]
    for weights in chosen.weights:
        for few in chosen.sections:
            for row in measure(some, chosen.systems, few, weights=weights):
                print(lines(row), flush=True)


if __name__ == "__main__":
    main()
