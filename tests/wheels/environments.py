"""Clean environments with the wheel in them, and the Pythons that can have one."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from tests.patience import PATIENCE

ROOT = Path(__file__).parents[2]
VERSIONS = ("3.11", "3.12", "3.13", "3.14")
OWN = f"{sys.version_info.major}.{sys.version_info.minor}"
INHERITED = ("PYTHONPATH", "PYTHONHOME", "MYPYPATH", "VIRTUAL_ENV", "PYTEST_ADDOPTS", "PYTHONWARNINGS")
PIP = (sys.executable, "-m", "pip", "--disable-pip-version-check", "--python")


def pythons() -> dict[str, Path]:
    """Return the Pythons of this machine by version: of the tests, on the path, in the usual folders, of pyenv."""
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    folders = [*os.get_exec_path(), "/usr/local/bin", "/usr/bin", *map(str, sorted(pyenv.glob("*/bin")))]
    found = {OWN: Path(sys.executable)}
    for version in VERSIONS:
        for folder in folders:
            if version not in found and _answers(file := Path(folder) / f"python{version}", version):
                found[version] = file
    return {version: found[version] for version in VERSIONS if version in found}


def _answers(file: Path, version: str) -> bool:
    # The files that pyenv puts on the path only start another Python.
    asked = "import sys, venv, ensurepip; print('%d.%d' % sys.version_info[:2])"
    try:
        done = subprocess.run([file, "-I", "-c", asked], capture_output=True, text=True, timeout=PATIENCE, check=False)
    except OSError:
        return False
    return done.returncode == 0 and done.stdout.strip() == version


@dataclass(frozen=True)
class Environment:
    """A virtual environment, used from a folder that is no source tree."""

    folder: Path
    home: Path

    @property
    def python(self) -> Path:
        return self.folder / "bin" / "python"

    def install(self, wheel: Path, extra: str) -> None:
        """Install the wheel with an extra, in the versions of `constraints.txt`."""
        named = f"{wheel}[{extra}]" if extra else str(wheel)
        done = _run(
            [*PIP, str(self.python), "install", "--quiet", "--no-compile", "-c", str(ROOT / "constraints.txt"), named],
            self.home,
        )
        assert done.returncode == 0, done.stdout + done.stderr

    def check(self) -> str:
        """Return what pip says about the dependencies of all that is installed."""
        return _run([*PIP, str(self.python), "check"], self.home).stdout

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Run `python -m …` or a script of this environment."""
        return _run([str(self.python), *command], self.home)

    def output(self, *command: str) -> str:
        """Return the stdout of a command that must succeed."""
        done = self.run(*command)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def script(self, name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a console script that the wheel installed."""
        return _run([str(self.folder / "bin" / name), *arguments], self.home)

    def has(self, module: str) -> bool:
        """Return whether a module can be imported."""
        found = "import sys, importlib.util; print(importlib.util.find_spec(sys.argv[1]) is not None)"
        return self.output("-c", found, module).strip() == "True"


def make(python: Path, folder: Path, home: Path) -> Environment:
    """Make an empty environment; pip works on it from outside."""
    home.mkdir(exist_ok=True)
    done = _run([str(python), "-m", "venv", "--without-pip", str(folder)], home)
    assert done.returncode == 0, done.stdout + done.stderr
    return Environment(folder, home)


def clone(environment: Environment, folder: Path) -> Environment:
    """Copy an environment as links to its files, which takes no room; its console scripts start the first one."""
    done = _run(["cp", "-al", str(environment.folder), str(folder)], environment.home)
    assert done.returncode == 0, done.stderr
    return Environment(folder, environment.home)


def _run(command: list[str], home: Path) -> subprocess.CompletedProcess[str]:
    variables = {key: value for key, value in os.environ.items() if key not in INHERITED}
    variables |= {"PYTHONDONTWRITEBYTECODE": "1", "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    return subprocess.run(
        command, cwd=home, env=variables, capture_output=True, text=True, timeout=PATIENCE, stdin=subprocess.DEVNULL,
        check=False,
    )  # fmt: skip
