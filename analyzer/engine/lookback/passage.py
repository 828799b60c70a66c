"""A pass in which tasks look back: each reads its span of frames, and some frames before it.

Two frames that are a lag apart may lie in two tasks. Carrying the edges of every task through the reduction would take
772 MB for a GCN at a lag of 16,384, and 655 GB for ten million weights. So a task decodes the last frames before its
span once more: 6 % of a long task for lags up to 1,023 frames, 25 % up to 4,096. This is the one place where a chunk is
decoded twice. Sums of spans add up, so there is nothing to merge. Beyond 2,048 frames a large piece is passed in
parts, and decoded for each up to its end (`parts_of`): what is held stays the same, however far a task looks back.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import dask.array as da
import numpy as np

from analyzer.engine.frames import Frames, in_rooms
from analyzer.engine.kept.cache import Extent
from analyzer.engine.kept.remains import Remains
from analyzer.engine.measure import base_for, grouped, pieces_of_tree, warn_of_changes
from analyzer.engine.memory import require_memory
from analyzer.engine.pieces import Bundle, Piece
from analyzer.engine.plan import SPAN_FRAMES, bundles_of, unanswered
from analyzer.engine.shelves import Files, shelves_for
from analyzer.engine.spans import owned, part_of
from analyzer.engine.tasks import TaskFrames, Tasks, bounds_of, decoded_bytes, kept_of
from analyzer.query.groups import Grouping
from analyzer.query.query import Query
from analyzer.query.windows import Sampling, require_even, sample
from analyzer.store.reading import source_of
from analyzer.store.roots import Source, check_same
from analyzer.text import size_text
from analyzer.tree import Trajectory, trajectory

Array = np.ndarray[Any, np.dtype[Any]]

_HELD_BYTES = 16 << 20
"""Frames before a unit that a task holds of a piece, or as many as a unit has: what it holds then does not depend on
how far it looks back."""
_TILE_BYTES = 2 << 20
"""Frames that are laid side by side for a kernel: they stay in the caches."""


@dataclass(frozen=True, kw_only=True)
class Reach(TaskFrames):
    """The frames of a task that looks back.

    Attributes
    ----------
    first
        First frame that it reads.
    places
        First and last + 1 of the arrays of a modified tree that hold these frames.
    """

    first: int
    places: tuple[int, int] = (0, 0)


@dataclass(frozen=True)
class Asked:
    """A question about groups and windows, before it is planned.

    Attributes
    ----------
    chosen
        Names of the parameters, in order.
    """

    run: Trajectory
    query: Query
    sampling: Sampling
    grouping: Grouping
    chosen: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Passage(Tasks):
    """A question cut into tasks: every bundle over every reach.

    Attributes
    ----------
    halo
        Frames that a task looks back.
    source
        Any array of the run's store; None for a tree that was modified.
    memory
        Projected peak of the data in memory, in bytes.
    """

    reaches: tuple[Reach, ...]
    halo: int
    source: Source | None = None
    memory: int = 0
    squares_only: bool = False

    @property
    def bytes(self) -> int:
        """Raw bytes that will be decoded, those that are decoded twice counted twice."""
        return decoded_bytes(self.bundles, [reach.stop - reach.first for reach in self.reaches], self.kept)


@dataclass(frozen=True)
class Lazy:
    """A part of every lazy answer: the first frame that is not finite, by parameter."""

    nonfinite: da.Array


@dataclass(frozen=True)
class Passed:
    """A passage and its lazy answer, as commands report on it."""

    run: Trajectory
    plan: Passage
    moments: Lazy


def ask(tree: Any, query: Query) -> Asked:
    """Choose the parameters and frames of a query at a lag of one stride. Faults of the query are raised here."""
    run = trajectory(tree)
    chosen, grouping = grouped(run, query)
    sampling = sample(
        run.line, window=query.window, start=query.start, stop=query.stop, steps_per_epoch=query.steps_per_epoch
    )
    warn_of_changes(run, [sampling])
    return Asked(run, query, sampling, grouping, tuple(p.name for p in chosen))


def ask_evenly(tree: Any, query: Query, what: str) -> Asked:
    """As `ask`, of frames of equal spacing, which is the stride of the returned run.

    Raises
    ------
    WindowError
        The spacing of frames changes within the range; `what` says what would be made of them.
    """
    asked = ask(tree, query)
    line, sampling = asked.run.line, asked.sampling
    require_even(line, sampling, what)
    low, high = int(sampling.first.min()), int((sampling.first + sampling.count - 1).max())
    found = line.within(low, high)
    return replace(asked, run=replace(asked.run, line=replace(line, stride=found[0].stride))) if found else asked


def cut(
    asked: Asked, halo: int, layout: Callable[[int, int], list[Any]] | None = None, suffix: str = ".pairs"
) -> Passage:
    """Cut a question into tasks that look `halo` frames back.

    Parameters
    ----------
    layout
        Returns what the sums of a span cover, if they may be kept. Kept sums cover all frames of the span, whatever
        the question asks for.
    suffix
        Suffix of the files of kept sums.

    Raises
    ------
    TrajectoryMissingError
        Only kept sums are left of the run, and they do not answer this question.
    """
    run, sampling, grouping = asked.run, asked.sampling, asked.grouping
    low, high = int(sampling.first.min()), int((sampling.first + sampling.count - 1).max())
    if run.opened is None:
        pieces, edges = pieces_of_tree(run, [p for p in run.parameters if p.name in asked.chosen], low, high, grouping)
        reaches = _over_arrays(edges, max(SPAN_FRAMES, halo), halo)
        bundles = tuple(Bundle((piece,)) for piece in pieces)
        return Passage(
            sampling=sampling,
            grouping=grouping,
            reaches=reaches,
            bundles=bundles,
            frames=tuple((one,) for one in pieces.values()),
            kept=np.zeros((len(bundles), len(reaches)), dtype=bool),
            unit=max(reach.stop - reach.first for reach in reaches),
            halo=halo,
        )
    store = run.opened.store
    check_same(source_of(store, "step"))
    sources = {p.name: source_of(store, p.path) for p in store.parameters}
    source = next(iter(sources.values()))
    known = replace(store, parameters=run.parameters)
    listed, frames, unit, length = bundles_of(grouping, known, sources)
    total, whole = run.line.steps.size, layout is not None
    home = None
    bounds = bounds_of(low, high, length, *((0, total) if whole else (low, high + 1)))
    ended = store.status != "running"
    reaches = tuple(
        Reach(
            start,
            stop,
            first=max(start - halo, 0 if whole else low),
            full=whole and (ended or stop - start == length),
        )
        for start, stop in bounds
    )
    base = base_for(store, asked.query.cache)
    if layout is not None and base is not None:
        extents = [Extent(r.start, r.stop, r.first, layout(r.start, r.stop)) for r in reaches if r.full]
        home, listed = shelves_for(base, store, source, listed, frames, Files(extents, length, suffix), {})
    kept = kept_of(listed, reaches)
    if not store.is_trajectory and not kept.all():
        raise unanswered(store)
    return Passage(
        sampling=sampling,
        grouping=grouping,
        reaches=reaches,
        bundles=tuple(listed),
        frames=frames,
        kept=kept,
        unit=unit,
        halo=halo,
        home=home,
        source=source,
    )


def _over_arrays(edges: Sequence[int], least: int, halo: int) -> tuple[Reach, ...]:
    """Reaches over arrays that are cut at `edges`: neighbouring ones together until a span has `least` frames."""
    reaches, begin = [], 0
    for place in range(1, len(edges)):
        if edges[place] - edges[begin] >= least or place == len(edges) - 1:
            first = max(edges[begin] - halo, edges[0])
            opens = int(np.searchsorted(edges, first, side="right")) - 1
            reaches.append(Reach(edges[begin], edges[place], first=first, places=(opens, place)))
            begin = place
    return tuple(reaches)


def parts_of(piece: Piece, unit: int, halo: int) -> list[slice]:
    """The weights of a piece, cut so that a task holds no more than `_HELD_BYTES` of the frames before a unit, or one.

    Each part decodes the piece's chunks again, up to its own end. That costs less than it would to hold all: pieces are
    cut at 16 MB of 1,024 frames, so that a task that looks back 4,096 frames decodes the largest ones 2.5 times.
    """
    size = piece.frame_bytes
    parts = max(-(-size * (halo // unit * unit) // max(_HELD_BYTES, size * unit)), 1)
    each = max(-(-piece.weights // parts), 1)
    return [slice(low, min(low + each, piece.weights)) for low in range(0, piece.weights, each)]


def task_bytes(passage: Passage) -> int:
    """Memory that one task needs for its frames: a unit as stored and as decoded, and the frames that are held.

    A unit counts four times, since allocators keep freed memory (tests/benchmarks/analyzer_dynamics.py).
    """
    most = 0
    for piece in (piece for bundle in passage.bundles for piece in bundle.pieces):
        part = max(one.stop - one.start for one in parts_of(piece, passage.unit, passage.halo) or [slice(0, 0)])
        size = max(np.dtype(piece.dtype).itemsize, 4)
        most = max(most, size * (4 * passage.unit * piece.weights + part * max(passage.halo, passage.unit)))
    return most + (8 << 20)


def check_memory(passage: Passage, workers: int, limit: int | None, what: str, remedy: str) -> None:
    """Refuse a passage whose projected peak passes a limit in bytes. `what` takes the memory; `remedy` reduces it."""
    frames = f"{workers} × {size_text(task_bytes(passage))} of frames at work"
    require_memory(passage.memory, limit, f"{what}, and {frames}", remedy)


def units_of(
    piece: Piece, frames: Frames, reach: Reach, unit: int, halo: int
) -> Iterator[tuple[slice, int, int, list[Array]]]:
    """Yield the units of a reach in order, for one part of a piece's weights after the other.

    Each comes with its weights, the first frame that is needed for it, `halo` before the unit as far as the reach has
    them, the first of the unit, and what is held in step order: blocks (weights, frames), the last of them the unit.
    The list is good until the next unit is asked for, and changes then: what is no longer needed goes before more is
    decoded.
    """
    inner = range(-(-reach.first // unit) * unit, reach.stop, unit)  # at edges of chunks: none is decoded twice
    edges = sorted({reach.first, reach.start, *inner, reach.stop})
    held: list[Array] = []
    frames = in_rooms(frames)
    for part in parts_of(piece, unit, halo):
        held.clear()
        for low, high in itertools.pairwise(edges):
            _forget(held, halo)
            if held and part.stop - part.start < piece.weights:
                held[-1] = owned(frames, held[-1])  # only now: beside the newest unit, whole, there is one part less
            held.append(part_of(piece, frames, part, low, high))
            if low >= reach.start:
                yield part, max(low - halo, edges[0]), low, held


def _forget(held: list[Array], halo: int) -> None:
    """Drop the blocks that lie more than `halo` frames back; of a block of which few are needed, these are copied."""
    newer = sum(block.shape[1] for block in held)
    while held:
        newer -= held[0].shape[1]
        needed = halo - newer
        if needed > 0:
            if 8 * needed <= held[0].shape[1]:
                held[0] = held[0][:, -needed:].copy()
            return
        del held[0]


def tiles_of(held: Sequence[Array], count: int) -> Iterator[tuple[slice, Array]]:
    """Yield a few weights at a time, with the last `count` frames of the blocks side by side, until more are asked for.

    The array (weights, frames) is the same one every time.
    """
    before = sum(block.shape[1] for block in held) - count
    blocks = [held[0][:, before:], *held[1:]]
    weights, kind = len(blocks[0]), blocks[0].dtype
    each = min(max(_TILE_BYTES // (kind.itemsize * count), 1), weights)
    tile = np.empty((each, count), kind)
    for low in range(0, weights, each):
        some = slice(low, min(low + each, weights))
        values = tile[: some.stop - low]
        np.concatenate([block[some] for block in blocks], axis=1, out=values)
        yield some, values


def remains_of(asked: Asked, passage: Passage) -> Remains | None:
    """What to keep of the run beside the sums of a passage; None if these are not kept."""
    if asked.run.opened is None:
        return None
    store = asked.run.opened.store
    return Remains.of(store, source_of(store, "step"), passage.home)
