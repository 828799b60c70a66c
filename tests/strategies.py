"""Hypothesis strategies: small runs with every awkwardness that the format allows, and queries that fit them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from hypothesis import strategies as st

from tests.stores import segment


@dataclass(frozen=True)
class Run:
    """Frames and how they are stored."""

    parameters: dict[str, np.ndarray]
    steps: np.ndarray
    stride: int
    segments: list[dict[str, Any]]
    chunk_steps: int
    row_cut: int | None

    @property
    def barriers(self) -> set[int]:
        """Frames that no velocity leads into."""
        return {s["first_frame"] for s in self.segments if not s["continuous"]}

    @property
    def arguments(self) -> dict[str, Any]:
        """What `write_store` needs, apart from the path."""
        return {
            "parameters": self.parameters,
            "steps": self.steps,
            "stride": self.stride,
            "segments": self.segments,
            "chunk_steps": self.chunk_steps,
            "row_cut": self.row_cut,
        }


@dataclass(frozen=True)
class Query:
    """A range, windows and a lag that fit a run."""

    start: int
    stop: int
    window: int | None
    lag: int


DTYPES = ("float16", "float32", "float64", "int16", "bfloat16")


@st.composite
def runs(draw: st.DrawFn, gaps: bool = True) -> Run:
    """A run of two layers with 2 to 60 frames, in chunks of 1 to 20."""
    frames = draw(st.integers(2, 60))
    stride = draw(st.sampled_from([1, 1, 1, 3]))
    dtype = draw(st.sampled_from(DTYPES))
    rows, columns = draw(st.integers(1, 5)), draw(st.integers(1, 4))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    increments = np.full(frames, stride)
    if gaps:
        for place in draw(st.lists(st.integers(1, frames - 1), max_size=3)):
            increments[place] += stride * draw(st.integers(1, 5))
    steps = draw(st.integers(0, 50)) + np.cumsum(increments) - stride
    segments = [segment(0, int(steps[0]))]
    if gaps:
        places = sorted(draw(st.sets(st.integers(1, frames - 1), max_size=2)))
        segments += [segment(place, int(steps[place]), continuous=draw(st.booleans())) for place in places]
    shapes = {"conv1.lin.weight": (rows, columns), "conv1.bias": (rows,), "lin.weight": (2, rows), "scale": ()}
    parameters = {name: _values(rng, (*shape, frames), dtype) for name, shape in shapes.items()}
    return Run(parameters, steps, stride, segments, draw(st.integers(1, 20)), draw(st.sampled_from([None, 1, 2])))


@st.composite
def queries(draw: st.DrawFn, run: Run) -> Query:
    """A query whose range holds at least two frames."""
    low = draw(st.integers(0, len(run.steps) - 2))
    high = draw(st.integers(low + 1, len(run.steps) - 1))
    start, stop = int(run.steps[low]), int(run.steps[high])
    lag = run.stride * draw(st.sampled_from([1, 1, 1, 2, 3, 7]))
    most = (stop - start) // run.stride
    window = draw(st.none() | st.integers(1, most).map(lambda n: n * run.stride))
    return Query(start, stop, window, lag)


def _values(rng: np.random.Generator, shape: tuple[int, ...], dtype: str) -> np.ndarray:
    walk = np.cumsum(rng.normal(size=shape), axis=-1)
    if dtype == "bfloat16":
        raw = walk.astype(np.float32).view(np.uint32) & np.uint32(0xFFFF0000)
        return raw.view(np.float32)
    return (100 * walk).astype(dtype) if dtype == "int16" else walk.astype(dtype)
