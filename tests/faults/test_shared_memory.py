"""/dev/shm of 64 MB, as in containers, and a full one: mounted for real, for one process and its writer alone."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest

from tests.patience import PATIENCE
from tests.recorder.runs import open_tree, read_array

SMALL = "mount -t tmpfs -o size=64m tmpfs /dev/shm && "
SCRIPT = """
import os, sys, torch
from recorder import Recorder

torch.set_num_threads(1)
model = torch.nn.Linear({width}, {width}, bias=False)
model.weight.data.zero_()

def fill():
    with open("/dev/shm/other", "wb") as other:
        try:
            while True:
                other.write(bytes(1 << 16))
                other.flush()
        except OSError:
            pass
    status = os.statvfs("/dev/shm")
    assert status.f_bavail * status.f_frsize < 1 << 17

def train(recorder, steps):
    for _ in range(steps):
        model.weight.data.add_(1.0)
        recorder.step()
"""


def mounting_is_allowed() -> bool:
    return not subprocess.run(
        ["unshare", "-m", "sh", "-c", SMALL + "true"], capture_output=True, check=False
    ).returncode


pytestmark = pytest.mark.skipif(
    not mounting_is_allowed(), reason="mounting is not allowed here: test_pressure.py shows the same choices by numbers"
)


def run(folder: Path, body: str, width: int = 3, mounted: str = SMALL) -> Path:
    """Run a script that has a /dev/shm of its own, of 64 MB by default; return its store."""
    path, store = folder / "train.py", folder / "run.zarr"
    path.write_text(SCRIPT.format(width=width) + textwrap.dedent(body))
    command = ["unshare", "-m", "sh", "-c", mounted + 'exec "$@"', "sh", sys.executable, str(path), str(store)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert ended.returncode == 0, ended.stderr
    return store


def assert_counted(store: Path, frames: int) -> None:
    """The weights count the steps."""
    expected = np.arange(frames)
    np.testing.assert_array_equal(read_array(store, "step"), expected)
    assert (read_array(store, "parameters/weight") == expected).all()
    assert open_tree(store).attrs["status"] == "complete"


ASK_PLACE = """
    with Recorder(sys.argv[1], model, chunk_steps={steps}) as recorder:
        recorder.start()
        place = str(recorder._spool.files[0].bytes.filename)
        assert place.startswith({place}), place
        train(recorder, 100)
"""


def test_a_pool_that_fits_twice_goes_into_it(tmp_path):
    assert_counted(run(tmp_path, ASK_PLACE.format(steps=16, place="'/dev/shm/'")), 101)


def test_a_pool_that_does_not_goes_beside_the_store(tmp_path):
    """3 × 256 frames of 160 kB."""
    assert_counted(run(tmp_path, ASK_PLACE.format(steps=256, place="sys.argv[1]"), width=200), 101)


def test_one_that_may_not_be_written_is_left_alone(tmp_path):
    """Some containers have it read-only."""
    mounted = "mount -t tmpfs -o ro tmpfs /dev/shm && "
    assert_counted(run(tmp_path, ASK_PLACE.format(steps=16, place="sys.argv[1]"), mounted=mounted), 101)


def test_a_full_one_is_left_alone(tmp_path):
    assert_counted(
        run(tmp_path, "fill()" + ASK_PLACE.format(steps=16, place="sys.argv[1]").replace("    ", "", 1)), 101
    )


def test_others_may_fill_it_while_a_run_is_recorded(tmp_path):
    """Every page of the spool was allocated before the first step: no bus error when there is no other left."""
    body = """
    with Recorder(sys.argv[1], model, chunk_steps=64) as recorder:
        recorder.start()
        train(recorder, 5)
        fill()
        train(recorder, 2000)
        recorder.log(loss=1.0)  # a new name: where it is kept was allocated, too
    """
    assert_counted(run(tmp_path, body, width=30), 2006)
