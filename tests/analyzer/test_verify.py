from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from tests.analyzer.shell import invoke
from tests.stores import chunk_file, edit_root, segment


def test_a_whole_store(store: Path) -> None:
    result = invoke("verify", store)
    assert result.exit_code == 0
    assert result.stdout.strip() == f"{7 * 7} chunks, 100 frames, 0 faults"


def test_every_fault_is_listed(make: Callable[..., Path], frames: dict[str, np.ndarray]) -> None:
    frames["conv1.bias"][2, 70] = np.inf
    store = make()
    chunk_file(store, "parameters/lin/weight", 0, 0, 1).unlink()
    file = chunk_file(store, "loss", 3)
    file.write_bytes(b"x" + file.read_bytes()[1:])
    result = invoke("verify", store)
    assert result.exit_code == 1
    faults = [line for line in result.stdout.splitlines() if line.startswith("FAULT")]
    assert len(faults) == 3
    assert "loss" in faults[0]
    assert "parameters/lin/weight, steps 16 to 31" in faults[1]
    assert "conv1.bias: expected finite weights, got NaN or infinity from step 70 on" in faults[2]


def test_gaps_segments_and_the_spool_are_notes(make: Callable[..., Path]) -> None:
    steps = np.arange(100)
    steps[50:] += 3
    store = make(steps=steps, segments=[segment(0, 0), segment(80, 83)], status="running")
    edit_root(store, lambda root: root["attributes"].update(recording={"pushed": 120}))
    result = invoke("verify", store)
    assert result.exit_code == 0
    for text in (
        "gap: steps 49 to 53",
        "segment 1: from step 83, not continuous",
        "spool: 20 frames",
        "status: running",
    ):
        assert text in result.stdout


def test_steps_that_do_not_increase_and_segments_outside(make: Callable[..., Path]) -> None:
    steps = np.arange(100)
    steps[10] = 3
    assert "expected strictly increasing steps, got 9 then 3" in invoke("verify", make(steps=steps)).stdout
    outside = invoke("verify", make("b.zarr", segments=[segment(0, 0), segment(200, 200)]))
    assert outside.exit_code == 1
    assert "expected first_frame of segment 1 within 0 and 100, got 200" in outside.stdout


def test_a_dead_writer_and_its_spool_are_named_with_the_remedy(make: Callable[..., Path], tmp_path: Path) -> None:
    store, spool = make(status="running"), tmp_path / "spool"
    edit_root(store, lambda root: root["attributes"].update(recording={"spool": str(spool)}))
    told = invoke("verify", store).stdout
    assert "heartbeat: nobody writes any more (last sign" in told
    assert f"Close it: recorder recover {store}" in told
    assert "may hold frames" not in told, "the spool is on another machine"
    spool.mkdir()
    told = invoke("verify", store).stdout
    assert f"spool: {spool} is on this machine" in told
    assert f"Bring them home: recorder recover {store}" in told
    # While somebody writes, nothing is to be recovered.
    beat = datetime.now(UTC).isoformat()
    edit_root(store, lambda root: root["attributes"].update(heartbeat=beat))
    told = invoke("verify", store).stdout
    assert f"spool: {spool} is on this machine" in told
    assert "recorder recover" not in told
    assert "heartbeat" not in told
    edit_root(store, lambda root: root["attributes"].update(heartbeat="soon"))
    assert "without a readable heartbeat" in invoke("verify", store).stdout


def test_arrays_of_unequal_length_are_refused(store: Path) -> None:
    def shorten(root: Any) -> None:
        root["consolidated_metadata"]["metadata"]["parameters/lin/weight"]["shape"][-1] = 99

    edit_root(store, shorten)
    result = invoke("verify", store)
    assert result.exit_code == 1
    assert "array 'parameters/lin/weight': expected 100 frames, as 'step' has, got 99" in result.stderr
