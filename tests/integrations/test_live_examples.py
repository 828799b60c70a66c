"""The examples for TensorBoard and Weights & Biases: whole processes, and what their own files hold afterwards."""

from __future__ import annotations

import json
import os
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from analyzer.store.recent import recent_of
from analyzer.store.schema import read_store
from tests.patience import PATIENCE

ROOT = Path(__file__).parents[2]
STEPS = 1200
LAYERS = {"0", "2"}


def run(folder: Path, script: str, *options: object) -> dict[str, float]:
    """Run an example; return the temperatures that its store ends with."""
    store = folder / "live.zarr"
    command = [sys.executable, ROOT / "examples" / script, "--store", store, "--steps", STEPS, *options]
    environment = os.environ | {"WANDB_SILENT": "true", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [*map(str, command)], cwd=folder, env=environment, capture_output=True, text=True, timeout=PATIENCE
    )
    assert done.returncode == 0, done.stderr
    recent = recent_of(read_store(store))
    assert recent is not None
    assert recent.last_step == STEPS
    assert set(recent.temperatures) == LAYERS
    return dict(recent.temperatures)


def test_tensorboard_holds_the_temperatures(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard", reason="needs TensorBoard: pip install '.[live]'")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    expected = run(tmp_path, "live_tensorboard.py", "--board", tmp_path / "board")
    events = EventAccumulator(str(tmp_path / "board"))
    events.Reload()
    assert set(events.Tags()["scalars"]) == {"loss"} | {f"temperature/{layer}" for layer in LAYERS}
    assert [event.step for event in events.Scalars("loss")] == [500, 1000, STEPS]
    for layer, temperature in expected.items():
        last = events.Scalars(f"temperature/{layer}")[-1]
        assert last.step == STEPS
        assert last.value == pytest.approx(temperature, rel=1e-6), "TensorBoard keeps float32"


def test_wandb_holds_the_temperatures(tmp_path: Path) -> None:
    pytest.importorskip("wandb", reason="needs Weights & Biases: pip install '.[live]'")
    expected = run(tmp_path, "live_wandb.py", "--folder", tmp_path, "--mode", "offline")
    (file,) = tmp_path.glob("wandb/offline-run-*/run-*.wandb")
    history = [*rows_of(file.read_bytes())]
    assert [row["_step"] for row in history] == [500, 1000, STEPS]
    assert all("loss" in row for row in history)
    for layer, temperature in expected.items():
        assert history[-1][f"temperature/{layer}"] == pytest.approx(temperature, rel=1e-9)


def rows_of(data: bytes) -> Iterator[dict[str, float]]:
    """The rows of a run's history, from a file of wandb: a header of 7 bytes, then LevelDB's log format."""
    from wandb.proto.wandb_internal_pb2 import Record

    full, first, last, block, place, held = 1, 2, 4, 1 << 15, 7, b""
    assert data[:4] == b":W&B"
    while place + 7 <= len(data):
        if block - place % block < 7:  # no header fits into the rest of a block
            place += block - place % block
            continue
        _, length, kind = struct.unpack_from("<IHB", data, place)
        part, place = data[place + 7 : place + 7 + length], place + 7 + length
        held = part if kind in (full, first) else held + part
        if kind in (full, last):
            record = Record()
            record.ParseFromString(held)
            if record.WhichOneof("record_type") == "history":
                yield {
                    item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in record.history.item
                }
