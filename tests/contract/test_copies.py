"""Copies made while a store is written: both packages tell chunks that were published from others."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from analyzer.engine.verify.chunks import outdated
from analyzer.store.heartbeat import abandoned, copied_from
from analyzer.store.schema import read_store
from recorder import Recorder
from recorder.files import replace_file
from recorder.writer.copies import first_doubtful_frame
from recorder.writer.recovery import recover
from tests.faults.trainers import make_model
from tests.recorder.runs import Scripted, assert_frames_are_scripted, open_tree

FRAMES = 41  # two full chunks, and one that is not


def record(store: Path, first: int = 0) -> None:
    model = make_model()
    optimizer = Scripted(model.parameters(), first=first)
    with Recorder(store, model, optimizer, chunk_steps=16) as recorder:
        for step in range(FRAMES - 1):
            optimizer.step()
            if step >= 20:
                recorder.log(loss=float(step))  # its array has no first chunk


pytestmark = pytest.mark.xdist_group("copies")


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("copies")
    record(folder / "run.zarr")
    record(folder / "other.zarr", first=7)
    return folder


@pytest.fixture
def copy(recorded: Path, tmp_path: Path) -> Path:
    """A copy as it looks where the original was still being written."""
    shutil.copytree(recorded / "run.zarr", tmp_path / "copy.zarr")
    root = json.loads((tmp_path / "copy.zarr/zarr.json").read_text())
    root["attributes"]["status"] = "running"
    replace_file(tmp_path / "copy.zarr/zarr.json", json.dumps(root).encode())
    return tmp_path / "copy.zarr"


def put(recorded: Path, copy: Path, chunk: int) -> None:
    """Put another version of one object in its place: whole, and with a checksum that holds."""
    name = f"parameters/1/bias/c/0/{chunk}"
    shutil.copy(recorded / "other.zarr" / name, copy / name)


def test_a_store_agrees_with_its_root_document(recorded: Path) -> None:
    assert outdated(read_store(recorded / "run.zarr")) == []
    assert first_doubtful_frame(recorded / "run.zarr") is None
    assert copied_from(read_store(recorded / "run.zarr")) is None


def test_a_copy_is_known(recorded: Path, copy: Path) -> None:
    store = read_store(copy)
    assert copied_from(store) == str(recorded / "run.zarr")
    assert "a copy, made while" in str(abandoned(store))


def test_a_whole_copy_keeps_every_frame(copy: Path) -> None:
    recover(copy)
    assert_frames_are_scripted(copy, make_model(), steps=np.arange(FRAMES))
    assert open_tree(copy).attrs["status"] == "interrupted"


@pytest.mark.parametrize("chunk", [0, 1, 2])
def test_a_torn_copy_keeps_the_frames_that_are_sure(recorded: Path, copy: Path, chunk: int) -> None:
    put(recorded, copy, chunk)
    faults = outdated(read_store(copy))
    if chunk < 2:
        (fault,) = faults
        assert fault.startswith(f"frames {16 * chunk} to {16 * chunk + 15}: expected the chunks that were published")
    result = recover(copy)
    assert "it was copied while it was written" in result.messages[1]
    assert result.frames == 16 * chunk
    assert_frames_are_scripted(copy, make_model(), steps=np.arange(16 * chunk))
    assert outdated(read_store(copy)) == []
    assert not {"last", "recent"} & set(read_store(copy).attrs), "they speak of frames that are gone"
    assert ("loss" in open_tree(copy)) == (chunk == 2)


def test_a_copy_without_a_chunk_is_cut_before_it(copy: Path) -> None:
    (copy / "parameters/0/weight/c/0/0/1").unlink()
    assert recover(copy).frames == 16
    assert_frames_are_scripted(copy, make_model(), steps=np.arange(16))
