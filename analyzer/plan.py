"""What will be read, in which tasks, and what it will cost, before anything runs.

The partition into tasks follows from the store and the query alone, never from workers, memory or scheduler: it fixes
the order of every sum, so that threads, processes and a cluster give the same bits.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from analyzer.errors import MemoryLimitError
from analyzer.groups import Grouping, Region, Rule, local_groups
from analyzer.moments import MOMENTS, Clip, clip
from analyzer.reading import Source
from analyzer.schema import Parameter
from analyzer.windows import Sampling

Array = np.ndarray[Any, np.dtype[Any]]

SPAN_FRAMES = 1024
"""Frames of one task where chunks are shorter: scheduling a task costs as much as decoding a hundred kilobytes."""
BUNDLE_BYTES = 32 << 20
"""Raw bytes of one task where tensors are smaller: 30 ms of decoding, a hundred times the cost of scheduling it."""
FAN_IN = 8
"""Partials that merge at once: a tree, since a chain would keep every partial in memory until its turn."""


@dataclass(frozen=True)
class Piece:
    """A region of one parameter that is read at once: whole along its own axes, or one row-cut of them."""

    parameter: str
    shape: tuple[int, ...]
    region: Region
    rule: Rule
    original_dtype: str
    itemsize: int
    source: Source | None = None

    @property
    def weights(self) -> int:
        """Number of weights in the region."""
        return int(np.prod([stop - start for start, stop in self.region], dtype=np.int64))


@dataclass(frozen=True)
class Bundle:
    """Pieces whose weights travel together through the reduction."""

    pieces: tuple[Piece, ...]

    @property
    def weights(self) -> int:
        """Number of weights of one frame."""
        return sum(piece.weights for piece in self.pieces)


@dataclass(frozen=True)
class Plan:
    """A query, cut into tasks.

    Attributes
    ----------
    spans
        (start, stop) frames of each task in time.
    clips
        The velocities inside each span.
    bundles
        What each task reads of a span.
    bytes
        Raw bytes that will be decoded.
    result_bytes
        Memory of the table of moments: groups × windows × 32 (four float64).
    task_bytes
        Memory that one task needs at most.
    """

    sampling: Sampling
    grouping: Grouping
    spans: tuple[tuple[int, int], ...]
    clips: tuple[Clip, ...]
    bundles: tuple[Bundle, ...]
    bytes: int
    result_bytes: int
    task_bytes: int

    @property
    def tasks(self) -> int:
        """Tasks that decode."""
        return len(self.spans) * len(self.bundles)

    def memory(self, workers: int) -> int:
        """Projected peak of the data in memory with so many workers, in bytes."""
        pending = sum(bundle.weights for bundle in self.bundles) * 40 * FAN_IN * max(_depth(len(self.spans)), 1)
        return self.task_bytes * workers + 2 * self.result_bytes + pending


def plan(
    sampling: Sampling,
    grouping: Grouping,
    parameters: Sequence[Parameter],
    sources: Mapping[str, Source],
    chunk_steps: int,
) -> Plan:
    """The tasks of a query on a store.

    Parameters
    ----------
    parameters
        The selected parameters; those without a group are not read.
    sources
        Where each parameter lies, by name.
    chunk_steps
        Frames of a chunk.
    """
    pieces = [
        Piece(
            p.name,
            p.shape,
            region,
            grouping.rules[p.name],
            p.original_dtype,
            np.dtype(p.dtype).itemsize,
            sources[p.name],
        )
        for p in parameters
        if p.name in grouping.rules
        for region in chunk_regions(p)
    ]
    largest = max((piece.weights * piece.itemsize for piece in pieces), default=1)
    repeats = max(min(-(-SPAN_FRAMES // chunk_steps), BUNDLE_BYTES // max(largest * chunk_steps, 1)), 1)
    spans = _spans(sampling, chunk_steps * repeats)
    bundles = _bundles(pieces, chunk_steps * repeats)
    return _costed(sampling, grouping, spans, bundles)


def plan_blocks(sampling: Sampling, grouping: Grouping, bundles: Sequence[Bundle], edges: Sequence[int]) -> Plan:
    """The tasks of a query on arrays that are already cut along step at `edges`, one bundle for each of their cuts."""
    return _costed(sampling, grouping, tuple(itertools.pairwise(edges)), tuple(bundles))


def check_memory(plan: Plan, workers: int, limit: int | None) -> None:
    """Refuses a plan whose projected peak passes a limit in bytes."""
    needed = plan.memory(workers)
    if limit is not None and needed > limit:
        windows, groups = plan.sampling.windows.velocities.size, plan.grouping.weights.size
        raise MemoryLimitError(
            f"Memory: expected at most {_size(limit)} (--memory-limit), got a projected {_size(needed)}: {groups} "
            "groups × "
            f"{windows} windows × {8 * MOMENTS} bytes, twice, and {workers} × {_size(plan.task_bytes)} of frames "
            "at work. "
            "The machine would swap or kill the run. Choose longer windows (--window), a coarser --by, fewer "
            "parameters "
            "(--parameter), fewer --workers, or raise --memory-limit.",
            needed=needed,
            limit=limit,
        )


@lru_cache(maxsize=256)
def bundle_groups(bundle: Bundle) -> tuple[Array, Array]:
    """Local group of every weight of a bundle (weights,), and the groups' numbers in the query (groups,)."""
    labels, numbers, base = [], [], 0
    for piece in bundle.pieces:
        local, number = local_groups(piece.rule, piece.shape, piece.region)
        labels.append(local + base)
        numbers.append(number)
        base += number.size
    return np.concatenate(labels), np.concatenate(numbers)


def chunk_regions(parameter: Parameter) -> list[Region]:
    """The regions of a parameter's own axes that one chunk holds; none for a parameter without weights."""
    if not parameter.weights:
        return []
    axes = [
        [(start, min(start + length, extent)) for start in range(0, extent, length)]
        for extent, length in zip(parameter.shape, parameter.chunks[:-1], strict=True)
    ]
    return list(itertools.product(*axes))


def _spans(sampling: Sampling, length: int) -> tuple[tuple[int, int], ...]:
    low = int(sampling.first.min())
    high = int((sampling.first + (sampling.count - 1) * sampling.spacing).max())
    return tuple(
        (max(start, low), min(start + length, high + 1)) for start in range(low // length * length, high + 1, length)
    )


def _bundles(pieces: Sequence[Piece], frames: int) -> tuple[Bundle, ...]:
    bundles: list[list[Piece]] = []
    filled = 0
    for piece in pieces:
        size = piece.weights * piece.itemsize * frames
        same = bundles and (bundles[-1][0].itemsize == piece.itemsize)
        if not same or filled + size > BUNDLE_BYTES:
            bundles.append([])
            filled = 0
        bundles[-1].append(piece)
        filled += size
    return tuple(Bundle(tuple(pieces)) for pieces in bundles)


def _costed(
    sampling: Sampling, grouping: Grouping, spans: tuple[tuple[int, int], ...], bundles: tuple[Bundle, ...]
) -> Plan:
    clips = tuple(clip(sampling, start, stop) for start, stop in spans)
    frames = sum(stop - start for start, stop in spans)
    longest = max((stop - start for start, stop in spans), default=0)
    largest = max((piece.weights * max(piece.itemsize, 4) for b in bundles for piece in b.pieces), default=0)
    return Plan(
        sampling=sampling,
        grouping=grouping,
        spans=spans,
        clips=clips,
        bundles=bundles,
        bytes=sum(piece.weights * piece.itemsize for b in bundles for piece in b.pieces) * frames,
        result_bytes=grouping.weights.size * sampling.windows.velocities.size * 8 * MOMENTS,
        # One piece at a time: its compressed chunk, the decoded one, and zarr's copy of it into the output; then the
        # tables of a tile. Measured by tests/benchmarks/analyzer_memory.py.
        task_bytes=3 * largest * longest + 6 * (8 << 20),
    )


def _depth(count: int) -> int:
    depth = 0
    while count > 1:
        count, depth = -(-count // FAN_IN), depth + 1
    return depth


def _size(count: int) -> str:
    return f"{count / 2**30:.1f} GiB" if count >= 2**30 else f"{count / 2**20:.0f} MiB"
