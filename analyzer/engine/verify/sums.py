"""Compare kept sums with the frames: make the sums once more, and compare them bit for bit."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from analyzer.engine.bins import SpanSums
from analyzer.engine.frames import Chunks, Frames
from analyzer.engine.kept.cache import Shelf, fault_of, load
from analyzer.engine.lookback.pair_cache import load_pairs
from analyzer.engine.lookback.pair_plan import PairJob, plan_pairs
from analyzer.engine.lookback.pairs import sums_of_strips
from analyzer.engine.lookback.passage import Reach, ask
from analyzer.engine.measure import measure
from analyzer.engine.pieces import Bundle
from analyzer.engine.plan import Span
from analyzer.engine.spans import sums_of_frames
from analyzer.engine.sums import KEPT
from analyzer.errors import AnalyzerError
from analyzer.query.lags import default_lags
from analyzer.query.query import Query
from analyzer.store.schema import Store
from analyzer.tree import build_tree


@dataclass(frozen=True)
class Kept:
    """A file of sums: its weights and frames, and whether it was made from the chunks of the store.

    `job` is the task that makes them, if they are sums of pairs.
    """

    bundle: Bundle
    frames: tuple[Frames, ...]
    span: Span | Reach
    fits: bool
    job: PairJob | None = None


def kept_of(store: Store, cache: bool | str) -> list[Kept]:
    """The files of sums of a store; none if it is too damaged for a question: its chunks then have faults too."""
    query = Query(by="model", cache=cache)
    try:
        plan = measure(build_tree(store), query).plan
        asked = ask(build_tree(store), query)
        pairs = plan_pairs(asked, default_lags(int(asked.sampling.windows.velocities.max())))
    except AnalyzerError:
        return []
    passage = pairs.passage
    of_pairs = [
        Kept(bundle, frames, reach, bool(fits), job)
        for bundle, frames, row in zip(passage.bundles, passage.frames, passage.kept, strict=True)
        for reach, job, fits in zip(passage.reaches, pairs.jobs, row, strict=True)
        if bundle.shelf is not None and bundle.shelf.file(reach.start).exists()
    ]
    return of_pairs + [
        Kept(bundle, frames, span, bool(fits))
        for bundle, frames, row in zip(plan.bundles, plan.frames, plan.kept, strict=True)
        for span, fits in zip(plan.spans, row, strict=True)
        if bundle.shelf is not None and bundle.shelf.file(span.start).exists()
    ]


def fault_in(kept: Kept) -> str | None:
    """What is wrong with a file of sums, or None.

    A file of other frames is not wrong: it never answers for this store.
    """
    shelf = kept.bundle.shelf
    assert shelf is not None
    path = shelf.file(kept.span.start)
    fault = fault_of(path)
    if fault is None and kept.fits:
        try:
            fault = None if _is_as_made(kept, shelf) else "expected the sums of the frames, got others"
        except AnalyzerError:
            return None  # the store's chunks are damaged, and the walk names them
    if fault is None:
        return None
    return f"{path}: {fault}. Answers from it cannot be trusted. Make it again: analyzer cache drop {_store_of(kept)}"


def _is_as_made(kept: Kept, shelf: Shelf) -> bool:
    """Whether a file holds exactly the sums that the frames give, to the bit."""
    bundle, span = replace(kept.bundle, shelf=None), kept.span
    if isinstance(span, Reach):
        assert kept.job is not None
        assert kept.job.extent is not None
        made_pairs, _ = sums_of_strips(kept.job, bundle, kept.frames, span)
        held_pairs = load_pairs(shelf, kept.job.extent, made_pairs.shape)
        return held_pairs is not None and np.array_equal(held_pairs[0], made_pairs, equal_nan=True)
    assert span.bins is not None
    weights = sum(piece.weights for piece in bundle.pieces)
    held = load(shelf, span.start, span.bins, len(bundle.pieces), weights, with_fine=True, with_series=True)
    return held is not None and _are_same(held, sums_of_frames(bundle, kept.frames, span))


def _store_of(kept: Kept) -> str:
    return next((some.source.location for some in kept.frames if isinstance(some, Chunks)), "STORE")


def _are_same(one: SpanSums, other: SpanSums) -> bool:
    """Whether everything that a file keeps is equal in both, to the bit."""
    assert one.fine is not None
    assert one.series is not None
    assert other.fine is not None
    assert other.series is not None
    pairs = [
        (one.coarse.sums, other.coarse.sums),
        (one.coarse.frames, other.coarse.frames),
        (one.fine.sums[list(KEPT)], other.fine.sums[list(KEPT)]),
        (one.fine.frames, other.fine.frames),
        (one.series, other.series),
    ]
    return one.nonfinite == other.nonfinite and all(np.array_equal(a, b, equal_nan=True) for a, b in pairs)
