"""A query: what is asked of a run, apart from the quantity."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from analyzer.query.groups import By, Globs
from analyzer.query.windows import BIN_FRAMES, Bound, Lag, Window

KEYWORDS = (
    "by", "window", "start", "stop", "lag", "parameter", "layer", "exclude", "frozen", "steps_per_epoch",
    "unequal_epochs", "memory_limit", "cache",
)  # fmt: skip
"""Keywords of public functions that are fields of a query, and mean the same in each function that has them."""


@dataclass(frozen=True, kw_only=True)
class Query:
    """A question without its quantity.

    Attributes
    ----------
    by, window, start, stop, lag, parameter, layer, exclude, frozen, steps_per_epoch, unequal_epochs, memory_limit
        As for `analyzer.temperature`.
    lags
        Several lags instead of `lag`, for a quantity that takes them.
    workers
        Threads or processes that will compute, for the projection of memory.
    cache
        Whether kept sums are used and written; or their folder, if it is not beside the store.
    batches
        Whether velocities of groups without a series are cut into batches, for error bars.
    half_phase
        Whether displacements of lag "epoch" are shifted by half an epoch.
    shortest_batch
        Velocities of neighbouring frames in the shortest batch. Kept sums answer only if this is the length of a bin.
    """

    by: By = "layer"
    window: Window = None
    start: Bound = None
    stop: Bound = None
    lag: Lag = None
    lags: Sequence[Lag] | None = None
    parameter: Globs = None
    layer: Globs = None
    exclude: Globs = None
    frozen: bool = False
    steps_per_epoch: int | None = None
    unequal_epochs: bool = False
    workers: int = 1
    memory_limit: int | None = None
    cache: bool | str = True
    batches: bool = False
    half_phase: bool = False
    shortest_batch: int = BIN_FRAMES


def query_of(keywords: Mapping[str, Any], **own: Any) -> Query:
    """The query of a public function.

    Parameters
    ----------
    keywords
        The function's `locals()` at its beginning. Only `KEYWORDS` count: the others are the quantity's own.
    own
        Fields that the function sets itself; they count more.
    """
    return Query(**{name: keywords[name] for name in KEYWORDS if name in keywords} | own)
