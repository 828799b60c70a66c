"""Ctrl-C, workers that die, and the progress bar: in processes and on terminals of their own."""

from __future__ import annotations

import json
import os
import pty
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.analyzer.cluster import Cluster, another_worker
from tests.analyzer.shell import INTERRUPTED, shell
from tests.benchmarks.analyzer_scale import lengthen
from tests.benchmarks.analyzer_workload import gcn_store
from tests.patience import PATIENCE, wait_until

pytestmark = pytest.mark.xdist_group("cluster")

ANALYZER = [sys.executable, "-m", "analyzer"]
BY_ROW = ("temperature", "--by", "row", "--no-cache", "--format", "json")


@pytest.fixture(scope="module")
def long_run(gcn_of_a_chunk: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose decoding takes seconds (1.5 GB of frames), of a few MB on disk: its chunks are links to one."""
    return lengthen(gcn_of_a_chunk, tmp_path_factory.mktemp("long") / "long.zarr", 32 * 1024)


@pytest.fixture(scope="module")
def by_threads(long_run: Path) -> subprocess.CompletedProcess[str]:
    """What the command says in a pipe: temperatures of rows, by threads."""
    return shell(*BY_ROW, long_run)


def parts(*folders: Path) -> list[Path]:
    return [path for folder in folders for path in folder.rglob("*part*")]


@pytest.mark.parametrize(
    ("execution", "delay"),
    [
        ((), 0.3),
        (("--scheduler", "processes", "--workers", "2"), 0.1),  # workers are being born
        (("--scheduler", "processes", "--workers", "2"), 1.8),  # workers decode, on a fast machine
    ],
)
def test_an_interrupt_leaves_nothing_half_written(
    long_run: Path, tmp_path: Path, execution: tuple[str, ...], delay: float
) -> None:
    output, kept = tmp_path / "out" / "rows.csv", tmp_path / "kept"
    output.parent.mkdir()
    command = [*ANALYZER, "temperature", long_run, "--output", output, "--cache", kept, *execution]
    for sooner in (1, 2, 4, 8):  # where the machine was faster than the interrupt, it comes earlier
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
        )
        assert process.stderr is not None
        assert process.stderr.readline().startswith("Decoding 1.5 GB")
        time.sleep(delay / sooner)
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does: every process of the group gets it
        out, err = process.communicate(timeout=PATIENCE)
        if process.returncode:
            break
        output.unlink()
        shutil.rmtree(kept)
    assert process.returncode in INTERRUPTED, err
    assert (out, err) == ("", "Interrupted: no output was written.\n")
    assert list(output.parent.iterdir()) == []
    assert parts(tmp_path) == []


@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_worker_that_dies_is_retried_under_a_bar_and_the_bits_are_the_same(
    long_run: Path, by_threads: subprocess.CompletedProcess[str], two_workers: Cluster, tmp_path: Path
) -> None:
    with another_worker(two_workers) as worker:
        question = Terminal(tmp_path / "out", *ANALYZER, *BY_ROW, long_run, "--scheduler", two_workers.address)
        _wait_until_it_decodes(worker.pid)
        worker.send_signal(signal.SIGSTOP)  # so that it dies before the answer is there, however fast the machine is
        assert question.process.poll() is None
        worker.send_signal(signal.SIGKILL)
        worker.wait(PATIENCE)
        code, out, told = question.ended()
    assert code == 0, told
    assert "Traceback" not in told
    assert BAR.search(told), told[-2000:]
    assert json.loads(out)["records"] == json.loads(by_threads.stdout)["records"]


def _wait_until_it_decodes(pid: int) -> None:
    """Wait until a process has spent another half second of processor time."""

    def spent() -> float:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    began = spent()
    wait_until(lambda: spent() >= began + 0.5, "the worker was given nothing to do")


@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_an_interrupt_of_a_question_to_a_cluster(long_run: Path, two_workers: Cluster) -> None:
    options = ["temperature", str(long_run), "--no-cache", "--scheduler", two_workers.address]
    process = subprocess.Popen([*ANALYZER, *options], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    _wait_until_it_decodes(two_workers.workers[0].pid)
    for worker in two_workers.workers:  # the answer waits for the interrupt, however fast the machine is
        worker.send_signal(signal.SIGSTOP)
    try:
        assert process.poll() is None
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=PATIENCE)
    finally:
        for worker in two_workers.workers:
            worker.send_signal(signal.SIGCONT)
    assert process.returncode in INTERRUPTED
    assert out == ""
    assert err.splitlines()[-1] == "Interrupted: no output was written."
    assert "Traceback" not in err


class Terminal:
    """A command whose stderr is a terminal and whose stdout is a file. Lifetime: until `ended`."""

    def __init__(self, output: Path, *command: object) -> None:
        self._output = output
        self._reading, writing = pty.openpty()
        with output.open("wb") as out:
            self.process = subprocess.Popen([*map(str, command)], stdout=out, stderr=writing)
        os.close(writing)

    def ended(self) -> tuple[int, str, str]:
        """Wait for its end. Returns its exit code, its stdout, and what the terminal got."""
        told = b""
        while True:
            try:
                piece = os.read(self._reading, 1 << 16)
            except OSError:  # the other end is closed
                break
            told += piece
        os.close(self._reading)
        shown = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", told.decode())
        return self.process.wait(PATIENCE), self._output.read_text(), shown


BAR = re.compile(r"Decoding ━?.*\d+% +\d[\d.,]* [kMG]?B/s +(\d+:)?\d\d:\d\d left")


@pytest.mark.parametrize("execution", [(), ("--scheduler", "processes", "--workers", "2")])
def test_a_bar_shows_rate_and_time_left_on_a_terminal(
    long_run: Path, tmp_path: Path, execution: tuple[str, ...]
) -> None:
    words = ["temperature", long_run, "--no-cache", "--format", "csv", *execution]
    code, out, told = Terminal(tmp_path / "out", *ANALYZER, *words).ended()
    assert code == 0, told
    assert out.startswith("layer,start_step")
    assert BAR.search(told), told[-2000:]


def test_no_bar_in_a_pipe(by_threads: subprocess.CompletedProcess[str]) -> None:
    assert by_threads.stderr.splitlines() == ["Decoding 1.5 GB in 4 tasks"]


def test_a_reader_that_has_seen_enough_ends_a_command_without_a_word(tmp_path: Path) -> None:
    store = gcn_store(tmp_path / "run.zarr", 64)
    for command in (["info", store], ["temperature", store, "--format", "csv"]):
        reading, writing = os.pipe()
        os.close(reading)
        try:
            asked = [*ANALYZER, *map(str, command)]
            done = subprocess.run(asked, stdout=writing, stderr=subprocess.PIPE, timeout=PATIENCE)
        finally:
            os.close(writing)
        assert (done.returncode, done.stderr) == (1, b"")
