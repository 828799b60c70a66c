"""The tasks of a passage as a dask graph, the sums that they return, and how these are added up."""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import dask.array as da
import numpy as np

from analyzer.engine.assembly import arrays_over, note_first, require_same
from analyzer.engine.frames import of_places
from analyzer.engine.lookback.passage import Passage
from analyzer.engine.pieces import Bundle, Piece, bundle_groups
from analyzer.errors import NonFiniteWarning
from analyzer.store.roots import Source

Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True)
class Part:
    """The sums of one bundle and reach.

    Attributes
    ----------
    record
        Number of the first record.
    sums
        (rows, records, …): a row for each group of the bundle, or for each piece.
    nonfinite
        (parameter, frame) of the first NaN or infinite weight of each parameter that has one.
    """

    record: int
    sums: Array
    nonfinite: tuple[tuple[str, int], ...]


@dataclass(frozen=True)
class Assembly:
    """The part of a passage that its last task needs.

    Attributes
    ----------
    source
        Any array of the store; None for a tree that was modified.
    maker
        The version that made the plan.
    """

    bundles: tuple[Bundle, ...]
    groups: int
    source: Source | None
    maker: str


def tasks_of(
    passage: Passage,
    name: str,
    reduce: Callable[..., Any],
    jobs: Sequence[Any],
    together: Callable[..., Any],
    more: Sequence[Any] | None = None,
) -> tuple[dict[Any, Any], list[list[Any]]]:
    """The graph of a passage, and its keys by bundle in the order of the spans.

    Parameters
    ----------
    reduce
        Takes (job, bundle, frames, reach); returns the result of the task.
    jobs
        One for each reach.
    together
        Takes ([(job, frames, reach)], bundle); returns the list of results. It reads kept sums, for which a task each
        would take longer than the reading.
    more
        A last argument for the tasks of each bundle, or its key.
    """
    graph: dict[Any, Any] = {}
    keys: list[list[Any]] = []
    for number, bundle in enumerate(passage.bundles):
        keys.append([])
        for here, group_ in itertools.groupby(range(len(passage.reaches)), key=lambda n: bool(passage.kept[number, n])):
            places = list(group_)
            if here:
                key = (f"kept-{name}", number, places[0])
                some = [(jobs[n], [f.of_task(0) for f in passage.frames[number]], passage.reaches[n]) for n in places]
                graph[key] = (partial(together, some), bundle)
                keys[-1].append(key)
                continue
            for n in places:
                key = (f"decode-{name}", number, n)
                reach = passage.reaches[n]
                held = [of_places(frames, *reach.places) for frames in passage.frames[number]]
                last = () if more is None else (more[number],)
                graph[key] = (_listed, (reduce, jobs[n], bundle, held, reach, *last))
                keys[-1].append(key)
    return graph, keys


def none_kept(*_: Any) -> list[Any]:
    """What reads kept sums of a question whose sums are not kept."""
    raise AssertionError("no sums of this question are kept")


def _listed(one: Any) -> list[Any]:
    return [one]


def arrays_of(
    passage: Passage, graph: dict[Any, Any], whole: str, shapes: dict[str, tuple[tuple[int, ...], Any]]
) -> dict[str, da.Array]:
    """The result of the last key, a mapping, as one array for each name: small layers over a shared one."""
    arrays: list[Any] = [array for bundle in passage.frames for frames in bundle for array in frames.arrays]
    parts = {title: ((_one_of, whole, title), shape, dtype) for title, (shape, dtype) in shapes.items()}
    return arrays_over(graph, whole, whole, parts, arrays)


def _one_of(made: dict[str, Any], title: str) -> Any:
    return made[title]


def note_nonfinite(bad: dict[str, int], piece: Piece, sums: Array, values: Array, low: int) -> None:
    """Note the first frame of a piece that is not finite, if its sums are not; `values` begin at frame `low`."""
    if low < bad.get(piece.parameter, low + 1) and not np.isfinite(sums).all():
        there = np.isfinite(values).all(axis=0)
        if not there.all():
            bad[piece.parameter] = low + int(np.argmin(there))


def added(
    assembly: Assembly, parts: Sequence[Sequence[Sequence[Part]]], shape: tuple[int, ...], *, by_piece: bool
) -> tuple[Array, dict[str, int]]:
    """Add up the sums of all groups, (groups, records, …), and find each parameter's first frame that is not finite.

    They are added bundle after bundle and span after span: in one order, on whatever machine they were computed.

    Parameters
    ----------
    parts
        The parts of all bundles, in the order of their spans.
    by_piece
        Whether rows stand for pieces, which belong to groups of whole parameters.

    Raises
    ------
    StoreChangedError
        The store was replaced since it was opened.
    """
    require_same(assembly.maker, assembly.source)
    total = np.zeros(shape)
    found: dict[str, int] = {}
    for bundle, of_bundle in zip(assembly.bundles, parts, strict=True):
        numbers = bundle_groups(bundle)[1]
        if by_piece:
            numbers = np.array([piece.rule.base for piece in bundle.chosen if piece.rule is not None])
        for part in itertools.chain(*of_bundle):
            np.add.at(total[:, part.record : part.record + part.sums.shape[1]], numbers, part.sums)
            note_first(found, part.nonfinite)
    return total, found


def answered(answer: dict[str, Array], found: dict[str, int]) -> dict[str, Any]:
    """The arrays of an answer and the frames that are not finite, with a warning for each such parameter.

    Warns
    -----
    NonFiniteWarning
    """
    for parameter, frame in found.items():
        warnings.warn(
            f"{parameter}: NaN or infinite weights from frame {frame} on; the answers for its groups are NaN.",
            NonFiniteWarning,
            stacklevel=1,
        )
    return {**answer, "nonfinite": np.array(found, dtype=object)}
