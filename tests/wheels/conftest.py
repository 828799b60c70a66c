"""The wheel of `make dist`, and environments with it: made when first asked for, removed at the end."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import recorder
from tests.wheels import environments
from tests.wheels.environments import OWN, ROOT, Environment

PROGRAMS = Path(__file__).parent / "programs"
Made = Callable[[str, str], Environment]


@pytest.fixture(scope="session")
def wheel() -> Path:
    found = ROOT / "dist" / f"thermotrace-{recorder.__version__}-py3-none-any.whl"
    assert found.is_file(), f"{found}: expected the wheel of this version. Build it: make dist"
    return found


@pytest.fixture(scope="session")
def sdist() -> Path:
    found = ROOT / "dist" / f"thermotrace-{recorder.__version__}.tar.gz"
    assert found.is_file(), f"{found}: expected the source distribution of this version. Build it: make dist"
    return found


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder outside of the source tree, for all environments."""
    folder = tmp_path_factory.mktemp("wheels")
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="session")
def environment(wheel: Path, home: Path) -> Made:
    """Return a function: the environment of a Python's version that has the wheel with an extra alone."""
    known = environments.pythons()
    made: dict[tuple[str, str], Environment] = {}

    def get(version: str, extra: str) -> Environment:
        if version not in known:
            pytest.skip(f"this machine has no Python {version}")
        if os.environ.get("WHEELS") != "all":
            if extra == "recorder" and version != OWN:
                pytest.skip(f"torch for Python {version} may take gigabytes: WHEELS=all records with it")
            if extra not in ("", "recorder", "analyzer"):
                pytest.skip(f"the extra {extra} takes minutes: WHEELS=all installs it")
        if (version, extra) not in made:
            folder = home / f"{version}-{extra or 'plain'}"
            if extra in ("", "recorder", "analyzer"):
                new = environments.make(known[version], folder, home / "work")
            else:  # it asks for the extra `recorder` too, and so begins with a copy of that one's environment
                new = environments.clone(get(version, "recorder"), folder)
            new.install(wheel, extra)
            made[version, extra] = new
        return made[version, extra]

    return get


@pytest.fixture(scope="session")
def recorded(environment: Made) -> dict[str, float]:
    """Record a run as `run.zarr` in the common folder; return the temperatures that the training saw itself."""
    found: dict[str, float] = json.loads(environment(OWN, "recorder").output(str(PROGRAMS / "record.py"), "run.zarr"))
    return found
