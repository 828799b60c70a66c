"""`analyzer info`: what a store holds, and whether it is still written."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
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


def test_many_parameters_are_listed_only_if_asked_for(make: Callable[..., Path]) -> None:
    """The newest temperatures name the layers: a line for each parameter as well would be a second wall."""
    frames = {f"block.{n}.weight": np.zeros((2, 2, 5)) for n in range(31)}
    recent = {"first_step": 0, "last_step": 4, "velocities": 4, "stride": 1,
              "mean_kinetic_energy": dict.fromkeys(frames, 1e-9)}  # fmt: skip
    path = make("many.zarr", parameters=frames, scalars={})
    edit_root(path, lambda root: root["attributes"].update(recent=recent))
    assert "31 parameters; --wide adds" in invoke("info", path).stdout
    assert "2 x 2" in invoke("info", path, "--wide").stdout
    edit_root(path, lambda root: root["attributes"].pop("recent"))
    assert "2 x 2" in invoke("info", path).stdout, "nothing else names the layers"
