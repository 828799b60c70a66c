"""The spacing of a tree's own frames, from its steps and what it says of them."""

from __future__ import annotations

import numpy as np
import pytest

from analyzer.errors import TreeError
from analyzer.query.spacing import segments_in, whole_steps
from analyzer.store.schema import Segment


def test_each_stretch_of_equal_spacing_is_a_segment_where_nothing_is_said() -> None:
    found, stride = segments_in(np.array([0, 1, 2, 3, 13, 23, 33]), (), None)
    assert found == (Segment(0, 0, False, stride=1), Segment(4, 13, True, stride=10))
    assert stride == 1


def test_a_recorded_stride_makes_a_gap_of_what_is_further_apart() -> None:
    assert segments_in(np.array([0, 1, 2, 5, 6, 7]), (), 1) == ((), 1)


def test_a_thinned_tree_has_the_spacing_of_its_frames() -> None:
    of_store = (Segment(0, 0, False, stride=1), Segment(20, 21, True, stride=2))
    steps = np.array([0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 21, 25, 29])
    assert [one.stride for one in segments_in(steps, of_store, 1)[0]] == [2, 4]
    assert segments_in(np.array([0, 2, 4]), of_store[:1], 1) == ((Segment(0, 0, False),), 2)


def test_steps_are_whole_numbers_that_increase() -> None:
    steps = whole_steps(np.array([0.0, 3.0]))
    assert (steps.dtype, steps.tolist()) == (np.int64, [0, 3])
    with pytest.raises(TreeError, match="whole numbers"):
        whole_steps(np.array([0.5, 1.5]))
    with pytest.raises(TreeError, match="increasing"):
        segments_in(np.array([3, 2]), (), None)
