"""Gram matrices of equally spaced frames, summed over the weights of groups, and projections of weights on them.

G(s, t) = Σ_weights x(s) x(t), with x(t) = w(t) − w(first frame). The difference is taken in float64, since products of
the weights themselves would lose the small differences (relative error 1e-6 from raw float32, 7e-15 this way). G is
n × n for n frames and any number of weights. The matrices of bundles are added one after another, so that only the
weights of the bundles at work are in memory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import dask.array as da
import numpy as np
from dask.base import tokenize

from analyzer.engine.assembly import note_first, require_same
from analyzer.engine.frames import Frames
from analyzer.engine.lookback.parts import Assembly, answered, arrays_of, none_kept, tasks_of
from analyzer.engine.lookback.passage import Asked, Passage, Reach, check_memory, cut, task_bytes
from analyzer.engine.lookback.picks import Picked, PickJob, joined, pick_frames, pick_jobs
from analyzer.engine.makers import maker
from analyzer.engine.pieces import Bundle, bundle_groups

Array = np.ndarray[Any, np.dtype[Any]]

_TILE = 1024
"""Weights that are widened to float64 at once."""


@dataclass(frozen=True)
class GramSums:
    """Gram matrices (frames, frames) by the group's number in the query, and (parameter, frame) that are not finite."""

    grams: Mapping[int, Array]
    nonfinite: tuple[tuple[str, int], ...]


@dataclass(frozen=True)
class GramPlan:
    """A question about some frames of a run, cut into tasks; `frames` has the numbers of the frames."""

    passage: Passage
    jobs: tuple[PickJob, ...]
    frames: Array


def plan_gram(asked: Asked, frames: Array) -> GramPlan:
    """Plan the Gram matrices of groups over some frames.

    Raises
    ------
    MemoryLimitError
        The projected memory is above the limit. Nothing was read.
    """
    passage = cut(asked, 0)
    jobs = pick_jobs(passage, frames)
    count, groups, workers = frames.size, asked.grouping.weights.size, asked.query.workers
    picked = max(sum(8 * piece.weights for piece in bundle.chosen) for bundle in passage.bundles) * count
    one = 8 * count * count
    per_bundle = max(int(np.unique(bundle_groups(bundle)[1]).size) for bundle in passage.bundles)
    at_work = max(task_bytes(passage), picked + 8 * _TILE * count + one * per_bundle)
    needed = workers * at_work + picked + (2 * groups + 3) * one
    passage = replace(passage, memory=needed)
    what = f"{groups:,} groups × {count:,} × {count:,} frames × 8 bytes, twice"
    check_memory(passage, workers, asked.query.memory_limit, what, "Take fewer --frames, a coarser --by")
    return GramPlan(passage, jobs, frames)


def gram_arrays(
    plan: GramPlan,
    finish: Callable[[list[Array]], dict[str, Array]],
    shapes: dict[str, tuple[tuple[int, ...], Any]],
) -> tuple[dict[str, da.Array], da.Array]:
    """The lazy answer of a plan: the arrays that `finish` makes, by name, and the frames that are not finite.

    Parameters
    ----------
    finish
        Makes the arrays from the matrices (frames, frames) of all groups. Other processes must be able to load it.
    shapes
        Shape and dtype of each array.
    """
    passage = plan.passage
    name = str(tokenize("gram", passage.bundles, passage.frames, passage.reaches, plan.jobs, finish))
    graph, keys = tasks_of(passage, name, pick_frames, plan.jobs, none_kept)
    total: Any = None
    for number, bundle in enumerate(passage.bundles):
        graph[f"gram-{name}", number] = (gram_of, bundle, keys[number])
        graph[f"sum-{name}", number] = (add_grams, total, (f"gram-{name}", number))
        total = (f"sum-{name}", number)
    assembly = Assembly(passage.bundles, passage.grouping.weights.size, passage.source, maker())
    whole = f"modes-{name}"
    graph[whole] = (assemble_grams, assembly, finish, total)
    made = arrays_of(passage, graph, whole, shapes | {"nonfinite": ((), object)})
    return made, made.pop("nonfinite")


@np.errstate(invalid="ignore", over="ignore")  # weights that are not finite are noted elsewhere
def gram_of(bundle: Bundle, parts: Sequence[Sequence[Picked]]) -> GramSums:
    """The Gram matrices of a bundle's groups, from its picked frames in order."""
    picked = [one for several in parts for one in several]
    values = joined(picked)
    grams: dict[int, Array] = {}
    for group, places in _tiles(bundle):
        some = values[places].astype(np.float64)
        some -= some[:, :1]
        grams.setdefault(group, np.zeros((values.shape[1], values.shape[1])))
        grams[group] += some.T @ some
    return GramSums(grams, tuple(found for one in picked for found in one.nonfinite))


def _tiles(bundle: Bundle) -> Iterator[tuple[int, Array]]:
    """Yield the weights of a bundle group by group, each group in tiles: its number, and the places of the weights."""
    labels, numbers = bundle_groups(bundle)
    of_weight = numbers[labels]
    for group in np.unique(of_weight):
        places = np.flatnonzero(of_weight == group)
        for begin in range(0, places.size, _TILE):
            yield int(group), places[begin : begin + _TILE]


def add_grams(total: GramSums | None, more: GramSums) -> GramSums:
    """Add the Gram matrices of one more bundle. A group that it does not touch is not copied."""
    if total is None:
        return more
    both = {group: total.grams[group] + gram if group in total.grams else gram for group, gram in more.grams.items()}
    return GramSums({**total.grams, **both}, total.nonfinite + more.nonfinite)


def assemble_grams(
    assembly: Assembly, finish: Callable[[list[Array]], dict[str, Array]], total: GramSums
) -> dict[str, Any]:
    """The answer, from the Gram matrices of all groups.

    Raises
    ------
    StoreChangedError
        The store was replaced since it was opened.
    """
    require_same(assembly.maker, assembly.source)
    found: dict[str, int] = {}
    note_first(found, total.nonfinite)
    none = np.zeros_like(next(iter(total.grams.values())))  # of a group without weights
    return answered(finish([total.grams.get(group, none) for group in range(assembly.groups)]), found)


@dataclass(frozen=True)
class ProjectJob:
    """The frames that one task picks, and their factors f (groups, factors, frames)."""

    pick: PickJob
    factors: Array


def projections(plan: GramPlan, factors: Array, shapes: dict[str, tuple[int, ...]]) -> dict[str, da.Array]:
    """Return Σ_t w(t) f(t) of every chosen weight, lazy, by parameter: (factors, *shape of the parameter).

    Parameters
    ----------
    factors
        (groups, factors, frames) f(t) of each group.
    shapes
        Shape of each chosen parameter.
    """
    passage = plan.passage
    ends = np.cumsum([job.frames.size for job in plan.jobs])
    jobs = [
        ProjectJob(job, factors[:, :, end - job.frames.size : end]) for job, end in zip(plan.jobs, ends, strict=True)
    ]
    name = str(tokenize("project", passage.bundles, passage.frames, passage.reaches, plan.jobs, factors))
    graph, keys = tasks_of(passage, name, project_frames, jobs, none_kept)
    assembly = Assembly(passage.bundles, passage.grouping.weights.size, passage.source, maker())
    whole = f"projected-{name}"
    graph[whole] = (assemble_projections, assembly, keys, factors.shape[1], shapes)
    of_parameter = {title: ((factors.shape[1], *shape), np.float64) for title, shape in shapes.items()}
    return arrays_of(passage, graph, whole, of_parameter)


def project_frames(job: ProjectJob, bundle: Bundle, frames: Sequence[Frames], reach: Reach) -> Array:
    """Σ_t w(t) f(t) over the picked frames of a reach, (weights, factors)."""
    picked = pick_frames(job.pick, bundle, frames, reach).values
    found = np.zeros((picked.shape[0], job.factors.shape[1]))
    for group, places in _tiles(bundle):
        found[places] = picked[places].astype(np.float64) @ job.factors[group].T
    return found


def assemble_projections(
    assembly: Assembly,
    parts: Sequence[Sequence[Sequence[Array]]],
    factors: int,
    shapes: dict[str, tuple[int, ...]],
) -> dict[str, Array]:
    """The sums of all weights by parameter, spans added in order.

    Raises
    ------
    StoreChangedError
        The store was replaced since it was opened.
    """
    require_same(assembly.maker, assembly.source)
    answer = {name: np.full((factors, *shape), np.nan) for name, shape in shapes.items()}
    for bundle, of_bundle in zip(assembly.bundles, parts, strict=True):
        total = sum(part for several in of_bundle for part in several)
        low = 0
        for piece in bundle.chosen:
            region = tuple(slice(*bounds) for bounds in piece.region)
            lengths = [stop - start for start, stop in piece.region]
            own = np.asarray(total)[low : low + piece.weights].T
            answer[piece.parameter][(slice(None), *region)] = own.reshape(factors, *lengths)
            low += piece.weights
    return answer
