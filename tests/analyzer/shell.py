"""The command line, called in this process or in one of its own."""

from __future__ import annotations

import signal
import subprocess
import sys

from click.testing import CliRunner, Result

from analyzer.cli import cli
from tests.patience import PATIENCE

INTERRUPTED = (130, -signal.SIGINT)
"""Exit codes of a command that was interrupted; a shell shows both as 130. Python kills itself in the end where the
interrupt struck while an extension module that runs Python code was imported, although the command has answered it."""


def invoke(*arguments: object) -> Result:
    return CliRunner().invoke(cli, [str(argument) for argument in arguments])


def shell(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "analyzer", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE)
