"""Dask is loaded without the parts of scipy that no command needs. They can still be imported later."""

from __future__ import annotations

import subprocess
import sys

from tests.patience import PATIENCE

CODE = """
import sys
{before}
from analyzer.cli import execution
import dask.array
print(sorted(name for name in ("scipy.fftpack", "scipy.sparse") if name in sys.modules))
import scipy.sparse, scipy.fftpack
print(scipy.sparse.eye(2).sum())
"""


def run(before: str = "") -> list[str]:
    code = CODE.format(before=before)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_dask_is_loaded_without_two_parts_of_scipy_which_can_be_loaded_afterwards() -> None:
    assert run() == ["[]", "2.0"]


def test_what_is_loaded_already_stays() -> None:
    assert run("import scipy.sparse") == ["['scipy.sparse']", "2.0"]


def test_what_was_hidden_is_found_again_if_dask_cannot_be_loaded() -> None:
    before = """
sys.modules["dask.array"] = None
try:
    from analyzer.cli import execution
except ImportError:
    pass
del sys.modules["dask.array"]
assert "scipy.sparse" not in sys.modules and "scipy.fftpack" not in sys.modules
"""
    assert run(before) == ["[]", "2.0"]
