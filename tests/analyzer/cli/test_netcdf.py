"""Answers as netCDF: names, full disks, pipes."""

from __future__ import annotations

import errno
import os
import resource
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from analyzer.cli.netcdf import room_of, write_netcdf
from analyzer.store.files import temporary_file
from tests.analyzer.shell import invoke
from tests.patience import PATIENCE


def test_netcdf_on_a_full_disk_is_one_line(store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("os.posix_fallocate", full)
    result = invoke("temperature", store, "--no-cache", "--output", tmp_path / "answer.nc")
    assert result.exit_code == 1
    assert "answer.nc: expected a file that can be written, got: No space left on device" in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1
    assert sorted(tmp_path.iterdir()) == [store]


def test_a_process_that_may_not_write_netcdf_ends_in_order(store: Path, tmp_path: Path) -> None:
    """HDF5 that fails to write ends its process by a signal."""

    def limited() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (8192, 8192))

    command = [sys.executable, "-m", "analyzer", "temperature", str(store), "--no-cache", "--output", "answer.nc"]
    environment = os.environ | {"PYTHONDONTWRITEBYTECODE": "1"}  # else byte code is cut off at the limit, and kept
    ended = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environment, preexec_fn=limited)
    assert ended.returncode == 1, ended.stderr
    assert "--output answer.nc: expected a file that can be written, got: File too large" in ended.stderr


@pytest.mark.parametrize("shape", [(0, 1), (1, 1), (700, 3), (2, 3000)])
def test_the_room_of_netcdf_suffices(tmp_path: Path, shape: tuple[int, int]) -> None:
    names = np.array([f"läyer {'x' * (n % 50)}" for n in range(shape[0])], dtype=object)
    answer = xr.Dataset(
        {"t": (("group", "window"), np.random.default_rng(0).random(shape), {"units": "u" * 99}),
         "flag": ("group", np.zeros(shape[0], dtype=bool)), "verdict": ("window", np.full(shape[1], "drifting"))},
        coords={"group": names, "layer": ("group", names), "window": np.arange(shape[1])},
        attrs={"quantity": "temperature", "k_B": 1.0},
    )  # fmt: skip
    part = temporary_file(tmp_path / "answer.nc")
    write_netcdf(answer, part)
    answer.to_netcdf(tmp_path / "plain.nc", engine="h5netcdf")
    assert part.stat().st_size <= room_of(answer)
    found, expected = (xr.load_dataset(file, engine="h5netcdf") for file in (part, tmp_path / "plain.nc"))
    xr.testing.assert_identical(found, expected)


def test_netcdf_into_a_pipe(store: Path, tmp_path: Path) -> None:
    pipe, file = tmp_path / "pipe", tmp_path / "answer.nc"
    os.mkfifo(pipe)
    with file.open("wb") as copy, subprocess.Popen(["cat", str(pipe)], stdout=copy) as reader:
        assert invoke("temperature", store, "--format", "netcdf", "--output", pipe).exit_code == 0
        reader.wait(timeout=PATIENCE)
    with xr.open_dataset(file, engine="h5netcdf") as answer:
        assert answer.sizes["group"] == 2


def test_names_that_netcdf_takes_for_one_stay_apart(tmp_path: Path) -> None:
    """It has one form of é, drops spaces at the end, and reads a dot as a place; a slash was encoded before."""
    names = ["e\u0301", "é", ".", "..", "a/b", "a%2Fb", "x", "x ", "x\0", "x%00"]
    values = {name: ("run", np.array([float(n)])) for n, name in enumerate(names)}
    (tmp_path / "names.nc").touch()
    write_netcdf(xr.Dataset(values), tmp_path / "names.nc")
    with xr.open_dataset(tmp_path / "names.nc", engine="h5netcdf") as held:
        assert sorted(float(held[name].item()) for name in held.data_vars) == list(map(float, range(len(names))))
        assert (held["x"].item(), held["a%2Fb"].item(), held["é"].item()) == (6, 5, 1)
