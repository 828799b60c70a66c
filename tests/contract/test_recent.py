"""The newest temperatures, through both packages: what is published is what the frames say."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import analyzer
from analyzer.store.recent import recent_of
from analyzer.store.schema import read_store
from recorder import Recorder
from tests.analyzer.shell import invoke
from tests.faults.trainers import Trainer
from tests.patience import wait_until
from tests.recorder.runs import Scripted, open_tree
from tests.stores import edit_root


class Layers(nn.Module):
    """A parameter of its own, and two layers."""

    def __init__(self, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.zeros(3, dtype=dtype))
        self.first = nn.Linear(4, 5, dtype=dtype)
        self.empty = nn.Parameter(torch.zeros(0, 2))
        self.last = nn.Linear(5, 2, bias=False)


def record(store: Path, steps: int, model: nn.Module | None = None, first: int = 0, **options: Any) -> Recorder:
    model = model or Layers()
    optimizer = Scripted(model.parameters(), first=first)
    with Recorder(store, model, optimizer, chunk_steps=64, **options) as recorder:
        recorder.start()
        for _ in range(steps):
            optimizer.step()
    return recorder


def published(store: Path) -> dict[str, Any]:
    return json.loads((store / "zarr.json").read_text())["attributes"].get("recent")


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("stride", [1, 3])
def test_store_trainer_analyzer_and_plain_numpy_agree(tmp_path, dtype, stride):
    store = tmp_path / "run.zarr"
    recorder = record(store, 150, Layers(dtype), stride=stride)
    recent, tree = published(store), open_tree(store)
    steps = tree["step"].to_numpy()
    inside = (steps >= recent["first_step"]) & (steps <= recent["last_step"])
    assert recent["last_step"] == steps[-1]
    assert recent["stride"] == stride
    assert recent["velocities"] == inside.sum() - 1 > 0
    assert set(recent["mean_kinetic_energy"]) == {"scale", "first.weight", "first.bias", "last.weight"}
    for name, energy in recent["mean_kinetic_energy"].items():
        w = tree[f"parameters/{name.replace('.', '/')}"].to_numpy().astype(np.float64)[..., inside]
        assert energy == pytest.approx(0.5 * np.mean(np.diff(w) ** 2), rel=1e-5)
    answer = analyzer.open_run(store).thermo.temperature(
        by="layer", start=recent["first_step"], stop=recent["last_step"], cache=False
    )
    known = recent_of(read_store(store))
    assert list(known.temperatures) == list(recorder.temperatures()) == ["model", "first", "last"]
    np.testing.assert_allclose(list(known.temperatures.values()), answer["temperature"].to_numpy()[:, 0], rtol=1e-5)
    np.testing.assert_allclose(list(known.temperatures.values()), list(recorder.temperatures().values()), rtol=1e-12)
    assert known.units == answer["temperature"].attrs["units"]
    assert known.weights == dict(zip(known.temperatures, answer["weights"].to_numpy().tolist(), strict=True))
    assert known.learning_rate == (0.1,)


def test_a_resumption_is_no_velocity_and_begins_anew(tmp_path):
    store = tmp_path / "run.zarr"
    record(store, 20)
    record(store, 0, first=500, mode="a")
    assert published(store) is None, "one frame of other weights: no velocity, and the old ones are of another segment"
    record(store, 2, first=500, mode="a")
    recent = published(store)
    segment = read_store(store).segments[-1]
    assert recent["first_step"] >= segment.first_step
    assert recent["velocities"] == 1, "none leads from the last recording's frame to this one's, though they are equal"


def test_a_recording_without_a_velocity_has_none(tmp_path):
    assert record(tmp_path / "run.zarr", 0).temperatures() == {}
    assert recent_of(read_store(tmp_path / "run.zarr")) is None
    assert "Newest temperatures" not in invoke("info", tmp_path / "run.zarr").stdout


def test_info_shows_them_without_reading_a_frame(tmp_path):
    store = tmp_path / "run.zarr"
    recorder = record(store, 70)
    for chunk in store.glob("parameters/**/c/**/*"):
        if chunk.is_file():
            chunk.unlink()
    text = invoke("info", store).stdout
    known = json.loads(invoke("info", store, "--format", "json").stdout)["recent"]
    assert known["lag"] == 1
    assert known["units"] == "weight^2 step^-2"
    shown = {one["layer"]: one["temperature"] for one in known["layers"]}
    assert shown == pytest.approx(recorder.temperatures(), rel=1e-12)
    assert f"steps {known['first_step']:,} to 70; {known['velocities']} velocities at lag 1" in text
    for layer, temperature in shown.items():
        assert any(line.split()[::2] == [layer, f"{temperature:.4g}"] for line in text.splitlines()), layer
    assert invoke("verify", tmp_path / "run.zarr").exit_code == 1, "the frames are gone indeed"


def test_weights_that_are_not_finite_are_said(tmp_path):
    model, store = Layers(), tmp_path / "run.zarr"
    with Recorder(store, model) as recorder:
        recorder.start()
        with torch.no_grad():
            model.first.bias[0] = torch.inf
        recorder.step()
    known = json.loads(invoke("info", store, "--format", "json").stdout)["recent"]
    assert {one["layer"]: one["temperature"] for one in known["layers"]} == {"model": 0.0, "first": None, "last": 0.0}
    assert "NaN: weights are not finite" in invoke("info", store).stdout


@pytest.mark.parametrize(
    "recent",
    [
        None, [], "x", {}, {"first_step": 0, "last_step": 1, "velocities": 1, "stride": "1"},
        {"first_step": 0, "last_step": True, "velocities": 1, "stride": 1, "mean_kinetic_energy": {}},
        {"first_step": 0, "last_step": 1, "velocities": 1, "stride": 1, "mean_kinetic_energy": [1.0]},
        {"first_step": 0, "last_step": 1, "velocities": 1, "stride": 1, "mean_kinetic_energy": {"scale": "hot"}},
        {"first_step": 0, "last_step": 1, "velocities": 1, "stride": 1, "mean_kinetic_energy": {"scale": 10**400},
         "learning_rate": {"a": 1}},
        {"first_step": 10**30, "last_step": -1, "velocities": 0, "stride": 0, "mean_kinetic_energy": {"\x1b[31m": 1}},
    ],
)  # fmt: skip
def test_a_damaged_attribute_is_no_fault(tmp_path, recent):
    store = tmp_path / "run.zarr"
    record(store, 3)
    edit_root(store, lambda root: root["attributes"].update(recent=recent))
    for options in ((), ("--format", "json")):
        assert invoke("info", store, *options).exit_code == 0
    assert "\x1b" not in invoke("info", store).stdout
    assert invoke("watch", store).exit_code == 0
    assert invoke("verify", store).exit_code == 0


def test_a_store_of_earlier_recorders_has_none():
    golden = Path(__file__).parent / "golden" / "v1.zarr"
    assert recent_of(read_store(golden)) is None
    assert json.loads(invoke("info", golden, "--format", "json").stdout)["recent"] is None


def test_the_training_reads_them_while_it_runs_whatever_becomes_of_the_writer(tmp_path):
    """The writer is killed again and again: what was published stays, and later commits bring more."""
    model, store = Layers(), tmp_path / "run.zarr"
    optimizer = Scripted(model.parameters())
    seen: list[dict[str, float]] = []
    with Recorder(store, model, optimizer, chunk_steps=16) as recorder:
        recorder.start()
        for kill in (False, True, True):
            if kill:
                recorder._writer._process.kill()

            def moved() -> bool:
                optimizer.step()
                time.sleep(0.002)
                return bool(found := recorder.temperatures()) and found not in seen

            wait_until(moved, "no new temperatures")
            seen.append(recorder.temperatures())
    assert all(set(found) == {"model", "first", "last"} for found in seen)
    assert all(0.1 < temperature < 10 for found in seen for temperature in found.values()), "½⟨v²⟩ of unit noise is 1"


def test_a_running_store_says_how_many_frames_wait(tmp_path):
    trainer = Trainer(tmp_path / "run.zarr", pause=0.002)
    root = tmp_path / "run.zarr" / "zarr.json"
    wait_until(lambda: root.exists() and published(tmp_path / "run.zarr"), "no commit with temperatures", every=0.05)
    recording = json.loads(root.read_text())["attributes"]["recording"]
    assert 0 <= recording["waiting"] <= recording["capacity"]
    trainer.kill()
