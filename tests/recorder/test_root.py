"""Stores that exist: protected, replaced, resumed, refused."""

from __future__ import annotations

import json

import numpy as np
import pytest
from torch import nn

from recorder import Recorder, RecorderError
from recorder.errors import SchemaError, StoreExistsError, StoreFormatError, StoreMissingError
from tests.recorder.runs import Scripted, assert_frames_are_scripted, open_tree, read_array


def test_an_existing_store_is_protected_by_default(tmp_path):
    model = nn.Linear(2, 2)
    optimizer = Scripted(model.parameters())
    with Recorder(tmp_path / "run.zarr", model, optimizer):
        optimizer.step()
    with pytest.raises(StoreExistsError, match="resume it") as caught:
        Recorder(tmp_path / "run.zarr", model, optimizer)
    assert isinstance(caught.value, FileExistsError)
    assert isinstance(caught.value, RecorderError)
    assert_frames_are_scripted(tmp_path / "run.zarr", model, steps=np.arange(2))


def test_mode_w_replaces_a_store_but_never_another_folder(tmp_path):
    model = nn.Linear(2, 2)
    for steps in (5, 2):
        optimizer = Scripted(model.parameters())
        with Recorder(tmp_path / "run.zarr", model, optimizer, mode="w"):
            for _ in range(steps):
                optimizer.step()
    assert_frames_are_scripted(tmp_path / "run.zarr", model, steps=np.arange(3))
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis/chapter.tex").write_text("years of work")
    with pytest.raises(StoreFormatError, match="expected a trajectory store"):
        Recorder(tmp_path / "thesis", model, mode="w")
    assert (tmp_path / "thesis/chapter.tex").exists()


def test_resuming_from_the_last_frame_continues_the_trajectory(tmp_path):
    model = nn.Linear(2, 2)
    optimizer = Scripted(model.parameters())
    for _ in range(3):
        with Recorder(tmp_path / "run.zarr", model, optimizer, chunk_steps=16, mode="a" if optimizer.updates else "w-"):
            for _ in range(10):
                optimizer.step()
    assert_frames_are_scripted(tmp_path / "run.zarr", model, steps=np.arange(31))
    segments = open_tree(tmp_path / "run.zarr").attrs["segments"]
    assert [(s["first_frame"], s["first_step"], s["continuous"]) for s in segments] == [
        (0, 0, False),
        (11, 11, True),
        (21, 21, True),
    ]


def test_resuming_from_an_older_checkpoint_goes_on_from_its_frame(tmp_path):
    model = nn.Linear(2, 2)
    optimizer = Scripted(model.parameters())
    with Recorder(tmp_path / "run.zarr", model, optimizer, chunk_steps=16):
        for _ in range(20):
            optimizer.step()
    optimizer.updates = 12
    optimizer.write()
    with Recorder(tmp_path / "run.zarr", model, optimizer, mode="a", user_step=12):
        for _ in range(5):
            optimizer.step()
    assert read_array(tmp_path / "run.zarr", "step").tolist() == list(range(18))
    second = open_tree(tmp_path / "run.zarr").attrs["segments"][1]
    assert (second["first_frame"], second["first_step"], second["user_step"], second["continuous"]) == (
        13,
        13,
        12,
        True,
    )
    assert_frames_are_scripted(tmp_path / "run.zarr", model, steps=np.arange(18))
    assert_frames_are_scripted(tmp_path / "run.zarr/attempts/1", model, steps=np.arange(21))


def test_resuming_another_model_names_the_parameter(tmp_path):
    model = nn.Linear(2, 2)
    with Recorder(tmp_path / "run.zarr", model) as recorder:
        recorder.start()
    for other, message in (
        (nn.Linear(2, 3), r"parameter weight: the store holds shape \[2, 2\], float32, the model has \[3, 2\]"),
        (
            nn.Linear(2, 2).double(),
            r"parameter weight: the store holds shape \[2, 2\], float32, the model has .*float64",
        ),
        (nn.Linear(2, 2, bias=False), "parameter bias: the store holds it, the model to record has none"),
        (nn.ModuleDict({"x": nn.Linear(2, 2)}), r"parameter x\.weight: expected it in"),
    ):
        with pytest.raises(SchemaError, match=message):
            Recorder(tmp_path / "run.zarr", other, mode="a").start()
    with pytest.raises(SchemaError, match="stride: the store has 1, this recording 2"):
        Recorder(tmp_path / "run.zarr", model, mode="a", stride=2).start()
    assert open_tree(tmp_path / "run.zarr").attrs["status"] == "complete"


def test_resuming_needs_a_store_of_ours(tmp_path):
    with pytest.raises(StoreMissingError, match="expected a store to resume, found none"):
        Recorder(tmp_path / "run.zarr", nn.Linear(2, 2), mode="a")
    (tmp_path / "run.zarr").mkdir()
    (tmp_path / "run.zarr/zarr.json").write_text(
        json.dumps({"attributes": {"format": "parameter-trajectory", "format_version": 2}})
    )
    with pytest.raises(StoreFormatError, match="expected format version 1, got 2"):
        Recorder(tmp_path / "run.zarr", nn.Linear(2, 2), mode="a")
    (tmp_path / "run.zarr/zarr.json").write_text("{")
    with pytest.raises(StoreFormatError, match="cannot be read"):
        Recorder(tmp_path / "run.zarr", nn.Linear(2, 2), mode="a")


def test_two_recorders_on_one_store_are_refused(tmp_path):
    model = nn.Linear(2, 2)
    with Recorder(tmp_path / "run.zarr", model) as recorder:
        recorder.start()
        with pytest.raises(RecorderError, match="another recorder is writing it"):
            Recorder(tmp_path / "run.zarr", model, mode="a").start()
        recorder.step()
    assert read_array(tmp_path / "run.zarr", "step").tolist() == [0, 1]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("chunk_steps", 0), ("chunk_steps", "16"), ("stride", None), ("run_id", 5), ("compression", None),
        ("segments", None), ("segments", "all"), ("segments", [1]), ("segments", [{"first_frame": 0}]),
        ("skipped_updates", "none"), ("dropped_frames", -1), ("lost_frames", 5), ("last", 5), ("chunk_checksums", 5),
        ("stride", ...), ("segments", ...), ("skipped_updates", ...),
    ],
)  # fmt: skip
def test_a_store_with_damaged_attributes_is_not_continued(tmp_path, name, value):
    """`...` stands for an attribute that is not there."""
    store, model = tmp_path / "run.zarr", nn.Linear(2, 2)
    optimizer = Scripted(model.parameters())
    with Recorder(store, model, optimizer):
        optimizer.step()
    root = json.loads((store / "zarr.json").read_text())
    root["attributes"] |= {name: value}
    if value is ...:
        del root["attributes"][name]
    (store / "zarr.json").write_text(json.dumps(root))
    before = (store / "zarr.json").read_bytes()
    with pytest.raises(StoreFormatError, match=rf"attribute '{name}': expected .* cannot be continued: restore its"):
        Recorder(store, model, optimizer, mode="a").start()
    assert (store / "zarr.json").read_bytes() == before
    with Recorder(store, model, optimizer, mode="w"):
        optimizer.step()
    assert read_array(store, "step").tolist() == [0, 1]
