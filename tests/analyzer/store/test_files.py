"""Temporary files: their names, their permissions, and what is left of them."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

import pytest

from analyzer.store.files import temporary_file, temporary_folder
from tests.analyzer.shell import invoke


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
