"""`analyzer report --follow`: the page is written anew at commits, until the run ends."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.analyzer.shell import invoke
from tests.faults.trainers import LIVING, Trainer, wait_for_status
from tests.patience import PATIENCE, wait_until


@pytest.fixture(autouse=True)
def nobody_is_left() -> Iterator[None]:
    yield
    for trainer in list(LIVING.values()):
        trainer.put_down()


def held(step: int, gate: Path) -> Callable[[int, str], None]:
    """Keeps a trainer at a step until a file is there: however slow the machine is, its run is still seen running."""

    def wait(update: int, position: str) -> None:
        while update == step and not gate.exists():
            time.sleep(0.01)

    return wait


def test_the_page_of_a_run_that_goes_on_is_written_anew_until_it_ends(tmp_path: Path) -> None:
    store, page, gate = tmp_path / "run.zarr", tmp_path / "page.html", tmp_path / "gate"
    trainer = Trainer(store, steps=400, at=held(300, gate))
    wait_for_status(store, "running")
    command = [sys.executable, "-m", "analyzer", "report", str(store), "--follow", "-o", str(page)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as follower:
        try:
            wait_until(lambda: page.exists() or follower.poll() is not None, "no page was written")
            assert follower.poll() is None, "it ended before the run did"
            assert "The status is running" in page.read_text()
            gate.touch()
            assert trainer.wait() == 0
            _, said = follower.communicate(timeout=PATIENCE)
        finally:
            follower.kill()
    assert follower.returncode == 0, said
    assert said.count("Wrote") >= 2
    text = page.read_text()
    assert "The status is running" not in text
    assert "0 to 400" in text


def test_a_run_that_is_over_is_written_once(make: Callable[..., Path], tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    result = invoke("report", make(), "--follow", "-o", page)
    assert result.exit_code == 0, result.output
    assert result.output.count("Wrote") == 1
    assert page.read_text().startswith("<!DOCTYPE html>")


def test_it_follows_one_run(make: Callable[..., Path], tmp_path: Path) -> None:
    result = invoke("report", make("a.zarr"), make("b.zarr"), "--follow", "-o", tmp_path / "page.html")
    assert result.exit_code != 0
    assert "--follow: expected one run, got 2" in result.output
