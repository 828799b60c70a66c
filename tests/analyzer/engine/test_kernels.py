from __future__ import annotations

import sys
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analyzer.engine import compiled, kernels, plain
from analyzer.engine.sums import MOMENTS, SUMS, WEIGHT_SUMS
from tests import kernel_twins


def room(weights: int, stretches: int, dtype: Any) -> list[np.ndarray]:
    """Where a kernel writes the sums and ends of stretches; NaN until it does."""
    return [
        np.full((weights, len(SUMS), stretches), np.nan),
        np.full((weights, 2, stretches), np.nan, dtype),
    ]


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
    table = np.array([(*s, data.draw(st.integers(1, 20))) for s in stretches], dtype=np.int64).reshape(-1, 4)
    answers = []
    for kernel in (compiled.reduce_stretches, kernel_twins.reduce_stretches):
        out = room(len(values), len(stretches), dtype)
        kernel(values, np.ascontiguousarray(table.T), *out)
        answers.append(out)
    for fast, slow in zip(*answers, strict=True):
        np.testing.assert_allclose(fast, slow, rtol=1e-13, atol=0)


def test_not_a_number_is_never_skipped() -> None:
    values = np.ones((2, 64), dtype=np.float32)
    values[1, 40] = np.nan
    sums, ends = room(2, 1, np.float32)
    compiled.reduce_stretches(values, np.array([[0], [1], [64], [8]]), sums, ends)
    assert (sums[0] == 0).all()
    assert np.isnan(sums[1]).all()


@settings(deadline=None, max_examples=50)
@given(weights=st.integers(0, 6), frames=st.integers(1, 70), seed=st.integers(0, 2**32 - 1))
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_add_squares_equals_its_numpy_twin_to_the_bit(dtype: type, weights: int, frames: int, seed: int) -> None:
    values = np.random.default_rng(seed).normal(size=(weights, frames)).astype(dtype)
    fast, slow = np.ones((2, frames - 1))
    compiled.add_squares(values, fast)
    kernel_twins.add_squares(values, slow)
    np.testing.assert_array_equal(fast, slow)
    if frames > 2:  # nor does it matter where a series is cut
        cut = frames // 2
        head, tail = np.ones(cut), np.ones(frames - 1 - cut)
        compiled.add_squares(np.ascontiguousarray(values[:, : cut + 1]), head)
        compiled.add_squares(np.ascontiguousarray(values[:, cut:]), tail)
        np.testing.assert_array_equal(np.concatenate([head, tail]), fast)


def any_numbers(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Numbers of very different sizes, so that every order of addition rounds in its own way; some are not finite."""
    values = rng.normal(size=shape) * 10.0 ** rng.integers(-12, 12, size=shape)
    values[rng.random(shape) < 0.01] = np.nan
    values[rng.random(shape) < 0.01] = -np.inf
    values[rng.random(shape) < 0.02] = np.inf
    values[rng.random(shape) < 0.02] = -0.0
    return values


@pytest.mark.parametrize("seed", range(20))
def test_add_batches_equals_its_numpy_twin_to_the_bit(seed: int) -> None:
    rng = np.random.default_rng(seed)
    groups, values = rng.integers(0, 4, 100), any_numbers(rng, (100, len(SUMS), 5))
    fast, slow = np.repeat(rng.normal(size=(1, 4, 5)), 2, axis=0)
    compiled.add_batches(groups, values, fast)
    plain.add_batches(groups, values, slow)
    np.testing.assert_array_equal(fast, slow)


@pytest.mark.parametrize("seed", range(20))
def test_add_moments_equals_its_numpy_twin_to_the_bit(seed: int) -> None:
    rng = np.random.default_rng(seed)
    groups, values = rng.integers(0, 4, 100), any_numbers(rng, (WEIGHT_SUMS, 100, 5))
    fast, slow = np.repeat(rng.normal(size=(1, MOMENTS, 4, 5)), 2, axis=0)
    compiled.add_moments(groups, values, fast)
    plain.add_moments(groups, values, slow)
    np.testing.assert_array_equal(fast, slow)


@settings(deadline=None, max_examples=50)
@given(data=st.data())
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_gather_stretches_equals_its_numpy_twin_to_the_bit(dtype: type, data: st.DataObject) -> None:
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    weights, bins, stretches = (data.draw(st.integers(*bounds)) for bounds in ((0, 150), (1, 9), (0, 5)))
    held = any_numbers(rng, (len(SUMS), bins, weights))
    frames = any_numbers(rng, (bins + 1, weights)).astype(dtype)
    places = rng.integers(0, bins + 1, size=(4, stretches))
    places[:2].sort(axis=0)
    answers = []
    for kernel in (compiled.gather_stretches, plain.gather_stretches):
        out = room(weights, stretches, dtype)
        kernel(held, frames, places, *out)
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
    sums = any_numbers(rng, (weights, len(SUMS), window.size))
    ends = any_numbers(rng, (weights, 2, window.size)).astype(dtype)
    whole = rng.integers(0, 2, size=windows).astype(bool)
    place = np.where(whole, np.cumsum(whole) - 1, ~(np.cumsum(~whole) - 1))
    stretches = np.stack([place[window], *rng.integers(0, 2, size=(2, window.size))])
    answers = []
    for kernel in (compiled.add_windows, plain.add_windows):
        table = np.full((MOMENTS, 3, int(whole.sum())), 0.1)
        open_ = np.full((WEIGHT_SUMS, int((~whole).sum()), weights), np.nan)
        groups = np.arange(weights) % 3
        ulps = kernels.ulps_by_exponent(ends.dtype.name, ends.dtype.name)
        kernel(groups, stretches, sums, ends, ends.view(f"u{ends.dtype.itemsize}"), ulps, table, open_)
        answers.append((table, open_))
    for fast, slow in zip(*answers, strict=True):
        np.testing.assert_array_equal(fast, slow)


def test_numpy_adds_until_loading_numba_pays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, compiled.__name__)
    monkeypatch.setattr(kernels, "_added", 0)
    assert kernels._fitting("add_batches", kernels._FEW) is plain.add_batches
    assert kernels._fitting("add_batches", 1) is compiled.add_batches
    assert kernels._added == kernels._FEW


def test_once_loaded_the_compiled_kernels_add(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernels, "_added", 0)
    assert kernels._fitting("add_batches", 1) is compiled.add_batches


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


def test_a_kernel_compiles_where_what_was_kept_is_damaged(monkeypatch: pytest.MonkeyPatch) -> None:
    """A cache that a full disk cut off ends in an error of unpickling; one that nobody may write in one of numba's."""
    made = []

    def njit(signatures: Any, cache: bool = False, **options: Any) -> Any:
        if cache:
            raise EOFError("Ran out of input")
        made.append(options)
        return lambda function: function

    monkeypatch.setattr(compiled, "njit", njit)
    kernel = compiled._compiled("signature", fastmath={"contract"})(abs)  # type: ignore[arg-type]
    assert kernel is abs
    assert made == [{"nogil": True, "fastmath": {"contract"}}]
