"""The overview of a run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from analyzer.report.page import RUN_PARTS
from tests.analyzer.report.test_page import report
from tests.stores import chunk_file


def test_damaged_steps_leave_the_overview(make: Callable[..., Path], tmp_path: Path) -> None:
    store = make()
    chunk_file(store, "step", 1).unlink()
    page = report(tmp_path, store)
    assert page.column("run-0-overview", "parameter")[0] == "conv1.lin.weight"
    for section in page.notes:
        assert any("step" in note for note in page.notes[section]), section
    assert len(page.notes) == len(RUN_PARTS)
