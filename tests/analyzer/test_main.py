"""The command line as a shell sees it: streams, exit codes, and what starting it loads."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import analyzer
from tests.analyzer.shell import invoke, shell
from tests.patience import PATIENCE


def test_in_a_shell(store: Path, tmp_path: Path) -> None:
    done = shell("temperature", store, "--by", "layer", "--format", "csv")
    assert done.returncode == 0
    assert done.stderr == ""
    assert done.stdout.startswith("layer,start_step,stop_step,weights,velocities,temperature")
    refused = shell("temperature", tmp_path / "none.zarr")
    assert refused.returncode == 1
    assert refused.stdout == ""
    assert refused.stderr.startswith("Error: ")
    assert "Traceback" not in refused.stderr


def test_help_and_info_load_nothing_heavy(store: Path) -> None:
    """Half a second is the promise (`--help`, `info`); what can be tested without a clock is what they import."""
    code = f"""
import sys
from click.testing import CliRunner
from analyzer.cli import cli
commands = ["--help"], ["temperature", "--help"], ["info", {str(store)!r}]
results = [CliRunner().invoke(cli, command).exit_code for command in commands]
heavy = "numpy", "xarray", "zarr", "dask", "numba", "pandas", "matplotlib", "scipy", "torch", "rich"
print(results, sorted(set(heavy) & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=PATIENCE)
    assert done.stdout.strip() == "[0, 0, 0] []", done.stderr


def test_a_command_loads_no_other() -> None:
    code = """
import sys
from click.testing import CliRunner
from analyzer.cli import cli
def loaded():
    return {name.rpartition(".")[2] for name in sys.modules if name.startswith("analyzer.cli.commands.")}
print(CliRunner().invoke(cli, ["--help"]).exit_code, sorted(loaded()))
print(CliRunner().invoke(cli, ["rows", "--help"]).exit_code, sorted(loaded()))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=PATIENCE)
    assert done.stdout.splitlines() == ["0 []", "0 ['rows']"], done.stderr


def test_version() -> None:
    assert analyzer.__version__ in invoke("--version").stdout


def test_a_reader_that_leaves_early_gets_no_traceback(store: Path) -> None:
    command = f"{sys.executable} -m analyzer temperature {store} --by element --format csv | head -n 1"
    done = subprocess.run(command, shell=True, capture_output=True, text=True, timeout=PATIENCE)
    assert done.stdout.startswith("layer,")
    assert "Traceback" not in done.stderr
