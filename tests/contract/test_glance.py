"""What `analyzer info` tells of a run at a glance is what its arrays hold: from the root document alone."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from recorder import Recorder
from tests.analyzer.shell import invoke
from tests.faults.trainers import Trainer
from tests.recorder.runs import open_tree


def told(store: Path) -> dict[str, object]:
    return json.loads(invoke("info", store, "--format", "json").stdout)


def record(store: Path, losses: list[float], mode: str = "w-") -> None:
    model = torch.nn.Linear(3, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with Recorder(store, model, optimizer, mode=mode) as recorder:
        for n, loss in enumerate(losses):
            model(torch.ones(1, 3)).sum().backward()
            optimizer.step()
            recorder.log(loss=loss, epoch=n // 4)


def test_steps_epoch_and_loss_are_the_last_ones(tmp_path: Path) -> None:
    store = tmp_path / "run.zarr"
    record(store, [3.0, 2.0, 1.5, float("nan"), 0.5, 0.25, float("inf")])
    known, tree = told(store), open_tree(store)
    assert known["steps"] == [0, 7] == [int(tree["step"][0]), int(tree["step"][-1])]
    assert known["last"] == {"loss": 0.25, "epoch": 1.0, "step": 7}, "what is not finite says nothing of a loss"
    assert known["missing_frames"] == {}
    assert known["spool"] == []
    text = invoke("info", store).stdout
    assert "steps            0 to 7" in text
    assert "last             loss = 0.25, epoch = 1, step = 7" in text
    record(store, [7.0], mode="a")
    assert told(store)["last"] == {"loss": 7.0, "epoch": 0.0, "step": int(open_tree(store)["step"][-1])}
    assert told(store)["segments"] == 2


def test_a_running_store_says_what_waits_in_the_spool(tmp_path: Path) -> None:
    trainer = Trainer(tmp_path / "run.zarr", pause=0.005)
    trainer.wait_for_step(200)
    known = told(tmp_path / "run.zarr")
    assert known["status"] == "running"
    assert known["written_by"] == "a live writer"
    assert any("may hold frames not committed yet" in note for note in known["spool"])
    trainer.kill()


def test_a_store_without_the_attribute_says_less(tmp_path: Path) -> None:
    golden = Path(__file__).parent / "golden" / "v1.zarr"
    known = told(golden)
    assert (known["steps"], known["last"]) == (None, {})
    assert "last " not in invoke("info", golden).stdout


@pytest.mark.parametrize("last", [[], "x", {"step": "7"}, {"step": None, "loss": {}}])
def test_a_damaged_attribute_is_no_fault(tmp_path: Path, last: object) -> None:
    store = tmp_path / "run.zarr"
    record(store, [1.0])
    document = json.loads((store / "zarr.json").read_text())
    document["attributes"] |= {"last": last, "lost_frames": last, "dropped_frames": last}
    (store / "zarr.json").write_text(json.dumps(document))
    assert told(store)["steps"] is None
    assert invoke("info", store).exit_code == 0
    assert invoke("verify", store).exit_code == 0
