"""Spool files are taken in the order in which the trainer filled them, whatever it does meanwhile."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest

from recorder.spool_files import ACTIVE, FINISHED, FIRST_FRAME, FREE, STATE
from recorder.writer.drain import Drain


@dataclass
class Slot:
    """A spool file's header."""

    words: dict[int, int] = field(default_factory=lambda: {STATE: FREE, FIRST_FRAME: 0})

    @property
    def first_frame(self) -> int:
        return self.words[FIRST_FRAME]


class Pool:
    """Spool files of a trainer that goes on while they are looked at: it acts after look number `at`."""

    def __init__(self, files: int, at: int) -> None:
        self.files = [Slot() for _ in range(files)]
        self.at, self.looks = at, 0

    def __iter__(self) -> Iterator[Slot]:
        for file in self.files:
            yield file
            self.looks += 1
            if self.looks == self.at:
                self.go_on()

    def go_on(self) -> None:
        """The trainer finishes the file at hand and the two after it."""
        for number, file in enumerate(self.files[:3]):
            file.words |= {STATE: FINISHED, FIRST_FRAME: 10 * number}
        self.files[3].words |= {STATE: ACTIVE, FIRST_FRAME: 30}


@pytest.mark.parametrize("at", range(1, 13))
def test_no_file_is_taken_before_one_that_was_filled_earlier(at):
    """A writer looked at the first file while it was being filled, was then held up, and found the second one finished.

    It took the second file first. The frames of the first had lower numbers, and were lost.
    """
    drain = Drain.__new__(Drain)
    drain.files = Pool(4, at)  # type: ignore[assignment]
    drain.files.files[0].words[STATE] = ACTIVE
    taken: list[int] = []
    for _ in range(4):
        for file in drain.finished():
            taken.append(file.words[FIRST_FRAME])
            file.words[STATE] = FREE
    assert taken == [0, 10, 20]
