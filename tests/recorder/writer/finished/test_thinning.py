"""Which frames are kept, and what their segments say: functions of steps and segments."""

from __future__ import annotations

import numpy as np

from recorder.writer.finished.thinning import keep
from tests.recorder.writer.finished.test_trim import segment


def test_counting_begins_anew_where_frames_are_out_of_step() -> None:
    steps = np.array([0, 4, 8, 11, 15, 19, 23])  # an update was skipped before 11
    assert keep(steps, [segment(0)], 4, [], 2).frames.tolist() == [0, 2, 3, 5]
    steps = np.array([0, 1, 2, 3, 7, 8, 9, 10, 11])  # frames were dropped before 7
    assert steps[keep(steps, [segment(0)], 1, [], 2).frames].tolist() == [0, 2, 8, 10]
    found = keep(np.arange(20), [segment(0), segment(9)], 1, [], 4)
    assert found.frames.tolist() == [0, 4, 8, 9, 13, 17]
    assert [one["continuous"] for one in found.segments] == [False, False]
    found = keep(np.arange(20), [segment(0), segment(9, continuous=True)], 1, [], 4)
    assert found.frames.tolist() == [0, 4, 8, 12, 16]
    assert [(one["first_frame"], one["first_step"], one["continuous"]) for one in found.segments] == [
        (0, 0, False), (3, 12, True),
    ]  # fmt: skip


def test_a_segment_behind_a_break_that_was_cut_away_is_not_continuous() -> None:
    listed = [segment(0), segment(8), segment(9, continuous=True)]
    found = keep(np.arange(20), listed, 1, [":7", "12:"], 1)
    assert [(one["first_step"], one["continuous"]) for one in found.segments] == [(0, False), (12, False)]
