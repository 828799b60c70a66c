from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analyzer import kernels
from tests import kernel_twins


@settings(deadline=None, max_examples=100)
@given(data=st.data())
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_reduce_stretches_equals_its_numpy_twin(dtype: type, data: st.DataObject) -> None:
    frames = data.draw(st.integers(1, 80))
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    values = rng.normal(size=(data.draw(st.integers(0, 5)), frames)).astype(dtype)
    stretches = []
    for _ in range(data.draw(st.integers(0, 5))):
        first = data.draw(st.integers(0, frames - 1))
        spacing = data.draw(st.integers(1, 9))
        stretches.append((first, spacing, data.draw(st.integers(1, (frames - 1 - first) // spacing + 1))))
    arguments = [np.array([s[n] for s in stretches], dtype=np.int64) for n in range(3)]
    arguments.append(np.array([data.draw(st.integers(1, 20)) for _ in stretches], dtype=np.int64))
    shape = (len(values), len(stretches))
    answers = []
    for kernel in (kernels.reduce_stretches, kernel_twins.reduce_stretches):
        out = [np.full(shape, np.nan, kind) for kind in (float, float, dtype, dtype)]
        kernel(values, *arguments, *out)
        answers.append(out)
    for fast, slow in zip(*answers, strict=True):
        np.testing.assert_allclose(fast, slow, rtol=1e-13, atol=0)


def test_not_a_number_is_never_skipped() -> None:
    values = np.ones((2, 64), dtype=np.float32)
    values[1, 40] = np.nan
    out, displaced = np.empty((2, 2, 1))
    ends = np.empty((2, 2, 1), dtype=np.float32)
    kernels.reduce_stretches(values, *(np.array([n]) for n in (0, 1, 64, 8)), out, displaced, *ends)
    assert out[0, 0] == 0
    assert np.isnan(out[1, 0])
    assert np.isnan(displaced[1, 0])


@settings(deadline=None, max_examples=50)
@given(weights=st.integers(0, 6), frames=st.integers(1, 70), seed=st.integers(0, 2**32 - 1))
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_add_squares_equals_its_numpy_twin_to_the_bit(dtype: type, weights: int, frames: int, seed: int) -> None:
    values = np.random.default_rng(seed).normal(size=(weights, frames)).astype(dtype)
    fast, slow = np.ones((2, frames - 1))
    kernels.add_squares(values, fast)
    kernel_twins.add_squares(values, slow)
    np.testing.assert_array_equal(fast, slow)
    if frames > 2:  # nor does it matter where a series is cut
        cut = frames // 2
        head, tail = np.ones(cut), np.ones(frames - 1 - cut)
        kernels.add_squares(np.ascontiguousarray(values[:, : cut + 1]), head)
        kernels.add_squares(np.ascontiguousarray(values[:, cut:]), tail)
        np.testing.assert_array_equal(np.concatenate([head, tail]), fast)


def test_add_rows_equals_its_numpy_twin_to_the_bit() -> None:
    rng = np.random.default_rng(1)
    groups, values = rng.integers(0, 4, 100), rng.normal(size=(100, 5))
    fast, slow = np.zeros((2, 4, 5))
    kernels.add_rows(groups, values, fast)
    kernel_twins.add_rows(groups, values, slow)
    np.testing.assert_array_equal(fast, slow)


def test_add_moments_equals_its_numpy_twin() -> None:
    rng = np.random.default_rng(0)
    groups, values = rng.integers(0, 4, 100), rng.normal(size=(4, 100, 5))
    fast, slow = np.zeros((2, 5, 4, 3))
    kernels.add_moments(groups, *values, 1, fast)
    kernel_twins.add_moments(groups, *values, 1, slow)
    np.testing.assert_array_equal(fast, slow)


@settings(deadline=None, max_examples=50)
@given(data=st.data())
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_gather_stretches_equals_its_numpy_twin_to_the_bit(dtype: type, data: st.DataObject) -> None:
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    weights, blocks, stretches = (data.draw(st.integers(*bounds)) for bounds in ((0, 150), (1, 9), (0, 5)))
    held, moved = rng.normal(size=(2, blocks, weights))
    frames = rng.normal(size=(blocks + 1, weights)).astype(dtype)
    low, high = np.sort(rng.integers(0, blocks + 1, size=(2, stretches)), axis=0)
    opens, closes = rng.integers(0, blocks + 1, size=(2, stretches))
    answers = []
    for kernel in (kernels.gather_stretches, kernel_twins.gather_stretches):
        out = [np.full((weights, stretches), np.nan, kind) for kind in (np.float64, np.float64, dtype, dtype)]
        kernel(held, moved, frames, low, high, opens, closes, *out)
        answers.append(out)
    for fast, slow in zip(*answers, strict=True):
        np.testing.assert_array_equal(fast, slow)


@settings(deadline=None, max_examples=50)
@given(data=st.data())
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_add_windows_equals_its_numpy_twin_to_the_bit(dtype: type, data: st.DataObject) -> None:
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    weights, windows = data.draw(st.integers(0, 20)), data.draw(st.integers(1, 6))
    window = np.repeat(np.arange(windows), rng.integers(1, 12, size=windows))
    squares, displaced = rng.normal(size=(2, weights, window.size)) ** 2
    opening, closing = rng.normal(size=(2, weights, window.size)).astype(dtype)
    bits = np.dtype(f"u{opening.dtype.itemsize}")
    begins, ends = rng.integers(0, 2, size=(2, window.size))
    whole = rng.integers(0, 2, size=windows).astype(bool)
    place = np.where(whole, np.cumsum(whole) - 1, ~(np.cumsum(~whole) - 1))
    answers = []
    for kernel in (kernels.add_windows, kernel_twins.add_windows):
        table = np.zeros((5, 3, int(whole.sum())))
        open_ = np.full((4, int((~whole).sum()), weights), np.nan)
        groups = np.arange(weights) % 3
        edges = (opening, closing, opening.view(bits), closing.view(bits))
        ulps = kernels.ulps_by_exponent(opening.dtype.name, opening.dtype.name)
        kernel(groups, window, squares, displaced, *edges, begins, ends, place, ulps, table, open_)
        answers.append((table, open_))
    for fast, slow in zip(*answers, strict=True):
        np.testing.assert_array_equal(fast, slow)


@given(values=st.lists(st.floats(-(2.0**120), 2.0**120, width=32), min_size=1))
def test_squared_ulp_equals_numpy_spacing(values: list[float]) -> None:
    for dtype in ("float32", "float64"):
        weights = np.array(values, dtype=dtype)
        np.testing.assert_array_equal(
            kernels.squared_ulp(weights, dtype), np.spacing(np.abs(weights)).astype(np.float64) ** 2
        )


@pytest.mark.parametrize(
    ("dtype", "value", "ulp"),
    [
        ("float32", 1.0, 2.0**-23),
        ("float32", -1.5, 2.0**-23),
        ("float64", 2.0, 2.0**-51),
        ("float16", 1.0, 2.0**-10),
        ("bfloat16", 1.0, 2.0**-7),
        ("bfloat16", 0.0, 2.0**-133),
        ("int32", 7.0, 0.0),
    ],
)
def test_squared_ulp(dtype: str, value: float, ulp: float) -> None:
    stored = np.array([value], dtype=np.float64 if dtype in ("float64", "int32") else np.float32)
    assert kernels.squared_ulp(stored, dtype).tolist() == [ulp**2]
