"""The search for a frame: every bit counts, a small parameter goes first, damage is named, memory stays small."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from recorder.budget import chunk_shape
from recorder.schema import Parameter
from recorder.writer.encoding import encode_chunk
from recorder.writer.format import ArraySpec, parameter_spec, step_spec
from recorder.writer.objects import objects_of
from recorder.writer.resuming.search import Found, Held, Search, order_of, read_steps

T = 16


def parameter(name: str, shape: tuple[int, ...], dtype: str) -> Parameter:
    return Parameter(name, shape, dtype, "", "", "", "", ("",) * len(shape))


def spec_of(number: int, values: np.ndarray) -> ArraySpec:
    one = parameter(f"p{number}", values.shape[:-1], str(values.dtype))
    return parameter_spec(one, chunk_shape(one.shape, one.stored_dtype, T), "none")


def held(store: Path, arrays: list[np.ndarray], stride: int = 1, **known) -> Held:
    """Return frames that lie in a store: each array is (…, frames)."""
    frames = arrays[0].shape[-1]
    specs = [spec_of(number, values) for number, values in enumerate(arrays)]
    steps = np.arange(frames) * stride
    for spec, values in [(step_spec(T), steps), *zip(specs, arrays, strict=True)]:
        for chunk in range(-(-frames // T)):
            room = np.zeros((*spec.shape, T), spec.dtype)
            part = values[..., chunk * T : (chunk + 1) * T]
            room[..., : part.shape[-1]] = part
            for path, where in objects_of(store, spec, chunk):
                whole = np.zeros(spec.chunks, spec.dtype)
                cut = room[where]
                whole[tuple(slice(0, size) for size in cut.shape)] = cut
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(encode_chunk(whole, spec.compression))
    return Held(store, specs, read_steps(store, frames, T), T, **known)


def search(found: Held, frame: list[np.ndarray]) -> Search:
    return Search(found, [np.asarray(values).reshape(-1) for values in frame].__getitem__, order_of(found))


def frame_of(arrays: list[np.ndarray], index: int) -> list[np.ndarray]:
    return [values[..., index].copy() for values in arrays]


@pytest.fixture
def arrays() -> list[np.ndarray]:
    random = np.random.default_rng(0)
    return [
        random.normal(size=(5, 3, 70)).astype(np.float32),
        random.normal(size=(70,)).astype(np.float64),  # a 0-d parameter
        random.normal(size=(0, 3, 70)).astype(np.float32),
        random.normal(size=(4, 70)).astype(np.float16),
        random.integers(0, 2, (2, 70)).astype(bool),
        random.integers(-9, 9, (2, 2, 70)),
    ]


@pytest.mark.parametrize("index", [0, 1, 15, 16, 40, 63, 64, 69])
def test_every_frame_is_found_and_no_other(tmp_path, arrays, index):
    found = held(tmp_path, arrays, stride=3)
    frame = frame_of(arrays, index)
    assert search(found, frame).find() == Found(index, index, index)
    assert search(found, frame).find(3 * index) == Found(index, index, index)
    assert search(found, frame).find(3 * index + 1) == Found(index, index, index)
    assert search(found, frame).find(10**9) == Found(index, index, index)
    for number in (0, 1, 3, 4, 5):  # one changed bit of one weight
        other = frame_of(arrays, index)
        other[number].reshape(-1).view(np.uint8)[0] ^= 1
        assert search(found, other).find() is None
        assert search(found, other).find(3 * index) is None
    for a, b in zip(found.frame(index), frame, strict=True):
        assert a.tobytes() == b.tobytes()


def test_bits_decide_and_not_values(tmp_path):
    """−0.0 equals 0.0 as a number, and a NaN equals nothing; NaNs differ in what they carry."""
    kinds = np.array([0x00000000, 0x80000000, 0x7FC00000, 0x7FC00001, 0xFFC00000, 0x7F800000], np.uint32)
    values = kinds.view(np.float32)[None, :]
    found = held(tmp_path, [values])
    for index in range(values.shape[-1]):
        assert search(found, [values[..., index]]).find() == Found(index, index, index)
    assert search(found, [np.array([0x7FC00002], np.uint32).view(np.float32)]).find() is None


def test_of_equal_frames_the_one_at_the_step_else_the_nearest_else_the_newest(tmp_path, arrays):
    for values in arrays:
        values[..., 10:40] = values[..., 10:11]
        values[..., 60] = values[..., 10]
    found = held(tmp_path, arrays)
    frame = frame_of(arrays, 10)
    assert search(found, frame).find() == Found(60, 60, 60)
    assert search(found, frame).find(25) == Found(25, 10, 39)
    assert search(found, frame).find(47) == Found(39, 10, 39)
    assert search(found, frame).find(2) == Found(10, 10, 39)
    assert search(found, frame).find(60) == Found(60, 60, 60)


def test_only_frames_from_the_first_that_counts(tmp_path, arrays):
    assert search(held(tmp_path, arrays, first=40), frame_of(arrays, 39)).find() is None
    assert search(held(tmp_path, arrays, first=40), frame_of(arrays, 39)).find(39) is None
    assert search(held(tmp_path, arrays, first=39), frame_of(arrays, 39)).find() == Found(39, 39, 39)


def test_the_smallest_parameter_that_moves_goes_first(tmp_path):
    """bfloat16: the smallest of all did not change in 999 of 999 steps."""
    still, slow = np.zeros((1, 40), np.float32), np.repeat(np.arange(10, dtype=np.float32), 4)[None].repeat(2, 0)
    fast = np.arange(120, dtype=np.float32).reshape(3, 40)
    big = np.arange(400, dtype=np.float32).reshape(10, 40)
    empty = np.zeros((0, 40), np.float32)
    assert order_of(held(tmp_path / "a", [big, still, fast, empty, slow])) == [2, 1, 4, 0]
    assert order_of(held(tmp_path / "b", [still, slow])) == [1, 0], "the one that moves most"
    assert order_of(held(tmp_path / "c", [still, empty])) == [0]
    assert order_of(held(tmp_path / "d", [empty])) == []
    assert order_of(held(tmp_path / "e", [fast[:, :1]])) == [0], "one frame"
    assert order_of(held(tmp_path / "f", [still[:, :17], fast[:, :17]])) == [1, 0], "one frame in the last chunk"


def test_a_damaged_chunk_is_not_compared_and_named(tmp_path, arrays):
    found = held(tmp_path, arrays)
    path = next(objects_of(tmp_path, found.parameters[1], 1))[0]
    path.write_bytes(path.read_bytes()[:-1] + b"\0")
    looked = search(found, frame_of(arrays, 20))
    assert looked.find() is None
    assert looked.unread == [1]
    looked = search(found, frame_of(arrays, 5))
    assert looked.find() == Found(5, 5, 5)
    assert looked.unread == [1]
    assert search(found, frame_of(arrays, 40)).find() == Found(40, 40, 40)


def test_a_damaged_chunk_does_not_end_the_choice_of_the_parameter_that_goes_first(tmp_path):
    """The last chunk has one frame, so the one before it is looked at."""
    still, fast = np.zeros((1, 17), np.float32), np.arange(51, dtype=np.float32).reshape(3, 17)
    found = held(tmp_path, [still, fast])
    next(objects_of(tmp_path, found.parameters[0], 0))[0].write_bytes(b"damaged")
    assert order_of(found) == [1, 0]
    next(objects_of(tmp_path, found.parameters[1], 0))[0].write_bytes(b"damaged")
    assert order_of(found) == [0, 1]


def test_the_last_chunk_is_compared_in_memory(tmp_path, arrays):
    on_disk = held(tmp_path, arrays)
    tail = []
    for number, values in enumerate(arrays):
        room = np.zeros((*values.shape[:-1], T), values.dtype)
        room[..., : 70 - 64] = values[..., 64:]
        tail.append(room)
        for path, _ in objects_of(tmp_path, on_disk.parameters[number], 4):
            path.unlink()
    found = Held(tmp_path, on_disk.parameters, on_disk.steps, T, tail=tail)
    assert search(found, frame_of(arrays, 69)).find() == Found(69, 69, 69)
    assert search(found, frame_of(arrays, 63)).find() == Found(63, 63, 63)


def test_a_parameter_that_is_cut_into_objects_is_compared_piece_by_piece(tmp_path, monkeypatch):
    """Memory holds at most one object, decoded and as stored, and the numbers that are compared at once."""
    monkeypatch.setattr("recorder.budget.LARGEST_CHUNK_BYTES", 1 << 20)
    values = np.random.default_rng(1).normal(size=(1000, 33, 2 * T)).astype(np.float32)
    found = held(tmp_path, [values])
    pieces = len(list(objects_of(tmp_path, found.parameters[0], 0)))
    assert pieces == 3
    wanted = [values[..., 20].copy().reshape(-1)]
    order = order_of(found)
    tracemalloc.start()
    assert Search(found, wanted.__getitem__, order).find() == Found(20, 20, 20)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 6 << 20, "of 4 MB"
    changed = values[..., 20].copy()
    changed[-1, -1] += 1
    assert Search(found, [changed.reshape(-1)].__getitem__, order).find() is None
