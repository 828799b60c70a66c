"""Memory that is used again: never while anything in it is referred to."""

from __future__ import annotations

import gc

import numpy as np

from analyzer.store.rooms import Rooms

SIZE = 1 << 18
"""Values of four bytes: a megabyte, the least that does not come from the allocator."""


def address(array: np.ndarray) -> int:
    return int(array.__array_interface__["data"][0])


def test_memory_is_given_out_again_when_no_view_of_it_is_left() -> None:
    rooms, kind = Rooms(), np.dtype(np.float32)
    first = rooms.array(SIZE, kind)
    first[:] = 1
    view = first.reshape(2, -1)[1:, ::2]
    place = address(first)
    del first
    gc.collect()
    second = rooms.array(SIZE, kind)
    second[:] = 2
    assert address(second) != place
    assert (view == 1).all()
    del view
    gc.collect()
    assert address(rooms.array(SIZE, kind)) == place
    assert (second == 2).all()


def test_memory_of_another_size_is_not_given_out() -> None:
    rooms = Rooms()
    place = address(rooms.array(SIZE, np.dtype(np.float32)))
    larger = rooms.array(SIZE, np.dtype(np.float64))
    assert larger.nbytes == 8 * SIZE
    assert address(rooms.array(SIZE // 2, np.dtype(np.float64))) == place, "as many bytes of another type"
    assert rooms.array(3, np.dtype(np.float32)).shape == (3,)


def test_arrays_outlive_their_rooms() -> None:
    array = Rooms().array(SIZE, np.dtype(np.float32))
    array[:] = 3
    gc.collect()
    assert (array == 3).all()
