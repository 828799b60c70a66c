"""Kept sums held against the frames that they claim to be of: made once more, and compared bit for bit."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from analyzer.engine.bins import SpanSums
from analyzer.engine.cache import fault_of, load
from analyzer.engine.frames import Chunks, Frames
from analyzer.engine.measure import Query, measure
from analyzer.engine.pieces import Bundle
from analyzer.engine.plan import Span
from analyzer.engine.spans import sums_of_frames
from analyzer.engine.sums import KEPT
from analyzer.errors import AnalyzerError
from analyzer.store.schema import Store
from analyzer.tree import build_tree


@dataclass(frozen=True)
class Kept:
    """A file of sums: of which weights and frames it is, and whether its chunks are those of the store."""

    bundle: Bundle
    frames: tuple[Frames, ...]
    span: Span
    fits: bool


def kept_of(store: Store, cache: bool | str) -> list[Kept]:
    """The files of sums that answer for a store; none where it is too damaged to be asked, which its chunks tell."""
    try:
        plan = measure(build_tree(store), Query(by="model", cache=cache)).plan
    except AnalyzerError:
        return []
    return [
        Kept(bundle, frames, span, bool(fits))
        for bundle, frames, row in zip(plan.bundles, plan.frames, plan.kept, strict=True)
        for span, fits in zip(plan.spans, row, strict=True)
        if bundle.shelf is not None and bundle.shelf.file(span.start).exists()
    ]


def fault_in(kept: Kept) -> str | None:
    """What is wrong with a file of sums, or None.

    A file of other frames is none: it does not answer for this store.
    """
    shelf, span = kept.bundle.shelf, kept.span
    assert shelf is not None
    assert span.bins is not None
    path = shelf.file(span.start)
    fault = fault_of(path)
    if fault is None and kept.fits:
        pieces = kept.bundle.pieces
        weights = sum(piece.weights for piece in pieces)
        held = load(shelf, span.start, span.bins, len(pieces), weights, with_fine=True, with_series=True)
        try:
            made = sums_of_frames(replace(kept.bundle, shelf=None), kept.frames, span)
        except AnalyzerError:
            return None  # its chunks are at fault, and are named themselves
        if held is None or not _are_same(held, made):
            fault = "expected the sums of the frames, got others"
    if fault is None:
        return None
    return f"{path}: {fault}. Answers from it cannot be trusted. Make it again: analyzer cache drop {_store_of(kept)}"


def _store_of(kept: Kept) -> str:
    return next((some.source.location for some in kept.frames if isinstance(some, Chunks)), "STORE")


def _are_same(one: SpanSums, other: SpanSums) -> bool:
    """Whether all that a file keeps is the same, to the bit."""
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
