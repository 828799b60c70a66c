"""Files that a command writes: what is no plain file is not replaced, and a full disk is one line."""

from __future__ import annotations

import errno
import os
import resource
import stat
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from analyzer.cli.netcdf import room_of, write_netcdf
from analyzer.store.files import temporary_file, temporary_folder
from tests.analyzer.shell import invoke
from tests.patience import PATIENCE


def test_what_is_no_plain_file_is_written_to_and_not_replaced(store: Path, tmp_path: Path) -> None:
    """As root, to put a file in the place of /dev/null would break the machine."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with subprocess.Popen(["cat", str(pipe)], stdout=subprocess.PIPE, text=True) as reader:
        assert invoke("temperature", store, "--format", "csv", "--output", pipe).exit_code == 0
        assert reader.communicate(timeout=PATIENCE)[0].startswith("layer,")
    assert pipe.is_fifo()
    link, target = tmp_path / "link.csv", tmp_path / "target.csv"
    link.symlink_to(target)
    assert invoke("temperature", store, "--output", link).exit_code == 0
    assert link.is_symlink()
    assert target.read_text().startswith("layer,")


def test_a_disk_that_is_full_is_one_line(store: Path) -> None:
    result = invoke("temperature", store, "--format", "csv", "--output", "/dev/full")
    assert result.exit_code == 1
    assert "--output /dev/full: expected a file that can be written, got: No space left on device" in result.stderr


def test_nothing_is_written_through_a_planted_link(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody can foretell the name of a temporary file and put a link there; existing links stay as they are."""
    mine, shared = tmp_path / "authorized_keys", tmp_path / "shared"
    mine.write_text("my key")
    shared.mkdir()
    names = iter(["known", "known", "else", "known", "known", "other"])
    monkeypatch.setattr("secrets.token_hex", lambda _: next(names))
    (shared / ".known.part.csv").symlink_to(mine)
    (shared / ".known.part").symlink_to(tmp_path / "nothing")
    assert invoke("temperature", store, "--no-cache", "--output", shared / "answer.csv").exit_code == 0
    assert temporary_folder(shared / "raw").name == ".other.part"
    assert mine.read_text() == "my key"
    assert not (tmp_path / "nothing").exists()
    assert (shared / "answer.csv").read_text().startswith("layer,")


def test_a_temporary_file_has_the_permissions_of_any_other(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        part = temporary_file(tmp_path / ("n" * 251 + ".csv"))
        assert stat.S_IMODE(part.stat().st_mode) == 0o640
        assert part.suffix == ".csv"
        assert part.read_bytes() == b""
        assert temporary_file(tmp_path / "a.csv") != temporary_file(tmp_path / "a.csv")
    finally:
        os.umask(before)


@pytest.mark.parametrize("name", ["answer.csv", "answer.json", "answer.nc", "answer.parquet", "figure.png"])
def test_what_fails_leaves_nothing(store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """The rename fails, as it does if the target has become a folder meanwhile."""

    def fails(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "replace", fails)
    option = "--plot" if name.endswith("png") else "--output"
    result = invoke("temperature", store, "--no-cache", option, tmp_path / name)
    assert result.exit_code == 1
    assert f"{option} {tmp_path / name}: expected a file that can be written, got: No space left" in result.stderr
    assert sorted(tmp_path.iterdir()) == [store]


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
