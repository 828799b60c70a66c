"""Small files: links and pipes in their place, impossible sizes."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from recorder.files import read_file, replace_file


def test_a_link_planted_in_a_temporary_files_place_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("my key")
    (tmp_path / ".zarr.json.tmp").symlink_to(tmp_path / "key")
    replace_file(tmp_path / "zarr.json", b"new")
    assert (tmp_path / "zarr.json").read_text() == "new"
    assert (tmp_path / "key").read_text() == "my key"
    assert not (tmp_path / ".zarr.json.tmp").exists()


def test_only_regular_files_of_a_possible_size_are_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "zero").symlink_to("/dev/zero")
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_bytes(b"1234")
    (tmp_path / "link").symlink_to("file")
    for name in ("pipe", "zero", "folder"):
        with pytest.raises(OSError, match="is no regular file"):
            read_file(tmp_path / name)
    with pytest.raises(OSError, match="expected at most 3"):
        read_file(tmp_path / "file", 3)
    assert read_file(tmp_path / "link", 4) == b"1234"
