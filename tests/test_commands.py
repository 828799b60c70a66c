"""What both commands have in common: help of every command, tab completion, versions, tables without colours."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

import analyzer
from analyzer.cli import cli as analyzer_cli
from recorder.__main__ import main as recorder_cli
from tests.benchmarks.analyzer_workload import gcn_store
from tests.patience import PATIENCE


def commands() -> list[tuple[str, click.Command]]:
    found: list[tuple[str, click.Command]] = []

    def visit(name: str, command: click.Command) -> None:
        found.append((name, command))
        for title, below in getattr(command, "commands", {}).items():
            visit(f"{name} {title}", below)

    visit("analyzer", analyzer_cli)
    visit("recorder", recorder_cli)
    return found


@pytest.mark.parametrize(("name", "command"), commands(), ids=[name for name, _ in commands()])
def test_every_command_has_a_line_a_text_and_an_example(name: str, command: click.Command) -> None:
    line = command.get_short_help_str(120)
    assert 10 < len(line) <= 120
    assert not line.endswith("...")
    first, *path = name.split()
    result = CliRunner().invoke({"analyzer": analyzer_cli, "recorder": recorder_cli}[first], [*path, "--help"])
    assert result.exit_code == 0
    assert f"\n  {name} " in result.output, "an example"
    for option in command.params:
        if isinstance(option, click.Option):
            assert option.help or option.name == "help", f"{name} {option.name}"


@pytest.mark.parametrize(
    ("words", "variable", "expected"),
    [
        ("analyzer temp", "_ANALYZER_COMPLETE", "plain,temperature"),
        ("analyzer temperature x --form", "_ANALYZER_COMPLETE", "plain,--format"),
        ("recorder rec", "_RECORDER_COMPLETE", "plain,recover"),
    ],
)
def test_tab_completes(words: str, variable: str, expected: str) -> None:
    name, count = words.split()[0], len(words.split()) - 1
    environment = os.environ | {variable: "bash_complete", "COMP_WORDS": words, "COMP_CWORD": str(count)}
    command = [str(Path(sys.executable).parent / name)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=PATIENCE)
    assert done.stdout.splitlines() == [expected]


@pytest.mark.parametrize(("name", "group"), [("analyzer", analyzer_cli), ("recorder", recorder_cli)])
def test_versions(name: str, group: click.Command) -> None:
    assert CliRunner().invoke(group, ["--version"]).output == f"{name} {analyzer.__version__}\n"


def test_a_terminal_without_colours_is_given_none(tmp_path: Path) -> None:
    store = gcn_store(tmp_path / "run.zarr", 64)
    ours, theirs = pty.openpty()
    environment = os.environ | {"TERM": "xterm-256color", "NO_COLOR": "1"}
    command = [sys.executable, "-m", "analyzer", "temperature", str(store)]
    process = subprocess.Popen(command, stdout=theirs, stderr=subprocess.DEVNULL, env=environment)
    os.close(theirs)
    shown = b""
    while True:
        try:
            part = os.read(ours, 1 << 16)
        except OSError:  # the end of a terminal
            break
        if not part:
            break
        shown += part
    os.close(ours)
    assert process.wait(timeout=PATIENCE) == 0
    assert b"temperature" in shown
    assert re.search(rb"\x1b\[[0-9;]*(3|4|9)[0-9]", shown) is None
