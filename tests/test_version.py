"""The version stands in the code: the packages need not be installed to say it, nor to record and to analyze."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import analyzer
import recorder

ROOT = Path(__file__).parents[1]
NOT_INSTALLED = """
import importlib.metadata as metadata

find = metadata.Distribution.from_name

def from_name(name):
    if name == "thermotrace":
        raise metadata.PackageNotFoundError(name)
    return find(name)

metadata.Distribution.from_name = from_name
"""
RECORDED = """
import torch
import recorder

model = torch.nn.Linear(3, 2)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
with recorder.Recorder("run.zarr", model, optimizer):
    for _ in range(20):
        optimizer.zero_grad()
        model(torch.ones(1, 3)).sum().backward()
        optimizer.step()
print(recorder.__file__, recorder.__version__)
"""


def test_there_is_one_version() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert project["tool"]["setuptools"]["dynamic"]["version"] == {"attr": "recorder.version.VERSION"}
    assert analyzer.__version__ == recorder.__version__
    cited = re.search(r"^version: (.*)$", (ROOT / "CITATION.cff").read_text(), re.MULTILINE)
    assert cited is not None
    assert cited[1] == recorder.__version__
    headings = re.findall(r"^## (.*)$", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert headings[0] == recorder.__version__, "the newest release notes are those of this version"


def test_a_source_tree_that_is_not_installed_records_and_analyzes(tmp_path: Path) -> None:
    for package in ("recorder", "analyzer"):
        shutil.copytree(ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "sitecustomize.py").write_text(NOT_INSTALLED)
    environment = os.environ | {"PYTHONPATH": str(tmp_path)}

    def python(*arguments: str) -> str:
        command = [sys.executable, *arguments]
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert python("-c", RECORDED).split() == [str(tmp_path / "recorder/__init__.py"), recorder.__version__]
    assert f'"thermotrace": "{recorder.__version__}"' in (tmp_path / "run.zarr/zarr.json").read_text()
    assert python("-m", "recorder", "--version") == f"recorder {recorder.__version__}\n"
    assert python("-m", "analyzer", "--version") == f"analyzer {recorder.__version__}\n"
    assert "complete" in python("-m", "analyzer", "info", "run.zarr")
    answer = python("-m", "analyzer", "temperature", "run.zarr", "--format", "json")
    assert f'"thermotrace_version": "{recorder.__version__}"' in answer
