"""The report of a recording."""

from __future__ import annotations

import time

from torch import nn

from recorder import Recorder
from tests.recorder.runs import Scripted


def test_the_report_adds_up(tmp_path, capfd):
    model = nn.Linear(10, 10)
    optimizer = Scripted(model.parameters())
    began = time.perf_counter()
    with Recorder(tmp_path / "run.zarr", model, optimizer) as recorder:
        for _ in range(20):
            optimizer.step()
    report = recorder.report
    assert (report.steps, report.frames, report.dropped, report.skipped) == (20, 21, 0, 0)
    assert report.raw_bytes == 21 * 110 * 4
    stored = sum(p.stat().st_size for p in (tmp_path / "run.zarr").rglob("c/**/*") if p.is_file())
    assert report.stored_bytes == stored
    assert 0 < report.seconds < time.perf_counter() - began
    assert str(report) in capfd.readouterr().err
