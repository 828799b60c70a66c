"""The recorder must not disturb the user's process: forks, signals, working directories, notebooks."""

from __future__ import annotations

import os
import signal
import textwrap
from pathlib import Path

import numpy as np
import pytest

from tests.faults.trainers import wait_for_status
from tests.patience import SLOW_START, wait_until
from tests.recorder.runs import open_tree, read_array

pytestmark = pytest.mark.xdist_group("scripts")

SCRIPT = """
import sys, os, time, torch
from recorder import Recorder

torch.set_num_threads(1)
model = torch.nn.Linear(3, 2)
recorder = Recorder(sys.argv[1], model, chunk_steps=16)
steps = int(sys.argv[2])

def train(pause=0.0):
    recorder.start()
    for step in range(steps):
        model.weight.data.add_(0.5)
        recorder.step()
        if step == 20:
            open(sys.argv[1] + ".going", "w").close()
        time.sleep(pause)
"""


def script(folder: Path, body: str, *, name: str = "train.py") -> Path:
    path = folder / name
    path.write_text(SCRIPT + textwrap.dedent(body))
    return path


def test_a_script_without_a_main_guard_ends_when_its_recording_does(scripts, tmp_path):
    """`capture_output` waits for everybody who holds the pipe: the writer must not."""
    ended = scripts.run(script(tmp_path, "with recorder:\n    train()\n"), tmp_path / "run.zarr", 20)
    assert ended.returncode == 0, ended.stderr
    assert open_tree(tmp_path / "run.zarr").attrs["status"] == "complete"
    assert ended.stdout == ""
    assert ended.stderr.removeprefix(SLOW_START).startswith("recorder: recorded 21 frames of 20 steps")


def test_a_script_that_forgets_to_close_loses_nothing(scripts, tmp_path):
    ended = scripts.run(script(tmp_path, "train()\n"), tmp_path / "run.zarr", 20)
    assert ended.returncode == 0, ended.stderr
    assert open_tree(tmp_path / "run.zarr").attrs["status"] == "interrupted"
    assert read_array(tmp_path / "run.zarr", "step").tolist() == list(range(21))


def test_os_exit_loses_nothing(scripts, tmp_path):
    ended = scripts.run(script(tmp_path, "train()\nos._exit(7)\n"), tmp_path / "run.zarr", 20)
    assert ended.returncode == 7
    wait_for_status(tmp_path / "run.zarr", "interrupted")
    assert read_array(tmp_path / "run.zarr", "step").tolist() == list(range(21))


def test_modules_of_the_working_directory_are_not_the_writers(scripts, tmp_path):
    (tmp_path / "recorder").mkdir()
    (tmp_path / "recorder/__init__.py").write_text("")
    for module in ("queue.py", "json.py", "select.py", "numpy.py"):
        (tmp_path / module).write_text("raise RuntimeError('a module of the working directory')")
    elsewhere = tmp_path / "scripts"
    elsewhere.mkdir()
    ended = scripts.run(script(elsewhere, "with recorder:\n    train()\n"), tmp_path / "run.zarr", 20, cwd=tmp_path)
    assert ended.returncode == 0, ended.stderr
    assert len(read_array(tmp_path / "run.zarr", "step")) == 21


def test_a_path_that_the_script_added_itself_is_enough_for_the_writer(scripts, tmp_path):
    """A package found through `sys.path` alone, as in notebooks: the writer is told where it lies."""
    import recorder

    source = Path(recorder.__file__).parent
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib/recorder").symlink_to(source)
    lib, installed = str(tmp_path / "lib"), str(source.parent)
    body = f"import sys\nsys.path[:] = [p for p in sys.path if p != {installed!r}] + [{lib!r}]\n"
    path = tmp_path / "train.py"
    path.write_text(body + SCRIPT + "with recorder:\n    train()\n")
    ended = scripts.run(path, tmp_path / "run.zarr", 20)
    assert ended.returncode == 0, ended.stderr


def test_ctrl_c_reaches_the_training_and_not_the_writer(scripts, tmp_path):
    path = script(tmp_path, "with recorder:\n    train(pause=0.002)\n")
    process = scripts.start(path, tmp_path / "run.zarr", 10**9)
    wait_for_status(tmp_path / "run.zarr", "running")
    wait_until((tmp_path / "run.zarr.going").exists, "the training does not get there")
    os.killpg(process.pid, signal.SIGINT)
    _, told = process.communicate()  # its steps take longer: an interrupt that got lost would show
    assert "KeyboardInterrupt" in told
    assert "(interrupted)" in told
    assert open_tree(tmp_path / "run.zarr").attrs["status"] == "interrupted"
    steps = read_array(tmp_path / "run.zarr", "step")
    np.testing.assert_array_equal(steps, np.arange(len(steps)))
    assert len(steps) > 10


def test_a_second_ctrl_c_leaves_the_rest_to_the_writer(scripts, tmp_path):
    """The first ends the training, the second the waiting: the writer goes on alone."""
    body = """
    import signal
    try:
        with recorder:
            train()
            writer = recorder._writer._process.pid
            os.kill(writer, signal.SIGSTOP)
            signal.signal(signal.SIGALRM, signal.default_int_handler)
            signal.setitimer(signal.ITIMER_REAL, 0.5, 0.5)
            train()               # more frames than the pool holds
    except KeyboardInterrupt:
        signal.setitimer(signal.ITIMER_REAL, 0)
        print("left")
    os.kill(writer, signal.SIGCONT)
    """
    ended = scripts.run(script(tmp_path, body), tmp_path / "run.zarr", 300)
    assert ended.stdout == "left\n", ended.stderr
    assert "the writer finishes on its own" in ended.stderr
    wait_for_status(tmp_path / "run.zarr", "interrupted")
    steps = read_array(tmp_path / "run.zarr", "step")
    assert 301 <= len(steps) < 601
    np.testing.assert_array_equal(steps, np.arange(len(steps)))


def test_data_loader_workers_that_outlive_a_killed_trainer_do_not_hold_the_writer(scripts, tmp_path):
    """Forked workers hold the pipe's end: end of file does not come, the trainer's process must be watched."""
    body = """
    class Slow(torch.utils.data.Dataset):
        def __len__(self): return 1000
        def __getitem__(self, index):
            time.sleep(0.001)
            return torch.ones(3)
    recorder.start()
    if os.fork() == 0:        # a worker that nobody tells
        os.close(1); os.close(2)
        time.sleep(1200)
    for step, batch in enumerate(torch.utils.data.DataLoader(Slow(), num_workers=2, batch_size=1)):
        model.weight.data.add_(batch)
        recorder.step()
        if step == 20:
            open(sys.argv[1] + ".going", "w").close()
            time.sleep(1200)
    """
    path = script(tmp_path, body)
    process = scripts.start(path, tmp_path / "run.zarr", 0)
    wait_for_status(tmp_path / "run.zarr", "running")
    wait_until((tmp_path / "run.zarr.going").exists, "the training does not get there")
    process.kill()
    process.wait()
    wait_for_status(tmp_path / "run.zarr", "interrupted")
    os.killpg(process.pid, signal.SIGKILL)  # somebody is still there to be killed
    process.communicate()
    steps = read_array(tmp_path / "run.zarr", "step")
    np.testing.assert_array_equal(steps, np.arange(len(steps)))


def test_a_fork_in_the_middle_records_nothing_and_closes_nothing(scripts, tmp_path):
    body = """
    with recorder:
        train()
        if (child := os.fork()) == 0:
            model.weight.data.add_(1000.0)   # the child's steps are not this run's
            recorder.log(loss=1.0)
            recorder.close()
            sys.exit(0)           # its exit handlers run
        assert os.waitpid(child, 0)[1] == 0
        train()
    """
    ended = scripts.run(script(tmp_path, body), tmp_path / "run.zarr", 20)
    assert ended.returncode == 0, ended.stderr
    assert read_array(tmp_path / "run.zarr", "step").tolist() == list(range(41))
    assert open_tree(tmp_path / "run.zarr").attrs["status"] == "complete"
    weights = read_array(tmp_path / "run.zarr", "parameters/weight")
    assert np.abs(np.diff(weights[..., 15:25], axis=-1)).max() < 1  # no jump where the child trained


def test_multiprocessing_in_the_training_works(scripts, tmp_path):
    body = """
    import multiprocessing
    with recorder:
        train()
        with multiprocessing.get_context("fork").Pool(2) as pool:
            assert pool.map(abs, [-1, -2]) == [1, 2]
        train()
    """
    ended = scripts.run(script(tmp_path, body), tmp_path / "run.zarr", 20)
    assert ended.returncode == 0, ended.stderr
    assert read_array(tmp_path / "run.zarr", "step").tolist() == list(range(41))


def test_a_notebook_cell_may_be_run_twice(scripts, tmp_path):
    """The first recorder is forgotten, not closed; the second replaces its store and says what holds it."""
    body = """
    import gc
    train()
    try:
        Recorder(sys.argv[1], model, mode="w").start()
    except BlockingIOError as error:
        print(type(error).__name__, "another recorder is writing it" in str(error))
    recorder.close()
    with Recorder(sys.argv[1], model, mode="w") as recorder:
        train()
    """
    ended = scripts.run(script(tmp_path, body), tmp_path / "run.zarr", 20)
    assert ended.stdout == "StoreLockedError True\n", ended.stderr
    assert read_array(tmp_path / "run.zarr", "step").tolist() == list(range(21))
