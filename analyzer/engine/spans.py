"""The sums of a bundle over a span: read from the shelf if they are kept there, else made from the frames and kept."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from analyzer.engine.bins import BinSums, Cut, SpanSums, coarser, is_aligned, stretches_from_bins, sum_bins
from analyzer.engine.frames import Chunks, Frames, Noted, rows_of
from analyzer.engine.kept.cache import keep, load
from analyzer.engine.kept.contents import noted_of, places_of
from analyzer.engine.makers import require_maker
from analyzer.engine.moments import Partial, is_finite, reduce_frames, reduce_sums, seam_squares, stack
from analyzer.engine.pieces import Bundle, Piece, bundle_groups, bundle_pieces, piece_groups
from analyzer.engine.plan import Span
from analyzer.store.roots import check_same

Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True)
class Series:
    """Σ_weights v² of every step of consecutive spans, and the frames at their ends.

    Attributes
    ----------
    values
        Arrays (pieces, pairs) float64, in step order.
    enter, leave
        (weights,) first and last frame.
    nonfinite
        (parameter, frame) of the first NaN or infinite weight of each parameter that has one.
    """

    values: tuple[Array, ...]
    enter: Array
    leave: Array
    nonfinite: tuple[tuple[str, int], ...] = ()


def reduce_span(bundle: Bundle, frames: Sequence[Frames], span: Span, with_series: bool) -> Partial:
    """The partial of a bundle over a span: from its bins if the query is aligned, else from its frames."""
    require_maker(span.maker)
    if span.bins is None:
        parts = [
            _reduced(piece, span, frames_of(piece, some, span.start, span.stop), with_series)
            for piece, some in chosen_of(bundle, frames)
        ]
        return stack(parts)
    coarse = is_aligned(span.part, span.bins.coarse)
    found = _sums(bundle, frames, span, span.bins, with_fine=not coarse, with_series=with_series)
    return _from_bins(bundle, span, found, coarse, with_series)


def _from_bins(bundle: Bundle, span: Span, found: SpanSums, coarse: bool, with_series: bool) -> Partial:
    """The partial of an aligned span, from its coarse bins or its fine ones."""
    assert span.bins is not None
    if coarse:
        sums = stretches_from_bins(found.coarse, span.bins.coarse, span.part)
    else:
        assert found.fine is not None
        sums = stretches_from_bins(found.fine, span.bins.fine, span.part)
    labels, numbers = bundle_groups(bundle)
    partial = reduce_sums(sums.__getitem__, span.part, labels, numbers.size, bundle.pieces[0].original_dtype)
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
        For each question: one span with bins, of the whole cell; or spans without bins, each inside one unit; or none.
    with_series
        For each question: whether it needs the sums of single steps.
    unit
        Frames that are decoded at once.
    """

    start: int
    stop: int
    spans: tuple[tuple[Span, ...], ...]
    with_series: tuple[bool, ...]
    unit: int


def reduce_cell(bundle: Bundle, frames: Sequence[Frames], cell: Cell) -> list[list[Partial]]:
    """The partials of a bundle over the spans of each question, as from `reduce_span`; frames are decoded once."""
    for span in itertools.chain(*cell.spans):
        require_maker(span.maker)
    loose = [(q, n, s) for q, spans in enumerate(cell.spans) for n, s in enumerate(spans) if s.bins is None]
    aligned = [s for spans in cell.spans for s in spans if s.bins is not None]
    parts: dict[tuple[int, int], list[Partial]] = {(q, n): [] for q, n, _ in loose}

    def decode(piece: Piece, some: Frames, start: int, stop: int) -> Array:
        values = frames_of(piece, some, start, stop)
        for q, n, span in loose:
            if piece.rule is not None and start <= span.start < stop:
                own = values[:, span.start - start : span.stop - start]
                parts[q, n].append(_reduced(piece, span, own, cell.with_series[q]))
        return values

    coarse = [s.bins is not None and is_aligned(s.part, s.bins.coarse) for s in aligned]
    sums = None
    if aligned:
        bins = aligned[0].bins
        assert bins is not None
        series = any(w for w, spans in zip(cell.with_series, cell.spans, strict=True) if spans and spans[0].bins)
        sums = _sums(bundle, frames, aligned[0], bins, with_fine=not all(coarse), with_series=series, decode=decode)
    if not all(parts.values()):  # nothing was decoded yet: the sums were kept, or no question is aligned
        starts = sorted({span.start // cell.unit * cell.unit for _, _, span in loose})
        for piece, some in chosen_of(bundle, frames):
            for start in starts:
                decode(piece, some, max(start, cell.start), min(start + cell.unit, cell.stop))
    answer: list[list[Partial]] = []
    is_coarse = iter(coarse)
    for q, spans in enumerate(cell.spans):
        answer.append([])
        for n, span in enumerate(spans):
            if span.bins is None:
                answer[q].append(stack(parts[q, n]))
            else:
                assert sums is not None
                answer[q].append(_from_bins(bundle, span, sums, next(is_coarse), cell.with_series[q]))
    return answer


def series_of(bundle: Bundle, frames: Sequence[Frames], span: Span) -> Series:
    """The sums of the single steps of a span."""
    require_maker(span.maker)
    assert span.bins is not None
    found = _sums(bundle, frames, span, span.bins, with_fine=False, with_series=True)
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


def chosen_of(bundle: Bundle, frames: Sequence[Frames]) -> list[tuple[Piece, Frames]]:
    """The pieces that the query asks for, each with its frames."""
    return [(piece, some) for piece, some in zip(bundle.pieces, frames, strict=True) if piece.rule is not None]


def frames_of(piece: Piece, frames: Frames, start: int, stop: int) -> Array:
    """Frames start to stop - 1 of a piece (weights, frames), contiguous float32 or float64."""
    return _real(frames.read(piece.region, start, stop).reshape(piece.weights, stop - start))


def part_of(piece: Piece, frames: Frames, part: slice, start: int, stop: int) -> Array:
    """The same of some of its weights: a view of what was decoded (`owned`)."""
    if part.stop - part.start == piece.weights:
        return frames_of(piece, frames, start, stop)
    rows = piece.weights // (piece.region[0][1] - piece.region[0][0])
    first = part.start // rows
    values = rows_of(frames, piece.region, slice(first, -(-part.stop // rows)), start, stop)
    return _real(values.reshape(-1, stop - start)[part.start - first * rows : part.stop - first * rows])


def owned(frames: Frames, values: Array) -> Array:
    """The values of a view in memory of their own, so that the whole array can go."""
    rooms = frames.rooms if isinstance(frames, Noted) else None
    if rooms is None:
        return values.copy()
    room = rooms.array(values.size, values.dtype).reshape(values.shape)
    np.copyto(room, values)
    return room


def frame_at(bundle: Bundle, frames: Sequence[Frames], span: Span, frame: int) -> Array:
    """One frame of a bundle's chosen weights (weights,): from the shelf if it is an edge of a kept bin, else read."""
    if bundle.shelf is not None and span.bins is not None and span.full:
        place, weights = frame - span.start, sum(piece.weights for piece in bundle.pieces)
        coarse = bool(np.isin(place, span.bins.coarse.edges))
        held = None
        if coarse or np.isin(place, span.bins.fine.edges):
            held = load(
                *(bundle.shelf, span.start, span.bins, len(bundle.pieces), weights),
                with_fine=not coarse,
                with_series=False,
            )
        if held is not None:
            sums = _chosen(bundle, held)
            edges, found = (
                (span.bins.coarse.edges, sums.coarse) if sums.fine is None else (span.bins.fine.edges, sums.fine)
            )
            return np.asarray(found.frames[np.searchsorted(edges, place)])
    return np.concatenate([frames_of(piece, some, frame, frame + 1)[:, 0] for piece, some in chosen_of(bundle, frames)])


def sums_of_frames(bundle: Bundle, frames: Sequence[Frames], span: Span) -> SpanSums:
    """All sums of a bundle over a span, from its frames."""
    assert span.bins is not None
    return _sums(bundle, frames, replace(span, full=False), span.bins, with_fine=True, with_series=True)


Decode = Callable[[Piece, Frames, int, int], Array]


def _sums(
    bundle: Bundle,
    frames: Sequence[Frames],
    span: Span,
    bins: Cut,
    *,
    with_fine: bool,
    with_series: bool,
    decode: Decode = frames_of,
) -> SpanSums:
    """The sums of a bundle's chosen pieces, at least those that are asked for. `decode` reads each frame once."""
    place = bundle.shelf if span.full else None
    if place is not None:
        weights = sum(piece.weights for piece in bundle.pieces)
        held = load(place, span.start, bins, len(bundle.pieces), weights, with_fine=with_fine, with_series=with_series)
        if held is not None:
            return _chosen(bundle, held)
    fills = place is not None and bundle.fills
    made = []
    nonfinite: dict[str, int] = {}
    noted: dict[str, str] = {}
    read = [Noted(some, noted) if fills and isinstance(some, Chunks) else some for some in frames]
    for piece, some in zip(bundle.pieces, read, strict=True) if fills else chosen_of(bundle, frames):
        one, by_step, bad = _piece_sums(piece, some, span, bins, decode)
        made.append((one.sums, one.frames, by_step))
        if bad is not None:
            nonfinite[piece.parameter] = min(bad, nonfinite.get(piece.parameter, bad))
    own, edges, series = zip(*made, strict=True)
    fine = BinSums(np.concatenate(own, axis=2), np.concatenate(edges, axis=1))
    sums = SpanSums(coarser(fine, bins.fine, bins.coarse), fine, np.concatenate(series), nonfinite)
    if not fills:
        return sums
    assert place is not None
    [places] = places_of([piece.region for piece in bundle.pieces], frames, [(span.start, span.stop)])
    if places:
        check_same(places[0].source)
    keep(place, span.start, span.stop, bins, sums, noted_of(places, noted))
    return _chosen(bundle, sums)


def _piece_sums(
    piece: Piece, frames: Frames, span: Span, bins: Cut, decode: Decode
) -> tuple[BinSums, Array, int | None]:
    """The fine sums of a piece, those of its single steps, and its first frame that is not finite."""

    def unit(low: int, high: int) -> Array:
        return decode(piece, frames, span.start + low, span.start + high)

    return sum_bins(unit, span.stop - span.start, bins)


def _chosen(bundle: Bundle, sums: SpanSums) -> SpanSums:
    """Choose the sums of the pieces that the query asks for."""
    if len(bundle.chosen) == len(bundle.pieces):
        return sums
    wanted = [piece.rule is not None for piece in bundle.pieces]
    ends = np.cumsum([piece.weights for piece in bundle.pieces])
    columns = [slice(end - p.weights, end) for p, end in zip(bundle.pieces, ends, strict=True) if p.rule is not None]

    def some(held: BinSums) -> BinSums:
        def cut(array: Array) -> Array:
            return np.concatenate([array[..., c] for c in columns], axis=-1)

        return BinSums(cut(held.sums), cut(held.frames))

    return SpanSums(
        coarse=some(sums.coarse),
        fine=None if sums.fine is None else some(sums.fine),
        series=None if sums.series is None else sums.series[wanted],
        nonfinite=sums.nonfinite,
    )


def _reduced(piece: Piece, span: Span, values: Array, with_series: bool) -> Partial:
    labels, numbers = piece_groups(piece)
    frames, part = np.ascontiguousarray(values), span.part
    partial = reduce_frames(frames, part, labels, numbers.size, piece.original_dtype, with_series)
    if is_finite(partial):
        return partial
    low, high = int(part.first[0]), int(part.first[-1] + (part.count[-1] - 1) * part.spacing[-1])
    bad = np.flatnonzero(~np.isfinite(frames[:, low : high + 1]).all(axis=0))
    return replace(partial, nonfinite=((piece.parameter, span.start + low + int(bad[0])),) if bad.size else ())


def _real(values: Array) -> Array:
    """The values as contiguous float32, if it holds them exactly, else as float64."""
    kind = values.dtype
    if kind not in (np.float32, np.float64):
        kind = np.dtype(np.float32 if kind == np.float16 or kind.itemsize < 3 else np.float64)
    return np.ascontiguousarray(values, dtype=kind)
