"""The recorder measures what it costs."""

from __future__ import annotations

import numpy as np
from torch import nn

from recorder import Recorder
from tests.recorder.runs import Scripted, assert_frames_are_scripted


def test_the_recorder_measures_its_own_cost(tmp_path, monkeypatch):
    """A clock that advances by 1.5 in a recorded step and by 1.0 in others: the slowdown is 1.5."""
    model = nn.Linear(2, 2)
    optimizer = Scripted(model.parameters())
    clock = 0.0
    monkeypatch.setattr("recorder.trainer.overhead.time.perf_counter", lambda: clock)
    with Recorder(tmp_path / "run.zarr", model, optimizer, compare_every=5) as recorder:
        for step in range(60):
            optimizer.step()
            clock += 1.5 if step // 5 % 2 == 0 else 1.0
    overhead = recorder.report.overhead
    assert (overhead.slowdown, overhead.low, overhead.high) == (1.5, 1.5, 1.5)
    assert overhead.pairs == 8
    recorded = [step for step in range(1, 61) if (step - 1) // 5 % 2 == 0]
    assert_frames_are_scripted(tmp_path / "run.zarr", model, steps=np.array([0, *recorded]))
    assert "1.5000× the time without" in str(recorder.report)
