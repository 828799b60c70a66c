"""Where the spool lies."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from recorder import Recorder
from recorder.trainer.placement import is_network
from tests.recorder.runs import Scripted, Zoo, assert_frames_are_scripted


def test_the_spool_beside_the_store_works_like_that_in_memory(tmp_path):
    model = Zoo()
    optimizer = Scripted(model.parameters())
    with Recorder(tmp_path / "run.zarr", model, optimizer, chunk_steps=16, spool=tmp_path / "spool"):
        optimizer.step()
        assert len(list((tmp_path / "spool").iterdir())) == 1
        for _ in range(100):
            optimizer.step()
    assert_frames_are_scripted(tmp_path / "run.zarr", model, steps=np.arange(102))
    assert list((tmp_path / "spool").iterdir()) == []


def test_network_file_systems_are_recognised(tmp_path):
    table = tmp_path / "mountinfo"
    table.write_text(
        "22 1 254:0 / / rw - ext4 /dev/vda rw\n30 22 0:40 / /home rw shared:1 - nfs4 server:/home rw\n"
        "31 30 0:41 / /home/me/my\\040disk rw - xfs /dev/b rw\n"
    )
    assert is_network(Path("/home/me"), table)
    assert not is_network(Path("/homework"), table)
    assert not is_network(Path("/home/me/my disk/x"), table)
    assert not is_network(Path("/tmp"), tmp_path / "absent")
