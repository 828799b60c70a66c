"""Hypothesis strategies: small runs with every awkwardness that the format allows, and queries that fit them."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
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
    attributes: dict[str, dict[str, Any]] = field(default_factory=dict)
    scalars: dict[str, np.ndarray] = field(default_factory=dict)

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
            "attributes": self.attributes,
            "scalars": self.scalars,
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
def attention_runs(draw: st.DrawFn) -> Run:
    """A run that also has a GATConv layer of up to three heads, as PyTorch Geometric stores it."""
    run = draw(runs())
    heads, channels, inputs = (draw(st.integers(1, 3)) for _ in range(3))
    shapes = {
        "gat.lin.weight": (heads * channels, inputs),
        "gat.att_src": (1, heads, channels),
        "gat.bias": (heads * channels,),
    }
    rng = np.random.default_rng(heads + 10 * channels + 100 * inputs)
    attention = {name: _values(rng, (*shape, len(run.steps)), "float32") for name, shape in shapes.items()}
    attributes = {name: {"heads": heads, "head_axis": 1 if name == "gat.att_src" else 0} for name in shapes}
    return replace(run, parameters=run.parameters | attention, attributes=attributes)


@dataclass(frozen=True)
class EpochRun:
    """A run of epochs of one length, and the frames at which they end.

    Attributes
    ----------
    ends
        Frame before the first update of each epoch, and last of all the frame of the run's last update.
    complete
        Of every epoch, whether it was recorded from end to end.
    """

    run: Run
    length: int
    ends: list[int]
    complete: list[bool]


@st.composite
def epoch_runs(draw: st.DrawFn) -> EpochRun:
    """Epochs of 2 to 9 updates, the outer ones perhaps cut, logged at all frames or at each epoch's first and last."""
    length, whole = draw(st.integers(2, 9)), draw(st.integers(2, 5))
    head, tail = draw(st.integers(1, length)), draw(st.integers(0, length - 1))
    lengths = [head, *[length] * whole, *[tail] * (tail > 0)]
    ends = np.cumsum([0, *lengths]).tolist()
    frames = ends[-1] + 1
    epoch = np.append(0.0, np.repeat(np.arange(float(len(lengths))), lengths))
    if draw(st.booleans()):
        logged = np.full(frames, np.nan)
        edges = [*ends[1:], *(end + 1 for end in ends[:-1])]
        logged[edges] = epoch[edges]
        epoch = logged
    places = sorted(draw(st.sets(st.integers(1, frames - 1), max_size=2)))
    segments = [segment(0, 0), *(segment(place, place, continuous=draw(st.booleans())) for place in places)]
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    shapes = {"conv1.lin.weight": (3, 2), "conv1.bias": (3,), "lin.weight": (2, 3)}
    parameters = {name: _values(rng, (*shape, frames), "float32") for name, shape in shapes.items()}
    chunk_steps, cut = draw(st.integers(1, 20)), draw(st.sampled_from([None, 1, 2]))
    run = Run(parameters, np.arange(frames), 1, segments, chunk_steps, cut, {}, {"epoch": epoch})
    return EpochRun(run, length, ends, [n == length for n in lengths])


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
