"""`analyzer info`: what a store holds, and whether it is still written."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pandas as pd

from tests.analyzer.shell import invoke
from tests.stores import edit_root


def test_info_describes_the_store(store: Path) -> None:
    known = json.loads(invoke("info", store, "--format", "json").stdout)
    assert known["frames"] == 100
    assert known["weights"] == 24 + 8 + 80 + 10
    assert known["raw_bytes"] == 122 * 4 * 100
    assert [p["parameter"] for p in known["parameters"]] == ["conv1.lin.weight", "conv1.bias", "lin.weight", "lin.bias"]
    text = invoke("info", store).stdout
    assert "10 x 8" in text
    assert "complete" in text


def test_info_recognises_a_run_that_nobody_writes_any_more(make: Callable[..., Path]) -> None:
    store = make(status="running")
    assert "nobody any more" in invoke("info", store).stdout
    edit_root(store, lambda root: root["attributes"].update(heartbeat=pd.Timestamp.now("UTC").isoformat()))
    assert "a live writer" in invoke("info", store).stdout
