"""Segments are taken in the order in which the trainer filled them, whatever it does meanwhile."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest

from recorder.drain import Drain
from recorder.segments import ACTIVE, FINISHED, FIRST_FRAME, FREE, STATE


@dataclass
class Slot:
    """A segment's header."""

    words: dict[int, int] = field(default_factory=lambda: {STATE: FREE, FIRST_FRAME: 0})

    @property
    def first_frame(self) -> int:
        return self.words[FIRST_FRAME]


class Pool:
    """Segments of a trainer that goes on while they are looked at: it acts after the look number `at` at a segment."""

    def __init__(self, segments: int, at: int) -> None:
        self.segments = [Slot() for _ in range(segments)]
        self.at, self.looks = at, 0

    def __iter__(self) -> Iterator[Slot]:
        for segment in self.segments:
            yield segment
            self.looks += 1
            if self.looks == self.at:
                self.go_on()

    def go_on(self) -> None:
        """The trainer finishes the segment at hand and the two after it."""
        for number, segment in enumerate(self.segments[:3]):
            segment.words |= {STATE: FINISHED, FIRST_FRAME: 10 * number}
        self.segments[3].words |= {STATE: ACTIVE, FIRST_FRAME: 30}


@pytest.mark.parametrize("at", range(1, 13))
def test_no_segment_is_taken_before_one_that_was_filled_earlier(at):
    """A writer that looked at the first segment while it was being filled, was put aside, and then found the second
    finished, took that one first: the frames of the first were numbered below what it had, and were lost.
    """
    drain = Drain.__new__(Drain)
    drain.segments = Pool(4, at)  # type: ignore[assignment]
    drain.segments.segments[0].words[STATE] = ACTIVE
    taken: list[int] = []
    for _ in range(4):
        for segment in drain.finished():
            taken.append(segment.words[FIRST_FRAME])
            segment.words[STATE] = FREE
    assert taken == [0, 10, 20]
