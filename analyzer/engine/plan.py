"""Decide what is read and in which tasks, and project the cost, before anything runs.

The partition into tasks depends on the store and the query, never on workers, memory or scheduler. It fixes the order
of every sum, so that threads, processes and a cluster give the same bits.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from analyzer.engine.bins import Cut, cut, is_aligned
from analyzer.engine.frames import Chunks, Frames
from analyzer.engine.kept.cache import Extent, edges_of
from analyzer.engine.memory import require_memory
from analyzer.engine.pieces import BUNDLE_BYTES, Bundle, Piece, bundled, chunk_regions
from analyzer.engine.shelves import Files, shelves_for
from analyzer.engine.sums import MOMENTS
from analyzer.engine.tasks import TaskFrames, Tasks, bounds_of, decoded_bytes, kept_of
from analyzer.errors import TrajectoryMissingError
from analyzer.query.clips import Clip, clip
from analyzer.query.epochs import epochs_of
from analyzer.query.groups import Grouping
from analyzer.query.timeline import Timeline
from analyzer.query.windows import Sampling
from analyzer.store.roots import Source
from analyzer.store.schema import Store
from analyzer.text import size_text

Array = np.ndarray[Any, np.dtype[Any]]

SPAN_FRAMES = 1024
"""Fewest frames of one task: scheduling a task costs as much as decoding a hundred kilobytes."""
KEPT_FRAMES = 16384
"""Frames of one task of an aligned query, decoded SPAN_FRAMES at a time. Long tasks make few files: on 8.8 GB (GCN,
187,500 steps) a second question by layer took 63, 38, 28 ms at 4,096, 8,192, 16,384. Longer ones would leave a short
run to one thread, and make a live run recompute a longer tail."""
FAN_IN = 8
"""Partials that merge at once: a tree, since a chain would keep every partial in memory until its turn."""


@dataclass(frozen=True, kw_only=True)
class Span(TaskFrames):
    """The frames of one task, the velocities in them, and, for an aligned query, their bins."""

    part: Clip
    bins: Cut | None = None


@dataclass(frozen=True, kw_only=True)
class Plan(Tasks):
    """A query, cut into tasks: every bundle over every span.

    Attributes
    ----------
    with_series
        Whether the sums of single steps are computed as well. They are at a lag of one stride, for groups of whole
        parameters, whose Σv² comes from them, and for others if their velocities are in batches.
    shelved
        For a query that is not aligned: the spans of the series, if the shelves hold them all. Then Σv² needs no
        decoding; the other moments do.
    bytes
        Raw bytes that will be decoded.
    result_bytes
        Memory of the table of moments: groups × windows × 40 (five float64).
    task_bytes
        Memory that one task needs at most.
    length
        Frames of one task of an aligned query. Like the unit, it depends only on the store.
    """

    spans: tuple[Span, ...]
    with_series: bool
    shelved: tuple[Span, ...]
    bytes: int
    result_bytes: int
    task_bytes: int
    length: int

    @property
    def squares_only(self) -> bool:
        """Whether only Σv² can be answered: the trajectory is gone, and the windows do not end at edges of bins."""
        return bool(self.shelved) and not self.spans

    @property
    def parameters(self) -> list[str]:
        """Names of the chosen parameters, in order."""
        return list(dict.fromkeys(piece.parameter for bundle in self.bundles for piece in bundle.chosen))

    def memory(self, workers: int) -> int:
        """Projected peak of the data in memory with `workers` workers, in bytes."""
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
    base: Path | None = None,
    listings: dict[str, Any] | None = None,
) -> Plan:
    """The tasks of a query on a store.

    Bundles and spans depend only on the store, so that queries can use each other's kept sums.

    Parameters
    ----------
    sources
        Where each parameter lies, by name.
    base
        Where sums are kept (`analyzer.engine.kept.homes`), or None to keep and use none.
    listings
        Stamps that other plans of the same question have read (`analyzer.store.chunks.stamps`); new ones are added.
    """
    bundles, frames, unit, length = bundles_of(grouping, store, sources)
    binned = _binned_spans(sampling, line, length, unit, store.status != "running")
    aligned = all(span.bins is not None and is_aligned(span.part, span.bins.fine) for span in binned)
    spans = binned if aligned else _spans(sampling, unit)
    by_step = grouping.is_whole and _with_series(sampling, grouping)
    home = None
    if base is not None and (aligned or by_step):
        source = next(iter(sources.values()))
        extents = [
            Extent(span.start, span.stop, span.start, edges_of(span.bins))
            for span in binned
            if span.full and span.bins is not None
        ]
        files = Files(extents, length)
        home, bundles = shelves_for(base, store, source, bundles, frames, files, {} if listings is None else listings)
    planned = replace(_costed(sampling, grouping, spans, bundles, frames, unit, length), home=home)
    whole = max(
        (math.prod(p.chunks) * np.dtype(p.dtype).itemsize for p in store.parameters if p.name in sources), default=0
    )
    planned = replace(planned, task_bytes=max(planned.task_bytes, 3 * whole))
    if not aligned and by_step and kept_of(bundles, binned).all():
        planned = replace(planned, shelved=binned)
    return planned if store.is_trajectory else _without_frames(planned, store)


def bundles_of(
    grouping: Grouping, store: Store, sources: Mapping[str, Source]
) -> tuple[list[Bundle], tuple[tuple[Frames, ...], ...], int, int]:
    """The bundles of a query on a store, the frames of their pieces, and the frames of a unit and of a long task."""
    pieces = [
        Piece(p.name, p.shape, region, grouping.rules.get(p.name), p.dtype, p.original_dtype)
        for p in store.parameters
        for region in chunk_regions(p)
    ]
    largest = max((piece.frame_bytes for piece in pieces), default=1)
    repeats = min(-(-SPAN_FRAMES // store.chunk_steps), BUNDLE_BYTES // max(largest * store.chunk_steps, 1))
    unit = store.chunk_steps * max(repeats, 1)
    length = unit * max(KEPT_FRAMES // unit, 1)
    bundles = [bundle for bundle in map(Bundle, bundled(pieces, unit)) if bundle.chosen]
    frames = tuple(tuple(Chunks(sources[piece.parameter]) for piece in bundle.pieces) for bundle in bundles)
    return bundles, frames, unit, length


def _without_frames(planned: Plan, store: Store) -> Plan:
    """The plan for a run whose trajectory is gone: nothing can be decoded."""
    if planned.kept.all():
        return planned
    if planned.shelved:
        return replace(planned, spans=(), kept=planned.kept[:, :0], bytes=0)
    raise unanswered(store)


def unanswered(store: Store) -> TrajectoryMissingError:
    """The error for a question that kept sums cannot answer, of a run whose trajectory is gone."""
    return TrajectoryMissingError(
        f"{store.location}: expected a question that the kept sums answer, got one that needs the frames, which are "
        "not there, or sums that were not kept. Kept sums answer: whole runs and epochs by any group; lag "
        f"epoch; model, layer, module and parameter at lag {store.stride} in any window; dynamics of these at the "
        "default lags in windows that end at multiples of 256 frames. Ask one of those, or restore the trajectory.",
        location=store.location,
    )


def plan_arrays(sampling: Sampling, grouping: Grouping, pieces: Mapping[Piece, Frames], edges: Sequence[int]) -> Plan:
    """The tasks of a query on arrays that are cut along step at `edges`; each piece is a bundle of its own."""
    spans = tuple(Span(start, stop, part=clip(sampling, start, stop)) for start, stop in itertools.pairwise(edges))
    longest = max((span.stop - span.start for span in spans), default=0)
    bundles, frames = [Bundle((piece,)) for piece in pieces], tuple((one,) for one in pieces.values())
    return _costed(sampling, grouping, spans, bundles, frames, longest, longest)


def memory_together(plans: Sequence[Plan], workers: int) -> int:
    """Projected peak of plans that are answered in one pass: one task's frames, and the partials of all."""
    weights = max(sum(piece.weights for piece in bundle.chosen) for plan in plans for bundle in plan.bundles)
    loose = sum(plan.length // plan.unit for plan in plans if plan.spans and plan.spans[0].bins is None)
    task = max(plan.task_bytes for plan in plans) + 100 * weights * loose
    return sum(plan.memory(0) for plan in plans) + workers * task


def check_memory(plans: Sequence[Plan], workers: int, limit: int | None) -> None:
    """Refuse plans whose projected peak passes a limit in bytes."""
    plan = plans[0]
    needed = plan.memory(workers) if len(plans) == 1 else memory_together(plans, workers)
    windows, groups = sum(p.sampling.windows.velocities.size for p in plans), plan.grouping.weights.size
    require_memory(
        needed,
        limit,
        f"{groups} groups × {windows} windows × {8 * MOMENTS} bytes, twice, and {workers} × "
        f"{size_text(plan.task_bytes)} of frames at work",
        "Choose longer windows (--window), a coarser --by, fewer parameters (--parameter), fewer --workers",
    )


def _sampled(sampling: Sampling) -> tuple[int, int]:
    """First and last sampled frame."""
    return int(sampling.first.min()), int((sampling.first + (sampling.count - 1) * sampling.spacing).max())


def _spans(sampling: Sampling, length: int) -> tuple[Span, ...]:
    """Spans of an unaligned query: no frame outside its range is read."""
    low, high = _sampled(sampling)
    bounds = bounds_of(low, high, length, low, high + 1)
    return tuple(Span(start, stop, part=clip(sampling, start, stop)) for start, stop in bounds)


def _binned_spans(sampling: Sampling, line: Timeline, length: int, unit: int, ended: bool) -> tuple[Span, ...]:
    """Spans with their bins. They do not depend on the query's range.

    The last span of a run that is still being written is not kept: it would be made again with every commit.
    """
    low, high = _sampled(sampling)
    frames = line.steps.size
    ends = middles = np.empty(0, dtype=np.int64)
    if line.epoch is not None and not np.isnan(line.epoch).all():
        epochs = epochs_of(line.steps, line.epoch)
        ends, middles = epochs.last, epochs.middle(line.steps, line.stride)[epochs.complete]
    turns = [frame for even in line.evens for frame in (even.first, even.last)]
    ends = np.union1d(ends, np.array(turns, dtype=np.int64))  # stretches of equal spacing are windows, as epochs are
    spans = []
    for start, stop in bounds_of(low, high, length, 0, frames):
        part, bins = clip(sampling, start, stop), cut(line, ends, middles, start, stop, unit)
        spans.append(Span(start, stop, part=part, bins=bins, full=ended or stop - start == length))
    return tuple(spans)


def _costed(
    sampling: Sampling,
    grouping: Grouping,
    spans: tuple[Span, ...],
    bundles: Sequence[Bundle],
    frames: tuple[tuple[Frames, ...], ...],
    unit: int,
    length: int,
) -> Plan:
    """The plan, with what it costs when `unit` frames are decoded at once."""
    kept = kept_of(bundles, spans)
    largest = max((max(piece.frame_bytes, 4 * piece.weights) for b in bundles for piece in b.pieces), default=0)
    return Plan(
        sampling=sampling,
        grouping=grouping,
        spans=spans,
        bundles=tuple(bundles),
        frames=frames,
        kept=kept,
        with_series=_with_series(sampling, grouping),
        shelved=(),
        bytes=decoded_bytes(bundles, [span.stop - span.start for span in spans], kept),
        result_bytes=grouping.weights.size * 8 * (sampling.windows.velocities.size * MOMENTS + sampling.batches),
        # One piece at a time: its compressed chunk, the decoded one, zarr's copy into the output, and freed memory
        # that the allocator keeps; then the tables of a tile. Measured by tests/benchmarks/analyzer_scale.py.
        task_bytes=5 * largest * unit + 6 * (8 << 20),
        unit=unit,
        length=length,
    )


def _with_series(sampling: Sampling, grouping: Grouping) -> bool:
    return bool((sampling.spacing == 1).all() and (grouping.is_whole or sampling.batch is not None))


def _depth(count: int) -> int:
    depth = 0
    while count > 1:
        count, depth = -(-count // FAN_IN), depth + 1
    return depth
