"""The last task of a pass. It makes the moments of groups, their series and batches from the partials of bundles."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import dask.array as da
import numpy as np
from dask.highlevelgraph import HighLevelGraph

from analyzer.engine.kept.remains import Remains, preserve
from analyzer.engine.makers import maker, require_maker
from analyzer.engine.moments import Partial, squares_by_window
from analyzer.engine.pieces import Bundle, bundle_groups, piece_groups
from analyzer.engine.spans import Series
from analyzer.engine.sums import MOMENTS, SQUARES
from analyzer.errors import NonFiniteWarning
from analyzer.query.windows import Sampling
from analyzer.store.roots import Source, check_same

Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True)
class Assembled:
    """The result of the last task. `Moments` hands it out as arrays."""

    table: Array
    nonfinite: dict[str, int]
    series: Array
    batches: Array


@dataclass(frozen=True)
class Assembly:
    """The part of a plan that the last task needs: what numbers the groups, without the spans.

    Attributes
    ----------
    source
        An array of the store that frames or sums come from; None for a tree that was modified.
    maker
        The version that made the plan (`analyzer.engine.makers`).
    """

    bundles: tuple[Bundle, ...]
    masses: Mapping[str, float]
    groups: int
    sampling: Sampling
    is_whole: bool
    source: Source | None = None
    maker: str = field(default_factory=maker)

    @property
    def parameters(self) -> list[str]:
        """Names of the chosen parameters, in order."""
        return list(dict.fromkeys(piece.parameter for bundle in self.bundles for piece in bundle.chosen))

    @property
    def series(self) -> int:
        """Number of series: one for each group of whole parameters, else one for each parameter."""
        return self.groups if self.is_whole else len(self.parameters)

    def mass(self, bundle: Bundle) -> Array:
        """Mass of the weights of each local group of a bundle (groups,)."""
        pieces = [np.full(piece_groups(piece)[1].size, self.masses[piece.parameter]) for piece in bundle.chosen]
        return np.concatenate(pieces)


def assemble(assembly: Assembly, partials: Sequence[Partial], origin: int | None, remains: Remains | None) -> Assembled:
    """The moments of all groups and windows, and the first frame of each parameter that is not finite.

    Parameters
    ----------
    partials
        One for each bundle.
    origin
        First frame of the series, or None where there is none.
    remains
        What to keep beside the sums that the pass has kept already.

    Raises
    ------
    StoreChangedError
        The store was replaced since it was opened.
    """
    require_same(assembly.maker, assembly.source)
    windows = assembly.sampling.windows.velocities.size
    table = np.zeros((MOMENTS, assembly.groups, windows))
    found: dict[str, int] = {}
    for bundle, partial in zip(assembly.bundles, partials, strict=True):
        assert not partial.open, "every window is closed when all frames are seen"
        _, numbers = bundle_groups(bundle)
        mass = assembly.mass(bundle)[:, np.newaxis]
        for closed, sums in partial.closed:
            for row in range(MOMENTS):
                np.add.at(table[row], (numbers[:, np.newaxis], closed), sums[row] * mass)
        note_first(found, partial.nonfinite)
    series = np.empty((0, 0))
    if origin is not None:
        series = _summed(assembly, [partial.series for partial in partials])
    if origin is not None and assembly.is_whole:
        table[SQUARES] = squares_by_window(series, assembly.sampling, origin)
    table[:, ~np.isfinite(table[SQUARES])] = np.nan
    if remains is not None:
        preserve(remains)
    return Assembled(table, found, series, _by_batch(assembly, partials))


def assemble_series(assembly: Assembly, parts: Sequence[Series], origin: int) -> Assembled:
    """As `assemble`, from the sums of single steps alone. Only Σv² is filled in; the other moments are NaN."""
    require_same(assembly.maker, assembly.source)
    series = _summed(assembly, [part.values for part in parts])
    table = np.full((MOMENTS, assembly.groups, assembly.sampling.windows.velocities.size), np.nan)
    table[SQUARES] = squares_by_window(series, assembly.sampling, origin)
    bad = ~np.isfinite(table[SQUARES])
    table[SQUARES][bad] = np.nan
    found: dict[str, int] = {}
    if bad.any():
        for part in parts:
            note_first(found, part.nonfinite)
    return Assembled(table, found, series, np.empty((0, 0)))


def require_same(maker: str, source: Source | None) -> None:
    """Refuse an answer by another version, or of another run than was opened: asked once all has been read.

    Raises
    ------
    WorkerVersionError, StoreChangedError
    """
    require_maker(maker)
    if source is not None:
        check_same(source)


def note_first(found: dict[str, int], nonfinite: Iterable[tuple[str, int]]) -> None:
    """Note of each parameter the first of its frames that are not finite."""
    for parameter, frame in nonfinite:
        found[parameter] = min(frame, found.get(parameter, frame))


def _summed(assembly: Assembly, series: Sequence[tuple[Array, ...]]) -> Array:
    """Mass-weighted Σv² of every step by group or by parameter, added up over pieces in their order."""
    total = np.zeros((assembly.series, max(sum(part.shape[1] for part in parts) for parts in series)))
    order = {name: n for n, name in enumerate(assembly.parameters)}
    for bundle, parts in zip(assembly.bundles, series, strict=True):
        low = 0
        for part in parts:
            some = total[:, low : low + part.shape[1]]
            for piece, values in zip(bundle.chosen, part, strict=True):
                assert piece.rule is not None
                number = piece.rule.base if assembly.is_whole else order[piece.parameter]
                some[number] += assembly.masses[piece.parameter] * values
            low += part.shape[1]
    return total


def _by_batch(assembly: Assembly, partials: Sequence[Partial]) -> Array:
    """Mass-weighted Σv² of every group and batch."""
    table = np.zeros((assembly.groups, assembly.sampling.batches))
    for bundle, partial in zip(assembly.bundles, partials, strict=True):
        _, numbers = bundle_groups(bundle)
        mass = assembly.mass(bundle)[:, np.newaxis]
        for batch, sums in partial.batches:
            np.add.at(table, (numbers[:, np.newaxis], batch), sums * mass)
    return table


def arrays_over(
    graph: dict[Any, Any],
    whole: str,
    name: str,
    parts: Mapping[str, tuple[Any, tuple[int, ...], Any]],
    dependencies: Sequence[Any],
) -> dict[str, da.Array]:
    """Arrays out of what one task makes: small layers over a shared one, so that dask computes the pass once.

    Parameters
    ----------
    graph, whole
        The tasks, and the key of the last one.
    name
        Of the layers, after the title of each array.
    parts
        By title: the task that takes the array out of the whole, its shape and its dtype.
    dependencies
        The dask arrays that the graph reads.
    """
    base = HighLevelGraph.from_collections(whole, graph, dependencies=dependencies)
    made: dict[str, da.Array] = {}
    for title, (task, shape, dtype) in parts.items():
        layer = f"{title}-{name}"
        graph_of_it = HighLevelGraph(
            {**base.layers, layer: {(layer, *(0 for _ in shape)): task}}, {**base.dependencies, layer: {whole}}
        )
        made[title] = da.Array(graph_of_it, layer, tuple((n,) for n in shape), dtype=dtype)  # type: ignore[no-untyped-call]
    return made


def table_of(assembled: Assembled) -> Array:
    """The table, with a warning for each parameter that was not finite."""
    for parameter, frame in assembled.nonfinite.items():
        warnings.warn(
            f"{parameter}: NaN or infinite weights from frame {frame} on; the temperatures of its groups are NaN.",
            NonFiniteWarning,
            stacklevel=1,
        )
    return assembled.table


def nonfinite_of(assembled: Assembled) -> Array:
    """The first frame that is not finite, by parameter, in an array without axes."""
    return np.array(assembled.nonfinite, dtype=object)


def batches_in(assembled: Assembled) -> Array:
    """The sums of batches."""
    return assembled.batches


def series_in(assembled: Assembled) -> Array:
    """The sums of single steps."""
    return assembled.series
