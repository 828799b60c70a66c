"""Whether the temperatures of a fit belong to an equilibrium: runs whose T changes over the fitted window."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import dask.array as da
import numpy as np
import xarray as xr
from dask.base import tokenize
from dask.highlevelgraph import HighLevelGraph

from analyzer.engine.measure import Measurement
from analyzer.quantities.errorbars import extents
from analyzer.query.groups import titles_of
from analyzer.statistics.trend import FEWEST, slow_changes

Array = np.ndarray[Any, np.dtype[Any]]

CHANGES = "p-value of no slow change and change of T within the window"
"""Name of the variable that a lazy temperature carries to `remark`."""
SIGNIFICANT = 0.001
"""p-value below which a run counts as changing, times the number of its groups. So in 25 stationary runs one is named
wrongly in one sweep of forty."""
LEAST_CHANGE = 0.02
"""Smaller changes from the first half to the second are not told: runs scatter by more."""
_BINS = 1024
_MOST_GROUPS = 256
"""More groups are judged together, as their sum."""
_MOST_NAMED = 3


def with_changes(answer: xr.Dataset, measurement: Measurement) -> xr.Dataset:
    """The lazy temperature of a run with what `remark` needs, from the sums behind its error bars: no second pass.

    Judged is the series of every group of whole parameters at lag 1; of other groups at lag 1 that of their parameters;
    at a longer lag their batches.
    """
    moments, plan = measurement.moments, measurement.plan
    if moments.series is not None:
        source, call = moments.series, partial(_of_series, sampling=plan.sampling, origin=moments.origin)
        names = titles_of(plan.grouping.label) if plan.grouping.is_whole else list(plan.parameters)
    elif moments.batches is not None:
        source, call = moments.batches, partial(_of_batches, sampling=plan.sampling)
        names = titles_of(plan.grouping.label)
    else:
        return answer
    together = len(names) > _MOST_GROUPS
    key = f"slow-changes-{tokenize(source.name)}"
    tasks: Any = {(key, 0, 0): (_judged, (source.name, 0, 0), call, together)}
    parents: list[Any] = [source]
    graph = HighLevelGraph.from_collections(key, tasks, dependencies=parents)
    shape = (2, 1 if together else len(names))
    found = da.Array(graph, key, tuple((n,) for n in shape), dtype=np.float64)  # type: ignore[no-untyped-call]
    return answer.assign({CHANGES: (("which", "judged"), found, {"names": ["all weights"] if together else names})})


def _judged(sums: Array, call: Any, together: bool) -> Array:
    values = np.asarray(sums, dtype=np.float64)
    with np.errstate(invalid="ignore"):
        return np.stack(slow_changes(*call(values.sum(axis=0, keepdims=True) if together else values)))


def _of_series(series: Array, *, sampling: Any, origin: int) -> tuple[Array, Array]:
    """Samples and sums of at most 1,024 bins of the first window; a fit has one."""
    found = extents(sampling, origin)
    if not found:
        return np.zeros(0), np.zeros((len(series), 0))
    _, low, high, present = found[0]
    edges = np.arange(0, high - low, -(-(high - low) // _BINS))
    counts = np.add.reduceat(present.astype(np.float64), edges)
    return counts, np.add.reduceat(np.where(present, series[:, low:high], 0.0), edges, axis=1)


def _of_batches(batches: Array, *, sampling: Any) -> tuple[Array, Array]:
    return np.bincount(sampling.batch, weights=sampling.count - 1), batches


def remark(answers: Mapping[str, xr.Dataset]) -> str:
    """One text on runs whose T changes over the fitted window, or cannot be judged; empty if all are settled.

    Parameters
    ----------
    answers
        The computed temperatures of the fitted runs, with what `with_changes` added.
    """
    changing, unknown = [], []
    for name, answer in answers.items():
        if CHANGES not in answer:
            unknown.append(name)
            continue
        p_value, change = answer[CHANGES].values
        if not np.isfinite(p_value).any():
            unknown.append(name)
            continue
        judged = int(np.isfinite(p_value).sum())
        size = np.where(p_value * judged < SIGNIFICANT, np.abs(change), 0.0)
        largest = int(np.argmax(size))
        if size[largest] >= LEAST_CHANGE:
            group = answer[CHANGES].attrs["names"][largest]
            changing.append(f"{name}: {group} {100 * change[largest]:+.2g} %")
    said = []
    if changing:
        said.append(
            f"T changes over the fitted window in {len(changing)} of {len(answers)} runs, from its first half to its "
            f"second ({_listed(changing)}), so these points depend on the window. To begin each run where it is in "
            "equilibrium: --start auto"
        )
    if unknown:
        said.append(
            f"whether T changes over the window is unknown in {len(unknown)} of {len(answers)} runs "
            f"({_listed(unknown)}): fewer than {FEWEST} batches. To judge them: analyzer equilibration"
        )
    return ". ".join(said)


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
    return ", ".join(names[:_MOST_NAMED]) + more
