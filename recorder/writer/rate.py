"""Times how fast this machine compresses frames."""

from __future__ import annotations

import time

import numpy as np

from recorder.budget import compressing_threads
from recorder.schema import Schema
from recorder.writer.encoding import encode_chunk


def describe_rate(schema: Schema, frames_per_second: float, compression: str) -> str:
    """Return one line that compares the rate of a recording with what this machine compresses."""
    needed = frames_per_second * schema.stored_frame_bytes
    threads = compressing_threads()
    sustained = threads * _encode_rate(compression)
    verdict = (
        "the writer keeps up"
        if sustained > needed
        else "the writer does not keep up: training would wait, or frames would be dropped"
    )
    return (
        f"{needed / 1e6:.1f} MB/s of frames; {compression} on {threads} thread{'s' * (threads > 1)} compresses about "
        f"{sustained / 1e6:.0f} MB/s here (timed on smooth synthetic weights): {verdict}"
    )


def _encode_rate(compression: str) -> float:
    steps = np.random.default_rng(0).standard_normal((2048, 1024)).astype(np.float32)
    weights = np.cumsum(np.cumsum(steps, axis=1, dtype=np.float32) * np.float32(1e-6), axis=1, dtype=np.float32)
    began = time.perf_counter()
    encode_chunk(weights, compression)
    return weights.nbytes / (time.perf_counter() - began)
