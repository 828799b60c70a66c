"""A run that is resumed from an older frame: what is left of the store, and what its attempt holds."""

from __future__ import annotations

import json

import numpy as np
from torch import nn

from tests.recorder.resumes import assert_history, attributes_of, train
from tests.recorder.runs import open_tree, read_array

FIRST = [(0, 0)]
SECOND = [(0, 0), (501, 1)]


def crashed(store, model, stop=730, **options) -> None:
    train(store, model, FIRST, 0, stop, **options)


def test_a_training_of_1500_steps_that_crashed_at_730_and_was_resumed_from_500_has_steps_0_to_1500_once(
    tmp_path, capfd
):
    model, store = nn.Linear(3, 2), tmp_path / "run.zarr"
    crashed(store, model)
    before = attributes_of(store)
    train(store, model, SECOND, 500, 1500)
    assert_history(store, model, SECOND, range(1501))
    assert (
        "recorder: resumed at step 500; steps 501 to 730 of the first attempt are superseded and kept in attempts/1\n"
        in capfd.readouterr().err
    )
    now = attributes_of(store)
    assert now["run_id"] != before["run_id"]
    assert now["attempts"] == [
        {"path": "attempts/1", "first_step": 501, "last_step": 730, "cut_from": before["run_id"]}
    ]
    first, second = now["segments"]
    assert "end_step" not in first
    assert {key: second[key] for key in ("first_frame", "first_step", "continuous", "supersedes")} == {
        "first_frame": 501,
        "first_step": 501,
        "continuous": True,
        "supersedes": {"attempt": 1, "first_step": 501, "last_step": 730},
    }
    assert now["last"] == {"step": 1500, "loss": 1500.001}
    assert now["status"] == "complete"


def test_scalars_that_began_after_the_cut_are_gone_and_may_begin_again(tmp_path):
    model, store = nn.Linear(3, 2), tmp_path / "run.zarr"
    crashed(store, model, 40)
    train(store, model, FIRST, 40, 70, logged=("loss", "accuracy"))
    train(store, model, [(0, 0), (31, 1)], 30, 36)
    tree = open_tree(store)
    assert "accuracy" not in tree
    assert not (store / "accuracy").exists()
    assert attributes_of(store)["last"].keys() == {"step", "loss"}
    # What the cut would have left there, had the writer died before it removed it.
    (store / "accuracy/c").mkdir(parents=True)
    for chunk in (2, 3, 4):
        (store / f"accuracy/c/{chunk}").write_bytes((store / "attempts/1/accuracy/c/1").read_bytes())
    train(store, model, [(0, 0), (31, 1)], 36, 60)
    train(store, model, [(0, 0), (31, 1)], 60, 70, logged=("loss", "accuracy"))
    values = read_array(store, "accuracy")
    assert np.isnan(values[:61]).all()
    assert np.isfinite(values[61:]).all()
    assert_history(store, model, [(0, 0), (31, 1)], range(71))
    assert np.isfinite(read_array(store / "attempts/1", "accuracy")[41 - 16 :]).all()


def test_the_newest_values_are_those_of_the_frames_that_are_left(tmp_path):
    """Also for a scalar that is logged so rarely that the last chunk has no value of it."""
    from recorder import Recorder
    from tests.recorder.resumes import Replayed

    model, store = nn.Linear(3, 2), tmp_path / "run.zarr"
    optimizer = Replayed(model, FIRST)
    with Recorder(store, model, optimizer, chunk_steps=16) as recorder:
        for step in range(1, 101):
            optimizer.step()
            recorder.log(loss=float(step), **({"epoch": step / 50} if step % 50 == 0 else {}))
    train(store, model, [(0, 0), (81, 1)], 80, 80)
    assert attributes_of(store)["last"] == {"step": 80, "loss": 80.0, "epoch": 1.0}


def test_losses_stay_with_the_frames_that_they_are_of(tmp_path):
    model, store = nn.Linear(3, 2), tmp_path / "run.zarr"
    crashed(store, model, 100)
    root = json.loads((store / "zarr.json").read_text())
    lost = [
        {"least": 0, "most": 1, "after_step": 20, "before_step": 21},
        {"least": 0, "most": 1, "after_step": 60, "before_step": 61},
        {"least": 0, "most": None, "after_step": 100, "before_step": None},
    ]
    logged = [{"first_step": 3, "last_step": 9}, {"first_step": 38, "last_step": 62}]
    root["attributes"] |= {"lost_frames": lost, "lost_scalars": logged, "recent": {"step": 100}}
    (store / "zarr.json").write_text(json.dumps(root))
    train(store, model, [(0, 0), (51, 1)], 50, 60)
    run, attempt = attributes_of(store), attributes_of(store / "attempts/1")
    assert run["lost_frames"] == lost[:1]
    assert run["lost_scalars"] == [logged[0], {"first_step": 38, "last_step": 50}]
    assert attempt["lost_frames"] == lost[1:]
    assert attempt["lost_scalars"] == [{"first_step": 48, "last_step": 62}]
    assert run.get("recent") != {"step": 100}


def test_skipped_and_dropped_stay_totals(tmp_path):
    model, store = nn.Linear(3, 2), tmp_path / "run.zarr"
    crashed(store, model, 50)
    root = json.loads((store / "zarr.json").read_text())
    root["attributes"] |= {"skipped_updates": 4, "dropped_frames": 7}
    (store / "zarr.json").write_text(json.dumps(root))
    train(store, model, [(0, 0), (31, 1)], 30, 60)
    assert (attributes_of(store)["skipped_updates"], attributes_of(store)["dropped_frames"]) == (4, 7)
