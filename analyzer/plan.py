"""What will be read, in which tasks, and what it will cost, before anything runs.

The partition into tasks follows from the store and the query alone, never from workers, memory or scheduler: it fixes
the order of every sum, so that threads, processes and a cluster give the same bits.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from analyzer.blocks import Cut, cut, is_aligned
from analyzer.cache import Shelf, is_kept, shelf
from analyzer.clips import Clip, clip
from analyzer.epochs import epochs_of
from analyzer.errors import MemoryLimitError, TrajectoryMissingError
from analyzer.groups import Grouping, Region, Rule, local_groups
from analyzer.moments import MOMENTS
from analyzer.reading import Source
from analyzer.schema import Parameter, Store
from analyzer.windows import Sampling, Timeline

Array = np.ndarray[Any, np.dtype[Any]]

SPAN_FRAMES = 1024
"""Frames of one task where chunks are shorter: scheduling a task costs as much as decoding a hundred kilobytes."""
KEPT_FRAMES = 16384
"""Frames of one task of an aligned query, decoded SPAN_FRAMES at a time. Fewer files to keep and to read: on 8.8 GB
(GCN, 187,500 steps) a second question by layer took 63, 38, 28 ms at 4,096, 8,192, 16,384. More would leave a short run
to one thread, and let a live one recompute a longer tail."""
BUNDLE_BYTES = 32 << 20
"""Raw bytes that one task decodes at a time where tensors are smaller: a hundred times the cost of scheduling it."""
FAN_IN = 8
"""Partials that merge at once: a tree, since a chain would keep every partial in memory until its turn."""


@dataclass(frozen=True)
class Piece:
    """A region of one parameter that is read at once: whole along its own axes, or one row-cut of them.

    `rule` is None for a piece that the query does not ask for, but that is kept with its neighbours.
    """

    parameter: str
    shape: tuple[int, ...]
    region: Region
    rule: Rule | None
    dtype: str
    original_dtype: str
    source: Source | None = None

    @property
    def weights(self) -> int:
        """Number of weights in the region."""
        return prod(stop - start for start, stop in self.region)

    @property
    def frame_bytes(self) -> int:
        """Raw bytes of one frame."""
        return self.weights * np.dtype(self.dtype).itemsize


@dataclass(frozen=True)
class Bundle:
    """Pieces of one dtype whose weights travel together through the reduction."""

    pieces: tuple[Piece, ...]
    shelf: Shelf | None = None

    @property
    def chosen(self) -> tuple[Piece, ...]:
        """The pieces that the query asks for."""
        return tuple(piece for piece in self.pieces if piece.rule is not None)

    @property
    def fills(self) -> bool:
        """Whether the pieces not asked for are read as well, to be kept: only while they are the smaller part."""
        asked = sum(piece.frame_bytes for piece in self.chosen)
        return self.shelf is not None and 2 * asked >= sum(piece.frame_bytes for piece in self.pieces)


@dataclass(frozen=True)
class Span:
    """The frames of one task, the velocities in them, and, for an aligned query, their blocks."""

    start: int
    stop: int
    part: Clip
    blocks: Cut | None = None
    full: bool = False


@dataclass(frozen=True)
class Plan:
    """A query, cut into tasks: every bundle over every span.

    Attributes
    ----------
    kept
        (bundles, spans) bool: sums are on the shelf and need no decoding.
    with_series
        Whether the sums of single steps are taken along, at a lag of one stride: for groups of whole parameters, whose
        Σv² comes from them, and for others if their velocities are in batches.
    shelved
        Where no window need begin on a block's edge: the spans of the series, if the shelves hold them all. Then Σv²
        needs no decoding, all else does.
    bytes
        Raw bytes that will be decoded.
    result_bytes
        Memory of the table of moments: groups × windows × 40 (five float64).
    task_bytes
        Memory that one task needs at most.
    unit, length
        Frames that are decoded at once, and those of one task of an aligned query; both follow from the store.
    """

    sampling: Sampling
    grouping: Grouping
    spans: tuple[Span, ...]
    bundles: tuple[Bundle, ...]
    kept: Array
    with_series: bool
    shelved: tuple[Span, ...]
    bytes: int
    result_bytes: int
    task_bytes: int
    unit: int
    length: int

    @property
    def tasks(self) -> int:
        """Tasks that decode."""
        return int((~self.kept).sum())

    @property
    def parameters(self) -> list[str]:
        """Names of the chosen parameters, in order."""
        return list(dict.fromkeys(piece.parameter for bundle in self.bundles for piece in bundle.chosen))

    def memory(self, workers: int) -> int:
        """Projected peak of the data in memory with so many workers, in bytes."""
        weights = sum(piece.weights for bundle in self.bundles for piece in bundle.chosen)
        pending = weights * 48 * FAN_IN * max(_depth(len(self.spans)), 1)
        return self.task_bytes * workers + 2 * self.result_bytes + pending + 3 * self.series_bytes

    @property
    def series_bytes(self) -> int:
        """Memory of the sums of single steps: every chosen piece over the range."""
        if not self.with_series or not self.spans:
            return 0
        return 8 * sum(len(bundle.chosen) for bundle in self.bundles) * (self.spans[-1].stop - self.spans[0].start)


def plan(
    sampling: Sampling,
    grouping: Grouping,
    store: Store,
    sources: Mapping[str, Source],
    line: Timeline,
    folder: Path | None = None,
) -> Plan:
    """The tasks of a query on a store.

    Bundles and spans follow from the store alone, so that every query that can use what another one kept, does.

    Parameters
    ----------
    sources
        Where each parameter lies, by name.
    folder
        The moments cache, or None to keep and use nothing.
    """
    pieces = [
        Piece(p.name, p.shape, region, grouping.rules.get(p.name), p.dtype, p.original_dtype, sources[p.name])
        for p in store.parameters
        for region in chunk_regions(p)
    ]
    largest = max((piece.frame_bytes for piece in pieces), default=1)
    repeats = min(-(-SPAN_FRAMES // store.chunk_steps), BUNDLE_BYTES // max(largest * store.chunk_steps, 1))
    unit = store.chunk_steps * max(repeats, 1)
    length = unit * max(KEPT_FRAMES // unit, 1)
    groups = [Bundle(group, _shelf(folder, store, group, length)) for group in _bundles(pieces, unit)]
    bundles = [bundle for bundle in groups if bundle.chosen]
    blocked = _blocked_spans(sampling, line, length, unit, store.status != "running")
    aligned = all(span.blocks is not None and is_aligned(span.part, span.blocks.fine) for span in blocked)
    planned = _costed(sampling, grouping, blocked if aligned else _spans(sampling, unit), bundles, unit, length)
    if not aligned and grouping.is_whole and planned.with_series and _kept(bundles, blocked).all():
        planned = replace(planned, shelved=blocked)
    return planned if store.is_trajectory else _without_frames(planned, store)


def _without_frames(planned: Plan, store: Store) -> Plan:
    """The plan of a run of which only sums were kept: nothing can be decoded."""
    if planned.kept.all():
        return planned
    if planned.shelved:
        return replace(planned, spans=(), kept=planned.kept[:, :0], bytes=0)
    raise TrajectoryMissingError(
        f"{store.location}: expected a question that the kept sums answer: whole runs and epochs by any group, lag "
        f"epoch, or model, layer, module and parameter at lag {store.stride} for any window, got one that needs the "
        "frames, which are not there, or sums that were not kept. Ask one of those, or restore the trajectory.",
        location=store.location,
    )


def plan_blocks(sampling: Sampling, grouping: Grouping, pieces: Sequence[Piece], edges: Sequence[int]) -> Plan:
    """The tasks of a query on arrays that are already cut along step at `edges`, one bundle for each of their cuts."""
    spans = tuple(Span(start, stop, clip(sampling, start, stop)) for start, stop in itertools.pairwise(edges))
    longest = max((span.stop - span.start for span in spans), default=0)
    return _costed(sampling, grouping, spans, [Bundle((piece,)) for piece in pieces], longest, longest)


def memory_together(plans: Sequence[Plan], workers: int) -> int:
    """Projected peak of plans that are answered in one pass: one task's frames, and the partials of all."""
    weights = max(sum(piece.weights for piece in bundle.chosen) for plan in plans for bundle in plan.bundles)
    loose = sum(plan.length // plan.unit for plan in plans if plan.spans and plan.spans[0].blocks is None)
    task = max(plan.task_bytes for plan in plans) + 100 * weights * loose
    return sum(plan.memory(0) for plan in plans) + workers * task


def check_memory(plans: Sequence[Plan], workers: int, limit: int | None) -> None:
    """Refuses plans whose projected peak passes a limit in bytes."""
    plan = plans[0]
    needed = plan.memory(workers) if len(plans) == 1 else memory_together(plans, workers)
    if limit is not None and needed > limit:
        windows, groups = sum(p.sampling.windows.velocities.size for p in plans), plan.grouping.weights.size
        raise MemoryLimitError(
            f"Memory: expected at most {size_text(limit)} (--memory-limit), got a projected {size_text(needed)}: "
            f"{groups} groups × {windows} windows × {8 * MOMENTS} bytes, twice, and {workers} × "
            f"{size_text(plan.task_bytes)} of frames at work. "
            "The machine would swap or kill the run. Choose longer windows (--window), a coarser --by, fewer "
            "parameters "
            "(--parameter), fewer --workers, or raise --memory-limit.",
            needed=needed,
            limit=limit,
        )


@lru_cache(maxsize=256)
def bundle_pieces(bundle: Bundle) -> Array:
    """Number of the chosen piece of every chosen weight of a bundle (weights,)."""
    weights = [piece.weights for piece in bundle.chosen]
    return np.repeat(np.arange(len(weights)), weights)


@lru_cache(maxsize=256)
def bundle_groups(bundle: Bundle) -> tuple[Array, Array]:
    """Local group of every chosen weight of a bundle (weights,), and the groups' numbers in the query (groups,)."""
    labels, numbers, base = [], [], 0
    for piece in bundle.chosen:
        local, number = piece_groups(piece)
        labels.append(local + base)
        numbers.append(number)
        base += number.size
    return np.concatenate(labels), np.concatenate(numbers)


def piece_groups(piece: Piece) -> tuple[Array, Array]:
    """Local group of every weight of a chosen piece (weights,), and the groups' numbers in the query (groups,)."""
    assert piece.rule is not None
    return local_groups(piece.rule, piece.shape, piece.region)


def chunk_count(parameter: Parameter) -> int:
    """How many regions of a parameter's own axes there are."""
    lengths = zip(parameter.shape, parameter.chunks[:-1], strict=True)
    return prod(-(-extent // length) for extent, length in lengths)


def chunk_regions(parameter: Parameter) -> Iterator[Region]:
    """The regions of a parameter's own axes that one chunk holds; none for a parameter without weights."""
    counts = [-(-extent // length) for extent, length in zip(parameter.shape, parameter.chunks[:-1], strict=True)]
    for place in _places(counts):
        axes = zip(place, parameter.shape, parameter.chunks[:-1], strict=True)
        yield tuple((at * length, min((at + 1) * length, extent)) for at, extent, length in axes)


def _places(counts: Sequence[int]) -> Iterator[tuple[int, ...]]:
    """Every place of a grid, in C order; `itertools.product` would list each axis first, however long."""
    if not counts:
        yield ()
        return
    for at in range(counts[0]):
        for rest in _places(counts[1:]):
            yield (at, *rest)


def _sampled(sampling: Sampling) -> tuple[int, int]:
    """First and last sampled frame."""
    return int(sampling.first.min()), int((sampling.first + (sampling.count - 1) * sampling.spacing).max())


def _spans(sampling: Sampling, length: int) -> tuple[Span, ...]:
    """Spans of an unaligned query: no frame outside its range is read."""
    low, high = _sampled(sampling)
    bounds = [
        (max(start, low), min(start + length, high + 1)) for start in range(low // length * length, high + 1, length)
    ]
    return tuple(Span(start, stop, clip(sampling, start, stop)) for start, stop in bounds)


def _blocked_spans(sampling: Sampling, line: Timeline, length: int, unit: int, ended: bool) -> tuple[Span, ...]:
    """Spans with their blocks, the same whatever the query's range.

    The last span of a run that is still being written is not kept: it would be made again with every commit.
    """
    low, high = _sampled(sampling)
    frames = line.steps.size
    ends = middles = np.empty(0, dtype=np.int64)
    if line.epoch is not None and not np.isnan(line.epoch).all():
        epochs = epochs_of(line.steps, line.epoch)
        ends, middles = epochs.last, epochs.middle(line.steps, line.stride)[epochs.complete]
    spans = []
    for start in range(low // length * length, high + 1, length):
        stop = min(start + length, frames)
        part, blocks = clip(sampling, start, stop), cut(line, ends, middles, start, stop, unit)
        spans.append(Span(start, stop, part, blocks, full=ended or stop - start == length))
    return tuple(spans)


def _bundles(pieces: Sequence[Piece], frames: int) -> list[tuple[Piece, ...]]:
    bundles: list[list[Piece]] = []
    filled = 0
    for piece in pieces:
        size = piece.frame_bytes * frames
        kind = (piece.dtype, piece.original_dtype)
        same = bundles and (bundles[-1][0].dtype, bundles[-1][0].original_dtype) == kind
        if not same or filled + size > BUNDLE_BYTES:
            bundles.append([])
            filled = 0
        bundles[-1].append(piece)
        filled += size
    return [tuple(pieces) for pieces in bundles]


def _shelf(folder: Path | None, store: Store, pieces: Sequence[Piece], length: int) -> Shelf | None:
    if folder is None:
        return None
    content = (length, [(piece.parameter, piece.region, piece.dtype, piece.original_dtype) for piece in pieces])
    return shelf(folder, store.run_id, content)


def _costed(
    sampling: Sampling, grouping: Grouping, spans: tuple[Span, ...], bundles: Sequence[Bundle], unit: int, length: int
) -> Plan:
    """The plan, with what it costs when `unit` frames are decoded at once."""
    kept = _kept(bundles, spans)
    lengths = np.array([span.stop - span.start for span in spans], dtype=np.int64)
    sizes = [sum(piece.frame_bytes for piece in (b.pieces if b.fills else b.chosen)) for b in bundles]
    decoded = sum(size * int(lengths[~there].sum()) for size, there in zip(sizes, kept, strict=True))
    largest = max((max(piece.frame_bytes, 4 * piece.weights) for b in bundles for piece in b.pieces), default=0)
    return Plan(
        sampling=sampling,
        grouping=grouping,
        spans=spans,
        bundles=tuple(bundles),
        kept=kept,
        with_series=bool((sampling.spacing == 1).all() and (grouping.is_whole or sampling.batch is not None)),
        shelved=(),
        bytes=decoded,
        result_bytes=grouping.weights.size * 8 * (sampling.windows.velocities.size * MOMENTS + sampling.batches),
        # One piece at a time: its compressed chunk, the decoded one, zarr's copy of it into the output, and what the
        # allocator has not given back; then the tables of a tile. Measured by tests/benchmarks/analyzer_scale.py.
        task_bytes=5 * largest * unit + 6 * (8 << 20),
        unit=unit,
        length=length,
    )


def _kept(bundles: Sequence[Bundle], spans: Sequence[Span]) -> Array:
    """(bundles, spans) bool: which sums are on the shelves."""
    kept = np.zeros((len(bundles), len(spans)), dtype=bool)
    for n, bundle in enumerate(bundles):
        for m, span in enumerate(spans):
            kept[n, m] = bundle.shelf is not None and span.full and is_kept(bundle.shelf, span.start)
    return kept


def _depth(count: int) -> int:
    depth = 0
    while count > 1:
        count, depth = -(-count // FAN_IN), depth + 1
    return depth


def size_text(count: int) -> str:
    """A number of bytes, for a message."""
    return f"{count / 2**30:.1f} GiB" if count >= 2**30 else f"{count / 2**20:.0f} MiB"
