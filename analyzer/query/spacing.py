"""The spacing of frames in a tree that was built or modified by hand: its segments, and the steps between frames."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from analyzer.errors import TreeError
from analyzer.store.schema import Segment

Array = np.ndarray[Any, np.dtype[Any]]


def whole_steps(steps: Array) -> Array:
    """Return the steps of a tree as integers."""
    if steps.dtype.kind in "iu":
        return steps.astype(np.int64, copy=False)  # differences of unsigned steps would wrap around
    if steps.dtype.kind != "f" or not np.isfinite(steps).all() or (steps != np.round(steps)).any():
        raise TreeError(
            f"Run: expected whole numbers in the coordinate 'step', got {steps.dtype}. It counts updates. Assign them: "
            "run.assign_coords(step=numbers)"
        )
    return steps.astype(np.int64)


def segments_in(steps: Array, segments: tuple[Segment, ...], recorded: object) -> tuple[tuple[Segment, ...], int]:
    """Return the segments of a tree's own frames, and the steps between neighbouring frames.

    A tree with neither attribute was built by hand: then each stretch of equal spacing is a segment.
    """
    apart = np.diff(steps)
    if apart.size and apart.min() < 1:
        raise TreeError(
            "Run: expected strictly increasing steps, got steps out of order. Sort them: run.sortby('step')"
        )
    if not segments and recorded is None and apart.size:
        turns = 1 + np.flatnonzero(np.diff(apart))
        firsts = [0, *(turns + 1).tolist()]
        spaced = [int(apart[max(frame - 1, 0)]) for frame in firsts]
        found = zip(firsts, spaced, strict=True)
        return tuple(Segment(n, int(steps[n]), n > 0, stride=stride) for n, stride in found), spaced[0]
    if len({segment.stride for segment in segments}) < 2:
        return tuple(replace(segment, stride=None) for segment in segments), _stride(steps, recorded)
    starts = [int(np.searchsorted(steps, segment.first_step)) for segment in segments]
    own = []
    for start, stop, segment in zip(starts, [*starts[1:], steps.size], segments, strict=True):
        low = start if stop - start > 1 else max(start - segment.continuous, 0)
        own.append(replace(segment, stride=_stride(steps[low:stop], segment.stride)))
    return tuple(own), _stride(steps, recorded)


def _stride(steps: Array, recorded: object) -> int:
    """Return the steps between neighbouring frames of a tree: as recorded, unless the tree holds fewer frames."""
    apart = np.diff(steps)
    if not apart.size:
        return 1
    # Where a run was resumed or an update skipped, two frames may be less than a stride apart.
    is_kept = isinstance(recorded, int) and apart.min() > 0 and bool((apart == recorded).any())
    return int(recorded) if is_kept and isinstance(recorded, int) else int(apart.min())
