"""Sums over pairs of velocities and of frames at many lags, in one pass: for correlations and displacements.

`analyzer.engine.lookback.pair_plan` says which pairs are summed, and in which tasks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import dask.array as da
import numpy as np
from dask.base import tokenize

from analyzer.engine.assembly import note_first
from analyzer.engine.frames import Chunks, Frames, Noted
from analyzer.engine.kept.contents import noted_of, places_of
from analyzer.engine.kept.remains import Remains, preserve
from analyzer.engine.lookback import levels as far
from analyzer.engine.lookback.pair_cache import keep_pairs, load_pairs
from analyzer.engine.lookback.pair_plan import PairJob, PairPlan, Selection
from analyzer.engine.lookback.parts import Assembly, Part, added, answered, arrays_of, note_nonfinite, tasks_of
from analyzer.engine.lookback.passage import Asked, Reach, remains_of, tiles_of, units_of
from analyzer.engine.lookback.picks import Picked, pick_tasks
from analyzer.engine.lookback.slopes import slopes_of
from analyzer.engine.lookback.strips import order_of
from analyzer.engine.makers import maker, require_maker
from analyzer.engine.pieces import Bundle, Piece, bundle_groups, piece_groups
from analyzer.engine.spans import chosen_of
from analyzer.store.roots import check_same

Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True)
class PairSums:
    """The sums that answer a question about pairs.

    Attributes
    ----------
    sums
        (groups, batches, lags, 2) float64: Σ v(t − τ)·v(t) and Σ (w(t) − w(t − τ))² over weights and pairs.
    counts
        (batches, lags, 2): pairs of each weight.
    nonfinite
        The first frame with a NaN or infinite weight, by parameter.
    """

    sums: Array
    counts: Array
    nonfinite: dict[str, int]


@dataclass(frozen=True)
class PairAssembly(Assembly):
    """The last task's share of a plan; `shape` is that of the sums of near lags, (groups, batches, lags, 2)."""

    shape: tuple[int, ...]
    by_piece: bool
    counts: Array


def pair_arrays(
    asked: Asked,
    plan: PairPlan,
    finish: Callable[[PairSums], dict[str, Array]],
    shapes: dict[str, tuple[tuple[int, ...], Any]],
) -> tuple[dict[str, da.Array], da.Array]:
    """The lazy answer of a plan: the arrays that `finish` makes from the sums, by name, and the frames not finite.

    Parameters
    ----------
    finish
        A function that other processes can load, or a partial of one.
    shapes
        Shape and dtype of each array.
    """
    passage, levels = plan.passage, plan.levels
    name = str(tokenize(passage.bundles, passage.frames, passage.reaches, plan.jobs, plan.picks, finish))
    graph: dict[Any, Any] = {}
    slopes: list[Any] | None = None
    if plan.slopes is not None:
        more, picked = pick_tasks(passage, f"ends-{name}", plan.picks[0])
        slopes = [(f"slopes-{name}", number) for number in range(len(passage.bundles))]
        graph |= more | {key: (slopes_of, plan.slopes, some) for key, some in zip(slopes, picked, strict=True)}
    beyond: list[Any] = []
    if levels is not None:
        more, picked = pick_tasks(passage, f"level-{name}", plan.picks[1])
        graph |= more
        for number, bundle in enumerate(passage.bundles):
            beyond.append((f"levels-{name}", number))
            own = None if slopes is None else slopes[number]
            graph[beyond[-1]] = (beyond_of, levels, bundle, picked[number], own)
    more, keys = tasks_of(passage, name, reduce_pairs, plan.jobs, load_together, slopes)
    graph |= more
    groups, beyond_near = passage.grouping.weights.size, 0 if levels is None else levels.lags.size
    shape = (groups, plan.batches.window.size, plan.lags.size - beyond_near, 2)
    assembly = PairAssembly(passage.bundles, groups, passage.source, maker(), shape, plan.by_class, plan.counts)
    remains = remains_of(asked, passage)
    whole = f"pairs-{name}"
    graph[whole] = (assemble_pairs, assembly, finish, keys, beyond, remains)
    made = arrays_of(passage, graph, whole, shapes | {"nonfinite": ((), object)})
    return made, made.pop("nonfinite")


@dataclass(frozen=True)
class Beyond:
    """The sums of far lags over a bundle, (groups of the bundle, batches, lags, 2), and what is not finite."""

    sums: Array
    nonfinite: tuple[tuple[str, int], ...]


def beyond_of(levels: far.Levels, bundle: Bundle, parts: Sequence[Picked], slopes: Array | None) -> Beyond:
    """The sums of far lags over a bundle, from its picked frames."""
    return Beyond(far.sums_of(levels, bundle, parts, slopes), tuple(found for one in parts for found in one.nonfinite))


def reduce_pairs(
    job: PairJob, bundle: Bundle, frames: Sequence[Frames], reach: Reach, slopes: Array | None = None
) -> Part:
    """The pair sums of a bundle over a reach: from the shelf if they are kept there, else from the frames.

    Parameters
    ----------
    slopes
        (weights, windows) mean velocities to take off.
    """
    require_maker(reach.maker)
    if job.selection is None:
        return _by_group(job, bundle, frames, reach, slopes)
    sums, bad = sums_of_strips(job, bundle, frames, reach)
    return Part(job.record, _batched(job.selection, sums), tuple(bad.items()))


def sums_of_strips(
    job: PairJob, bundle: Bundle, frames: Sequence[Frames], reach: Reach
) -> tuple[Array, dict[str, int]]:
    """The sums of all strips of a reach by class, (chosen pieces, strips, lags, 2, 2), and what is not finite.

    From the shelf if they are kept there; else made, and kept.
    """
    place = bundle.shelf if job.extent is not None else None
    shape = (len(bundle.pieces), job.records, job.lags.size, 2, 2)
    held = None if place is None or job.extent is None else load_pairs(place, job.extent, shape)
    if held is not None:
        return _chosen(bundle, *held)
    fills = place is not None and bundle.fills
    noted: dict[str, str] = {}
    read = [Noted(some, noted) if fills and isinstance(some, Chunks) else some for some in frames]
    rows: list[Array] = []
    bad: dict[str, int] = {}
    for piece, some in zip(bundle.pieces, read, strict=True) if fills else chosen_of(bundle, frames):
        sums = np.zeros((1, *shape[1:]))
        _add_piece(job, piece, some, reach, np.zeros(piece.weights, dtype=np.int64), sums, bad, None)
        rows.append(sums)
    made = np.concatenate(rows)
    if not fills:
        return made, bad
    assert place is not None
    assert job.extent is not None
    [places] = places_of([piece.region for piece in bundle.pieces], frames, [(reach.first, reach.stop)])
    if places:
        check_same(places[0].source)
    keep_pairs(place, job.extent, made, bad, noted_of(places, noted))
    return _chosen(bundle, made, bad)


def load_together(some: Sequence[tuple[PairJob, Sequence[Frames], Reach]], bundle: Bundle) -> list[Part]:
    """The kept sums of a bundle over several reaches. Sums that were deleted meanwhile are made again."""
    return [reduce_pairs(job, bundle, frames, reach) for job, frames, reach in some]


def _chosen(bundle: Bundle, sums: Array, bad: dict[str, int]) -> tuple[Array, dict[str, int]]:
    """Choose the sums of the pieces that the query asks for."""
    wanted = [piece.rule is not None for piece in bundle.pieces]
    names = {piece.parameter for piece in bundle.chosen}
    return sums[wanted], {name: frame for name, frame in bad.items() if name in names}


def _batched(chosen: Selection, sums: Array) -> Array:
    """The sums of batches (pieces, batches, lags, 2), added up from those of strips and classes in order."""
    if not chosen.batch.size:
        return np.zeros((len(sums), 0, chosen.lags.size, 2))
    some = np.where(chosen.allowed, sums[:, chosen.strip[:, np.newaxis], chosen.lags], 0.0).sum(axis=-1)
    answer: Array = np.add.reduceat(some, np.flatnonzero(np.diff(chosen.batch, prepend=-1)), axis=1)
    return answer


def _by_group(job: PairJob, bundle: Bundle, frames: Sequence[Frames], reach: Reach, slopes: Array | None) -> Part:
    rows: list[Array] = []
    bad: dict[str, int] = {}
    weights = 0
    for piece, some in chosen_of(bundle, frames):
        groups, numbers = piece_groups(piece)
        sums = np.zeros((numbers.size, job.records, job.lags.size, 2, 1))
        own = None if slopes is None else slopes[weights : weights + piece.weights]
        weights += piece.weights
        if job.lags.size:
            _add_piece(job, piece, some, reach, groups, sums, bad, own)
        rows.append(sums)
    return Part(job.record, np.concatenate(rows)[..., 0], tuple(bad.items()))


def _add_piece(
    job: PairJob,
    piece: Piece,
    frames: Frames,
    reach: Reach,
    groups: Array,
    sums: Array,
    bad: dict[str, int],
    slopes: Array | None,
) -> None:
    """Add the pair sums of a piece over a reach, and note its first frame that is not finite."""
    from analyzer.engine.lookback.pairs_compiled import add_pairs  # loads numba

    order = order_of(job.splits)
    for part, origin, low, held in units_of(piece, frames, reach, job.unit, int(job.lags.max()) + 1):
        stop = low + held[-1].shape[1]
        here = (job.strips[:, 0] < stop) & (job.strips[:, 1] > low)
        strips = job.strips[here]
        strips[:, 0] = np.maximum(strips[:, 0], low)
        strips[:, 1] = np.minimum(strips[:, 1], stop)
        strips[:, :4] -= origin
        for tile, values in tiles_of(held, stop - origin):
            own = slice(part.start + tile.start, part.start + tile.stop)
            for some, slope in _by_slope(job, here, strips, slopes, own):
                add_pairs(values, slope, groups[own], some, job.lags, job.splits, order, sums)
        note_nonfinite(bad, piece, sums, held[-1], low)


def _by_slope(
    job: PairJob, here: Array, strips: Array, slopes: Array | None, part: slice
) -> Iterator[tuple[Array, Array]]:
    """Yield strips with the mean velocities to take off in them: window by window, or all at once if there are none."""
    if slopes is None or job.window is None:
        yield strips, np.zeros(part.stop - part.start)
        return
    window = job.window[here]
    for one in np.unique(window):
        yield np.ascontiguousarray(strips[window == one]), np.ascontiguousarray(slopes[part, one])


def assemble_pairs(
    assembly: PairAssembly,
    finish: Callable[[PairSums], dict[str, Array]],
    partials: Sequence[Sequence[Sequence[Part]]],
    beyond: Sequence[Beyond],
    remains: Remains | None,
) -> dict[str, Any]:
    """The answer, from the partials of all bundles in the order of their spans.

    Raises
    ------
    StoreChangedError
        The store was replaced since it was opened.
    """
    sums, found = added(assembly, partials, assembly.shape, by_piece=assembly.by_piece)
    if beyond:
        more = np.zeros((assembly.groups, *beyond[0].sums.shape[1:]))
        for bundle, one in zip(assembly.bundles, beyond, strict=True):
            np.add.at(more, bundle_groups(bundle)[1], one.sums)
            note_first(found, one.nonfinite)
        sums = np.concatenate([sums, more], axis=2)
    if remains is not None:
        preserve(remains)
    return answered(finish(PairSums(sums, assembly.counts, found)), found)
