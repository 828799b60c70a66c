"""`analyzer cache`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from analyzer.engine import plan
from tests.analyzer.shell import invoke


def test_fill_show_and_drop(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan, "SPAN_FRAMES", 1)  # one task a chunk
    monkeypatch.setattr(plan, "KEPT_FRAMES", 1)
    assert json.loads(invoke("cache", "show", store, "--format", "json").stdout)["share"] == 0
    filled = invoke("cache", "fill", store, "--no-dynamics")
    assert filled.exit_code == 0, filled.stderr
    assert "7 files" in filled.stdout
    assert "100% of the run\nIt stands alone" in filled.stdout
    known = json.loads(invoke("cache", "show", store, "--format", "json").stdout)
    assert known["files"] == 7
    assert known["stands_alone"]
    assert known["bytes"] == sum(file.stat().st_size for file in Path(known["folder"]).rglob("*.sums"))
    next(Path(known["folder"]).rglob("*.sums")).unlink()
    assert "86% of the run" in invoke("cache", "show", store).stdout
    dropped = invoke("cache", "drop", store)
    assert dropped.exit_code == 0
    assert "Dropped" in dropped.stderr
    assert not Path(f"{store}.moments").exists()
    assert invoke("temperature", store, "--no-cache").exit_code == 0
    assert not Path(f"{store}.moments").exists()
