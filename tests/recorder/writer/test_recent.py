"""The mean kinetic energy over the newest spool file equals plain numpy's, for frames of any type and spacing."""

from __future__ import annotations

import numpy as np
import pytest

from recorder.schema import Parameter, Plane, Schema
from recorder.writer.recent import AT_ONCE, RecentFrames

PLANES = {"float16": "float16", "bfloat16": "uint16", "float32": "float32", "float64": "float64", "int64": "int64"}


def schema_of(*shapes: tuple[int, ...], dtype: str = "float32") -> Schema:
    parameters, offset = [], 0
    for number, shape in enumerate(shapes):
        made = Parameter(f"p{number}", shape, dtype, "", "", "", "", (), plane=0, offset=offset)
        parameters.append(made)
        offset += made.elements
    return Schema(tuple(parameters), (Plane(dtype, "cpu", offset),))


def walk(frames: int, elements: int, seed: int = 0) -> np.ndarray:
    return np.cumsum(np.random.default_rng(seed).normal(size=(frames, elements)), axis=0).astype(np.float32)


def test_it_is_half_the_mean_square_of_all_velocities_across_the_edge_of_two_files():
    frames = walk(30, 11)
    recent = RecentFrames(schema_of((2, 3), (5,)), stride=1)
    recent.take(np.arange(10), [frames[:10]], [0.5])
    first = recent.measure()
    recent.take(np.arange(10, 30), [frames[10:]], [0.25, np.nan])
    second = recent.measure()
    for found, (start, stop) in ((first, (0, 9)), (second, (9, 29))):
        v = np.diff(frames[start : stop + 1].astype(np.float64), axis=0)
        expected = [0.5 * np.mean(v[:, :6] ** 2), 0.5 * np.mean(v[:, 6:] ** 2)]
        np.testing.assert_allclose(found.energies, expected, rtol=1e-6)
        document = found.document
        assert document["mean_kinetic_energy"] == dict(zip(("p0", "p1"), found.energies.tolist(), strict=True))
        assert (document["first_step"], document["last_step"]) == (start, stop)
        assert document["velocities"] == stop - start
    assert (first.document["learning_rate"], second.document["learning_rate"]) == ([0.5], [0.25, None])


@pytest.mark.parametrize("dtype", PLANES)
def test_every_type_that_is_recorded(dtype):
    values = np.random.default_rng(1).integers(-40, 40, (9, 4)).astype(np.float32) / (1 if dtype == "int64" else 8)
    spooled = (values.view(np.uint32) >> 16).astype(np.uint16) if dtype == "bfloat16" else values.astype(PLANES[dtype])
    recent = RecentFrames(schema_of((4,), dtype=dtype), stride=1)
    recent.take(np.arange(9), [spooled], [])
    assert recent.measure().energies[0] == 0.5 * np.mean(np.diff(values, axis=0) ** 2)


def test_a_flag_moves_by_one():
    recent = RecentFrames(schema_of((1,), dtype="bool"), stride=1)
    recent.take(np.arange(5), [np.array([[0], [1], [1], [0], [0]], dtype=bool)], [])
    assert recent.measure().energies[0] == 0.5 * 2 / 4


@pytest.mark.parametrize(
    ("stride", "steps", "pairs", "span"),
    [
        (1, [0, 1, 2, 5, 6], [(0, 1), (1, 2), (3, 4)], (0, 6)),  # a gap
        (3, [0, 3, 5, 8, 11], [(0, 1), (2, 3), (3, 4)], (0, 11)),  # an update that a gradient scaler skipped
        (2, [0, 5, 7], [(1, 2)], (5, 7)),
    ],
)
def test_no_velocity_crosses_a_gap(stride, steps, pairs, span):
    frames = walk(len(steps), 3)
    recent = RecentFrames(schema_of((3,)), stride)
    recent.take(np.array(steps), [frames], [])
    found = recent.measure()
    v = np.array([frames[b] - frames[a] for a, b in pairs], dtype=np.float64)
    np.testing.assert_allclose(found.energies, [0.5 * np.mean(v**2)], rtol=1e-6)
    assert (found.document["first_step"], found.document["last_step"]) == span
    assert (found.document["velocities"], found.document["stride"]) == (len(pairs), stride)


def test_one_frame_a_file_is_enough():
    frames = walk(3, 4)
    recent = RecentFrames(schema_of((4,)), stride=10)
    recent.take(np.array([0]), [frames[:1]], [])
    assert recent.measure() is None, "one frame has no velocity"
    recent.take(np.array([10]), [frames[1:2]], [])
    np.testing.assert_allclose(recent.measure().energies, [0.5 * np.mean((frames[1] - frames[0]) ** 2)], rtol=1e-6)
    assert recent.measure() is None, "nothing new"
    recent.take(np.array([30]), [frames[2:]], [])
    assert recent.measure() is None, "a gap"


def test_what_is_forgotten_meets_nothing_that_follows():
    recent = RecentFrames(schema_of((4,)), stride=1)
    recent.take(np.arange(2), [walk(2, 4)], [])
    recent.forget()
    assert recent.measure() is None
    recent.take(np.array([2]), [walk(1, 4, seed=3)], [])
    assert recent.measure() is None


def test_the_last_frame_is_a_copy_since_its_file_is_filled_anew():
    frames = walk(4, 2)
    recent, file = RecentFrames(schema_of((2,)), stride=1), frames[:2].copy()
    recent.take(np.arange(2), [file], [])
    recent.measure()
    file[:] = 1e6
    recent.take(np.array([2]), [frames[2:3]], [])
    np.testing.assert_allclose(recent.measure().energies, [0.5 * np.mean((frames[2] - frames[1]) ** 2)], rtol=1e-6)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_null_and_leaves_the_others(value):
    frames = walk(5, 4)
    frames[3, 1] = value
    recent = RecentFrames(schema_of((2,), (2,), (0, 3)), stride=1)
    recent.take(np.arange(5), [frames], [])
    found = recent.measure()
    energies = found.document["mean_kinetic_energy"]
    assert energies["p0"] is None
    assert energies["p1"] == pytest.approx(0.5 * np.mean(np.diff(frames[:, 2:], axis=0) ** 2), rel=1e-6)
    assert "p2" not in energies, "it has no elements"
    assert np.isnan(found.energies[2])


@pytest.mark.parametrize("size", [1e-30, 1e30])
def test_squares_neither_vanish_nor_overflow(size):
    frames = (walk(5, 3) * np.float32(size)).astype(np.float32)
    recent = RecentFrames(schema_of((3,)), stride=1)
    recent.take(np.arange(5), [frames], [])
    v = np.diff(frames, axis=0).astype(np.float64)
    assert recent.measure().energies[0] == pytest.approx(0.5 * np.mean(v**2), rel=1e-12)


def test_a_parameter_that_is_measured_in_parts():
    frames = walk(7, AT_ONCE // 3)
    recent = RecentFrames(schema_of((AT_ONCE // 3,)), stride=1)
    recent.take(np.arange(7), [frames], [])
    v = np.diff(frames, axis=0).astype(np.float64)
    assert recent.measure().energies[0] == pytest.approx(0.5 * np.mean(v**2), rel=1e-6)
