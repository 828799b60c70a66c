"""The `recorder` command."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from click.testing import CliRunner

from recorder import Recorder
from recorder.__main__ import main


def invoke(*arguments: str):
    return CliRunner().invoke(main, list(arguments))


def test_plan_says_what_a_run_takes():
    shown = invoke("plan", "--elements", "11786", "--steps", "187500", "--steps-per-second", "50")
    assert shown.exit_code == 0, shown.output
    assert "187,500 frames of 46.0 KiB: 8.2 GiB, about 4.3 GiB compressed" in shown.output
    assert "chunks of 1,024 steps" in shown.output
    assert "2.4 MB/s of frames" in shown.output
    assert "the writer keeps up" in shown.output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["plan", "--elements", "1000000000", "--steps", "10"], "UsageError: spool: expected room for three chunks"),
        (["plan", "--elements", "11786", "--steps", "10000000000000"], "DiskSpaceError"),
        (["plan", "--elements", "10", "--steps", "10", "--spool-limit", "much"], "UsageError: size 'much'"),
        (["recover", "nowhere.zarr"], "StoreFormatError: "),
    ],
)
def test_errors_are_one_line_and_exit_code_1(arguments, message):
    ended = subprocess.run([sys.executable, "-m", "recorder", *arguments], capture_output=True, text=True, check=False)
    assert ended.returncode == 1
    assert ended.stderr.startswith(message)
    assert len(ended.stderr.splitlines()) == 1
    assert ended.stdout == ""


def test_a_file_that_cannot_be_written_is_one_line(tmp_path):
    store = tmp_path / "run.zarr"
    with Recorder(store, torch.nn.Linear(2, 2)) as recorder:
        recorder.start()
    before = (store / "zarr.json").read_bytes()
    (store / ".zarr.json.tmp").mkdir()  # in the place of the temporary file
    shown = invoke("annotate", str(store), "seed=0")
    assert shown.exit_code == 1
    place = f"{store}/.zarr.json.tmp"
    assert shown.stderr == (
        f"System: {place}: expected to read and write it, got: Is a directory. Mend that, then try again.\n"
    )
    assert (store / "zarr.json").read_bytes() == before


def test_wrong_usage_is_exit_code_2():
    assert invoke("plan").exit_code == 2
    assert invoke("recover").exit_code == 2
    assert invoke("dance").exit_code == 2
