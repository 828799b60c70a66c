"""A notebook, executed as one: a kernel of its own, cells run again, interrupted, and a kernel that ends."""

from __future__ import annotations

from pathlib import Path

import nbformat
import numpy as np
import pytest
from nbclient import NotebookClient

from tests.faults.trainers import wait_for_status
from tests.patience import PATIENCE, SLOW_START
from tests.recorder.runs import open_tree, read_array

SETUP = """
import os, time, torch
from recorder import Recorder
torch.set_num_threads(1)
model = torch.nn.Linear(3, 2)
model.weight.data.zero_()

def train(recorder, steps, pause=0.0):
    recorder.start()
    for _ in range(steps):
        model.weight.data.add_(1.0)
        recorder.step()
        time.sleep(pause)
"""


class Kernel:
    """A kernel that runs cells. Lifetime: a `with` block; at its end the kernel is asked to end, or killed."""

    def __init__(self, folder: Path, *, kill: bool = False) -> None:
        self.notebook = nbformat.v4.new_notebook()
        resources = {"metadata": {"path": str(folder)}}
        self.client = NotebookClient(
            self.notebook, timeout=PATIENCE, kernel_name="python3", resources=resources, allow_errors=True
        )
        self.client.interrupt_on_timeout = True
        self.client.shutdown_kernel = "immediate" if kill else "graceful"

    def __enter__(self) -> Kernel:
        self.context = self.client.setup_kernel()
        self.context.__enter__()
        self.run(SETUP)
        return self

    def __exit__(self, *error: object) -> None:
        self.context.__exit__(None, None, None)

    def run(self, source: str, interrupted_after: int | None = None) -> str:
        """Run a cell; return what it printed, and the name of the error that ended it."""
        self.notebook.cells.append(nbformat.v4.new_code_cell(source))
        self.client.timeout = interrupted_after or PATIENCE
        cell = self.client.execute_cell(self.notebook.cells[-1], len(self.notebook.cells) - 1)
        told = "".join(output.get("text", output.get("ename", "")) for output in cell.outputs)
        return told.replace(SLOW_START, "")


@pytest.fixture(autouse=True, scope="module")
def at_home(tmp_path_factory):
    home = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        for variable in ("IPYTHONDIR", "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR"):
            patch.setenv(variable, str(home))
        yield


@pytest.fixture(scope="module")
def one_kernel(at_home, tmp_path_factory):
    with Kernel(tmp_path_factory.mktemp("kernel")) as kernel:
        yield kernel


@pytest.fixture
def kernel(one_kernel, tmp_path):
    """A kernel, in the test's own folder, that ran the cells of earlier tests: starting one takes seconds."""
    one_kernel.run(f"os.chdir({str(tmp_path)!r}); model.weight.data.zero_()")
    return one_kernel


def assert_counted(store: Path, status: str) -> int:
    """The weights count the steps, from 0 on; return the number of frames."""
    weights = read_array(store, "parameters/weight")
    np.testing.assert_array_equal(read_array(store, "step"), np.arange(weights.shape[-1]))
    assert (weights == np.arange(weights.shape[-1])).all()
    assert open_tree(store).attrs["status"] == status
    return weights.shape[-1]


@pytest.mark.xdist_group("kernel")
def test_a_cell_that_records_may_be_run_again(tmp_path, kernel):
    record = """
model.weight.data.zero_()
with Recorder("run.zarr", model, mode="w") as recorder:
    train(recorder, 50)
"""
    for _ in range(2):
        assert "recorded 51 frames of 50 steps" in kernel.run(record)
        assert assert_counted(tmp_path / "run.zarr", "complete") == 51


@pytest.mark.xdist_group("kernel")
def test_a_recorder_that_a_cell_left_open_names_itself_when_the_cell_runs_again(tmp_path, kernel):
    record = "recorder = Recorder('run.zarr', model, mode='w'); model.weight.data.zero_(); train(recorder, 20)"
    assert kernel.run(record) == ""
    assert kernel.run(record.replace("recorder =", "second =").replace("recorder,", "second,")) == ("StoreLockedError")
    kernel.run("recorder.close()")
    assert assert_counted(tmp_path / "run.zarr", "complete") == 21
    assert kernel.run(record + "; recorder.close()").startswith("recorder: recorded 21 frames")
    assert_counted(tmp_path / "run.zarr", "complete")


@pytest.mark.parametrize("kill", [False, True], ids=["the kernel is asked to end", "the kernel is killed"])
def test_an_interrupted_cell_and_a_kernel_that_ends_lose_nothing(tmp_path, kill):
    with Kernel(tmp_path, kill=kill) as kernel:
        kernel.run("recorder = Recorder('run.zarr', model, chunk_steps=32); recorder.start()")
        assert "KeyboardInterrupt" in kernel.run("train(recorder, 10**9, pause=0.001)", interrupted_after=2)
        before = int(kernel.run("print(recorder._frames)"))
        assert kernel.run("train(recorder, 25)") == ""  # the recorder goes on in the next cell
    wait_for_status(tmp_path / "run.zarr", "interrupted")
    # The interrupt may have come after an update and before its frame: the next one then counts two updates, and is one
    # step further or, where the lost one was counted already, two.
    weights = read_array(tmp_path / "run.zarr", "parameters/weight")
    steps = read_array(tmp_path / "run.zarr", "step")
    assert (len(steps), steps[0]) == (before + 25, 0)
    jumps, apart = np.diff(weights[0, 0]), np.diff(steps)
    assert set(jumps) <= {1.0, 2.0}
    assert (jumps == 2.0).sum() <= 1
    assert ((apart == 1) | (apart == jumps)).all()
