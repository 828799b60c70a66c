"""Chunks: drafts while a run goes on, final ones at its end; sizes decided beforehand."""

from __future__ import annotations

import numpy as np
import pytest
from torch import nn

from recorder.budget import plan_budget
from recorder.schema import Parameter, Plane, Schema
from recorder.trainer.model.selection import select_parameters
from recorder.writer.encoding import decode_chunk, encode_chunk
from recorder.writer.store import StoreWriter

STEPS = 64


def smooth(order: int, rows: int, steps: int, dtype: str = "float32") -> np.ndarray:
    """Return trajectories whose differences of this order are noise: Adam's resemble order 2, SGD's order 1."""
    values = np.random.default_rng(order).normal(0, 1e-4, (rows, steps))
    for _ in range(order):
        values = np.cumsum(values, axis=1)
    return (1 + values).astype(dtype)


@pytest.fixture
def writer(tmp_path):
    model = nn.Sequential(nn.Linear(150, 60), nn.Linear(2, 1))
    schema = select_parameters(model).schema
    attributes = {"chunk_steps": STEPS, "compression": "pcodec", "segments": [], "stride": 1}
    made = StoreWriter(tmp_path, schema, attributes, frames=0, param_groups=1, scalars={}, threads=1)
    yield made
    made.close()


def append(writer: StoreWriter, frames: np.ndarray) -> None:
    start, count = writer.frames, len(frames)
    writer.append(np.arange(start, start + count), {"loss": np.ones(count)}, np.ones((count, 1)), [frames])


def test_a_draft_is_written_again_in_full_when_the_run_is_closed(writer, tmp_path):
    """Also when no frame came after it. A draft's padding repeats its last frame, the final one's is the fill value."""
    elements = 150 * 60 + 60 + 3
    frames = smooth(2, elements, 40).T.copy()
    append(writer, frames)
    writer.publish({})
    path, shape = tmp_path / "parameters/0/weight/c/0/0/0", (60, 150, STEPS)
    drafted = path.read_bytes()
    held = decode_chunk(drafted, np.dtype("f4"), shape, "pcodec")
    assert held[..., :40].reshape(9000, 40).T.tobytes() == frames[:, :9000].tobytes()
    assert (held[..., 40:] == held[..., 39:40]).all()

    writer.publish({}, status="complete")
    final = path.read_bytes()
    held = decode_chunk(final, np.dtype("f4"), shape, "pcodec")
    assert held[..., :40].reshape(9000, 40).T.tobytes() == frames[:, :9000].tobytes()
    assert np.isnan(held[..., 40:]).all()
    assert final == encode_chunk(held, "pcodec")
    assert decode_chunk((tmp_path / "step/c/0").read_bytes(), np.dtype("i8"), (STEPS,), "pcodec").tolist() == [
        *range(40),
        *[-1] * 24,
    ]
    stored = sum(file.stat().st_size for file in tmp_path.rglob("c/**/*") if file.is_file())
    assert writer.stored_bytes == stored


def test_a_chunk_that_fills_after_a_draft_is_written_in_full(writer, tmp_path):
    frames = smooth(2, 150 * 60 + 60 + 3, STEPS).T.copy()
    append(writer, frames[:40])
    writer.publish({})
    append(writer, frames[40:])
    data = (tmp_path / "parameters/0/weight/c/0/0/0").read_bytes()
    held = decode_chunk(data, np.dtype("f4"), (60, 150, STEPS), "pcodec")
    assert held.reshape(9000, STEPS).T.tobytes() == frames[:, :9000].tobytes()
    assert data == encode_chunk(held, "pcodec")


def test_bytes_are_counted_on_where_a_writer_died_after_a_chunk_that_it_had_not_committed(writer, tmp_path):
    """The next writer finds a chunk on the disk that has more frames than were committed."""
    frames = smooth(2, 150 * 60 + 60 + 3, 2 * STEPS).T.copy()
    append(writer, frames[: STEPS + 40])
    writer.publish({})
    settled = writer.settled_bytes
    append(writer, frames[STEPS + 40 :])
    attributes = {"chunk_steps": STEPS, "compression": "pcodec", "segments": [], "stride": 1}
    second = StoreWriter(
        tmp_path, writer._schema, attributes, frames=STEPS + 40, param_groups=1, scalars={"loss": 0}, threads=1
    )
    second.stored_bytes = settled + second.tail_bytes
    append(second, frames[STEPS + 40 :])
    second.publish({}, status="complete")
    second.close()
    assert second.stored_bytes == sum(file.stat().st_size for file in tmp_path.rglob("c/**/*") if file.is_file())


def schema_of(elements: int) -> Schema:
    return Schema(
        (Parameter("w", (elements,), "float32", "", "", "", "", ("",)),), (Plane("float32", "cpu", elements),)
    )


@pytest.mark.parametrize(
    ("elements", "chunk_steps"),
    [(72, 1024), (8192, 1024), (11_786, 1024), (31_114, 512), (60_000, 256), (1_000_000, 64), (10_000_000, 16)],
)
def test_chunks_are_as_long_as_writing_them_again_stays_cheap(elements, chunk_steps):
    """1,024 steps up to 64 MiB of all parameters, then fewer, 256 at least; below that the spool's limit decides."""
    assert plan_budget(schema_of(elements), 1).chunk_steps == chunk_steps
