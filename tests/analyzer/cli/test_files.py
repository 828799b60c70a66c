"""Files that a command writes: what is no plain file is not replaced, and a full disk is one line."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

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


@pytest.mark.parametrize("place", ["zarr.json", "answer.csv", "parameters/answer.csv"])
def test_no_answer_is_written_into_a_store(store: Path, place: str) -> None:
    """It would replace a document or a chunk, the only copy, or be in the way of the next recording."""
    before = {path: path.read_bytes() for path in store.rglob("*") if path.is_file()}
    for command in (("temperature", "--output"), ("velocity", "--raw", "--output"), ("report", "-o")):
        result = invoke(command[0], store, *command[1:], store / place)
        assert result.exit_code in (1, 2)
        assert f"expected a path outside the store {store}" in result.stderr
    assert {path: path.read_bytes() for path in store.rglob("*") if path.is_file()} == before


def test_a_disk_that_is_full_is_one_line(store: Path) -> None:
    result = invoke("temperature", store, "--format", "csv", "--output", "/dev/full")
    assert result.exit_code == 1
    assert "--output /dev/full: expected a file that can be written, got: No space left on device" in result.stderr


def test_a_store_is_asked_from_inside_it(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A dot has no name of its own. Sums are kept beside the store, not in it, whatever it is called by."""
    inside = sorted(path.name for path in store.iterdir())
    asked = invoke("temperature", store, "--format", "csv")
    (kept,) = store.parent.rglob("*.sums")
    written = kept.stat().st_mtime_ns
    for folder, dots in ((store, "."), (store, "./"), (store / "parameters", "..")):
        monkeypatch.chdir(folder)
        assert invoke("temperature", dots, "--format", "csv").stdout == asked.stdout
        for command in ("info", "verify", "rows"):
            assert invoke(command, dots).exit_code == 0
    assert kept.stat().st_mtime_ns == written
    assert sorted(path.name for path in store.iterdir()) == inside
    assert "expected a store with a zarr.json" in invoke("temperature", "/").stderr
    monkeypatch.chdir(store)
    assert f"Write --output {store.parent / 'report.html'}" in invoke("report", ".").stderr
