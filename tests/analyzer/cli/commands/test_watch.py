"""`analyzer watch` as a process beside a real recording: on a terminal, off one, and at each end of a run."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import re
import select
import shutil
import signal
import struct
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyte
import pytest
from torch import nn

from recorder import Recorder
from tests.analyzer.shell import INTERRUPTED, invoke, shell
from tests.faults.trainers import LIVING, Trainer, wait_for_status
from tests.patience import PATIENCE, wait_until
from tests.recorder.runs import Scripted

ENVIRONMENT = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES")}
ENVIRONMENT |= {"TERM": "xterm-256color", "PYTHONUTF8": "0", "LC_ALL": "C.UTF-8"}
"""Without a size: pytest's workers have one in theirs, which would be taken for that of our terminals."""


class Terminal:
    """A command on a terminal of its own, whose screen pyte draws. Lifetime: until `wait`."""

    def __init__(self, *arguments: object, columns: int = 100, lines: int = 24, **environment: str) -> None:
        self._ours, theirs = pty.openpty()
        self.resize(columns, lines, theirs)
        self._process = subprocess.Popen(
            [sys.executable, "-m", "analyzer", *map(str, arguments)],
            stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True, env=ENVIRONMENT | environment,
        )  # fmt: skip
        os.close(theirs)
        self.raw = b""

    def resize(self, columns: int, lines: int, descriptor: int | None = None) -> None:
        self.screen = pyte.Screen(columns, lines)
        self._stream = pyte.ByteStream(self.screen)
        size = struct.pack("HHHH", lines, columns, 0, 0)
        fcntl.ioctl(self._ours if descriptor is None else descriptor, termios.TIOCSWINSZ, size)

    def read(self) -> bool:
        """Draw what has come; whether more may come."""
        while select.select([self._ours], [], [], 0.05)[0]:
            try:
                data = os.read(self._ours, 1 << 16)
            except OSError:  # the end of a terminal
                return False
            if not data:
                return False
            self.raw += data
            self._stream.feed(data)
        return True

    def shown(self) -> str:
        self.read()
        return "\n".join(line.rstrip() for line in self.screen.display).strip()

    def wait_for(self, *texts: str, narrower: int = 1000) -> str:
        """Wait until a screen of lines narrower than that holds the texts, and return it."""
        shown = ""
        deadline = time.monotonic() + PATIENCE
        while not all(text in shown for text in texts) or max(map(len, shown.splitlines())) >= narrower:
            assert time.monotonic() < deadline, f"never shown: {texts}, but:\n{shown}"
            time.sleep(0.1)
            shown = self.shown()
        return shown

    def send(self, number: int) -> None:
        self._process.send_signal(number)

    def wait(self) -> int:
        """The exit code, and everything drawn."""
        deadline = time.monotonic() + PATIENCE
        while self.read():
            assert time.monotonic() < deadline
        return self._process.wait(timeout=PATIENCE)


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path / "run.zarr"


@pytest.fixture(autouse=True)
def nobody_is_left() -> Iterator[None]:
    yield
    for trainer in list(LIVING.values()):
        trainer.put_down()


@contextlib.contextmanager
def watching(*arguments: object, **environment: str) -> Iterator[subprocess.Popen[str]]:
    """A watch off a terminal."""
    command = [sys.executable, "-m", "analyzer", "watch", *map(str, arguments)]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=ENVIRONMENT | environment,
        errors="replace",
    ) as process:  # fmt: skip
        yield process
        with contextlib.suppress(ProcessLookupError):
            process.kill()


def held(step: int, gate: Path) -> Callable[[int, str], None]:
    """Keeps a trainer at a step until a file is there: however slow the machine is, its run is still seen running."""

    def wait(update: int, position: str) -> None:
        while update == step and not gate.exists():
            time.sleep(0.01)

    return wait


def test_a_run_on_a_terminal_from_before_its_start_to_its_end(store: Path, tmp_path: Path) -> None:
    terminal = Terminal("watch", store, "--wait")
    terminal.wait_for("waiting for")
    trainer = Trainer(store, steps=2500, pause=0.002, at=held(2400, tmp_path / "gate"))
    text = terminal.wait_for("[running]", "loss", "spool", "since step")
    assert re.search(r"^layer +weights +T ", text, re.MULTILINE)
    assert re.search(r"^0 +35 +1?\.?\d", text, re.MULTILINE), "½⟨v²⟩ of noise of unit variance is 1"
    terminal.wait_for("steps/s")
    terminal.resize(30, 12)
    terminal.wait_for("layer", narrower=30)
    terminal.resize(100, 24)
    terminal.wait_for("since step")
    (tmp_path / "gate").touch()
    assert trainer.wait() == 0
    assert terminal.wait() == 0
    assert b"\x1b[?1049h" in terminal.raw
    left = terminal.raw.rpartition(b"\x1b[?1049l")[2].decode()
    assert "[complete]" in left, "the last table stays"
    assert "step 2,500" in left
    assert "\x1b" not in left
    assert not re.search(rb"\x1b\[[0-9;]*m", terminal.raw), "no colours"


def test_lines_off_a_terminal_end_with_the_run(store: Path) -> None:
    with watching(store, "--wait") as process:
        Trainer(store, steps=1500, pause=0.002).wait()
        out, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0
    assert err == f"waiting for {store}\n"
    lines = out.splitlines()
    assert lines[-1].endswith("complete")
    assert "step 1,500" in lines[-1]
    for line in lines:
        assert re.match(r"\d\d:\d\d:\d\d  (step [\d,]+|no frame yet)  \S+ steps/s", line)
        assert "\x1b" not in line
    assert re.search(r"T 0 [\d.]+, 1 [\d.]+", out)
    steps = re.findall(r"step ([\d,]+)", out)
    assert len(set(steps)) >= len(steps) - 1, "a line for a commit, and one for the end"


def test_a_terminal_of_ascii_gets_bars_of_ascii(store: Path) -> None:
    record(store, 50)
    for environment in ({"PYTHONIOENCODING": "ascii"}, {"PYTHONIOENCODING": "latin-1"}):
        terminal = Terminal("watch", store, **environment)
        assert terminal.wait() == 0
        assert terminal.raw.isascii()
        assert b"\\u" not in terminal.raw
        assert re.search(rb"1 +18 +[\d.]+  :", terminal.raw)


def test_a_terminal_that_can_draw_nothing_gets_lines(store: Path) -> None:
    record(store, 5)
    for environment in ({"TERM": "dumb"}, {"TERM": ""}):
        terminal = Terminal("watch", store, **environment)
        assert terminal.wait() == 0
        assert b"\x1b" not in terminal.raw
        assert b"step 5 " in terminal.raw
    terminal = Terminal("watch", store, NO_COLOR="1")
    assert terminal.wait() == 0
    assert not re.search(rb"\x1b\[[0-9;]*m", terminal.raw)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_gives_the_terminal_back_and_says_nothing(store: Path, number: int) -> None:
    trainer = Trainer(store, pause=0.005)
    terminal = Terminal("watch", store, "--wait")
    terminal.wait_for("[running]")
    terminal.send(number)
    assert terminal.wait() in INTERRUPTED
    assert terminal.raw.count(b"\x1b[?25h\x1b[?1049l") == 1
    assert b"Traceback" not in terminal.raw
    assert b"Interrupted" not in terminal.raw
    trainer.kill()


def test_a_trainer_that_dies_is_said(store: Path) -> None:
    trainer = Trainer(store, pause=0.002)
    terminal = Terminal("watch", store, "--wait")
    terminal.wait_for("[running]", "since step")
    trainer.kill()
    assert terminal.wait() == 0
    assert "[interrupted: the training ended without closing the recorder" in terminal.raw.decode()


def test_trainer_and_writer_that_die_are_said_at_once_and_a_resumption_too(store: Path, tmp_path: Path) -> None:
    trainer = Trainer(store, pause=0.002)
    terminal = Terminal("watch", store, "--wait", columns=400)  # the path of the store is not cut
    terminal.wait_for("[running]", "since step")
    writer = trainer.writer()
    os.kill(trainer.pid, signal.SIGSTOP)
    os.kill(writer, signal.SIGKILL)
    terminal.wait_for("the writer has died; the trainer starts another")
    trainer.kill()
    terminal.wait_for("nobody writes any more", f"recorder recover {store}")
    held_at = held(51_900, tmp_path / "gate")
    again = Trainer(store, steps=2000, pause=0.002, first=50_000, mode="a", at=held_at)
    terminal.wait_for("resumed at step", "[running]")
    (tmp_path / "gate").touch()
    assert again.wait() == 0
    assert terminal.wait() == 0


def test_another_run_in_its_place_is_said(store: Path) -> None:
    first = Trainer(store, pause=0.002)
    terminal = Terminal("watch", store, "--wait")
    terminal.wait_for("[running]", "since step")
    writer = first.writer()
    os.kill(writer, signal.SIGKILL)
    first.kill()
    time.sleep(1.1)  # `created` has whole seconds
    second = Trainer(store, steps=1500, pause=0.002, mode="w")
    terminal.wait_for("another run took its place")
    assert second.wait() == 0
    assert terminal.wait() == 0


def test_a_store_that_is_not_there_is_refused_with_the_remedy(store: Path) -> None:
    done = shell("watch", store)
    assert done.returncode == 1
    assert "--wait" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    store.write_text("no store")
    done = shell("watch", store, "--wait")
    assert done.returncode == 1, "what is there and is no store never becomes one"


def test_a_store_that_is_removed_is_said(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("analyzer.cli.commands.watch.GONE_SECONDS", 1.0)
    record(store, 5)
    pretend_running(store)
    threading.Timer(1.0, lambda: shutil.rmtree(store)).start()
    done = invoke("watch", store)
    assert done.exit_code == 1
    assert "expected a store, got nothing at that path" in done.stderr


def test_a_run_that_nobody_writes_ends_with_the_remedy(store: Path) -> None:
    record(store, 5)
    pretend_running(store, heartbeat="2020-01-01T00:00:00+00:00")
    done = invoke("watch", store)
    assert done.exit_code == 1
    assert f"recorder recover {store}" in done.stderr
    assert "step 5 " in done.stdout


def test_whoever_reads_may_leave(store: Path) -> None:
    trainer = Trainer(store, pause=0.002)
    wait_until((store / "zarr.json").exists, "no store")
    with watching(store) as process:
        assert process.stdout is not None
        assert process.stdout.readline()
        process.stdout.close()
        assert process.wait(timeout=PATIENCE) == 1
        assert process.stderr is not None
        assert process.stderr.read() == ""
    trainer.kill()


def test_it_waits_without_work(store: Path) -> None:
    """A look is a `stat`: an idle watch takes a small part of a core, whatever the run takes."""
    record(store, 5)
    pretend_running(store)
    with watching(store) as process:
        assert process.stdout is not None
        process.stdout.readline()
        used = cpu_seconds(process.pid)
        time.sleep(3)
        assert cpu_seconds(process.pid) - used < 1.5
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=PATIENCE) in INTERRUPTED


def cpu_seconds(process: int) -> float:
    words = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")


def record(store: Path, steps: int) -> None:
    model = nn.Sequential(nn.Linear(6, 5), nn.Linear(5, 3))
    optimizer = Scripted(model.parameters())
    with Recorder(store, model, optimizer) as recorder:
        for number in range(steps):
            optimizer.step()
            recorder.log(loss=number)
    wait_for_status(store, "complete")


def pretend_running(store: Path, **attributes: Any) -> None:
    """Let a store say that this process writes it."""
    import json
    from datetime import UTC, datetime

    from recorder.writer.ownership import this_owner

    root = json.loads((store / "zarr.json").read_text())
    owner = this_owner(store, os.getpid()).document()
    root["attributes"] |= {"status": "running", "heartbeat": datetime.now(UTC).isoformat()} | attributes
    root["attributes"]["recording"] |= {"owner": owner}
    (store / "zarr.json").write_text(json.dumps(root))
