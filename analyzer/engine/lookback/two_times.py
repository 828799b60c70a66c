"""Squared displacements between pairs of single frames, summed over the weights of groups, in one pass."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import dask.array as da
import numpy as np
from dask.base import tokenize

from analyzer.engine.assembly import note_first, require_same
from analyzer.engine.lookback.gram import GramPlan
from analyzer.engine.lookback.parts import Assembly, answered, arrays_of, none_kept, tasks_of
from analyzer.engine.lookback.picks import Picked, joined, pick_frames
from analyzer.engine.makers import maker
from analyzer.engine.pieces import Bundle, bundle_groups

Array = np.ndarray[Any, np.dtype[Any]]

_TILE = 256
"""Weights that are widened to float64 at once."""


@dataclass(frozen=True)
class Squares:
    """Σ_weights (w(t) − w(s))² of groups, (groups, pairs), and (parameter, frame) that are not finite."""

    sums: Array
    nonfinite: tuple[tuple[str, int], ...]


def two_time_arrays(plan: GramPlan, pairs: Array) -> tuple[da.Array, da.Array]:
    """The lazy squared displacements of a plan, (groups, pairs), and the frames that are not finite.

    Parameters
    ----------
    pairs
        (2, pairs) places of the earlier and the later frame among the plan's.
    """
    passage = plan.passage
    groups = passage.grouping.weights.size
    name = str(tokenize("two-times", passage.bundles, passage.frames, passage.reaches, plan.jobs, pairs))
    graph, keys = tasks_of(passage, name, pick_frames, plan.jobs, none_kept)
    squares = []
    for number, bundle in enumerate(passage.bundles):
        squares.append((f"squares-{name}", number))
        graph[squares[-1]] = (squares_of, bundle, keys[number], pairs, groups)
    assembly = Assembly(passage.bundles, groups, passage.source, maker())
    whole = f"two-times-{name}"
    graph[whole] = (assemble_squares, assembly, squares)
    shapes: dict[str, tuple[tuple[int, ...], Any]] = {
        "squares": ((groups, pairs.shape[1]), np.float64),
        "nonfinite": ((), object),
    }
    made = arrays_of(passage, graph, whole, shapes)
    return made["squares"], made["nonfinite"]


@np.errstate(invalid="ignore", over="ignore")  # weights that are not finite are noted elsewhere
def squares_of(bundle: Bundle, parts: Sequence[Sequence[Picked]], pairs: Array, groups: int) -> Squares:
    """The squared displacements of a bundle's groups, from its picked frames in order."""
    picked = [one for several in parts for one in several]
    values = joined(picked)
    labels, numbers = bundle_groups(bundle)
    of_weight = numbers[labels]
    sums = np.zeros((groups, pairs.shape[1]))
    for begin in range(0, values.shape[0], _TILE):
        some = values[begin : begin + _TILE].astype(np.float64)
        np.add.at(sums, of_weight[begin : begin + _TILE], (some[:, pairs[1]] - some[:, pairs[0]]) ** 2)
    return Squares(sums, tuple(found for one in picked for found in one.nonfinite))


def assemble_squares(assembly: Assembly, parts: Sequence[Squares]) -> dict[str, Any]:
    """The sums of all bundles, added in order.

    Raises
    ------
    StoreChangedError
        The store was replaced since it was opened.
    """
    require_same(assembly.maker, assembly.source)
    found: dict[str, int] = {}
    note_first(found, (one for part in parts for one in part.nonfinite))
    total = np.zeros_like(parts[0].sums)
    for part in parts:
        total += part.sums
    return answered({"squares": total}, found)
