"""`analyzer velocity --raw`: every v(t) of every weight, in netCDF and zarr, whole or not at all."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

from tests.analyzer.shell import INTERRUPTED, invoke, shell
from tests.benchmarks.analyzer_scale import lengthen
from tests.patience import PATIENCE
from tests.stores import chunk_file, segment

ENGINES = {".nc": "h5netcdf", ".zarr": "zarr"}
either = pytest.mark.parametrize("suffix", list(ENGINES))


def opened(path: Path) -> xr.DataTree:
    return xr.open_datatree(path, engine=ENGINES[path.suffix])  # type: ignore[arg-type]


@either
@pytest.mark.parametrize("lag", [1, 7])
def test_raw_velocities_are_the_differences_of_frames(
    make: Callable[..., Path], frames: dict[str, np.ndarray], tmp_path: Path, suffix: str, lag: int
) -> None:
    """Cut along rows, in chunks that the lag does not divide: v(t) = w(t) − w(t − lag) for t = lag, 2 lag, …"""
    output = tmp_path / f"v{suffix}"
    store = make(row_cut=3, hyperparameters={"learning_rate": 0.1})
    told = invoke("velocity", store, "--raw", "--lag", lag, "--output", output)
    assert told.exit_code == 0, told.output
    assert told.stdout == ""
    assert told.stderr.startswith(f"Wrote {output}: ")
    with opened(output) as tree:
        steps = np.arange(lag, 100, lag)
        np.testing.assert_array_equal(tree["step"], steps)
        np.testing.assert_array_equal(tree["loss"], np.linspace(2, 1, 100)[steps])
        for name, values in frames.items():
            found = tree["parameters/" + name.replace(".", "/")]
            wide = values.astype(np.float64)
            np.testing.assert_array_equal(found, wide[..., steps] - wide[..., steps - lag])
            assert found.dtype == np.float64
            assert found.attrs["name"] == name
            assert found.attrs["units"] == ("weight step^-1" if lag == 1 else "weight lag^-1")
        assert tree.attrs["quantity"] == "velocity"
        assert tree.attrs["lag"] == tree.attrs["steps_per_lag"] == lag
        assert tree.attrs["units"] == tree["parameters/lin/bias"].attrs["units"]
        assert tree.attrs["store"] == str(store)
        assert len(tree.attrs["run_id"]) == 32
        assert tree.attrs["hyperparameters"] == '{"learning_rate": 0.1}'
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run.zarr", output.name]


@either
def test_selections_gaps_and_resumptions(
    make: Callable[..., Path], frames: dict[str, np.ndarray], tmp_path: Path, suffix: str
) -> None:
    steps = np.arange(100)
    steps[50:] += 4
    store = make(steps=steps, segments=[segment(0, 0), segment(70, 74)], row_cut=3)
    output = tmp_path / f"v{suffix}"
    options = ("--layer", "lin", "--exclude", "*.bias", "--start", 10, "--stop", 90)
    assert invoke("velocity", store, "--raw", *options, "--output", output).exit_code == 0
    with opened(output) as tree:
        assert [node.path for node in tree.leaves] == ["/parameters/lin"]
        assert list(tree["parameters/lin"].data_vars) == ["weight"]
        after = np.array([*range(11, 50), *range(51, 70), *range(71, 87)])  # neither into frame 50 nor into 70
        np.testing.assert_array_equal(tree["step"], steps[after])
        wide = frames["lin.weight"].astype(np.float64)
        np.testing.assert_array_equal(tree["parameters/lin/weight"], wide[..., after] - wide[..., after - 1])


def test_lag_epoch_and_parameters_without_weights(
    make: Callable[..., Path], frames: dict[str, np.ndarray], tmp_path: Path
) -> None:
    store = make(parameters=frames | {"none": np.zeros((0, 3, 100)), "scale": np.arange(100.0) ** 2})
    for output in (tmp_path / "v.nc", tmp_path / "v.zarr"):
        assert invoke("velocity", store, "--raw", "--lag", "epoch", "--output", output).exit_code == 0
        with opened(output) as tree:
            np.testing.assert_array_equal(tree["parameters/scale"], [59**2 - 39**2, 79**2 - 59**2, 99**2 - 79**2])
            assert tree["parameters/none"].shape == (0, 3, 3)
            assert (tree.attrs["lag"], tree.attrs["steps_per_lag"]) == ("epoch", 20)


def test_velocities_are_not_taken_for_a_run(store: Path, tmp_path: Path) -> None:
    output = tmp_path / "v.zarr"
    invoke("velocity", store, "--raw", "--output", output)
    assert "expected a store with the attribute format" in invoke("temperature", output).stderr


@pytest.mark.parametrize(
    ("options", "code", "text"),
    [
        ((), 2, "--raw: expected --output FILE.nc or DIR.zarr, got none"),
        (("--output", "v.csv"), 2, "--raw: expected --output FILE.nc or DIR.zarr, got v.csv"),
        (("--output", "v.nc", "--format", "json"), 2, "got v.nc as json"),
        (("--output", "nowhere/v.nc"), 2, "expected an existing folder"),
        (("--output", "v.nc", "--window", 5), 2, "got --window"),
        (("--output", "v.nc", "--by", "row"), 2, "got --by"),
        (("--output", "v.nc", "--group", "a=*"), 2, "got --group"),
        (("--output", "v.nc", "--scheduler", "processes"), 2, "got --scheduler"),
        (("--output", "there.nc"), 1, "there.nc: expected a name that is free, got one that exists"),
        (("--output", "there.zarr"), 1, "there.zarr: expected a name that is free, got one that exists"),
        (("--output", "v.nc", "--layer", "x"), 1, "--layer 'x': expected a pattern that matches"),
        (("--output", "v.nc", "--lag", 200), 1, "expected a window with at least one velocity"),
    ],
)
def test_refusals(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: tuple[object, ...], code: int, text: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "there.nc").write_text("mine")
    (tmp_path / "there.zarr").mkdir()
    result = invoke("velocity", store, "--raw", *options)
    assert (result.exit_code, result.stdout) == (code, "")
    assert text in result.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run.zarr", "there.nc", "there.zarr"]
    assert (tmp_path / "there.nc").read_text() == "mine"


def test_sums_alone_have_no_velocities(store: Path, tmp_path: Path) -> None:
    assert invoke("cache", "fill", store).exit_code == 0
    result = invoke("velocity", f"{store}.moments", "--raw", "--output", tmp_path / "v.nc")
    assert result.exit_code == 1
    assert "expected the frames of a run, got only sums of them" in result.stderr


@either
def test_a_missing_chunk_is_named_and_nothing_stays(store: Path, tmp_path: Path, suffix: str) -> None:
    chunk_file(store, "parameters/lin/weight", 0, 0, 3).unlink()
    result = invoke("velocity", store, "--raw", "--output", tmp_path / f"v{suffix}")
    assert result.exit_code == 1
    assert "parameters/lin/weight, steps 48 to 63: expected the committed chunk" in result.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["run.zarr"]


on_a_long_run = pytest.mark.xdist_group("cluster")


@pytest.fixture(scope="module")
def long_run(gcn_of_a_chunk: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A GCN of 16,384 frames, few MB on disk: its raw velocities are 1.5 GB."""
    return lengthen(gcn_of_a_chunk, tmp_path_factory.mktemp("long") / "long.zarr", 16 * 1024)


@on_a_long_run
@either
def test_a_full_disk_is_one_line_and_nothing_stays(long_run: Path, tmp_path: Path, suffix: str) -> None:
    """Files larger than 2 MB fail in this shell, in the midst of a zarr chunk or before the netCDF file is begun."""
    command = f"ulimit -f 2000; {sys.executable} -m analyzer velocity {long_run} --raw --layer conv2 --output v{suffix}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=PATIENCE, cwd=tmp_path)
    assert done.returncode == 1, done.stderr
    assert done.stderr.startswith(f"Error: --output v{suffix}: expected room for all velocities, got: File too large.")
    assert len(done.stderr.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


@on_a_long_run
@either
def test_an_interrupt_leaves_nothing(long_run: Path, tmp_path: Path, suffix: str) -> None:
    command = [sys.executable, "-m", "analyzer", "velocity", str(long_run), "--raw", "--output", f"v{suffix}"]
    for delay in (0.3, 0.1, 0.03, 0.0):  # earlier, if the machine was faster than the interrupt
        pipes: Any = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        with subprocess.Popen(command, **pipes, text=True, cwd=tmp_path) as process:
            deadline = time.monotonic() + PATIENCE
            while not _begun(tmp_path):
                assert process.poll() is None
                assert time.monotonic() < deadline
                time.sleep(0.02)
            time.sleep(delay)
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=PATIENCE)
        if process.returncode:
            break
        written = tmp_path / f"v{suffix}"
        shutil.rmtree(written) if written.is_dir() else written.unlink()
    assert process.returncode in INTERRUPTED
    assert (out, err) == ("", "Interrupted: no output was written.\n")
    assert list(tmp_path.iterdir()) == []


def test_an_interrupt_inside_a_library_is_one_line(store: Path, tmp_path: Path) -> None:
    """If an object is interrupted while it is made, its `__del__` may look for an attribute that is not set yet."""
    code = """
import os, signal, sys
import h5netcdf

class HalfMade:
    def __init__(self, *_, **__):
        os.kill(os.getpid(), signal.SIGINT)
        self.closed = False

    def __del__(self):
        self.closed

h5netcdf.File = HalfMade
from analyzer.__main__ import main
main()
"""
    command = [sys.executable, "-c", code, "velocity", str(store), "--raw", "--output", "v.nc"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, cwd=tmp_path)
    assert done.returncode == 130
    assert (done.stdout, done.stderr) == ("", "Interrupted: no output was written.\n")
    assert [path.name for path in tmp_path.iterdir()] == [store.name]


def _begun(folder: Path) -> bool:
    """Whether there is a chunk of zarr, or the room that is kept for a netCDF file."""
    parts: list[Any] = list(folder.glob(".*.part*"))
    return any(part.is_file() or next(part.rglob("c/*/*"), None) for part in parts)


@on_a_long_run
def test_memory_is_bounded_by_chunks_not_by_the_run(long_run: Path, tmp_path: Path) -> None:
    """1.5 GB of velocities, and 0.8 GB of frames that they are made from, at a peak of less than 0.8 of the former.

    Alone it is 0.66 GB, half of it the libraries; on a busy machine 1.0 GB was seen. The whole run would be 2.6 GB.
    """
    code = """
import sys
from analyzer.cli import cli
cli(sys.argv[1:], standalone_mode=False)
peak = next(line for line in open("/proc/self/status") if line.startswith("VmHWM"))
print(int(peak.split()[1]) * 1024)  # not ru_maxrss, which a child inherits
"""
    output = tmp_path / "v.nc"
    arguments = ["velocity", str(long_run), "--raw", "--workers", "2", "--output", str(output)]
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 0, done.stderr
    written = output.stat().st_size
    assert written > 11_786 * 16_383 * 8
    assert int(done.stdout) < 0.8 * written


def test_raw_in_a_shell(store: Path, tmp_path: Path) -> None:
    done = shell("velocity", store, "--raw", "--output", tmp_path / "v.zarr")
    assert (done.returncode, done.stdout) == (0, "")
    assert len(done.stderr.splitlines()) == 1, "zarr's warnings are not the user's"
