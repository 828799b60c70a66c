"""Questions that read few frames: those at the ends of stretches, and a seeded sample of velocities."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from analyzer.engine.measure import Measurement
from analyzer.engine.memory import require_memory
from analyzer.engine.pieces import bundle_groups
from analyzer.engine.spans import chosen_of, frame_at, frames_of
from analyzer.errors import OptionError
from analyzer.query.windows import Sampling

Array = np.ndarray[Any, np.dtype[Any]]

STRETCHES = 16
"""Number of stretches of consecutive velocities in the sample of a long run. Each costs at most about two chunks of
every parameter."""
_PIECES = 8
"""Most pieces that the weights of one group are drawn from, so that 64 weights do not decode a layer of gigabytes."""


@np.errstate(over="ignore", invalid="ignore")  # weights beyond 1e154, which no model has, give infinity or NaN
def norm_changes(measurement: Measurement) -> Array:
    """|w|² after the last velocity less |w|² before the first, by group, summed over stretches without gaps (groups,).

    It needs only the frames at the ends of stretches. Kept sums hold those that are edges of bins.

    Raises
    ------
    TrajectoryMissingError
        The question needs frames, and the trajectory is gone.
    """
    plan = measurement.plan
    first, last = plan.sampling.first, plan.sampling.first + (plan.sampling.count - 1) * plan.sampling.spacing
    change = np.zeros(plan.grouping.weights.size)
    spans = plan.spans or plan.shelved
    starts = np.array([span.start for span in spans])
    for bundle, frames in zip(plan.bundles, plan.frames, strict=True):
        labels, numbers = bundle_groups(bundle)
        for ends in zip(first.tolist(), last.tolist(), strict=True):
            before, after = (
                frame_at(bundle, frames, spans[int(np.searchsorted(starts, end, side="right")) - 1], end)
                for end in ends
            )
            before, after = before.astype(np.float64), after.astype(np.float64)
            # a² − b² as (a − b)(a + b): subtracting large squares would lose their small difference.
            sums = np.bincount(labels, weights=(after - before) * (after + before), minlength=numbers.size)
            np.add.at(change, numbers, sums)
    return change


@dataclass(frozen=True)
class Sample:
    """The size of a sample of velocities: weights of each group, steps of each weight; and the seed of the choice."""

    weights: int = 64
    steps: int = 4096
    seed: int = 0


def velocity_sample(measurement: Measurement, group: int, sample: Sample, *, limit: int | None = None) -> Array:
    """Velocities of a few weights of a group of whole parameters, at all steps or in evenly spread stretches of steps.

    Parameters
    ----------
    measurement
        At a lag of one stride.
    group
        Number of the group.
    sample
        Size and seed of the sample. From a run with more steps, the velocities of 16 stretches are taken. The same seed
        gives the same sample.
    limit
        Bytes of memory, or None.

    Returns
    -------
    (weights, stretches, samples) float64; without stretches if no stretch without a gap is long enough.

    Raises
    ------
    OptionError, MemoryLimitError
        When called, before any frame is read.
    TrajectoryMissingError, CorruptChunkError, MissingChunkError
        While it is read.
    """
    asked = (("--sample-weights 64", "weights", sample.weights), ("--sample-steps 4096", "steps", sample.steps))
    for option, name, value in asked:
        if not isinstance(value, (int, np.integer)) or isinstance(value, bool) or value < STRETCHES:
            raise OptionError(
                f"{option.partition(' ')[0]}: expected a whole number of at least {STRETCHES}, got {value!r}. Fewer "
                f"do not show a distribution. Write {option}",
                **{name: value},
            )
    rng = np.random.default_rng([sample.seed, group])
    pieces = [
        (piece, frames)
        for bundle, of_bundle in zip(measurement.plan.bundles, measurement.plan.frames, strict=True)
        for piece, frames in chosen_of(bundle, of_bundle)
        if piece.rule is not None and piece.rule.base == group
    ]
    sizes = np.array([piece.weights for piece, _ in pieces], dtype=np.int64)
    if len(pieces) > _PIECES:
        pieces = [pieces[n] for n in rng.choice(len(pieces), _PIECES, replace=False, p=sizes / sizes.sum())]
        sizes = np.array([piece.weights for piece, _ in pieces])
    chosen = np.sort(rng.choice(int(sizes.sum()), min(sample.weights, int(sizes.sum())), replace=False))
    starts, length = _stretches(measurement.plan.sampling, sample.steps, rng)
    _check(
        chosen.size * starts.size * length,
        max((piece.frame_bytes for piece, _ in pieces), default=0) * (length + 1),
        limit,
    )
    velocities = np.empty((chosen.size, starts.size, length))
    owner = np.searchsorted(np.cumsum(sizes), chosen, side="right")
    for number, (piece, some) in enumerate(pieces):
        mine = np.flatnonzero(owner == number)
        rows = chosen[mine] - (int(sizes[:number].sum()))
        if not mine.size:
            continue
        for n, start in enumerate(starts.tolist()):
            frames = frames_of(piece, some, start, start + length + 1)[rows]
            with np.errstate(invalid="ignore"):  # infinite weights: no velocity, NaN
                velocities[mine, n] = np.diff(frames.astype(np.float64), axis=1)
    return velocities


def _stretches(sampling: Sampling, steps: int, rng: np.random.Generator) -> tuple[Array, int]:
    """First frames of the sample's stretches, and the velocities in each."""
    lengths = sampling.count - 1
    if lengths.size == 1 and lengths[0] <= steps:
        return sampling.first, int(lengths[0])
    length = min(steps, int(lengths.sum())) // STRETCHES
    room = np.maximum(lengths - length + 1, 0) if length else np.zeros_like(lengths)
    free = np.repeat(sampling.first - (np.cumsum(room) - room), room) + np.arange(int(room.sum()))
    count = min(STRETCHES, int(free.size // max(length, 1)))
    if not count:
        return np.empty(0, dtype=np.int64), 0
    cell = free.size / count
    place = (np.arange(count) * cell + rng.random(count) * (cell - length)).astype(np.int64)
    return np.asarray(free[place]), length


def _check(velocities: int, chunk: int, limit: int | None) -> None:
    # The sample, its scaled copy, and its padded Fourier transforms; two copies of the frames that it is taken from.
    needed = 80 * velocities + 3 * chunk
    remedy = "Give a smaller --sample-weights or --sample-steps"
    require_memory(needed, limit, f"a sample of {velocities:,} velocities", remedy)
