"""Which frames the tasks of a pass have."""

from __future__ import annotations

from analyzer.engine.tasks import bounds_of


def test_tasks_are_cut_at_the_same_frames_whatever_is_asked_for() -> None:
    assert bounds_of(300, 700, 256, 300, 701) == [(300, 512), (512, 701)]
    assert bounds_of(300, 700, 256, 0, 800) == [(256, 512), (512, 768)]
    assert bounds_of(700, 799, 256, 0, 800) == [(512, 768), (768, 800)]
