"""The sums of a bundle over a span: from the shelf where they are kept, else from the frames, and then kept."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from analyzer.blocks import BlockSums, Layout, SpanSums, covers, stretches_from_blocks, sum_blocks, whole_span
from analyzer.cache import keep, load_blocks, load_span
from analyzer.moments import Partial, is_finite, reduce_frames, reduce_sums, seam_squares, stack
from analyzer.plan import Bundle, Piece, Span, bundle_groups, piece_groups
from analyzer.reading import read

Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True)
class Series:
    """Σ_weights v² of every step of consecutive spans, and the frames at their ends.

    Attributes
    ----------
    values
        (pieces, frames - 1) float64.
    enter, leave
        (weights,) first and last frame.
    nonfinite
        (parameter, frame) of the first NaN or infinite weight of each parameter that has one.
    """

    values: Array
    enter: Array
    leave: Array
    nonfinite: tuple[tuple[str, int], ...] = ()


def reduce_span(bundle: Bundle, span: Span, with_series: bool) -> Partial:
    """The partial of a bundle over a span: from its blocks where the query is aligned, else from its frames."""
    if span.blocks is None:
        parts = [_reduced(p, span, frames_of(p, span.start, span.stop), with_series) for p in bundle.chosen]
        return stack(parts)
    blocks, part = span.blocks, span.part
    whole = covers(part, blocks)
    found, sums = _sums(bundle, span, blocks, with_blocks=not whole)
    if whole:
        squares, opening, closing = found.squares[:, np.newaxis], *(end[:, np.newaxis] for end in found.ends)
    else:
        assert sums is not None
        squares, opening, closing = stretches_from_blocks(sums, blocks, part)
    labels, numbers = bundle_groups(bundle)
    dtype = bundle.pieces[0].original_dtype
    partial = reduce_sums(lambda some: (squares[some], opening[some], closing[some]), part, labels, numbers.size, dtype)
    if with_series:
        partial = replace(partial, series=found.series)
    return partial if is_finite(partial) else replace(partial, nonfinite=_nonfinite(bundle, span, found))


def reduce_block(bundle: Bundle, span: Span, with_series: bool, block: Array) -> Partial:
    """The partial of a bundle of one piece, from frames that a tree holds."""
    return _reduced(bundle.pieces[0], span, block, with_series)


def series_of(bundle: Bundle, span: Span) -> Series:
    """The sums of the single steps of a span."""
    assert span.blocks is not None
    found, _ = _sums(bundle, span, span.blocks, with_blocks=False)
    return Series(found.series, found.ends[0], found.ends[1], _nonfinite(bundle, span, found))


def join_series(bundle: Bundle, parts: list[Series]) -> Series:
    """The series of consecutive spans, with the velocities over the seams between them."""
    labels, numbers = bundle_groups(bundle)
    values = [parts[0].values]
    for before, after in itertools.pairwise(parts):
        values += [seam_squares(before.leave, after.enter, labels, numbers.size), after.values]
    nonfinite = tuple(found for part in parts for found in part.nonfinite)
    return Series(np.concatenate(values, axis=1), parts[0].enter, parts[-1].leave, nonfinite)


def _nonfinite(bundle: Bundle, span: Span, sums: SpanSums) -> tuple[tuple[str, int], ...]:
    names = {piece.parameter for piece in bundle.chosen}
    return tuple((name, span.start + frame) for name, frame in sums.nonfinite.items() if name in names)


def frames_of(piece: Piece, start: int, stop: int) -> Array:
    """The frames of a piece (weights, frames), decoded."""
    assert piece.source is not None
    return _real(read(piece.source, (*piece.region, (start, stop))).reshape(piece.weights, stop - start))


def _sums(bundle: Bundle, span: Span, blocks: Layout, *, with_blocks: bool) -> tuple[SpanSums, BlockSums | None]:
    """The sums of a bundle's chosen pieces; those of its blocks only where they are asked for, or had to be made."""
    place = bundle.shelf if span.full else None
    if place is not None:
        weights = sum(piece.weights for piece in bundle.pieces)
        known = load_span(place, span.start, blocks, len(bundle.pieces), weights)
        kept = load_blocks(place, span.start, blocks, weights) if with_blocks and known is not None else None
        if known is not None and (kept is not None or not with_blocks):
            return _chosen_span(bundle, known), _chosen_blocks(bundle, kept)
    fills = place is not None and bundle.fills
    squares, frames, series = [], [], []
    nonfinite: dict[str, int] = {}
    for piece in bundle.pieces if fills else bundle.chosen:
        one, edges, by_step, bad = _piece_sums(piece, span, blocks)
        squares.append(one)
        frames.append(edges)
        series.append(by_step)
        if bad is not None:
            nonfinite[piece.parameter] = min(bad, nonfinite.get(piece.parameter, bad))
    sums = BlockSums(np.concatenate(squares, axis=1), np.concatenate(frames, axis=1))
    whole = SpanSums(whole_span(sums.squares), sums.frames[[0, -1]], np.concatenate(series), nonfinite)
    if not fills:
        return whole, sums
    assert place is not None
    keep(place, span.start, blocks, whole, sums)
    return _chosen_span(bundle, whole), _chosen_blocks(bundle, sums)


def _piece_sums(piece: Piece, span: Span, blocks: Layout) -> tuple[Array, Array, Array, int | None]:
    """The sums of a piece and its first frame that is not finite."""

    def unit(low: int, high: int) -> Array:
        return frames_of(piece, span.start + low, span.start + high)

    return sum_blocks(unit, span.stop - span.start, blocks)


def _chosen_span(bundle: Bundle, sums: SpanSums) -> SpanSums:
    """The sums of the pieces that the query asks for, of those of all."""
    if len(bundle.chosen) == len(bundle.pieces):
        return sums
    wanted = [piece.rule is not None for piece in bundle.pieces]
    columns = np.repeat(wanted, [piece.weights for piece in bundle.pieces])
    return SpanSums(sums.squares[columns], sums.ends[:, columns], sums.series[wanted], sums.nonfinite)


def _chosen_blocks(bundle: Bundle, sums: BlockSums | None) -> BlockSums | None:
    if sums is None or len(bundle.chosen) == len(bundle.pieces):
        return sums
    wanted = [piece.rule is not None for piece in bundle.pieces]
    columns = np.repeat(wanted, [piece.weights for piece in bundle.pieces])
    return BlockSums(sums.squares[:, columns], sums.frames[:, columns])


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
