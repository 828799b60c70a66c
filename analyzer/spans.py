"""The sums of a bundle over a span: from the shelf where they are kept, else from the frames, and then kept."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from analyzer.blocks import (
    BlockSums,
    Cut,
    SpanSums,
    coarser,
    is_aligned,
    stretches_from_blocks,
    sum_blocks,
    with_displaced,
)
from analyzer.cache import keep, load
from analyzer.moments import Partial, is_finite, reduce_frames, reduce_sums, seam_squares, stack
from analyzer.plan import Bundle, Piece, Span, bundle_groups, bundle_pieces, piece_groups
from analyzer.reading import read

Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True)
class Series:
    """Σ_weights v² of every step of consecutive spans, and the frames at their ends.

    Attributes
    ----------
    values
        (pieces, pairs) float64, one after the other.
    enter, leave
        (weights,) first and last frame.
    nonfinite
        (parameter, frame) of the first NaN or infinite weight of each parameter that has one.
    """

    values: tuple[Array, ...]
    enter: Array
    leave: Array
    nonfinite: tuple[tuple[str, int], ...] = ()


def reduce_span(bundle: Bundle, span: Span, with_series: bool) -> Partial:
    """The partial of a bundle over a span: from its blocks where the query is aligned, else from its frames."""
    if span.blocks is None:
        parts = [_reduced(p, span, frames_of(p, span.start, span.stop), with_series) for p in bundle.chosen]
        return stack(parts)
    coarse = is_aligned(span.part, span.blocks.coarse)
    found = _sums(bundle, span, span.blocks, with_fine=not coarse, with_series=with_series)
    return _from_blocks(bundle, span, found, coarse, with_series)


def _from_blocks(bundle: Bundle, span: Span, found: SpanSums, coarse: bool, with_series: bool) -> Partial:
    """The partial of an aligned span, from its coarse blocks or its fine ones."""
    assert span.blocks is not None
    part = span.part
    if coarse:
        sums = stretches_from_blocks(found.coarse, span.blocks.coarse, part)
    else:
        assert found.fine is not None
        sums = stretches_from_blocks(found.fine, span.blocks.fine, part)
    labels, numbers = bundle_groups(bundle)
    dtype = bundle.pieces[0].original_dtype

    def supply(some: slice) -> tuple[Array, Array, Array, Array]:
        squares, displaced, opening, closing = sums
        return squares[some], displaced[some], opening[some], closing[some]

    partial = reduce_sums(supply, part, labels, numbers.size, dtype)
    if with_series:
        assert found.series is not None
        partial = replace(partial, series=(found.series,))
    return partial if is_finite(partial) else replace(partial, nonfinite=_nonfinite(bundle, span, found))


@dataclass(frozen=True)
class Cell:
    """Frames that are decoded once for several questions.

    Attributes
    ----------
    spans
        By question: one span with blocks over the whole cell, or spans without, each inside one unit, or none.
    with_series
        By question: whether it takes the sums of single steps along.
    unit
        Frames that are decoded at once.
    """

    start: int
    stop: int
    spans: tuple[tuple[Span, ...], ...]
    with_series: tuple[bool, ...]
    unit: int


def reduce_cell(bundle: Bundle, cell: Cell) -> list[list[Partial]]:
    """The partials of a bundle over the spans of each question: what `reduce_span` gives, the frames decoded once."""
    loose = [(q, n, s) for q, spans in enumerate(cell.spans) for n, s in enumerate(spans) if s.blocks is None]
    aligned = [s for spans in cell.spans for s in spans if s.blocks is not None]
    parts: dict[tuple[int, int], list[Partial]] = {(q, n): [] for q, n, _ in loose}

    def decode(piece: Piece, start: int, stop: int) -> Array:
        frames = frames_of(piece, start, stop)
        for q, n, span in loose:
            if piece.rule is not None and start <= span.start < stop:
                some = frames[:, span.start - start : span.stop - start]
                parts[q, n].append(_reduced(piece, span, some, cell.with_series[q]))
        return frames

    coarse = [s.blocks is not None and is_aligned(s.part, s.blocks.coarse) for s in aligned]
    sums = None
    if aligned:
        blocks = aligned[0].blocks
        assert blocks is not None
        series = any(w for w, spans in zip(cell.with_series, cell.spans, strict=True) if spans and spans[0].blocks)
        sums = _sums(bundle, aligned[0], blocks, with_fine=not all(coarse), with_series=series, decode=decode)
    if not all(parts.values()):  # the sums were kept, or no question is aligned
        starts = sorted({span.start // cell.unit * cell.unit for _, _, span in loose})
        for piece in bundle.chosen:
            for start in starts:
                decode(piece, max(start, cell.start), min(start + cell.unit, cell.stop))
    answer: list[list[Partial]] = []
    is_coarse = iter(coarse)
    for q, spans in enumerate(cell.spans):
        answer.append([])
        for n, span in enumerate(spans):
            if span.blocks is None:
                answer[q].append(stack(parts[q, n]))
            else:
                assert sums is not None
                answer[q].append(_from_blocks(bundle, span, sums, next(is_coarse), cell.with_series[q]))
    return answer


def reduce_block(bundle: Bundle, span: Span, with_series: bool, block: Array) -> Partial:
    """The partial of a bundle of one piece, from frames that a tree holds."""
    return _reduced(bundle.pieces[0], span, block, with_series)


def series_of(bundle: Bundle, span: Span) -> Series:
    """The sums of the single steps of a span."""
    assert span.blocks is not None
    found = _sums(bundle, span, span.blocks, with_fine=False, with_series=True)
    assert found.series is not None
    return Series((found.series,), found.coarse.frames[0], found.coarse.frames[-1], _nonfinite(bundle, span, found))


def join_series(bundle: Bundle, parts: list[Series]) -> Series:
    """The series of consecutive spans, with the velocities over the seams between them."""
    pieces = bundle_pieces(bundle)
    values = parts[0].values
    for before, after in itertools.pairwise(parts):
        values = (*values, seam_squares(before.leave, after.enter, pieces, len(values[0])), *after.values)
    nonfinite = tuple(found for part in parts for found in part.nonfinite)
    return Series(values, parts[0].enter, parts[-1].leave, nonfinite)


def _nonfinite(bundle: Bundle, span: Span, sums: SpanSums) -> tuple[tuple[str, int], ...]:
    names = {piece.parameter for piece in bundle.chosen}
    return tuple((name, span.start + frame) for name, frame in sums.nonfinite.items() if name in names)


def frames_of(piece: Piece, start: int, stop: int) -> Array:
    """The frames of a piece (weights, frames), decoded."""
    assert piece.source is not None
    return _real(read(piece.source, (*piece.region, (start, stop))).reshape(piece.weights, stop - start))


def frame_at(bundle: Bundle, span: Span, frame: int) -> Array:
    """One frame of a bundle's chosen weights (weights,): from the shelf where it is an edge of a kept block, else
    decoded.
    """
    if bundle.shelf is not None and span.blocks is not None and span.full:
        place, weights = frame - span.start, sum(piece.weights for piece in bundle.pieces)
        coarse = bool(np.isin(place, span.blocks.coarse.edges))
        held = None
        if coarse or np.isin(place, span.blocks.fine.edges):
            held = load(
                *(bundle.shelf, span.start, span.blocks, len(bundle.pieces), weights),
                with_fine=not coarse,
                with_series=False,
            )
        if held is not None:
            sums = _chosen(bundle, held)
            edges, found = (
                (span.blocks.coarse.edges, sums.coarse) if sums.fine is None else (span.blocks.fine.edges, sums.fine)
            )
            return np.asarray(found.frames[np.searchsorted(edges, place)])
    return np.concatenate([frames_of(piece, frame, frame + 1)[:, 0] for piece in bundle.chosen])


def _sums(
    bundle: Bundle,
    span: Span,
    blocks: Cut,
    *,
    with_fine: bool,
    with_series: bool,
    decode: Callable[[Piece, int, int], Array] | None = None,
) -> SpanSums:
    """The sums of a bundle's chosen pieces, at least those that are asked for; frames by `decode`, once each."""
    place = bundle.shelf if span.full else None
    if place is not None:
        weights = sum(piece.weights for piece in bundle.pieces)
        held = load(
            place, span.start, blocks, len(bundle.pieces), weights, with_fine=with_fine, with_series=with_series
        )
        if held is not None:
            return _chosen(bundle, held)
    fills = place is not None and bundle.fills
    made = []
    nonfinite: dict[str, int] = {}
    for piece in bundle.pieces if fills else bundle.chosen:
        one, by_step, bad = _piece_sums(piece, span, blocks, decode or frames_of)
        made.append((one.squares, one.frames, by_step))
        if bad is not None:
            nonfinite[piece.parameter] = min(bad, nonfinite.get(piece.parameter, bad))
    squares, frames, series = zip(*made, strict=True)
    fine = BlockSums(np.concatenate(squares, axis=1), np.concatenate(frames, axis=1))
    coarse = with_displaced(coarser(fine, blocks.fine, blocks.coarse), fine, blocks.fine, blocks.coarse)
    sums = SpanSums(coarse, fine, np.concatenate(series), nonfinite)
    if not fills:
        return sums
    assert place is not None
    keep(place, span.start, blocks, sums)
    return _chosen(bundle, sums)


def _piece_sums(
    piece: Piece, span: Span, blocks: Cut, decode: Callable[[Piece, int, int], Array]
) -> tuple[BlockSums, Array, int | None]:
    """The fine sums of a piece, those of its single steps, and its first frame that is not finite."""

    def unit(low: int, high: int) -> Array:
        return decode(piece, span.start + low, span.start + high)

    return sum_blocks(unit, span.stop - span.start, blocks)


def _chosen(bundle: Bundle, sums: SpanSums) -> SpanSums:
    """The sums of the pieces that the query asks for, of those of all."""
    if len(bundle.chosen) == len(bundle.pieces):
        return sums
    wanted = [piece.rule is not None for piece in bundle.pieces]
    ends = np.cumsum([piece.weights for piece in bundle.pieces])
    columns = [slice(end - p.weights, end) for p, end in zip(bundle.pieces, ends, strict=True) if p.rule is not None]

    def some(blocks: BlockSums) -> BlockSums:
        def cut(array: Array) -> Array:
            return np.concatenate([array[:, c] for c in columns], axis=1)

        displaced = None if blocks.displaced is None else cut(blocks.displaced)
        return BlockSums(cut(blocks.squares), cut(blocks.frames), displaced)

    return SpanSums(
        coarse=some(sums.coarse),
        fine=None if sums.fine is None else some(sums.fine),
        series=None if sums.series is None else sums.series[wanted],
        nonfinite=sums.nonfinite,
    )


def _reduced(piece: Piece, span: Span, values: Array, with_series: bool) -> Partial:
    labels, numbers = piece_groups(piece)
    frames = _real(values.reshape(piece.weights, values.shape[-1]))
    part = span.part
    partial = reduce_frames(frames, part, labels, numbers.size, piece.original_dtype, with_series)
    if is_finite(partial):
        return partial
    low, high = int(part.first[0]), int(part.first[-1] + (part.count[-1] - 1) * part.spacing[-1])
    bad = np.flatnonzero(~np.isfinite(frames[:, low : high + 1]).all(axis=0))
    return replace(partial, nonfinite=((piece.parameter, span.start + low + int(bad[0])),) if bad.size else ())


def _real(values: Array) -> Array:
    """Contiguous float32 or float64, exactly; wide integers as float64."""
    kind = values.dtype
    if kind not in (np.float32, np.float64):
        kind = np.dtype(np.float32 if kind == np.float16 or kind.itemsize < 3 else np.float64)
    return np.ascontiguousarray(values, dtype=kind)
