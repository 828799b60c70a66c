"""What the wheel and the source distribution hold: all that belongs there and nothing else."""

from __future__ import annotations

import email
import subprocess
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest

import recorder
from tests.wheels.environments import ROOT


def tracked(*folders: str) -> set[str]:
    """Files that git knows."""
    if not (ROOT / ".git").exists():
        pytest.skip("this tree is no clone: git does not say which files belong to it")
    command = ["git", "ls-files", "-z", "--cached", "--", *folders]
    listed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    return {name for name in listed.split("\0") if name and (ROOT / name).is_file()}


def test_the_wheel_holds_both_packages_and_no_more(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if not name.endswith("/")}
    own = {name for name in names if ".dist-info/" not in name}
    assert own == tracked("recorder", "analyzer")
    assert own >= {"recorder/FORMAT.md", "recorder/py.typed", "analyzer/py.typed"}
    assert own >= {f"analyzer/report/templates/{name}.html.j2" for name in ("page", "content")}
    assert {name.partition(".dist-info/")[2] for name in names - own} == {
        "METADATA", "RECORD", "WHEEL", "entry_points.txt", "top_level.txt", "licenses/LICENSE"
    }  # fmt: skip


def test_the_source_distribution_is_the_tree(sdist: Path) -> None:
    with tarfile.open(sdist) as archive:
        names = {member.name.partition("/")[2] for member in archive.getmembers() if member.isfile()}
    made = {name for name in names if name in ("PKG-INFO", "setup.cfg") or ".egg-info/" in name}
    assert names - made == tracked()


def test_metadata(wheel: Path) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        said = email.message_from_bytes(archive.read(name))
    assert said["Version"] == recorder.__version__
    assert said["Requires-Python"] == ">=3.11"
    assert said["License-Expression"] == "MIT"
    assert said["Description-Content-Type"] == "text/markdown"
    assert set(said.get_all("Provides-Extra", [])) == set(project["optional-dependencies"])
    assert (ROOT / "README.md").read_text(encoding="utf-8").strip() in said.get_payload(decode=True).decode()


def test_sizes(wheel: Path, sdist: Path) -> None:
    print(f"{wheel.name}: {wheel.stat().st_size:,} bytes; {sdist.name}: {sdist.stat().st_size:,} bytes")
    assert wheel.stat().st_size < 1_500_000, "both packages are text: what is large does not belong into the wheel"
    assert sdist.stat().st_size < 15_000_000
